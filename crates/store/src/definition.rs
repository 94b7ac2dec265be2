//! Owns what a store of definitions is: the changes it takes, the errors it gives, the trait it implements.
//! Invariant: after `commit` has returned `Ok`, the changes survive a power cut; after `Err`, nothing is promised
//! and the store takes no more.

use std::io;
use std::path::{Path, PathBuf};

/// Longest key in bytes: four AMQP short strings (255 each), which is what names a binding, and room for tags.
pub const KEY_LEN_MAX: usize = 2048;

/// Longest value in bytes. Definitions are a few hundred bytes; what is larger is refused where it enters the
/// broker ([`Change::check`]), not where it would meet the disk.
pub const VALUE_LEN_MAX: usize = 64 * 1024;

/// One change to the set of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key, whether it had one or not.
    Put {
        /// At most [`KEY_LEN_MAX`] bytes.
        key: Vec<u8>,
        /// At most [`VALUE_LEN_MAX`] bytes.
        value: Vec<u8>,
    },
    /// Takes a key away; nothing happens when it is not there.
    Delete {
        /// At most [`KEY_LEN_MAX`] bytes.
        key: Vec<u8>,
    },
}

impl Change {
    /// The key that changes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Change::Put { key, .. } | Change::Delete { key } => key,
        }
    }

    /// The value after the change, `None` when there is none any more.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Change::Put { value, .. } => Some(value),
            Change::Delete { .. } => None,
        }
    }

    /// Whether a store will take the change. Ask before anything else depends on it: a store that meets an
    /// oversized change refuses it as well, but then it is too late for a reply that says so.
    ///
    /// # Errors
    /// [`DefinitionError::TooLarge`].
    pub fn check(&self) -> Result<(), DefinitionError> {
        let limit = |what, len, len_max| {
            if len > len_max { Err(DefinitionError::TooLarge { what, len, len_max }) } else { Ok(()) }
        };
        limit("key", self.key().len(), KEY_LEN_MAX)?;
        limit("value", self.value().map_or(0, <[u8]>::len), VALUE_LEN_MAX)
    }
}

/// A key and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// A durable map from keys to values that changes in atomic groups.
pub trait DefinitionStore: Send {
    /// Everything there is, ordered by key.
    ///
    /// # Errors
    /// [`DefinitionError::Damaged`] when what is read is not what was written.
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError>;

    /// Applies the changes in their order, all or none of them. When it returns `Ok`, all are durable.
    ///
    /// # Errors
    /// Any error is final: the state on disk is unknown until the store is opened again, and every later commit
    /// is refused. [`DefinitionError::TooLarge`] alone changes nothing.
    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError>;

    /// Nothing was committed for a while, and nothing waits: the moment to give back what only the commits needed. A
    /// commit that comes meanwhile waits for it.
    ///
    /// # Errors
    /// Final, as those of a commit.
    fn rest(&mut self) -> Result<(), DefinitionError> {
        Ok(())
    }
}

/// What can go wrong with definitions. `Display` is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// A key or value above its limit.
    #[error("a definition's {what} of {len} bytes is larger than the {len_max} bytes that can be stored")]
    TooLarge {
        /// `key` or `value`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        len_max: usize,
    },
    /// The system refused to read, write or sync.
    #[error("definitions at {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not what was reported durable. The broker must not start on it.
    #[error(
        "the definitions in {} are damaged: expected {expected}, found {found}; `warrenmq ctl store salvage {}` keeps what \
         is whole",
        folder.display(), folder.display()
    )]
    Damaged {
        /// The data folder.
        folder: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A later version of the program has written a record.
    #[error(
        "the definitions in {} have format {found}, this program knows up to {known}; start the newer version that \
         wrote them",
        folder.display()
    )]
    NewerFormat {
        /// The data folder.
        folder: PathBuf,
        /// The format of the record.
        found: u8,
        /// The newest format known here.
        known: u8,
    },
    /// An earlier write or sync failed; nothing is accepted any more.
    #[error("definitions are no longer accepted, an earlier write failed: {reason}")]
    Failed {
        /// The text of that earlier error.
        reason: String,
    },
    /// The writer was closed.
    #[error("definitions are no longer accepted: the broker is stopping")]
    Closed,
}

impl DefinitionError {
    pub(crate) fn damaged(folder: &Path, expected: impl ToString, found: impl ToString) -> Self {
        let folder = folder.to_owned();
        DefinitionError::Damaged { folder, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Folder of the database, below the data folder.
pub(crate) const DATABASE: &str = "definitions";
/// What the database must hold at least, kept outside of it.
pub(crate) const MARKER: &str = "definitions.marker";
