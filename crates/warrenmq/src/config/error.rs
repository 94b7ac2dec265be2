//! What is wrong with a configuration.
//!
//! Invariant: every `Display` is one line that names the place, the key and the way out.

use std::io;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: not valid TOML: {reason}")]
    Syntax {
        /// File and line.
        origin: String,
        /// What the parser says.
        reason: String,
    },
    /// There is no such key.
    #[error("{origin}: unknown key '{key}'; did you mean '{nearest}'?")]
    UnknownKey {
        /// File and line.
        origin: String,
        /// The key as written, with its tables.
        key: String,
        /// The key that is most like it.
        nearest: String,
    },
    /// A value cannot be what it is.
    #[error("{origin}: wrong value for '{key}': {reason}")]
    Value {
        /// File and line, or variable.
        origin: String,
        /// The key.
        key: String,
        /// What it should be.
        reason: String,
    },
    /// Values that are right alone do not go together.
    #[error("configuration: {0}")]
    Contradiction(String),
}
