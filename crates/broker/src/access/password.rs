//! Owns the password hash: RabbitMQ's `salt(4) ‖ digest(salt ‖ password)`, written as base64.
//!
//! Invariant: a hash whose length is not salt plus digest of its algorithm matches no password, and the
//! comparison takes the same time wherever the digests differ.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Octets of salt in front of the digest.
pub const SALT_LENGTH: usize = 4;

/// The digest of a password hash. The names in definitions are those of RabbitMQ's modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashingAlgorithm {
    /// `rabbit_password_hashing_sha256`, the default since 3.6.
    #[default]
    Sha256,
    /// `rabbit_password_hashing_sha512`.
    Sha512,
    /// `rabbit_password_hashing_md5`, the only one before 3.6.
    Md5,
}

/// A salted password digest as it is stored and exported.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    algorithm: HashingAlgorithm,
    bytes: Vec<u8>,
}

/// Why a text is not a password hash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PasswordHashError {
    /// The text is not base64.
    #[error("password hash is not base64")]
    NotBase64,
}

impl HashingAlgorithm {
    /// The algorithm of that name in a definitions file; `None` for one that WarrenMQ does not have.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512, Self::Md5].into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// RabbitMQ's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "rabbit_password_hashing_sha256",
            Self::Sha512 => "rabbit_password_hashing_sha512",
            Self::Md5 => "rabbit_password_hashing_md5",
        }
    }

    /// Octets of its digest.
    pub fn digest_length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
        }
    }

    fn digest(self, salt: &[u8], password: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Self::Sha512 => Sha512::new().chain_update(salt).chain_update(password).finalize().to_vec(),
            Self::Md5 => Md5::new().chain_update(salt).chain_update(password).finalize().to_vec(),
        }
    }
}

impl PasswordHash {
    /// Hashes `password` with the default algorithm. The caller draws the salt.
    pub fn new(salt: [u8; SALT_LENGTH], password: &[u8]) -> Self {
        let algorithm = HashingAlgorithm::default();
        let mut bytes = salt.to_vec();
        bytes.extend(algorithm.digest(&salt, password));
        Self { algorithm, bytes }
    }

    /// A hash from its octets. Any length is kept, as RabbitMQ keeps it; see [`Self::is_usable`].
    pub fn from_bytes(algorithm: HashingAlgorithm, bytes: Vec<u8>) -> Self {
        Self { algorithm, bytes }
    }

    /// Reads the form of `password_hash` in a definitions file.
    pub fn from_base64(algorithm: HashingAlgorithm, text: &str) -> Result<Self, PasswordHashError> {
        let bytes = STANDARD.decode(text).map_err(|_| PasswordHashError::NotBase64)?;
        Ok(Self { algorithm, bytes })
    }

    /// Writes the form of `password_hash` in a definitions file.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> HashingAlgorithm {
        self.algorithm
    }

    /// Salt and digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether any password can match: the length is that of salt and digest.
    pub fn is_usable(&self) -> bool {
        self.bytes.len() == SALT_LENGTH + self.algorithm.digest_length()
    }

    /// Whether `password` is the one that was hashed.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.bytes.split_at_checked(SALT_LENGTH) {
            Some((salt, digest)) => self.algorithm.digest(salt, password).ct_eq(digest).into(),
            None => false,
        }
    }
}

/// Hashes stay out of logs.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.algorithm.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 4] = [0x90, 0x8D, 0xC6, 0x0A];

    #[test]
    fn published_vector() {
        let hash = PasswordHash::new(SALT, b"test12");
        assert_eq!(hash.to_base64(), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
        assert!(hash.verify(b"test12"));
    }

    #[test]
    fn verifies_only_the_password_that_was_hashed() {
        // (algorithm, base64, password, whether it matches)
        let sha512 = {
            let mut bytes = SALT.to_vec();
            bytes.extend(HashingAlgorithm::Sha512.digest(&SALT, b"test12"));
            PasswordHash::from_bytes(HashingAlgorithm::Sha512, bytes).to_base64()
        };
        let cases: &[(HashingAlgorithm, &str, &[u8], bool)] = &[
            (HashingAlgorithm::Sha256, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", b"test12", true),
            (HashingAlgorithm::Sha256, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", b"test13", false),
            (HashingAlgorithm::Sha256, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", b"", false),
            (HashingAlgorithm::Sha512, &sha512, b"test12", true),
            (HashingAlgorithm::Sha512, &sha512, b"test1", false),
            // The same octets under another algorithm have the wrong length.
            (HashingAlgorithm::Md5, "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", b"test12", false),
            (HashingAlgorithm::Sha256, "", b"", false),
            (HashingAlgorithm::Sha256, "kI3G", b"test12", false),
            (HashingAlgorithm::Sha256, "kI3GCg==", b"test12", false),
        ];
        for (algorithm, text, password, expected) in cases {
            let hash = PasswordHash::from_base64(*algorithm, text).unwrap();
            assert_eq!(hash.verify(password), *expected, "{text} {password:?}");
            assert_eq!(hash.to_base64(), *text);
            assert!(hash.is_usable() || !expected);
        }
    }

    #[test]
    fn md5_as_old_exports_have_it() {
        // md5("\x90\x8d\xc6\x0atest12"), from an independent implementation.
        let mut bytes = SALT.to_vec();
        bytes.extend(MD5_DIGEST);
        let hash = PasswordHash::from_bytes(HashingAlgorithm::Md5, bytes);
        assert!(hash.verify(b"test12"));
        assert!(!hash.verify(b"test11"));
    }

    #[test]
    fn names_round_trip() {
        for algorithm in [HashingAlgorithm::Sha256, HashingAlgorithm::Sha512, HashingAlgorithm::Md5] {
            assert_eq!(HashingAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(HashingAlgorithm::from_name("rabbit_password_hashing_bcrypt"), None);
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for text in ["not base64", "kI3G\n", "kI3GC", "§"] {
            assert_eq!(
                PasswordHash::from_base64(HashingAlgorithm::Sha256, text),
                Err(PasswordHashError::NotBase64),
                "{text}"
            );
        }
    }

    #[test]
    fn debug_hides_the_hash() {
        let hash = PasswordHash::new(SALT, b"test12");
        assert_eq!(format!("{hash:?}"), "PasswordHash(rabbit_password_hashing_sha256)");
    }
    const MD5_DIGEST: [u8; 16] =
        [0x13, 0x69, 0xb5, 0xed, 0x85, 0x02, 0x96, 0x05, 0x5d, 0x27, 0x25, 0xfb, 0x47, 0x48, 0x96, 0xe9];
}
