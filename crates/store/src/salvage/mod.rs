//! Looking at a data folder that no broker runs on, and keeping what is whole of one that is damaged.
//!
//! Invariant: looking changes nothing; what is replaced is moved aside before, and nothing is ever deleted. Not for the
//! broker, which refuses damage: for `warrenmq ctl store`.

mod definitions;
mod folder;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data_dir::DataDir;
use crate::definition::{DATABASE, DefinitionError, KeyValue, MARKER};
use crate::disk::Disk;
use crate::folder_disk::FolderDisk;
use crate::journal::{self, Entry, Journal, JournalOptions, JournalSurvey, Scan, Step};
use crate::segment::{self, SegmentSurvey};
use crate::store_error::StoreError;

pub use definitions::FoundDefinitions;
use definitions::examine_definitions;
use folder::{Replacing, fine_when_absent};

/// Everything in a data folder.
#[derive(Debug)]
pub struct Examination {
    /// Definitions.
    pub definitions: FoundDefinitions,
    /// The journal.
    pub journal: JournalSurvey,
    /// The segments.
    pub segments: SegmentSurvey,
    /// A salvage was cut short, so parts of the folder are elsewhere.
    pub unfinished: bool,
}

impl Examination {
    /// Whether a broker would refuse it, or meet something that it cannot read later.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.unfinished
            || self.definitions.damage.is_some()
            || !self.journal.damage.is_empty()
            || !self.segments.damage.is_empty()
    }
}

/// Why a folder could not be examined or salvaged.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// With the journal or the segments.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// With the definitions.
    #[error(transparent)]
    Definitions(#[from] DefinitionError),
    /// Moving files.
    #[error("replacing parts of {}: {source}", path.display())]
    Io {
        /// The data folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads everything. `progress` hears of octets of messages as they are read.
///
/// # Errors
/// When files cannot be read, or are of a newer version. Damage is none.
pub fn examine(dir: &DataDir, progress: &mut dyn FnMut(u64)) -> Result<Examination, SalvageError> {
    let disk = FolderDisk::new(dir.path());
    Ok(Examination {
        definitions: examine_definitions(dir)?,
        journal: journal::survey(&disk, progress)?,
        segments: segment::survey(&disk, progress)?,
        unfinished: folder::is_unfinished(dir),
    })
}

/// Keeps what is whole of a damaged folder.
#[derive(Debug)]
pub struct Salvage<'a> {
    dir: &'a DataDir,
    replacing: Replacing,
}

impl<'a> Salvage<'a> {
    /// Begins: puts back what a salvage has moved that was cut short, so the folder has to be examined afterwards. `time` (Unix, in
    /// seconds) names the folder for what is replaced.
    ///
    /// # Errors
    /// [`SalvageError::Io`].
    pub fn begin(dir: &'a DataDir, time: u64) -> Result<Salvage<'a>, SalvageError> {
        let begun = Replacing::begin(dir, time);
        let replacing = begun.map_err(|source| SalvageError::Io { path: dir.path().to_owned(), source })?;
        Ok(Salvage { dir, replacing })
    }

    /// Where what is replaced goes.
    #[must_use]
    pub fn aside(&self) -> &Path {
        self.replacing.aside()
    }

    /// Makes `entries` the definitions.
    ///
    /// # Errors
    /// [`SalvageError`].
    pub fn definitions(&self, entries: &[KeyValue]) -> Result<(), SalvageError> {
        definitions::write_definitions(self.replacing.scratch(), entries)?;
        self.replace(DATABASE)?;
        self.replace(MARKER)
    }

    /// Replaces the journal by one with every record that is whole. That something was never delivered is not taken over: what is
    /// missing may have said otherwise.
    ///
    /// # Errors
    /// [`SalvageError`].
    pub fn journal(&self, found: &JournalSurvey) -> Result<(), SalvageError> {
        let scratch: Arc<dyn Disk> = Arc::new(FolderDisk::new(self.replacing.scratch()));
        let usual = JournalOptions::default();
        // Room for little is made for little.
        let file_octets = found.octets.clamp(MIB, usual.file_octets.max(MIB));
        let options = JournalOptions { file_octets, ..usual };
        let group = options.group_octets as u64;
        let journal = Journal::begin(scratch, options, &Scan::default())?;
        found.for_each(&FolderDisk::new(self.dir.path()), &mut |mut entries| {
            entries.retain(|entry| !matches!(entry, Entry::Delivered { .. }));
            if !entries.is_empty() {
                journal.append(entries, false);
            }
            while journal.pending_octets() >= group {
                journal.step(0)?;
            }
            Ok(())
        })?;
        journal.close();
        while journal.step(0)? != Step::Closed {}
        self.replace(JOURNAL)
    }

    /// Replaces damaged segment files by ones with every block that is whole.
    ///
    /// # Errors
    /// [`SalvageError`].
    pub fn segments(&self, found: &SegmentSurvey) -> Result<(), SalvageError> {
        found.rescue(&FolderDisk::new(self.dir.path()), &FolderDisk::new(self.replacing.scratch()))?;
        found.damaged_files().iter().try_for_each(|path| self.replace(path))
    }

    /// Keeps a second copy of the messages of queues that have no definition any more: the broker removes the first. To be called when
    /// everything is replaced.
    ///
    /// # Errors
    /// [`SalvageError`].
    pub fn keep_messages(&self, queues: impl IntoIterator<Item = u64>) -> Result<(), SalvageError> {
        for queue in queues {
            self.keep(&segment::folder_path(queue))?;
        }
        // What was replaced is there as it was, and the new journal is no part of that.
        if self.aside().join(JOURNAL).exists() { Ok(()) } else { self.keep(JOURNAL) }
    }

    /// Ends: a broker may start.
    ///
    /// # Errors
    /// [`SalvageError::Io`].
    pub fn finish(self) -> Result<(), SalvageError> {
        let path = self.dir.path().to_owned();
        self.replacing.finish().map_err(|source| SalvageError::Io { path, source })
    }

    fn replace(&self, name: &str) -> Result<(), SalvageError> {
        self.replacing.replace(name).map_err(|source| self.error(source))
    }

    /// Copies a folder to where replaced files go, but for what is there.
    fn keep(&self, name: &str) -> Result<(), SalvageError> {
        let copied = folder::copy_folder(&self.dir.path().join(name), &self.aside().join(name));
        fine_when_absent(copied).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> SalvageError {
        SalvageError::Io { path: self.dir.path().to_owned(), source }
    }
}

const MIB: u64 = 1 << 20;
/// The folder of the journal.
const JOURNAL: &str = "journal";
