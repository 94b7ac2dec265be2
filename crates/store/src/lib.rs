//! What outlives the process: the data folder with its lock, and the definitions.
//!
//! This crate knows no AMQP: keys and values are bytes whose meaning belongs to its callers. Its invariant is one
//! sentence: *what was reported durable is there after any crash, and what is not there as it was left is
//! reported, never papered over*. The bytes on disk are described in `docs/internals/definitions-store.md`.
//!
//! ```text
//!   DataDir            the folder, its format and its lock: one broker per folder
//!     SledDefinitions    an atomic, durable group of changes per commit; verified when opened
//!       DefinitionWriter   one thread that turns what many submit into few commits
//!     write_generation   a readable file beside it, the way out when the database is damaged
//! ```

mod damage;
mod data_dir;
mod database;
mod definition;
mod definition_writer;
mod digest;
mod disk;
mod folder_disk;
mod generation;
mod journal;
mod marker;
mod memory_definitions;
mod partial_entry;
mod record;
mod salvage;
mod segment;
mod sled_definitions;
mod store_error;

pub use damage::Damage;
pub use data_dir::{DataDir, DataDirError, FORMAT_VERSION};
pub use definition::{Change, DefinitionError, DefinitionStore, KEY_LEN_MAX, KeyValue, VALUE_LEN_MAX};
pub use definition_writer::{CommitSeq, DefinitionWriter, GROUP_BYTES_MAX, PENDING_BYTES_MAX};
pub use disk::{Disk, DiskEntry, DiskFile};
pub use folder_disk::FolderDisk;
pub use generation::write_generation;
pub use journal::{
    ClosedFile, Entry, InFile, Journal, JournalOptions, JournalSurvey, Lsn, Note, Published, PublishedQueues,
    Scan, Step, TornTail, scan,
};
pub use memory_definitions::MemoryDefinitions;
pub use salvage::{Examination, FoundDefinitions, Salvage, SalvageError, examine};
pub use segment::{Block, BlockRange, Found, Place, SegmentOptions, SegmentSurvey, Segments};
pub use sled_definitions::SledDefinitions;
pub use store_error::StoreError;
