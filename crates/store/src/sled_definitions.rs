//! Owns the definitions on disk: sled below the data folder, with what sled leaves open closed around it. Invariant:
//! an open store holds exactly what was committed last, and a store that does not is never opened.
//!
//! What sled 0.34 leaves open, and the answer here (measured; `docs/internals/definitions-store.md`):
//! - its `flush` uses sync_file_range, which a power cut undoes: our own handle on its file is fdatasynced after it;
//! - a damaged file opens silently with fewer keys, or none: every batch carries a [`Manifest`] of the whole set,
//!   everything is read and compared at the open, and the [`Marker`] outside tells an older or empty state;
//! - records above 128 KiB go to files that are never synced: records are kept small ([`crate::record`]);
//! - it panics on some damage: the open catches that.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::data_dir::DataDir;
use crate::definition::{Change, DATABASE, DefinitionError, DefinitionStore, KeyValue};
use crate::digest::{SetDigest, digest};
use crate::generation::sync_folder;
use crate::marker::{Found, Marker};
use crate::record::{self, Entry, MANIFEST_KEY, Manifest, SealError};

/// A map of opaque keys and values in `<data folder>/definitions`.
pub struct SledDefinitions {
    folder: PathBuf,
    db: sled::Db,
    /// Our own handle on the file that sled writes, the only way to sync it for real.
    file: File,
    marker: Marker,
    /// What is in the database now.
    manifest: Manifest,
    /// What the open has read, kept for the one load that follows it.
    loaded: Option<Vec<KeyValue>>,
    /// Why no commit is taken any more.
    failure: Option<String>,
}

impl SledDefinitions {
    /// Opens the definitions of a data folder, or makes them in a folder that never had any. Reads everything: about
    /// 3 us per definition.
    ///
    /// # Errors
    /// [`DefinitionError::Damaged`] when what is there is not what was last committed, or is gone.
    pub fn open(dir: &DataDir) -> Result<Self, DefinitionError> {
        let folder = dir.path();
        let marker = find_marker(folder)?;
        check_present(folder, &marker)?;
        let path = folder.join(DATABASE).join(SLED_FILE);
        wait_for_predecessor(&path).map_err(|source| DefinitionError::Io { path: path.clone(), source })?;
        let db = open_sled(folder, marker.manifest())?;
        let file = open_file(&path).map_err(|source| DefinitionError::Io { path, source })?;
        let mut store = SledDefinitions {
            folder: folder.to_owned(),
            db,
            file,
            manifest: Manifest::default(),
            marker,
            loaded: None,
            failure: None,
        };
        store.verify()?;
        Ok(store)
    }

    /// Compares what is there with what must be there, and takes it up.
    fn verify(&mut self) -> Result<(), DefinitionError> {
        let (manifest, entries, set) = self.scan()?;
        let known = *self.marker.manifest();
        match manifest {
            None if known.generation == 0 && entries.is_empty() => self.initialize()?,
            None => return Err(self.damaged(&describe(&known), format!("{set} without a manifest"))),
            Some(manifest) if manifest.set != set => {
                return Err(self.damaged(&describe(&manifest), set.to_string()));
            }
            Some(manifest)
                if manifest.generation < known.generation
                    || (manifest.generation == known.generation && manifest.set != known.set) =>
            {
                return Err(self.damaged(&describe(&known), format!("the older {}", describe(&manifest))));
            }
            Some(manifest) => self.manifest = manifest,
        }
        // After a crash the last batch may be in the system's cache only, and from here on it is shown to clients.
        self.sync()?;
        self.follow(known.generation == 0)?;
        self.loaded = Some(entries);
        Ok(())
    }

    /// The first batch of a new database, and everything that makes its files findable after a power cut.
    fn initialize(&mut self) -> Result<(), DefinitionError> {
        self.apply(sled::Batch::default(), Manifest { generation: 1, set: SetDigest::default() })?;
        let database = self.folder.join(DATABASE);
        sync_contents(&database)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|source| DefinitionError::Io { path: database, source })
    }

    /// Reads and checks every record. The manifest is returned unchecked against the rest.
    fn scan(&self) -> Result<(Option<Manifest>, Vec<KeyValue>, SetDigest), DefinitionError> {
        let mut manifest = None;
        let mut entries = Vec::new();
        let mut set = SetDigest::default();
        // Records of one entry follow each other: their keys differ in the last byte only.
        let mut open: Option<PartialEntry> = None;
        for item in self.db.iter() {
            let (key, record) = item.map_err(|error| self.sled_error(&error))?;
            let body = self.unseal(&key, &record)?;
            if &key[..] == MANIFEST_KEY {
                let decoded = Manifest::decode(body);
                manifest = Some(decoded.ok_or_else(|| self.bad_record(&key, "is not a manifest"))?);
                continue;
            }
            let (hash, number) =
                record::parse_piece_key(&key).ok_or_else(|| self.bad_record(&key, "is of no known kind"))?;
            let partial = match open.take() {
                Some(partial) if partial.hash == hash => partial,
                None if number == 0 => PartialEntry::new(hash, body),
                _ => return Err(self.bad_record(&key, "does not continue the one before")),
            };
            match partial.extend(number, body) {
                Progress::More(partial) => open = Some(partial),
                Progress::Whole(entry) => {
                    set.add(entry.digest());
                    entries.push((entry.key().to_vec(), entry.value().to_vec()));
                }
                Progress::Wrong => return Err(self.bad_record(&key, "does not fit its entry")),
            }
        }
        if let Some(partial) = open {
            let key = record::piece_key(partial.hash, 0);
            return Err(self.bad_record(&key, "lacks the ones that continue it"));
        }
        entries.sort_unstable();
        Ok((manifest, entries, set))
    }

    /// The entry of a definition's key, as it is in the database.
    fn read(&self, hash: u128) -> Result<Option<Entry>, DefinitionError> {
        let mut open: Option<PartialEntry> = None;
        for number in 0..=u8::MAX {
            let key = record::piece_key(hash, number);
            let Some(record) = self.db.get(key).map_err(|error| self.sled_error(&error))? else {
                return match number {
                    0 => Ok(None),
                    _ => Err(self.bad_record(&key, "is missing")),
                };
            };
            let body = self.unseal(&key, &record)?;
            let partial = open.take().unwrap_or_else(|| PartialEntry::new(hash, body));
            match partial.extend(number, body) {
                Progress::More(partial) => open = Some(partial),
                Progress::Whole(entry) => return Ok(Some(entry)),
                Progress::Wrong => break,
            }
        }
        Err(self.bad_record(&record::piece_key(hash, 0), "does not fit its entry"))
    }

    fn write(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        // The last change of a key decides; a batch has no order of its own.
        let last: BTreeMap<&[u8], Option<&[u8]>> =
            changes.iter().map(|change| (change.key(), change.value())).collect();
        let mut batch = sled::Batch::default();
        let mut manifest = self.manifest;
        let mut changed = false;
        for (key, value) in last {
            let hash = digest(key);
            let old = self.read(hash)?;
            let new = value.map(|value| Entry::new(key, value));
            if old == new {
                continue;
            }
            changed = true;
            let old_pieces = old.as_ref().map_or(0, |entry| entry.pieces().len());
            let new_pieces = new.as_ref().map_or(0, |entry| entry.pieces().len());
            old.iter().for_each(|entry| manifest.set.remove(entry.digest()));
            new.iter().for_each(|entry| manifest.set.add(entry.digest()));
            let mut numbers = 0..=u8::MAX;
            for (body, number) in new.iter().flat_map(Entry::pieces).zip(&mut numbers) {
                let key = record::piece_key(hash, number);
                batch.insert(&key, record::seal(&key, body));
            }
            for number in numbers.take(old_pieces.saturating_sub(new_pieces)) {
                batch.remove(&record::piece_key(hash, number));
            }
        }
        if !changed {
            // Everything asked for is there and durable already.
            return Ok(());
        }
        manifest.generation += 1;
        self.apply(batch, manifest)?;
        self.sync()?;
        self.follow(false)
    }

    /// Writes a batch and the manifest that goes with it; atomic, not yet durable.
    fn apply(&mut self, mut batch: sled::Batch, manifest: Manifest) -> Result<(), DefinitionError> {
        batch.insert(MANIFEST_KEY, record::seal(MANIFEST_KEY, &manifest.encode()));
        self.db.apply_batch(batch).map_err(|error| self.sled_error(&error))?;
        self.db.flush().map_err(|error| self.sled_error(&error))?;
        self.manifest = manifest;
        Ok(())
    }

    fn sync(&self) -> Result<(), DefinitionError> {
        let path = || self.folder.join(DATABASE).join(SLED_FILE);
        self.file.sync_data().map_err(|source| DefinitionError::Io { path: path(), source })
    }

    /// Lets the marker follow the database, which has been synced.
    fn follow(&mut self, established_now: bool) -> Result<(), DefinitionError> {
        let done = match established_now {
            true => self.marker.establish(self.manifest),
            false => self.marker.advance(self.manifest),
        };
        done.map_err(|source| DefinitionError::Io { path: self.folder.clone(), source })
    }

    fn unseal<'a>(&self, key: &[u8], record: &'a [u8]) -> Result<&'a [u8], DefinitionError> {
        record::unseal(key, record).map_err(|error| match error {
            SealError::Damaged => self.bad_record(key, "fails its checksum"),
            SealError::Version(found) => {
                DefinitionError::NewerFormat { folder: self.folder.clone(), found, known: record::VERSION }
            }
        })
    }

    fn bad_record(&self, key: &[u8], what: &str) -> DefinitionError {
        let found = format!("a record that {what} (key {})", key.escape_ascii());
        self.damaged(&describe(self.marker.manifest()), found)
    }

    fn sled_error(&self, error: &sled::Error) -> DefinitionError {
        sled_error(&self.folder, self.marker.manifest(), error)
    }

    fn damaged(&self, expected: &str, found: String) -> DefinitionError {
        DefinitionError::Damaged { folder: self.folder.clone(), expected: expected.to_owned(), found }
    }
}

impl DefinitionStore for SledDefinitions {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        match self.loaded.take() {
            Some(entries) => Ok(entries),
            None => self.scan().map(|(_, entries, _)| entries),
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        if let Some(reason) = &self.failure {
            return Err(DefinitionError::Failed { reason: reason.clone() });
        }
        changes.iter().try_for_each(Change::check)?;
        self.loaded = None;
        let written = self.write(changes);
        if let Err(error) = &written {
            self.failure = Some(error.to_string());
        }
        written
    }
}

/// The file of the database that holds all data; the others can be made again from it.
const SLED_FILE: &str = "db";

/// Cache of pages in bytes. Definitions are read once and then only written, so a larger one buys nothing.
const CACHE_BYTES: u64 = 1024 * 1024;

/// How long a store that was dropped may keep sled's lock; it is gone within milliseconds unless the disk hangs.
const PREDECESSOR_WAIT_MAX: Duration = Duration::from_secs(10);

/// The records of an entry that have been read so far.
struct PartialEntry {
    hash: u128,
    pieces: usize,
    next: u8,
    bytes: Vec<u8>,
}

enum Progress {
    More(PartialEntry),
    Whole(Entry),
    Wrong,
}

impl PartialEntry {
    /// Learns from the first body how many follow; it is not taken up yet.
    fn new(hash: u128, first: &[u8]) -> PartialEntry {
        PartialEntry { hash, pieces: record::piece_count(first).unwrap_or(0), next: 0, bytes: Vec::new() }
    }

    fn extend(mut self, number: u8, body: &[u8]) -> Progress {
        if number != self.next {
            return Progress::Wrong;
        }
        self.bytes.extend_from_slice(body);
        if usize::from(number) + 1 < self.pieces {
            self.next = number.wrapping_add(1);
            return Progress::More(self);
        }
        match Entry::from_bytes(self.bytes) {
            Some(entry) if digest(entry.key()) == self.hash => Progress::Whole(entry),
            _ => Progress::Wrong,
        }
    }
}

fn find_marker(folder: &Path) -> Result<Marker, DefinitionError> {
    let damaged = |expected: &str, found: &str| DefinitionError::Damaged {
        folder: folder.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let io = |source| DefinitionError::Io { path: folder.to_owned(), source };
    match Marker::find(folder).map_err(io)? {
        Found::Marker(marker) => Ok(marker),
        Found::Damaged => Err(damaged("a marker file that can be read", "one that fails its checksum")),
        // The marker comes first and is synced, so no crash leaves a database without one.
        Found::Nothing if folder.join(DATABASE).exists() => {
            Err(damaged("a marker file beside the database", "none"))
        }
        Found::Nothing => Marker::create(folder).map_err(io),
    }
}

/// Refuses a database that is gone before sled would make a new one in its place.
fn check_present(folder: &Path, marker: &Marker) -> Result<(), DefinitionError> {
    if marker.manifest().generation == 0 {
        return Ok(());
    }
    let found = match fs::metadata(folder.join(DATABASE).join(SLED_FILE)) {
        Ok(metadata) if metadata.len() > 0 => return Ok(()),
        Ok(_) => "an empty database file",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "no database",
        Err(source) => return Err(DefinitionError::Io { path: folder.join(DATABASE), source }),
    };
    Err(DefinitionError::Damaged {
        folder: folder.to_owned(),
        expected: describe(marker.manifest()),
        found: found.to_owned(),
    })
}

/// sled's own threads hold its file for a moment after a store was dropped. They can only be this process's, or those
/// of one that has just given the folder back: the lock of [`DataDir`] keeps everybody else out.
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

fn open_sled(folder: &Path, known: &Manifest) -> Result<sled::Db, DefinitionError> {
    let config = sled::Config::new()
        .path(folder.join(DATABASE))
        .cache_capacity(CACHE_BYTES)
        // We flush and sync ourselves; its timer would only write behind our back.
        .flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(opened) => opened.map_err(|error| sled_error(folder, known, &error)),
        Err(_) => Err(DefinitionError::Damaged {
            folder: folder.to_owned(),
            expected: describe(known),
            found: "a database file that the storage engine cannot read".to_owned(),
        }),
    }
}

/// Errors of the system keep their kind; all others of sled mean that the file is not what it wrote.
fn sled_error(folder: &Path, known: &Manifest, error: &sled::Error) -> DefinitionError {
    match error {
        sled::Error::Io(source) => DefinitionError::Io {
            path: folder.join(DATABASE),
            source: io::Error::new(source.kind(), source.to_string()),
        },
        other => DefinitionError::Damaged {
            folder: folder.to_owned(),
            expected: describe(known),
            found: format!("a database that cannot be read ({other})"),
        },
    }
}

fn describe(manifest: &Manifest) -> String {
    format!("{} at generation {}", manifest.set, manifest.generation)
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
