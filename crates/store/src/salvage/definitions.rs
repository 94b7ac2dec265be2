//! What can be had of a definitions database that may be damaged.
//!
//! Invariant: the database itself is never opened here, because the engine writes into what it opens, and most of all into what is
//! damaged. It works on copies.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::folder::{copy_folder, fine_when_absent, fresh_folder};
use crate::data_dir::DataDir;
use crate::database::{Database, SLED_FILE, wait_for_end};
use crate::definition::{Change, DATABASE, DefinitionError, DefinitionStore, KeyValue, MARKER};
use crate::definition_writer::GROUP_BYTES_MAX;
use crate::digest::digest;
use crate::marker::{Found, Marker};
use crate::partial_entry::{PartialEntry, Progress};
use crate::record::{self, Entry, Manifest};
use crate::sled_definitions::SledDefinitions;

/// What a look at the definitions of a folder has found.
#[derive(Debug, Default)]
pub struct FoundDefinitions {
    /// Everything that can be read, ordered by key. When there is damage these may be less than there were, or older ones.
    pub entries: Vec<KeyValue>,
    /// What is wrong; `None`: this is exactly what was committed last.
    pub damage: Option<String>,
    /// How many there were at the last commit, when that can still be told.
    pub expected: Option<u64>,
    /// With damage: what lies in the database's file, whole by its checksum, wherever the engine has put it, in the order of the
    /// file. Most of it was replaced since, or deleted; a key may come several times.
    pub traces: Vec<KeyValue>,
}

/// Reads the definitions of a folder, whatever state they are in. Needs room for a copy in the folder, which is gone afterwards.
///
/// # Errors
/// [`DefinitionError::Io`] when files cannot be read or copied; [`DefinitionError::NewerFormat`].
pub(super) fn examine_definitions(dir: &DataDir) -> Result<FoundDefinitions, DefinitionError> {
    let scratch = dir.path().join(COPY);
    let found = examine_in(dir, &scratch);
    // Nothing hangs on it: the next look begins with removing it.
    let _ = fs::remove_dir_all(&scratch);
    found
}

/// Writes a database with these definitions below `folder`, where there is none yet.
///
/// # Errors
/// Those of the store.
pub(super) fn write_definitions(folder: &Path, entries: &[KeyValue]) -> Result<(), DefinitionError> {
    let io = |source| DefinitionError::Io { path: folder.to_owned(), source };
    let dir = DataDir::open(folder).map_err(|error| io(io::Error::other(error)))?;
    let mut store = SledDefinitions::open(&dir)?;
    let mut group = Vec::new();
    let mut octets = 0;
    for (key, value) in entries {
        octets += key.len() + value.len();
        group.push(Change::Put { key: key.clone(), value: value.clone() });
        if octets >= GROUP_BYTES_MAX {
            store.commit(&std::mem::take(&mut group))?;
            octets = 0;
        }
    }
    store.commit(&group)?;
    drop(store);
    wait_for_end(folder).map_err(io)
}

/// Below the data folder; the name tells that it may be removed.
const COPY: &str = "check.tmp";

fn examine_in(dir: &DataDir, scratch: &Path) -> Result<FoundDefinitions, DefinitionError> {
    let io = |source| DefinitionError::Io { path: dir.path().to_owned(), source };
    let expected = match Marker::find(dir.path()).map_err(io)? {
        Found::Marker(marker) => Some(*marker.manifest()).filter(|manifest| manifest.generation > 0),
        Found::Nothing | Found::Damaged => None,
    };
    let expected = expected.map(|manifest| manifest.set.count);
    copy_definitions(dir.path(), scratch).map_err(io)?;
    let copy = DataDir::open(scratch).map_err(|error| io(io::Error::other(error)))?;
    let opened = SledDefinitions::open(&copy).and_then(|mut store| store.load());
    let damage = match opened {
        Ok(entries) => {
            wait_for_end(scratch).map_err(io)?;
            return Ok(FoundDefinitions { entries, damage: None, expected, traces: Vec::new() });
        }
        Err(DefinitionError::Damaged { expected, found, .. }) => {
            format!("expected {expected}, found {found}")
        }
        Err(error) => return Err(error),
    };
    // The engine may have thrown away in its copy what it could not read.
    wait_for_end(scratch).map_err(io)?;
    drop(copy);
    copy_definitions(dir.path(), scratch).map_err(io)?;
    let entries = readable(scratch);
    wait_for_end(scratch).map_err(io)?;
    let traces = match fs::read(dir.path().join(DATABASE).join(SLED_FILE)) {
        Ok(octets) => traces(&octets),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io(error)),
    };
    Ok(FoundDefinitions { entries, damage: Some(damage), expected, traces })
}

/// Every definition all records of which can be read; there is no other order in what is damaged than that.
fn readable(folder: &Path) -> Vec<KeyValue> {
    let mut pieces: BTreeMap<(u128, u8), Vec<u8>> = BTreeMap::new();
    // From both ends, because the engine may end, or panic, at the first page that it cannot read.
    for backward in [false, true] {
        let read = AssertUnwindSafe(|| -> Result<(), DefinitionError> {
            let database = Database::open(folder, Manifest::default())?;
            let records = database.records()?;
            let records: Box<dyn Iterator<Item = _>> =
                if backward { Box::new(records.rev()) } else { Box::new(records) };
            for item in records {
                let (key, record) = item?;
                if let Some(at) = record::parse_piece_key(&key)
                    && let Ok(body) = record::unseal(&key, &record)
                {
                    pieces.insert(at, body.to_vec());
                }
            }
            Ok(())
        });
        // What was read before it ended is what there is.
        if matches!(catch_unwind(read), Ok(Ok(()))) {
            break;
        }
    }
    let mut entries = Vec::new();
    let mut open: Option<PartialEntry> = None;
    for ((hash, number), body) in pieces {
        let partial = match open.take() {
            Some(partial) if partial.hash == hash => partial,
            _ => PartialEntry::new(hash, &body),
        };
        match partial.extend(number, &body) {
            Progress::More(partial) => open = Some(partial),
            Progress::Whole(entry) => entries.push((entry.key().to_vec(), entry.value().to_vec())),
            Progress::Wrong => {}
        }
    }
    entries.sort_unstable();
    entries
}

/// Finds sealed records without the engine: the first record of a definition holds the definition's key, and so tells its own, which
/// its checksum covers. Definitions of more than one record are not found.
fn traces(octets: &[u8]) -> Vec<KeyValue> {
    let mut found = Vec::new();
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|&octet| octet == record::VERSION) {
        rest = &rest[at..];
        match trace(rest) {
            Some((entry, length)) => {
                found.push(entry);
                rest = &rest[length..];
            }
            None => rest = &rest[1..],
        }
    }
    found
}

/// The definition whose only record begins here, and the length of that.
fn trace(octets: &[u8]) -> Option<(KeyValue, usize)> {
    let body = octets.get(record::SEAL_LEN..)?;
    let length = record::single_piece_octets(body)?;
    let entry = Entry::from_bytes(body.get(..length)?.to_vec())?;
    let sealed = octets.get(..record::SEAL_LEN + length)?;
    record::unseal(&record::piece_key(digest(entry.key()), 0), sealed).ok()?;
    Some(((entry.key().to_vec(), entry.value().to_vec()), sealed.len()))
}

fn copy_definitions(from: &Path, to: &Path) -> io::Result<()> {
    fresh_folder(to)?;
    fine_when_absent(fs::copy(from.join(MARKER), to.join(MARKER)).map(drop))?;
    fine_when_absent(copy_folder(&from.join(DATABASE), &to.join(DATABASE)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const COUNT: u32 = 400;

    fn put(number: u32) -> Change {
        Change::Put { key: format!("queue/{number:04}").into(), value: number.to_be_bytes().repeat(60) }
    }

    fn filled(path: &Path) -> Vec<KeyValue> {
        let dir = DataDir::open(path).unwrap();
        let mut store = SledDefinitions::open(&dir).unwrap();
        // A batch is all or nothing for the engine too.
        for group in (0..COUNT).collect::<Vec<_>>().chunks(20) {
            store.commit(&group.iter().copied().map(put).collect::<Vec<_>>()).unwrap();
        }
        let entries = store.load().unwrap();
        drop(store);
        wait_for_end(path).unwrap();
        entries
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_whole_is_found_and_left_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let entries = filled(temp.path());
        let database = || fs::read(temp.path().join("definitions/db")).unwrap();
        let (before, listed) = (database(), names(temp.path()));
        let dir = DataDir::open_existing(temp.path()).unwrap();
        let found = examine_definitions(&dir).unwrap();
        assert_eq!((found.damage, found.expected), (None, Some(COUNT.into())));
        assert!(found.entries == entries);
        assert!(database() == before);
        assert_eq!(names(temp.path()), listed);
    }

    #[test]
    fn a_folder_that_never_had_any_is_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let found = examine_definitions(&dir).unwrap();
        assert_eq!((found.damage, found.expected, found.entries.len()), (None, None, 0));
        assert_eq!(names(temp.path()), ["format", "warrenmq.lock"]);
    }

    #[test]
    fn of_what_is_damaged_nothing_is_invented_and_the_rest_can_be_put_back() {
        type Injury = Box<dyn Fn(&mut Vec<u8>)>;
        let mut injuries: Vec<(String, Injury)> = vec![("nothing left".into(), Box::new(Vec::clear))];
        for part in 0..12 {
            injuries.push((
                format!("cut at {part} of 12"),
                Box::new(move |octets| octets.truncate(octets.len() * part / 12)),
            ));
            injuries.push((
                format!("a sector of zeros at {part} of 12"),
                Box::new(move |octets| {
                    let at = octets.len() * part / 12;
                    let end = octets.len().min(at + 512);
                    octets[at..end].fill(0);
                }),
            ));
        }
        let temp = tempfile::tempdir().unwrap();
        let entries = filled(&temp.path().join("whole"));
        for (name, injure) in injuries {
            let path = temp.path().join("hurt");
            copy_folder(&temp.path().join("whole"), &path).unwrap();
            let mut octets = fs::read(path.join("definitions/db")).unwrap();
            injure(&mut octets);
            fs::write(path.join("definitions/db"), &octets).unwrap();

            let dir = DataDir::open_existing(&path).unwrap();
            let found = examine_definitions(&dir).unwrap();
            assert!(found.damage.is_some() || found.entries == entries, "{name}");
            assert_eq!(found.expected, Some(COUNT.into()), "{name}");
            assert!(found.entries.iter().all(|entry| entries.contains(entry)), "{name}");
            assert!(found.traces.iter().all(|entry| entries.contains(entry)), "{name}");
            let traced: BTreeSet<_> = found.traces.iter().collect();
            println!("{name}: {} of {COUNT} are left, traces of {}", found.entries.len(), traced.len());

            let anew = temp.path().join("anew");
            fs::create_dir(&anew).unwrap();
            write_definitions(&anew, &found.entries).unwrap();
            let written = DataDir::open_existing(&anew).unwrap();
            assert!(SledDefinitions::open(&written).unwrap().load().unwrap() == found.entries, "{name}");
            wait_for_end(&anew).unwrap();
            drop((dir, written));
            fs::remove_dir_all(&path).unwrap();
            fs::remove_dir_all(&anew).unwrap();
        }
    }

    #[test]
    fn a_lost_marker_is_damage_that_loses_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let entries = filled(temp.path());
        fs::remove_file(temp.path().join(MARKER)).unwrap();
        let dir = DataDir::open_existing(temp.path()).unwrap();
        let found = examine_definitions(&dir).unwrap();
        assert!(found.damage.is_some_and(|text| text.contains("found none")));
        assert!(found.entries == entries);
    }
}
