//! Owns the sled database as files: that they are there, free, opened with our settings, synced for real. Invariant: what
//! `apply` wrote and `sync` followed survives a power cut, which sled's own flush does not give.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sled::IVec;

use crate::definition::{DATABASE, DefinitionError};
use crate::generation::sync_folder;
use crate::record::Manifest;

/// The open database below a data folder.
pub(crate) struct Database {
    folder: PathBuf,
    /// `None` while it is opened anew, and after that has failed.
    db: Option<sled::Db>,
    /// Our own handle on the file that sled writes, the only way to sync it for real.
    file: File,
    /// What must be there at least, for messages about damage.
    known: Manifest,
}

impl Database {
    /// Opens the database of a data folder that must hold `known` at least, or makes it when that is nothing.
    pub(crate) fn open(folder: &Path, known: Manifest) -> Result<Database, DefinitionError> {
        let db = open_engine(folder, &known)?;
        let path = folder.join(DATABASE).join(SLED_FILE);
        let file = open_file(&path).map_err(|source| DefinitionError::Io { path, source })?;
        Ok(Database { folder: folder.to_owned(), db: Some(db), file, known })
    }

    /// Closes the engine and opens it again: the memory that many changes have left scattered in it goes back. What was
    /// synced before is there after it, and again synced.
    pub(crate) fn reopen(&mut self, known: Manifest) -> Result<(), DefinitionError> {
        self.known = known;
        drop(self.db.take());
        self.db = Some(open_engine(&self.folder, &known)?);
        // Only now: the threads of the closed one may have held it until the files could be opened.
        free_garbage();
        self.sync()
    }

    /// All keys and records, ordered by key.
    pub(crate) fn records(
        &self,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(IVec, IVec), DefinitionError>>, DefinitionError> {
        Ok(self.db()?.iter().map(|item| item.map_err(|error| self.error(&error))))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>, DefinitionError> {
        self.db()?.get(key).map_err(|error| self.error(&error))
    }

    /// Writes a batch, all or nothing of it; not yet durable.
    pub(crate) fn apply(&self, batch: sled::Batch) -> Result<(), DefinitionError> {
        let db = self.db()?;
        db.apply_batch(batch).map_err(|error| self.error(&error))?;
        db.flush().map(|_| ()).map_err(|error| self.error(&error))
    }

    /// Makes what was applied durable.
    pub(crate) fn sync(&self) -> Result<(), DefinitionError> {
        self.file.sync_data().map_err(|source| self.io(source))
    }

    /// Makes all files of a new database durable, and their names.
    pub(crate) fn sync_creation(&self) -> Result<(), DefinitionError> {
        sync_contents(&self.folder.join(DATABASE))
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|source| self.io(source))
    }

    fn db(&self) -> Result<&sled::Db, DefinitionError> {
        let closed = || DefinitionError::Failed { reason: "the database could not be opened again".into() };
        self.db.as_ref().ok_or_else(closed)
    }

    fn io(&self, source: io::Error) -> DefinitionError {
        DefinitionError::Io { path: self.folder.join(DATABASE), source }
    }

    fn error(&self, error: &sled::Error) -> DefinitionError {
        sled_error(&self.folder, &self.known, error)
    }
}

/// The engine leaves what it frees to whoever uses it next, some at a time. This takes it all, as far as nobody else holds it.
fn free_garbage() {
    for _ in 0..GARBAGE_ROUNDS {
        crossbeam_epoch::pin().flush();
    }
}

fn open_engine(folder: &Path, known: &Manifest) -> Result<sled::Db, DefinitionError> {
    check_present(folder, known)?;
    let path = folder.join(DATABASE).join(SLED_FILE);
    let io = |source| DefinitionError::Io { path: path.clone(), source };
    wait_for_predecessor(&path).map_err(io)?;
    remove_unfinished_snapshots(&folder.join(DATABASE)).map_err(io)?;
    sled::Config::new()
        .path(folder.join(DATABASE))
        .cache_capacity(CACHE_BYTES)
        // We flush and sync ourselves; its timer would only write behind our back.
        .flush_every_ms(None)
        .open()
        .map_err(|error| sled_error(folder, known, &error))
}

/// Waits until the engine of a store that was dropped has let go of its files, so that they can be moved or removed.
pub(crate) fn wait_for_end(folder: &Path) -> io::Result<()> {
    wait_for_predecessor(&folder.join(DATABASE).join(SLED_FILE))
}

/// The file of the database that holds all data; the others can be made again from it.
pub(crate) const SLED_FILE: &str = "db";

/// Cache of pages in bytes. Definitions are read once and then only written, so it serves only the look at what a
/// change replaces. Measured with 10,000 and 100,000 definitions: 256 bytes, 64 KiB and 1 MiB differ neither in
/// resident memory nor in time; the default of 1 GiB would put no bound on it at all.
///
/// The segment size stays at sled's 512 KiB: one buffer of that size is all an idle database holds (2.2 MB resident
/// with everything else, 3.5 MB with 1,000 definitions), and a smaller one would lower the size from which records
/// leave the file that is synced.
const CACHE_BYTES: u64 = 1024 * 1024;

/// Each round frees some hundred pieces at most; a million definitions leave about ten million.
const GARBAGE_ROUNDS: usize = 20_000;

/// How long a store that was dropped may keep sled's lock; it is gone within milliseconds unless the disk hangs.
const PREDECESSOR_WAIT_MAX: Duration = Duration::from_secs(10);

/// Refuses a database that is gone before sled would make a new one in its place.
fn check_present(folder: &Path, known: &Manifest) -> Result<(), DefinitionError> {
    if known.generation == 0 {
        return Ok(());
    }
    let found = match fs::metadata(folder.join(DATABASE).join(SLED_FILE)) {
        Ok(metadata) if metadata.len() > 0 => return Ok(()),
        Ok(_) => "an empty database file",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "no database",
        Err(source) => return Err(DefinitionError::Io { path: folder.join(DATABASE), source }),
    };
    Err(DefinitionError::damaged(folder, known, found))
}

/// sled writes a snapshot while it opens, under a name that it later changes; when the process is killed meanwhile, the next open
/// takes the beginning of it for the newest snapshot and gives up. The finished one before it is still there.
fn remove_unfinished_snapshots(database: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(database) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled's own threads hold its file for a moment after a store was dropped. They can only be this process's, or those
/// of one that has just given the folder back: the lock of the data folder keeps everybody else out.
fn wait_for_predecessor(path: &Path) -> io::Result<()> {
    let file = match open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            // Closing the file gives the lock to sled.
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PREDECESSOR_WAIT_MAX => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Errors of the system keep their kind; all others of sled mean that the file is not what it wrote.
fn sled_error(folder: &Path, known: &Manifest, error: &sled::Error) -> DefinitionError {
    match error {
        sled::Error::Io(source) => DefinitionError::Io {
            path: folder.join(DATABASE),
            source: io::Error::new(source.kind(), source.to_string()),
        },
        other => DefinitionError::damaged(folder, known, format!("a database that cannot be read ({other})")),
    }
}

/// Syncs every file and folder below a folder, for files that someone else has made in it.
fn sync_contents(folder: &Path) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            sync_contents(&item.path())?;
        } else {
            File::open(item.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}
