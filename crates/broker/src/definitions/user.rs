//! Owns the definition of a user, in the forms that RabbitMQ's versions and hand-written files have.
//!
//! Invariant: a password in clear is in neither logs nor records; only a file that had it has it again.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::vhost::{Tags, pairs};
use crate::access::{HashingAlgorithm, PasswordHash, PasswordHashError, Permissions, SALT_LENGTH, User};

/// A user as a definitions file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct UserDefinition {
    /// Unique name.
    pub name: String,
    /// How it logs in.
    pub password: Password,
    /// `administrator` and others.
    pub tags: Vec<String>,
    /// Limits by name (`max-connections`, `max-channels`).
    pub limits: Map<String, Value>,
    /// Permissions by vhost, which files written by hand may have here. [`super::import`] moves them to the
    /// permissions of the whole file.
    pub permissions: BTreeMap<String, Permissions>,
}

/// The password of a user in a definitions file.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// None: this user cannot log in with a password.
    None,
    /// `password_hash` and `hashing_algorithm`.
    Hash(PasswordHash),
    /// `password`, to be hashed on import.
    Clear(String),
    /// A hash of an algorithm that WarrenMQ does not have, as it was.
    Unknown {
        /// Its name in RabbitMQ.
        hashing_algorithm: String,
        /// The text of the hash.
        password_hash: String,
    },
}

impl UserDefinition {
    /// The definition of a stored user.
    pub fn from_user(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            password: user.password_hash.clone().map_or(Password::None, Password::Hash),
            tags: user.tags.clone(),
            limits: user.limits.clone(),
            permissions: BTreeMap::new(),
        }
    }

    /// The user to store. `salt` is for a password in clear; the caller draws it for each user.
    pub fn to_user(&self, salt: [u8; SALT_LENGTH]) -> User {
        let password_hash = match &self.password {
            Password::Hash(hash) => Some(hash.clone()),
            Password::Clear(password) => Some(PasswordHash::new(salt, password.as_bytes())),
            Password::None | Password::Unknown { .. } => None,
        };
        let (name, tags, limits) = (self.name.clone(), self.tags.clone(), self.limits.clone());
        User { name, password_hash, tags, limits }
    }
}

/// Passwords stay out of logs.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Hash(_) => "Hash(..)",
            Self::Clear(_) => "Clear(..)",
            Self::Unknown { .. } => "Unknown { .. }",
        })
    }
}

/// The JSON object.
#[derive(Serialize, Deserialize)]
struct Document {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hashing_algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default)]
    tags: Tags,
    #[serde(default, deserialize_with = "pairs")]
    limits: Map<String, Value>,
    #[serde(default, skip_serializing)]
    permissions: BTreeMap<String, Permissions>,
}

impl TryFrom<Document> for UserDefinition {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let password = match (document.password_hash, document.password) {
            (Some(_), Some(_)) => return Err("both password and password_hash are provided".to_owned()),
            (None, None) => Password::None,
            (None, Some(clear)) => Password::Clear(clear),
            (Some(hash), None) => {
                hashed(hash, document.hashing_algorithm).map_err(|error| error.to_string())?
            }
        };
        Ok(Self {
            name: document.name,
            password,
            tags: document.tags.0,
            limits: document.limits,
            permissions: document.permissions,
        })
    }
}

/// RabbitMQ writes an absent password as an empty hash. Exports of 3.5 and older do not name the algorithm;
/// the length of the hash does.
fn hashed(text: String, algorithm: Option<String>) -> Result<Password, PasswordHashError> {
    if text.is_empty() {
        return Ok(Password::None);
    }
    let known = match &algorithm {
        Some(name) => HashingAlgorithm::from_name(name),
        None => {
            let octets = PasswordHash::from_base64(HashingAlgorithm::Sha256, &text)?.as_bytes().len();
            let algorithm = [HashingAlgorithm::Md5, HashingAlgorithm::Sha512]
                .into_iter()
                .find(|algorithm| octets == SALT_LENGTH + algorithm.digest_length());
            Some(algorithm.unwrap_or_default())
        }
    };
    Ok(match known {
        Some(algorithm) => Password::Hash(PasswordHash::from_base64(algorithm, &text)?),
        None => Password::Unknown { hashing_algorithm: algorithm.unwrap_or_default(), password_hash: text },
    })
}

impl From<UserDefinition> for Document {
    fn from(user: UserDefinition) -> Self {
        let (password_hash, hashing_algorithm, password) = match user.password {
            Password::None => {
                (Some(String::new()), Some(HashingAlgorithm::default().name().to_owned()), None)
            }
            Password::Hash(hash) => (Some(hash.to_base64()), Some(hash.algorithm().name().to_owned()), None),
            Password::Clear(clear) => (None, None, Some(clear)),
            Password::Unknown { hashing_algorithm, password_hash } => {
                (Some(password_hash), Some(hashing_algorithm), None)
            }
        };
        Self {
            name: user.name,
            password_hash,
            hashing_algorithm,
            password,
            tags: Tags(user.tags),
            limits: user.limits,
            permissions: user.permissions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

    fn read(json: &str) -> Result<UserDefinition, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn logs_in_as_it_did_there() {
        let md5 = PasswordHash::from_bytes(HashingAlgorithm::Md5, vec![7; 20]).to_base64();
        let sha512 = PasswordHash::from_bytes(HashingAlgorithm::Sha512, vec![7; 68]).to_base64();
        let named = |name: &str| format!(",\"hashing_algorithm\":\"{name}\"");
        // (rest of the object, algorithm of the stored hash)
        let cases = [
            (String::new(), None),
            (",\"password_hash\":\"\"".to_owned(), None),
            (format!(",\"password_hash\":\"{SHA256}\""), Some(HashingAlgorithm::Sha256)),
            (
                format!(",\"password_hash\":\"{SHA256}\"{}", named("rabbit_password_hashing_sha256")),
                Some(HashingAlgorithm::Sha256),
            ),
            (format!(",\"password_hash\":\"{md5}\""), Some(HashingAlgorithm::Md5)),
            (format!(",\"password_hash\":\"{sha512}\""), Some(HashingAlgorithm::Sha512)),
            (
                format!(",\"password_hash\":\"{sha512}\"{}", named("rabbit_password_hashing_sha512")),
                Some(HashingAlgorithm::Sha512),
            ),
            (format!(",\"password_hash\":\"$2b$12$x\"{}", named("bcrypt")), None),
            (",\"password\":\"test12\"".to_owned(), Some(HashingAlgorithm::Sha256)),
        ];
        for (rest, algorithm) in cases {
            let definition = read(&format!("{{\"name\":\"kim\"{rest}}}")).unwrap();
            let stored = definition.to_user([0x90, 0x8D, 0xC6, 0x0A]).password_hash;
            assert_eq!(stored.as_ref().map(PasswordHash::algorithm), algorithm, "{rest}");
            if rest.contains("test12") || rest.contains(SHA256) {
                assert_eq!(stored.map(|hash| hash.to_base64()).as_deref(), Some(SHA256));
            }
            let again = read(&serde_json::to_string(&definition).unwrap()).unwrap();
            assert_eq!(again, definition, "{rest}");
        }
    }

    #[test]
    fn tags_limits_and_permissions_in_all_their_forms() {
        // (object, tags, limits, vhosts with permissions)
        let cases: [(&str, &[&str], usize, usize); 5] = [
            (r#"{"name":"u"}"#, &[], 0, 0),
            (r#"{"name":"u","tags":""}"#, &[], 0, 0),
            (r#"{"name":"u","tags":"administrator, monitoring"}"#, &["administrator", "monitoring"], 0, 0),
            (r#"{"name":"u","tags":[" a "],"limits":{"max-channels":1}}"#, &["a"], 1, 0),
            (
                r#"{"name":"u","limits":[["a",1],["b",2]],
                    "permissions":{"/":{"configure":"","write":"a","read":".*"}}}"#,
                &[],
                2,
                1,
            ),
        ];
        for (json, tags, limits, permissions) in cases {
            let definition = read(json).unwrap();
            assert_eq!(definition.tags, tags, "{json}");
            assert_eq!(definition.limits.len(), limits, "{json}");
            assert_eq!(definition.permissions.len(), permissions, "{json}");
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            (r#"{"name":"u","password":"a","password_hash":"b"}"#, "both password and password_hash"),
            (r#"{"name":"u","password_hash":"???"}"#, "password hash is not base64"),
            (r#"{"tags":""}"#, "missing field `name`"),
            (r#"{"name":"u","tags":1}"#, "expected tags"),
            (r#"{"name":"u","limits":[1]}"#, "expected an object"),
            (
                r#"{"name":"u","permissions":{"/":{"configure":"(","write":"","read":""}}}"#,
                "invalid regular expression '('",
            ),
        ];
        for (json, reason) in cases {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let definition = read(r#"{"name":"u","password":"secret"}"#).unwrap();
        assert!(!format!("{definition:?}").contains("secret"));
    }
}
