//! Damaged data folders: what `examine` says of them, and what a salvage keeps. Whatever was hit, everything else is there
//! afterwards, nothing is invented, and the folder opens.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{
    Block, BlockRange, Change, DataDir, DataDirError, DefinitionStore, Disk, Entry, Examination, FolderDisk,
    Journal, JournalOptions, Note, Salvage, Scan, SegmentOptions, Segments, SledDefinitions, Step, examine,
    scan,
};

const QUEUES: u64 = 3;
/// Of the journal; each holds two messages for each queue.
const RECORDS: u64 = 120;
/// Of each queue.
const BLOCKS: u64 = 40;

/// Messages by queue and first position: what a broker would find.
type Found = BTreeMap<(u64, u64), Bytes>;

fn body(number: u64) -> Bytes {
    let length = 100 + (number * 37 % 3000) as usize;
    (0..length).map(|at| (number as usize * 31 + at * 7) as u8).collect::<Vec<u8>>().into()
}

/// A folder with definitions, a journal of several files and segments of several files.
fn fill(path: &Path) {
    let dir = DataDir::open(path).unwrap();
    let mut definitions = SledDefinitions::open(&dir).unwrap();
    definitions.commit(&[Change::Put { key: b"key".to_vec(), value: b"value".to_vec() }]).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::new(path));
    let options =
        JournalOptions { file_octets: 64 << 10, group_octets: 8 << 10, ..JournalOptions::default() };
    let journal = Journal::begin(Arc::clone(&disk), options, &Scan::default()).unwrap();
    for number in 0..RECORDS {
        let queues = (1..=QUEUES).map(|queue| (queue, number * 2)).collect();
        let publish = Entry::Publish { queues, count: 2, arrived: number, records: body(number) };
        let note = Note { first: number, last: number, value: number + 1, time: number * 3 };
        let entries = vec![
            publish,
            Entry::Settle { queue: 1, ranges: vec![(number, number)] },
            Entry::Note { queue: 2, notes: vec![note] },
        ];
        journal.append(entries, true);
        if number % 5 == 0 {
            journal.step(0).unwrap();
        }
    }
    journal.append(vec![Entry::Delivered { queue: 1, below: 7 }], true);
    journal.close();
    while journal.step(0).unwrap() != Step::Closed {}
    let options = SegmentOptions { file_octets: 16 << 10, ..SegmentOptions::default() };
    let segments = Segments::open(disk, options).unwrap();
    for number in 0..BLOCKS {
        for queue in 1..=QUEUES {
            let range = BlockRange { first: number * 10, count: 10, transient: false, arrived: number };
            let block = Block { level: 0, ranges: vec![range], body: vec![body(number + queue)] };
            segments.write(queue, &block).unwrap();
        }
        segments.sync().unwrap();
    }
}

fn journal_of(path: &Path) -> Found {
    let scan = scan(&FolderDisk::new(path)).unwrap();
    let mut found = Found::new();
    for published in &scan.publishes {
        let body = scan.read(published).unwrap();
        for &(queue, first) in published.queues.iter() {
            assert!(found.insert((queue, first), body.clone()).is_none(), "twice");
        }
    }
    // What was noted goes with what it was noted of.
    let noted = scan.notes[&2].iter().map(|note| (note.first, note.value, note.time));
    let published = found.keys().filter(|(queue, _)| *queue == 2).map(|(_, first)| first / 2);
    assert!(noted.eq(published.map(|number| (number, number + 1, number * 3))));
    found
}

fn segments_of(path: &Path) -> Found {
    let segments = Segments::open(Arc::new(FolderDisk::new(path)), SegmentOptions::default()).unwrap();
    let mut found = Found::new();
    for queue in segments.queues().unwrap() {
        for place in segments.scan(queue).unwrap() {
            let block = segments.read(queue, place.place).unwrap();
            assert!(found.insert((queue, block.ranges[0].first), block.body[0].clone()).is_none(), "twice");
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn look(dir: &DataDir) -> Examination {
    examine(dir, &mut |_| {}).unwrap()
}

/// Salvages what is damaged, as the command does, and says where the old is.
fn salvage(dir: &DataDir) -> PathBuf {
    let salvage = Salvage::begin(dir, 1_000).unwrap();
    let found = look(dir);
    if !found.journal.damage.is_empty() {
        salvage.journal(&found.journal).unwrap();
    }
    if !found.segments.damage.is_empty() {
        salvage.segments(&found.segments).unwrap();
    }
    let aside = salvage.aside().to_owned();
    salvage.finish().unwrap();
    aside
}

/// Below `folder`, in their order.
fn files(path: &Path, folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(path.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn hurt(file: &Path, injure: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = fs::read(file).unwrap();
    injure(&mut octets);
    fs::write(file, octets).unwrap();
}

/// What is whole has to be the same, octet by octet, and no more than `lost` may be missing.
fn check_kept(name: &str, before: &Found, after: &Found, lost: usize) {
    assert!(after.iter().all(|(at, body)| before.get(at) == Some(body)), "{name}: something is invented");
    let missing = before.len() - after.len();
    assert!(missing <= lost, "{name}: {missing} of {} are lost", before.len());
}

#[test]
fn a_whole_folder_is_said_to_be_whole_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    let dir = DataDir::open_existing(temp.path()).unwrap();
    let mut read = 0;
    let found = examine(&dir, &mut |octets| read += octets).unwrap();
    assert!(!found.is_damaged());
    assert_eq!(found.definitions.entries.len(), 1);
    assert!(found.journal.files > 2 && found.segments.files > QUEUES as usize * 2);
    // The last record says what was never delivered.
    assert_eq!((found.journal.records, found.journal.messages), (RECORDS + 1, RECORDS * 2));
    assert_eq!((found.segments.blocks, found.segments.messages), (BLOCKS * QUEUES, BLOCKS * QUEUES * 10));
    assert_eq!((found.journal.missing, found.journal.torn, found.segments.torn), (0, None, 0));
    assert_eq!(found.journal.queues.len(), QUEUES as usize);
    assert_eq!(found.segments.queues.len(), QUEUES as usize);
    assert_eq!(read, found.journal.octets + found.segments.octets);
}

#[test]
fn of_a_damaged_journal_every_whole_record_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    fill(&whole);
    let before = journal_of(&whole);
    let count = files(&whole, "journal").len();
    type Injury = Box<dyn Fn(&mut Vec<u8>)>;
    // (name, file from the end, injury, messages that may be lost)
    let mut cases: Vec<(String, usize, Injury, usize)> = Vec::new();
    for (at, from_end) in [(70, 2), (3_000, 2), (9_999, count), (20_001, count), (30_000, 3)] {
        cases.push((format!("bit at {at}"), from_end, Box::new(move |octets| octets[at] ^= 4), 3));
    }
    for at in [512, 4_096, 20_480] {
        let zero = move |octets: &mut Vec<u8>| octets[at..at + 512].fill(0);
        cases.push((format!("sector of zeros at {at}"), 2, Box::new(zero), 6 * 3));
    }
    cases.push(("bit in a header".into(), 2, Box::new(|octets| octets[20] ^= 1), 0));
    cases.push(("no first sector".into(), 2, Box::new(|octets| octets[..512].fill(0)), 6 * 3));
    cases.push(("half a file".into(), 2, Box::new(|octets| octets.truncate(octets.len() / 2)), 60 * 3));
    cases.push(("an empty file".into(), 2, Box::new(Vec::clear), 60 * 3));
    for (name, from_end, injure, lost) in cases {
        let path = temp.path().join("hurt");
        copy(&whole, &path);
        let file = &files(&path, "journal")[count - from_end];
        hurt(file, injure);
        let injured = fs::read(file).unwrap();
        let dir = DataDir::open_existing(&path).unwrap();
        let found = look(&dir);
        assert!(found.is_damaged(), "{name}");
        let damage = &found.journal.damage[0];
        println!("{name}: {damage}; {} kept, {} missing", found.journal.records, found.journal.missing);
        assert!(path.join(&damage.path).exists(), "{name}: {damage}");
        assert!(scan(&FolderDisk::new(&path)).is_err(), "{name}");

        let aside = salvage(&dir);
        assert!(!look(&dir).is_damaged(), "{name}");
        check_kept(&name, &before, &journal_of(&path), lost);
        assert!(scan(&FolderDisk::new(&path)).unwrap().delivered.is_empty(), "{name}");
        let kept = aside.join("journal").join(file.file_name().unwrap());
        assert!(fs::read(kept).unwrap() == injured, "{name}: the old file is kept as it was");
        assert_eq!(segments_of(&path).len(), (BLOCKS * QUEUES) as usize, "{name}");
        drop(dir);
        DataDir::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn of_damaged_segments_every_whole_block_is_kept() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    fill(&whole);
    let before = segments_of(&whole);
    let queue = "queues/0000000000000002";
    let first = fs::read(&files(&whole, queue)[0]).unwrap();
    type Injury = Box<dyn Fn(&mut Vec<u8>)>;
    let whole_files = files(&whole, queue).len();
    // (name, injury to the first file, blocks that may be lost)
    let mut cases: Vec<(String, Injury, usize)> = Vec::new();
    for at in (40..first.len()).step_by(1_111) {
        cases.push((format!("bit at {at}"), Box::new(move |octets| octets[at] ^= 4), 1));
    }
    for at in [512, 4_096] {
        let zero = move |octets: &mut Vec<u8>| octets[at..at + 512].fill(0);
        cases.push((format!("sector of zeros at {at}"), Box::new(zero), 4));
    }
    cases.push(("bit in the header".into(), Box::new(|octets| octets[9] ^= 1), 0));
    cases.push(("no first sector".into(), Box::new(|octets| octets[..512].fill(0)), 4));
    for (name, injure, lost) in cases {
        let path = temp.path().join("hurt");
        copy(&whole, &path);
        let file = &files(&path, queue)[0];
        hurt(file, injure);
        let injured = fs::read(file).unwrap();
        let dir = DataDir::open_existing(&path).unwrap();
        let found = look(&dir);
        println!("{name}: {:?}", found.segments.damage);
        assert!(found.is_damaged(), "{name}");
        let aside = salvage(&dir);
        assert!(!look(&dir).is_damaged(), "{name}");
        check_kept(&name, &before, &segments_of(&path), lost);
        let kept = aside.join(queue).join(file.file_name().unwrap());
        assert!(fs::read(kept).unwrap() == injured, "{name}: the old file is kept as it was");
        assert_eq!(files(&aside, queue).len(), 1, "{name}: other files stay where they are");
        assert_eq!(files(&path, queue).len(), whole_files, "{name}: with the numbers they had");
        assert_eq!(journal_of(&path).len(), (RECORDS * QUEUES) as usize, "{name}");
        drop(dir);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_torn_tail_is_no_damage() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    // The last record that there is: nothing behind it says that it was whole.
    let last = files(temp.path(), "journal").pop().unwrap();
    hurt(&last, |octets| {
        let end = octets.iter().rposition(|octet| *octet != 0).unwrap();
        octets[end] ^= 1;
    });
    let dir = DataDir::open_existing(temp.path()).unwrap();
    let found = look(&dir);
    assert!(!found.is_damaged(), "{:?}", found.journal.damage);
    assert_eq!(found.journal.records, RECORDS);
    assert!(found.journal.torn.is_some());
}

#[test]
fn messages_without_a_definition_are_kept_twice() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    let dir = DataDir::open_existing(temp.path()).unwrap();
    let salvage = Salvage::begin(&dir, 5).unwrap();
    hurt(&files(temp.path(), "queues/0000000000000002")[1], |octets| octets[40] ^= 1);
    hurt(&files(temp.path(), "journal")[0], |octets| octets[90] ^= 1);
    let found = look(&dir);
    salvage.definitions(&[(b"other".to_vec(), b"value".to_vec())]).unwrap();
    salvage.journal(&found.journal).unwrap();
    salvage.segments(&found.segments).unwrap();
    salvage.keep_messages([2]).unwrap();
    let aside = salvage.aside().to_owned();
    assert!(matches!(DataDir::open(temp.path()), Err(DataDirError::InUse { .. })));
    salvage.finish().unwrap();
    // As they were, with the damage.
    assert_eq!(files(&aside, "journal").len(), found.journal.files);
    assert!(scan(&FolderDisk::new(&aside)).is_err());
    let queue = "queues/0000000000000002";
    assert_eq!(files(&aside, queue).len(), files(temp.path(), queue).len());
    assert!(!aside.join("queues/0000000000000001").exists());
    let found = look(&dir);
    assert!(!found.is_damaged());
    assert_eq!(found.definitions.entries, [(b"other".to_vec(), b"value".to_vec())]);
    assert!(aside.join("definitions/db").exists() && aside.join("definitions.marker").exists());
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit.max(1) as u64) as usize
    }
}

/// One of the things that happen to disks.
fn injure(octets: &mut Vec<u8>, numbers: &mut Numbers) {
    let length = octets.len();
    let sector = |numbers: &mut Numbers| {
        let from = numbers.below(length / 512 + 1) * 512;
        from.min(length)..(from + 512).min(length)
    };
    match numbers.below(6) {
        0 if length > 0 => octets[numbers.below(length)] ^= 1 << numbers.below(8),
        1 => octets[sector(numbers)].fill(0),
        2 => {
            for at in sector(numbers) {
                octets[at] = numbers.below(256) as u8;
            }
        }
        3 => {
            // What belongs elsewhere.
            let from = octets[sector(numbers)].to_vec();
            let to = sector(numbers);
            let count = from.len().min(to.len());
            octets[to.start..to.start + count].copy_from_slice(&from[..count]);
        }
        4 => octets.truncate(numbers.below(length)),
        _ => octets.extend_from_within(sector(numbers)),
    }
}

#[test]
fn of_any_damage_what_is_left_is_what_was_there() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    fill(&whole);
    let (journal, segments) = (journal_of(&whole), segments_of(&whole));
    let mut salvaged = 0;
    for seed in 0..40 {
        let mut numbers = Numbers(seed);
        let path = temp.path().join("hurt");
        copy(&whole, &path);
        for _ in 0..1 + numbers.below(3) {
            let folder = ["journal", "queues/0000000000000001", "queues/0000000000000003"][numbers.below(3)];
            let files = files(&path, folder);
            hurt(&files[numbers.below(files.len())], |octets| injure(octets, &mut numbers));
        }
        let dir = DataDir::open_existing(&path).unwrap();
        let found = look(&dir);
        if scan(&FolderDisk::new(&path)).is_err() {
            assert!(!found.journal.damage.is_empty(), "seed {seed}: the start is refused");
        }
        if found.is_damaged() {
            salvaged += 1;
            salvage(&dir);
            let again = look(&dir);
            assert!(!again.is_damaged(), "seed {seed}: {:?}", (again.journal.damage, again.segments.damage));
            let messages = (found.journal.messages, found.segments.messages);
            assert_eq!((again.journal.messages, again.segments.messages), messages, "seed {seed}");
        }
        let name = format!("seed {seed}");
        check_kept(&name, &journal, &journal_of(&path), journal.len());
        check_kept(&name, &segments, &segments_of(&path), segments.len());
        drop(dir);
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(salvaged > 20, "{salvaged} of 40 show little");
}
