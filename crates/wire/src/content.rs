//! Content headers: the body's size and the 14 properties of `basic`, kept as raw bytes.
//!
//! ```text
//! 0       2        4                12       14
//! | class | weight | body size u64  | flags  | the properties whose flag is set, in the order of the flags
//! ```
//! Invariant: a header goes to consumers byte for byte as it came from the publisher.
//! [`ContentHeader::check`] is the one place that decides whether the properties are well formed; the getters
//! walk again and give `None` on anything they cannot read.

use crate::table::{self, RawTable};
use crate::{EncodeError, cursor};
use amq_protocol::protocol::BasicProperties;
use amq_protocol::protocol::basic::gen_properties;

pub use crate::DecodeError;

/// Octets of a content header before its properties.
pub const FIXED: usize = 14;

/// Flag of each property: the highest bit is the first property. RabbitMQ ignores the two lowest bits, also
/// the one that the specification uses to announce more flags.
pub mod flag {
    /// `content-type`, short string.
    pub const CONTENT_TYPE: u16 = 1 << 15;
    /// `content-encoding`, short string.
    pub const CONTENT_ENCODING: u16 = 1 << 14;
    /// `headers`, table.
    pub const HEADERS: u16 = 1 << 13;
    /// `delivery-mode`, octet.
    pub const DELIVERY_MODE: u16 = 1 << 12;
    /// `priority`, octet.
    pub const PRIORITY: u16 = 1 << 11;
    /// `correlation-id`, short string.
    pub const CORRELATION_ID: u16 = 1 << 10;
    /// `reply-to`, short string.
    pub const REPLY_TO: u16 = 1 << 9;
    /// `expiration`, short string.
    pub const EXPIRATION: u16 = 1 << 8;
    /// `message-id`, short string.
    pub const MESSAGE_ID: u16 = 1 << 7;
    /// `timestamp`, 64 bits.
    pub const TIMESTAMP: u16 = 1 << 6;
    /// `type`, short string.
    pub const TYPE: u16 = 1 << 5;
    /// `user-id`, short string.
    pub const USER_ID: u16 = 1 << 4;
    /// `app-id`, short string.
    pub const APP_ID: u16 = 1 << 3;
    /// `cluster-id`, short string; reserved in 0-9-1 but still read.
    pub const CLUSTER_ID: u16 = 1 << 2;
    /// All of them.
    pub const ALL: u16 = !3;
}

/// A content header in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Class of the method that the content belongs to; 60 for `basic`.
    pub class_id: u16,
    /// Must be 0; RabbitMQ takes a header with another weight for no content header at all.
    pub weight: u16,
    /// Octets of body that the peer says will follow.
    pub body_size: u64,
    /// Which properties follow; see [`flag`].
    pub flags: u16,
    /// The octets of the properties.
    pub properties: &'a [u8],
    /// The whole payload.
    pub raw: &'a [u8],
}

/// Reads the fixed part of a content-header payload. The properties are not looked at: see
/// [`ContentHeader::check`].
///
/// # Errors
/// [`DecodeError::Truncated`] below 14 octets. RabbitMQ calls a payload below 12 an unknown frame (501), and
/// fails on the missing flags of 12 or 13 octets like on bad properties (541).
#[inline]
pub fn parse_header(payload: &[u8]) -> Result<ContentHeader<'_>, DecodeError> {
    let Some((&[c0, c1, w0, w1, b0, b1, b2, b3, b4, b5, b6, b7, f0, f1], properties)) =
        payload.split_first_chunk::<FIXED>()
    else {
        return Err(DecodeError::Truncated);
    };
    Ok(ContentHeader {
        class_id: u16::from_be_bytes([c0, c1]),
        weight: u16::from_be_bytes([w0, w1]),
        body_size: u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
        flags: u16::from_be_bytes([f0, f1]),
        properties,
        raw: payload,
    })
}

impl<'a> ContentHeader<'a> {
    /// Checks that exactly the announced properties are there, and the table of the headers. No property has
    /// to be UTF-8.
    ///
    /// # Errors
    /// [`DecodeError`].
    #[inline]
    pub fn check(&self) -> Result<(), DecodeError> {
        let flags = self.flags & flag::ALL;
        // Most messages have no property, or delivery-mode alone.
        if flags & !flag::DELIVERY_MODE == 0 && self.properties.len() == usize::from(flags != 0) {
            return Ok(());
        }
        self.check_all()
    }

    /// `delivery-mode`: 1 transient, 2 persistent.
    #[inline]
    pub fn delivery_mode(&self) -> Option<u8> {
        self.octet(flag::DELIVERY_MODE)
    }

    /// Whether the message asks to survive a restart: `delivery-mode` is 2.
    #[inline]
    pub fn is_persistent(&self) -> bool {
        self.delivery_mode() == Some(2)
    }

    /// `priority`.
    pub fn priority(&self) -> Option<u8> {
        self.octet(flag::PRIORITY)
    }

    /// `timestamp`, seconds since 1970.
    pub fn timestamp(&self) -> Option<u64> {
        cursor::u64(&mut self.at(flag::TIMESTAMP)?)
    }

    /// `headers`.
    pub fn headers(&self) -> Option<RawTable<'a>> {
        cursor::long_string(&mut self.at(flag::HEADERS)?).map(RawTable::from_checked)
    }

    /// `content-type`.
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.short_string(flag::CONTENT_TYPE)
    }

    /// `content-encoding`.
    pub fn content_encoding(&self) -> Option<&'a [u8]> {
        self.short_string(flag::CONTENT_ENCODING)
    }

    /// `correlation-id`.
    pub fn correlation_id(&self) -> Option<&'a [u8]> {
        self.short_string(flag::CORRELATION_ID)
    }

    /// `reply-to`.
    pub fn reply_to(&self) -> Option<&'a [u8]> {
        self.short_string(flag::REPLY_TO)
    }

    /// `expiration`: milliseconds in decimal digits, if the publisher kept to the rules.
    pub fn expiration(&self) -> Option<&'a [u8]> {
        self.short_string(flag::EXPIRATION)
    }

    /// `message-id`.
    pub fn message_id(&self) -> Option<&'a [u8]> {
        self.short_string(flag::MESSAGE_ID)
    }

    /// `type`.
    pub fn type_(&self) -> Option<&'a [u8]> {
        self.short_string(flag::TYPE)
    }

    /// `user-id`.
    pub fn user_id(&self) -> Option<&'a [u8]> {
        self.short_string(flag::USER_ID)
    }

    /// `app-id`.
    pub fn app_id(&self) -> Option<&'a [u8]> {
        self.short_string(flag::APP_ID)
    }

    /// `cluster-id`.
    pub fn cluster_id(&self) -> Option<&'a [u8]> {
        self.short_string(flag::CLUSTER_ID)
    }

    fn check_all(&self) -> Result<(), DecodeError> {
        let mut rest = self.properties;
        for (flag, kind) in PROPERTIES {
            if self.flags & flag != 0 {
                if kind == Kind::Table {
                    table::check(rest)?;
                }
                skip(&mut rest, kind).ok_or(DecodeError::Truncated)?;
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(rest.len())) }
    }

    /// The octets from this property on, if it is there.
    #[inline]
    fn at(&self, wanted: u16) -> Option<&'a [u8]> {
        if self.flags & wanted == 0 {
            return None;
        }
        let mut rest = self.properties;
        // Flags above the wanted one belong to the properties before it.
        if self.flags & !(wanted | (wanted - 1)) != 0 {
            for (flag, kind) in PROPERTIES {
                if flag == wanted {
                    break;
                }
                if self.flags & flag != 0 {
                    skip(&mut rest, kind)?;
                }
            }
        }
        Some(rest)
    }

    #[inline]
    fn octet(&self, wanted: u16) -> Option<u8> {
        cursor::u8(&mut self.at(wanted)?)
    }

    fn short_string(&self, wanted: u16) -> Option<&'a [u8]> {
        cursor::short_string(&mut self.at(wanted)?)
    }
}

/// Appends a content-header payload (not a frame) of class `basic` with these properties.
///
/// # Errors
/// When `amq-protocol` cannot write a property.
pub fn put_header(
    out: &mut Vec<u8>,
    body_size: u64,
    properties: &BasicProperties,
) -> Result<(), EncodeError> {
    let context = gen_properties(properties)(Vec::new().into())?;
    out.extend_from_slice(&crate::basic::CLASS.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&body_size.to_be_bytes());
    out.extend_from_slice(&context.write);
    Ok(())
}

/// A copy of a content-header payload without the entries of this key in its headers (how the `BCC` header
/// stays hidden from consumers). Everything else stays byte for byte and in order. A payload without headers,
/// or one that cannot be read, is copied whole.
pub fn without_header_key(raw_header_payload: &[u8], key: &[u8]) -> Vec<u8> {
    let kept = parse_header(raw_header_payload).ok().and_then(|header| {
        let table = header.headers()?;
        let mut entries = Vec::with_capacity(table.as_bytes().len());
        let mut rest = table.entries();
        while let (before, Some((name, _))) = (rest.as_bytes(), rest.next()) {
            if name != key {
                entries.extend_from_slice(before.get(..before.len() - rest.as_bytes().len())?);
            }
        }
        if !rest.as_bytes().is_empty() {
            return None;
        }
        // The table's place in the payload, from the end: what follows it stays.
        let from_table = header.at(flag::HEADERS)?.len();
        let before = raw_header_payload.get(..raw_header_payload.len() - from_table)?;
        let after = raw_header_payload.get(before.len() + 4 + table.as_bytes().len()..)?;
        Some([before, &(entries.len() as u32).to_be_bytes(), &entries, after].concat())
    });
    kept.unwrap_or_else(|| raw_header_payload.to_vec())
}

/// A copy of a content-header payload in which the first entry of this key in its headers has another value: its type octet and what
/// follows that. Everything else stays byte for byte. A payload without such an entry, or one that cannot be read, is copied whole.
pub fn with_header_value(raw_header_payload: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let changed = parse_header(raw_header_payload).ok().and_then(|header| {
        let table = header.headers()?;
        let mut rest = table.entries();
        let from_value = loop {
            let (name, old) = rest.next()?;
            if name == key {
                break rest.as_bytes().len() + old.raw.len() + 1;
            }
        };
        let old_octets = from_value - rest.as_bytes().len();
        let length = table.as_bytes().len() - old_octets + value.len();
        let from_table = header.at(flag::HEADERS)?.len();
        let before = raw_header_payload.get(..raw_header_payload.len() - from_table)?;
        let kept = table.as_bytes().get(..table.as_bytes().len() - from_value)?;
        let after = raw_header_payload.get(before.len() + 4 + kept.len() + old_octets..)?;
        Some([before, &(length as u32).to_be_bytes(), kept, value, after].concat())
    });
    changed.unwrap_or_else(|| raw_header_payload.to_vec())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ShortString,
    Table,
    Octet,
    Timestamp,
}

/// The properties in the order of their flags.
const PROPERTIES: [(u16, Kind); 14] = [
    (flag::CONTENT_TYPE, Kind::ShortString),
    (flag::CONTENT_ENCODING, Kind::ShortString),
    (flag::HEADERS, Kind::Table),
    (flag::DELIVERY_MODE, Kind::Octet),
    (flag::PRIORITY, Kind::Octet),
    (flag::CORRELATION_ID, Kind::ShortString),
    (flag::REPLY_TO, Kind::ShortString),
    (flag::EXPIRATION, Kind::ShortString),
    (flag::MESSAGE_ID, Kind::ShortString),
    (flag::TIMESTAMP, Kind::Timestamp),
    (flag::TYPE, Kind::ShortString),
    (flag::USER_ID, Kind::ShortString),
    (flag::APP_ID, Kind::ShortString),
    (flag::CLUSTER_ID, Kind::ShortString),
];

#[inline]
fn skip<'a>(rest: &mut &'a [u8], kind: Kind) -> Option<&'a [u8]> {
    match kind {
        Kind::ShortString => cursor::short_string(rest),
        Kind::Table => cursor::long_string(rest),
        Kind::Octet => cursor::take(rest, 1),
        Kind::Timestamp => cursor::take(rest, 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableError;

    fn payload(flags: u16, properties: &[u8]) -> Vec<u8> {
        [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2][..], &flags.to_be_bytes(), properties].concat()
    }

    /// All 14 properties; the headers are `a=V, BCC=t1, b=t0`.
    const ALL: &[u8] = b"\x02ct\x02ce\0\0\0\x0d\x01aV\x03BCCt\x01\x01bt\0\x02\x07\x02ci\x02rt\x02ex\x02mi\
                         \0\0\0\0\0\0\0\x09\x02ty\x02ui\x02ai\x02cl";

    #[test]
    fn the_fixed_part() {
        let payload = payload(0x8001, b"\0");
        for cut in 0..FIXED {
            assert_eq!(parse_header(&payload[..cut]), Err(DecodeError::Truncated));
        }
        let header = parse_header(&payload).expect("a header");
        assert_eq!((header.class_id, header.weight, header.body_size, header.flags), (60, 0, 258, 0x8001));
        assert_eq!((header.properties, header.raw), (&b"\0"[..], &payload[..]));
    }

    #[test]
    fn every_property_is_found() {
        let payload = payload(flag::ALL, ALL);
        let header = parse_header(&payload).expect("a header");
        assert_eq!(header.check(), Ok(()));
        let strings = [
            (header.content_type(), b"ct"),
            (header.content_encoding(), b"ce"),
            (header.correlation_id(), b"ci"),
            (header.reply_to(), b"rt"),
            (header.expiration(), b"ex"),
            (header.message_id(), b"mi"),
            (header.type_(), b"ty"),
            (header.user_id(), b"ui"),
            (header.app_id(), b"ai"),
            (header.cluster_id(), b"cl"),
        ];
        for (found, expected) in strings {
            assert_eq!(found, Some(&expected[..]));
        }
        assert_eq!(
            (header.delivery_mode(), header.priority(), header.timestamp()),
            (Some(2), Some(7), Some(9))
        );
        assert!(header.is_persistent());
        let keys: Vec<&[u8]> = header.headers().expect("headers").entries().map(|(key, _)| key).collect();
        assert_eq!(keys, [&b"a"[..], b"BCC", b"b"]);
        for cut in 0..ALL.len() {
            let payload = self::payload(flag::ALL, &ALL[..cut]);
            let checked = parse_header(&payload).expect("a header").check();
            let table = Err(DecodeError::Table(TableError::Truncated));
            assert!(checked == Err(DecodeError::Truncated) || checked == table, "{cut}: {checked:?}");
        }
    }

    #[test]
    fn check_wants_exactly_the_announced_properties() {
        use DecodeError::{Table, Trailing, Truncated};
        let cases: &[(u16, &[u8], Result<(), DecodeError>)] = &[
            (0, b"", Ok(())),
            (3, b"", Ok(())),
            (0, b"x", Err(Trailing(1))),
            (flag::DELIVERY_MODE, b"\x02", Ok(())),
            (flag::DELIVERY_MODE | 1, b"\x02", Ok(())),
            (flag::DELIVERY_MODE, b"", Err(Truncated)),
            (flag::DELIVERY_MODE, b"\x02z", Err(Trailing(1))),
            (flag::DELIVERY_MODE | flag::PRIORITY, b"\x02\x09", Ok(())),
            (flag::CONTENT_TYPE, b"\x01\xff", Ok(())),
            (flag::CONTENT_TYPE, b"\x02a", Err(Truncated)),
            (flag::TIMESTAMP, b"1234567", Err(Truncated)),
            (flag::HEADERS, b"\0\0\0\0", Ok(())),
            (flag::HEADERS, b"\0\0\0\x02\0z", Err(Table(TableError::UnknownTag(b'z')))),
            (flag::HEADERS, b"\0\0\0\x03\0V", Err(Table(TableError::Truncated))),
        ];
        for &(flags, properties, expected) in cases {
            let payload = payload(flags, properties);
            assert_eq!(
                parse_header(&payload).expect("a header").check(),
                expected,
                "{flags:#06x} {properties:?}"
            );
        }
    }

    #[test]
    fn a_header_key_is_removed_and_nothing_else() {
        let before = payload(flag::ALL, ALL);
        let expected = b"\x02ct\x02ce\0\0\0\x07\x01aV\x01bt\0\x02\x07\x02ci\x02rt\x02ex\x02mi\
                         \0\0\0\0\0\0\0\x09\x02ty\x02ui\x02ai\x02cl";
        assert_eq!(without_header_key(&before, b"BCC"), payload(flag::ALL, expected));
        assert_eq!(without_header_key(&before, b"bcc"), before);
        let twice = payload(flag::HEADERS, b"\0\0\0\x0a\x01kV\x01lt\x05\x01kV");
        assert_eq!(without_header_key(&twice, b"k"), payload(flag::HEADERS, b"\0\0\0\x04\x01lt\x05"));
        assert_eq!(
            without_header_key(&payload(flag::HEADERS, b"\0\0\0\x03\x01kV"), b"k"),
            payload(flag::HEADERS, &[0; 4])
        );
    }

    #[test]
    fn what_cannot_be_read_is_copied_whole() {
        for payload in [
            Vec::new(),
            b"too short".to_vec(),
            payload(flag::DELIVERY_MODE, b"\x02"),
            payload(flag::HEADERS, b"\0\0\0\x09\x01k"),
            payload(flag::HEADERS, b"\0\0\0\x06\x01kV\x01kz"),
        ] {
            assert_eq!(without_header_key(&payload, b"k"), payload);
        }
    }
}
