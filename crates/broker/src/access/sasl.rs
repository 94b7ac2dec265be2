//! Owns the reading of SASL responses: PLAIN and AMQPLAIN.
//!
//! Invariant: reading borrows from the response and never looks inside nested values, so it costs no memory
//! and bounded time; no error carries any of the response, which may hold a password.

use std::fmt;
use std::str;

use thiserror::Error;

/// A mechanism of `connection.start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `NUL user NUL password`.
    Plain,
    /// A field table with `LOGIN` and `PASSWORD`, without the length in front.
    AmqPlain,
}

/// What a client presented. Not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    user: &'a [u8],
    /// The password in clear.
    pub password: &'a [u8],
}

/// Why a response could not be read; RabbitMQ closes the connection with 502 (`SYNTAX_ERROR`) for these, and not
/// with the 403 of a refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SaslError {
    /// Not `NUL user NUL password`.
    #[error("PLAIN response is invalid")]
    InvalidPlain,
    /// The table breaks off or has a value of unknown type.
    #[error("AMQPLAIN auth info is not a field table")]
    InvalidTable,
    /// One of the two fields is not there.
    #[error("AMQPLAIN auth info is missing LOGIN or PASSWORD field")]
    MissingField,
    /// One of the two fields is not a long string.
    #[error("AMQPLAIN auth info uses unsupported type for LOGIN or PASSWORD field")]
    UnsupportedType,
}

impl Mechanism {
    /// Every mechanism offered, in the order of `connection.start`.
    pub const ALL: [Self; 2] = [Self::Plain, Self::AmqPlain];

    /// The mechanism of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
        }
    }

    /// Reads the response of `connection.start-ok` or `connection.secure-ok`.
    pub fn read(self, response: &[u8]) -> Result<Credentials<'_>, SaslError> {
        match self {
            Self::Plain => plain(response),
            Self::AmqPlain => amqplain(response),
        }
    }
}

impl<'a> Credentials<'a> {
    /// The name, unless it is not UTF-8: no user has such a name, so such a login is to be refused.
    pub fn user(&self) -> Option<&'a str> {
        str::from_utf8(self.user).ok()
    }

    /// The name as a log shows it.
    pub fn user_lossy(&self) -> String {
        String::from_utf8_lossy(self.user).into_owned()
    }
}

/// The password stays out of logs.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user_lossy()).finish_non_exhaustive()
    }
}

/// RabbitMQ takes neither an authorization identity in front nor anything behind.
fn plain(response: &[u8]) -> Result<Credentials<'_>, SaslError> {
    let mut parts = response.split(|octet| *octet == 0);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some([]), Some(user), Some(password), None) => Ok(Credentials { user, password }),
        _ => Err(SaslError::InvalidPlain),
    }
}

fn amqplain(response: &[u8]) -> Result<Credentials<'_>, SaslError> {
    let (mut login, mut password) = (None, None);
    let mut rest = response;
    while !rest.is_empty() {
        let (name, tag, value) = field(&mut rest).ok_or(SaslError::InvalidTable)?;
        // The first of two fields with one name counts.
        match name {
            b"LOGIN" => login = login.or(Some((tag, value))),
            b"PASSWORD" => password = password.or(Some((tag, value))),
            _ => {}
        }
    }
    match (login, password) {
        (Some((b'S', user)), Some((b'S', password))) => Ok(Credentials { user, password }),
        (Some(_), Some(_)) => Err(SaslError::UnsupportedType),
        _ => Err(SaslError::MissingField),
    }
}

/// Takes one field off the front of a table: its name, the tag and the octets of its value (without the
/// length of those that have one).
fn field<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], u8, &'a [u8])> {
    let (&length, tail) = rest.split_first()?;
    let (name, tail) = tail.split_at_checked(usize::from(length))?;
    let (&tag, tail) = tail.split_first()?;
    let (length, tail) = match tag {
        b'V' => (0, tail),
        b't' | b'b' | b'B' => (1, tail),
        b's' | b'u' => (2, tail),
        b'I' | b'i' | b'f' => (4, tail),
        b'D' => (5, tail),
        b'l' | b'L' | b'd' | b'T' => (8, tail),
        b'S' | b'x' | b'A' | b'F' => {
            let (length, tail) = tail.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_be_bytes(*length)).ok()?, tail)
        }
        _ => return None,
    };
    let (value, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some((name, tag, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Expected<'a> = Result<(&'a [u8], &'a [u8]), SaslError>;

    fn check(mechanism: Mechanism, cases: &[(&[u8], Expected<'_>)]) {
        for (response, expected) in cases {
            let read = mechanism.read(response).map(|read| (read.user, read.password));
            assert_eq!(read, *expected, "{}", response.escape_ascii());
        }
    }

    #[test]
    fn plain_as_rabbitmq_takes_it() {
        const INVALID: Expected<'_> = Err(SaslError::InvalidPlain);
        let cases: &[(&[u8], Expected<'_>)] = &[
            (b"\0guest\0guest", Ok((b"guest", b"guest"))),
            (b"\0guest\0", Ok((b"guest", b""))),
            (b"\0\0", Ok((b"", b""))),
            (b"\0gu\xff\0p\xff", Ok((b"gu\xff", b"p\xff"))),
            (b"", INVALID),
            (b"guest", INVALID),
            (b"\0guest", INVALID),
            (b"x\0guest\0guest", INVALID),
            (b"\0guest\0guest\0", INVALID),
            (b"\0guest\0guest\0more", INVALID),
        ];
        check(Mechanism::Plain, cases);
    }

    #[test]
    fn amqplain_as_rabbitmq_takes_it() {
        let cases: &[(&[u8], Expected<'_>)] = &[
            (b"\x05LOGINS\0\0\0\x02me\x08PASSWORDS\0\0\0\x02pw", Ok((b"me", b"pw"))),
            (b"\x08PASSWORDS\0\0\0\x02pw\x05LOGINS\0\0\0\x02me", Ok((b"me", b"pw"))),
            (b"\x01xF\0\0\0\x03\x01yV\x05LOGINS\0\0\0\x02me\x08PASSWORDS\0\0\0\0", Ok((b"me", b""))),
            (b"\x05LOGINS\0\0\0\x01a\x05LOGINS\0\0\0\x01b\x08PASSWORDS\0\0\0\x01c", Ok((b"a", b"c"))),
            // With the length that a table elsewhere has.
            (b"\0\0\0\x0c\x05LOGINS\0\0\0\x01a", Err(SaslError::InvalidTable)),
            (b"", Err(SaslError::MissingField)),
            (b"\x05LOGINS\0\0\0\x02me", Err(SaslError::MissingField)),
            (b"\x05loginS\0\0\0\x02me\x08PASSWORDS\0\0\0\x02pw", Err(SaslError::MissingField)),
            (b"\x05LOGINt\x01\x08PASSWORDS\0\0\0\x02pw", Err(SaslError::UnsupportedType)),
            (b"\x05LOGINx\0\0\0\x02me\x08PASSWORDx\0\0\0\x02pw", Err(SaslError::UnsupportedType)),
            (b"\x05LOGIN", Err(SaslError::InvalidTable)),
            (b"\x05LOGINS\0\0\0\x03me", Err(SaslError::InvalidTable)),
            (b"\x05LOGINS\xff\xff\xff\xffme", Err(SaslError::InvalidTable)),
            (b"\x05LOGIN?me", Err(SaslError::InvalidTable)),
            (b"\xffLOGIN", Err(SaslError::InvalidTable)),
        ];
        check(Mechanism::AmqPlain, cases);
    }

    #[test]
    fn every_type_of_value_is_stepped_over() {
        for (tag, length) in [
            ('V', 0),
            ('t', 1),
            ('b', 1),
            ('B', 1),
            ('s', 2),
            ('u', 2),
            ('I', 4),
            ('i', 4),
            ('f', 4),
            ('D', 5),
            ('l', 8),
            ('L', 8),
            ('d', 8),
            ('T', 8),
        ] {
            let mut response = format!("\x01k{tag}").into_bytes();
            response.extend(vec![7; length]);
            response.extend_from_slice(b"\x05LOGINS\0\0\0\x02me\x08PASSWORDS\0\0\0\x02pw");
            assert!(Mechanism::AmqPlain.read(&response).is_ok(), "{tag}");
        }
    }

    #[test]
    fn names_and_debug() {
        assert_eq!(Mechanism::from_name("PLAIN"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::from_name("AMQPLAIN"), Some(Mechanism::AmqPlain));
        assert_eq!(Mechanism::from_name("plain"), None);
        let read = Mechanism::Plain.read(b"\0kim\0secret").unwrap();
        assert_eq!(read.user(), Some("kim"));
        assert_eq!(format!("{read:?}"), "Credentials { user: \"kim\", .. }");
        assert_eq!(Mechanism::Plain.read(b"\0k\xff\0secret").unwrap().user(), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(response in proptest::collection::vec(any::<u8>(), 0..64)) {
            for mechanism in Mechanism::ALL {
                let _ = mechanism.read(&response);
            }
        }
    }
}
