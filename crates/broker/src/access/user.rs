//! Owns the user: name, password hash, tags and limits, and the refusals of a login.
//!
//! Invariant: a blank password never logs in, whatever the stored hash is.

use serde_json::{Map, Value};
use thiserror::Error;

use super::PasswordHash;

/// An account of the internal authentication backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Unique name.
    pub name: String,
    /// `None` for an account that cannot log in with a password.
    pub password_hash: Option<PasswordHash>,
    /// `administrator`, `monitoring`, … and tags of the operator's own, in the order they were given.
    pub tags: Vec<String>,
    /// `max-connections` and `max-channels`, where they are set.
    pub limits: Map<String, Value>,
}

/// Why a login was refused. These texts are for the log; what the client reads is the same for all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginRefusal {
    /// RabbitMQ refuses a blank password even where it would match.
    #[error(
        "user '{user}' attempted to log in with a blank password, which is prohibited by the internal authN backend"
    )]
    BlankPassword {
        /// The name that was given.
        user: String,
    },
    /// No such user, a user without a password, or not that password.
    #[error("user '{user}' - invalid credentials")]
    InvalidCredentials {
        /// The name that was given.
        user: String,
    },
    /// One of `loopback_users` from an address that is not loopback.
    #[error("user '{user}' can only connect via localhost")]
    NotLoopback {
        /// The name that was given.
        user: String,
    },
}

impl User {
    /// Whether `password` logs this user in.
    pub fn check_password(&self, password: &[u8]) -> Result<(), LoginRefusal> {
        if password.is_empty() {
            return Err(LoginRefusal::BlankPassword { user: self.name.clone() });
        }
        match &self.password_hash {
            Some(hash) if hash.verify(password) => Ok(()),
            _ => Err(LoginRefusal::InvalidCredentials { user: self.name.clone() }),
        }
    }

    /// Whether the user carries `tag`.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_in_only_with_its_own_password() {
        let hash = |password: &[u8]| Some(PasswordHash::new([1, 2, 3, 4], password));
        // (stored hash, password given, text of the refusal)
        let cases: [(Option<PasswordHash>, &[u8], Option<&str>); 5] = [
            (hash(b"secret"), b"secret", None),
            (hash(b"secret"), b"Secret", Some("user 'kim' - invalid credentials")),
            (None, b"secret", Some("user 'kim' - invalid credentials")),
            (hash(b""), b"", Some(BLANK)),
            (None, b"", Some(BLANK)),
        ];
        for (password_hash, password, refusal) in cases {
            let user = User { name: "kim".to_owned(), password_hash, tags: Vec::new(), limits: Map::new() };
            let text = user.check_password(password).err().map(|refusal| refusal.to_string());
            assert_eq!(text.as_deref(), refusal, "{password:?}");
        }
    }

    #[test]
    fn tags_are_compared_whole() {
        let tags = vec!["administrator".to_owned(), "own".to_owned()];
        let user = User { name: "kim".to_owned(), password_hash: None, tags, limits: Map::new() };
        assert!(user.has_tag("administrator") && user.has_tag("own"));
        assert!(!user.has_tag("admin"));
    }

    const BLANK: &str = "user 'kim' attempted to log in with a blank password, \
                         which is prohibited by the internal authN backend";
}
