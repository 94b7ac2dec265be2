//! Owns the definitions on disk: sled below the data folder, with what sled leaves open closed around it. Invariant:
//! an open store holds exactly what was committed last, and a store that does not is never opened.
//!
//! What sled 0.34 leaves open, and the answer here (measured; `docs/internals/definitions-store.md`):
//! - its `flush` uses sync_file_range, which a power cut undoes: [`Database`] fdatasyncs after it;
//! - a damaged file opens silently with fewer keys, or none: every batch carries a [`Manifest`] of the whole set,
//!   everything is read and compared at the open, and the [`Marker`] outside tells an older or empty state;
//! - records above 128 KiB go to files that are never synced: records are kept small ([`crate::record`]);
//! - it panics on some damage: the open catches that.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::data_dir::DataDir;
use crate::database::Database;
use crate::definition::{Change, DATABASE, DefinitionError, DefinitionStore, KeyValue};
use crate::digest::{SetDigest, digest};
use crate::marker::{Found, Marker};
use crate::partial_entry::{PartialEntry, Progress};
use crate::record::{self, Entry, MANIFEST_KEY, Manifest, SealError};

/// A map of opaque keys and values in `<data folder>/definitions`.
pub struct SledDefinitions {
    folder: PathBuf,
    database: Database,
    marker: Marker,
    /// What is in the database now.
    manifest: Manifest,
    /// What the open has read, kept for the one load that follows it.
    loaded: Option<Vec<KeyValue>>,
    /// Why no commit is taken any more.
    failure: Option<String>,
    /// Definitions that were changed since the database was opened.
    changed: usize,
}

/// After so many changes a pause is used to open the database again. The engine copies a page for every change, and what the
/// survivors leave free between them is not used for anything else: 10,000 queues that came and went held 1.5 to 2.1 kB each, and
/// hold 0.3 to 1.5 kB now. The rest is in the caches that the allocator keeps for each thread.
const REOPEN_CHANGES: usize = 1000;

impl SledDefinitions {
    /// Opens the definitions of a data folder, or makes them in a folder that never had any. Reads everything: about
    /// 3 us per definition.
    ///
    /// # Errors
    /// [`DefinitionError::Damaged`] when what is there is not what was last committed, or is gone.
    pub fn open(dir: &DataDir) -> Result<Self, DefinitionError> {
        let folder = dir.path();
        let marker = find_marker(folder)?;
        let known = *marker.manifest();
        catch_unwind(AssertUnwindSafe(|| {
            let database = Database::open(folder, known)?;
            let mut store = SledDefinitions {
                folder: folder.to_owned(),
                database,
                marker,
                manifest: Manifest::default(),
                loaded: None,
                failure: None,
                changed: 0,
            };
            store.verify()?;
            Ok(store)
        }))
        .unwrap_or_else(|_| Err(DefinitionError::damaged(folder, known, "a database that cannot be read")))
    }

    /// Compares what is there with what must be there, and takes it up.
    fn verify(&mut self) -> Result<(), DefinitionError> {
        let (manifest, entries, set) = self.scan()?;
        let known = *self.marker.manifest();
        let damaged = |expected, found| Err(DefinitionError::damaged(&self.folder, expected, found));
        match manifest {
            None if known.generation == 0 && entries.is_empty() => {
                self.apply(sled::Batch::default(), Manifest { generation: 1, set })?;
            }
            None => return damaged(&known, format!("{set} without a manifest")),
            Some(manifest) if manifest.set != set => return damaged(&manifest, set.to_string()),
            Some(manifest)
                if manifest.generation < known.generation
                    || (manifest.generation == known.generation && manifest.set != known.set) =>
            {
                return damaged(&known, format!("the older {manifest}"));
            }
            Some(manifest) => self.manifest = manifest,
        }
        // After a crash the last batch may be in the system's cache only, and from here on it is shown to clients.
        match known.generation {
            0 => self.database.sync_creation()?,
            _ => self.database.sync()?,
        }
        self.follow()?;
        self.loaded = Some(entries);
        Ok(())
    }

    /// Reads and checks every record. The manifest is returned unchecked against the rest.
    fn scan(&self) -> Result<(Option<Manifest>, Vec<KeyValue>, SetDigest), DefinitionError> {
        let mut manifest = None;
        let mut entries = Vec::new();
        let mut set = SetDigest::default();
        // Records of one entry follow each other: their keys differ in the last byte only.
        let mut open: Option<PartialEntry> = None;
        for item in self.database.records()? {
            let (key, record) = item?;
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
            let Some(record) = self.database.get(&key)? else {
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
        let mut changed = 0;
        for (key, value) in last {
            let hash = digest(key);
            let old = self.read(hash)?;
            let new = value.map(|value| Entry::new(key, value));
            if old == new {
                continue;
            }
            changed += 1;
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
        if changed == 0 {
            // Everything asked for is there and durable already.
            return Ok(());
        }
        self.changed += changed;
        manifest.generation += 1;
        self.apply(batch, manifest)?;
        self.database.sync()?;
        self.follow()
    }

    /// Writes a batch and the manifest that goes with it; atomic, not yet durable.
    fn apply(&mut self, mut batch: sled::Batch, manifest: Manifest) -> Result<(), DefinitionError> {
        batch.insert(MANIFEST_KEY, record::seal(MANIFEST_KEY, &manifest.encode()));
        self.database.apply(batch)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Opens the database again, and looks whether it is the one that was closed.
    fn reopen(&mut self) -> Result<(), DefinitionError> {
        self.changed = 0;
        self.database.reopen(self.manifest)?;
        let record = self.database.get(MANIFEST_KEY)?;
        let found = match &record {
            Some(record) => Manifest::decode(self.unseal(MANIFEST_KEY, record)?),
            None => None,
        };
        if found != Some(self.manifest) {
            let found = found.map_or_else(|| "no manifest".to_owned(), |manifest| manifest.to_string());
            return Err(DefinitionError::damaged(&self.folder, self.manifest, found));
        }
        Ok(())
    }

    /// Lets the marker follow the database, which has been synced.
    fn follow(&mut self) -> Result<(), DefinitionError> {
        let followed = match self.marker.manifest().generation {
            0 => self.marker.establish(self.manifest),
            _ => self.marker.advance(self.manifest),
        };
        followed.map_err(|source| DefinitionError::Io { path: self.folder.clone(), source })
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
        DefinitionError::damaged(&self.folder, self.marker.manifest(), found)
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

    fn rest(&mut self) -> Result<(), DefinitionError> {
        if self.failure.is_some() || self.changed < REOPEN_CHANGES {
            return Ok(());
        }
        let reopened = self.reopen();
        if let Err(error) = &reopened {
            self.failure = Some(error.to_string());
        }
        reopened
    }
}

fn find_marker(folder: &Path) -> Result<Marker, DefinitionError> {
    let damaged = |expected, found| DefinitionError::damaged(folder, expected, found);
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
