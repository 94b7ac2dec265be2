//! Segment files that are cut, flipped or full of something else: a block is what was written, or there is an error.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{Block, BlockRange, FolderDisk, SegmentOptions, Segments, StoreError};

const QUEUE: u64 = 0x2a;
/// Octets of a seal.
const SEAL: usize = 52;

struct Folder {
    temp: tempfile::TempDir,
    blocks: Vec<Block>,
}

impl Folder {
    /// A queue with one file of three blocks; where a sync is asked for, it happens after that many of them.
    fn new(synced_after: Option<usize>) -> Folder {
        let temp = tempfile::tempdir().unwrap();
        let blocks: Vec<Block> = (0..3).map(block).collect();
        let segments = segments(temp.path());
        for (index, block) in blocks.iter().enumerate() {
            segments.write(QUEUE, block).unwrap();
            if synced_after == Some(index + 1) {
                segments.sync().unwrap();
            }
        }
        Folder { temp, blocks }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.temp.path().join(format!("queues/{QUEUE:016x}/{number:08x}.seg"))
    }

    fn octets(&self) -> Vec<u8> {
        fs::read(self.path(1)).unwrap()
    }

    /// How many blocks a start finds with these octets in the file, and whether all of them can be read. What it
    /// finds is what was written.
    fn found(&self, octets: &[u8]) -> Result<(usize, bool), StoreError> {
        fs::write(self.path(1), octets).unwrap();
        let segments = segments(self.temp.path());
        let found = segments.scan(QUEUE)?;
        let mut all_read = true;
        for (index, found) in found.iter().enumerate() {
            let block = &self.blocks[index];
            assert_eq!((found.level, &found.ranges), (block.level, &block.ranges));
            match segments.read(QUEUE, found.place) {
                Ok(read) => assert_eq!(&read, block),
                Err(error) => {
                    assert_is_damage(&error, found.place.offset.into());
                    all_read = false;
                }
            }
        }
        Ok((found.len(), all_read))
    }
}

fn block(index: u64) -> Block {
    let ranges = (0..3).map(|number| BlockRange {
        first: 5000 + index * 1000 + number * 20,
        count: 5 + number as u32,
        transient: number == 1,
        arrived: 1_700_000_000_000 + number,
    });
    let body = Bytes::from(vec![index as u8; 40]);
    Block { level: index as u8, ranges: ranges.collect(), body: vec![body] }
}

fn segments(folder: &Path) -> Segments {
    Segments::open(Arc::new(FolderDisk::new(folder)), SegmentOptions::default()).unwrap()
}

fn assert_is_damage(error: &StoreError, at: u64) {
    let StoreError::Damaged { path, offset, .. } = error else { panic!("{error}") };
    assert_eq!((path.as_str(), *offset), ("queues/000000000000002a/00000001.seg", at), "{error}");
    assert!(error.to_string().contains("warrenmq ctl store salvage DIR"), "{error}");
}

/// Calls with each octet of `octets` changed: in all bits, in the lowest and in the highest.
fn for_each_flip(octets: &[u8], mut call: impl FnMut(usize, &[u8])) {
    let mut changed = octets.to_vec();
    for at in 0..octets.len() {
        for mask in [0xff, 1, 0x80] {
            changed[at] ^= mask;
            call(at, &changed);
            changed[at] ^= mask;
        }
    }
}

#[test]
fn an_octet_that_changes_behind_a_seal_is_a_torn_tail() {
    let folder = Folder::new(None);
    let octets = folder.octets();
    let each = (octets.len() - 32) / 3;
    for_each_flip(&octets, |at, changed| {
        let whole = at.checked_sub(32).map_or(0, |at| at / each);
        assert_eq!(folder.found(changed).unwrap(), (whole, true), "octet {at}");
    });
    for octets_left in 0..octets.len() {
        let whole = octets_left.saturating_sub(32) / each;
        let found = folder.found(&octets[..octets_left]).unwrap();
        assert_eq!(found, (whole, true), "{octets_left} octets");
    }
}

#[test]
fn an_octet_that_changes_before_a_seal_is_damage() {
    let folder = Folder::new(Some(3));
    let octets = folder.octets();
    let each = (octets.len() - 32 - SEAL) / 3;
    for_each_flip(&octets, |at, changed| match folder.found(changed) {
        // The header of the file, or that of a block.
        Err(error) => {
            assert!(at < octets.len() - SEAL, "octet {at}");
            let offset = at.checked_sub(32).map_or(0, |at| at / each * each + 32);
            assert_is_damage(&error, offset as u64);
        }
        // A body, or the seal.
        Ok((found, all_read)) => {
            assert_eq!((found, all_read), (3, at >= octets.len() - SEAL), "octet {at}");
        }
    });
}

#[test]
fn what_was_synced_before_it_makes_a_later_block_damage_and_not_a_tail() {
    // The second block says that the first was synced: as good as a seal for the first.
    let folder = Folder::new(Some(1));
    let octets = folder.octets();
    for_each_flip(&octets, |at, changed| match folder.found(changed) {
        Err(error) => {
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            assert!(at < octets.len() / 3 + 32, "octet {at}");
        }
        Ok((found, all_read)) => assert!(found > 0 && (all_read || at < octets.len() / 3 + 32), "octet {at}"),
    });
}

#[test]
fn something_else_in_a_file_is_cut_or_refused_and_never_read() {
    let folder = Folder::new(Some(3));
    let octets = folder.octets();
    // What another file of the queue held.
    let next_process = segments(folder.temp.path());
    let place = next_process.write(QUEUE, &block(7)).unwrap();
    next_process.sync().unwrap();
    let other = fs::read(folder.path(place.segment)).unwrap();
    next_process.release(QUEUE, place).unwrap();
    let mut with_tail = octets.clone();
    with_tail.extend_from_slice(&other[32..]);
    with_tail.extend_from_slice(&octets[32..]);
    // (octets, blocks found)
    let tails: Vec<(Vec<u8>, usize)> = vec![
        (vec![], 0),
        (vec![0; 5000], 0),
        (vec![0xff; 5000], 0),
        (b"WMQS".repeat(100), 0),
        ([&octets[..], &[0; 200_000]].concat(), 3),
        ([&octets[..], &[0xff; 200_000]].concat(), 3),
        (with_tail, 3),
        (other.clone(), 0),
    ];
    for (octets, blocks) in tails {
        assert_eq!(folder.found(&octets).unwrap(), (blocks, true), "{} octets", octets.len());
    }
    // Whatever is missing at the beginning, what was synced behind it is not forgotten.
    for lost in [5, 32, 40, 100, other.len()] {
        let octets = [&vec![0; lost], &octets[lost..]].concat();
        assert_is_damage(&folder.found(&octets).unwrap_err(), 0);
        let octets = [&other[..lost], &octets[lost..]].concat();
        assert!(lost == 5 || folder.found(&octets).is_err());
    }
}

#[test]
fn the_file_of_a_newer_program_is_refused() {
    let folder = Folder::new(None);
    let mut octets = folder.octets();
    octets[4] = 2;
    let crc = crc32fast::hash(&octets[..28]);
    octets[28..32].copy_from_slice(&crc.to_le_bytes());
    let error = folder.found(&octets).unwrap_err();
    assert!(matches!(error, StoreError::Newer { format: 2, newest: 1, .. }), "{error}");
}

#[test]
fn what_holds_nothing_goes_with_the_next_sync() {
    let folder = Folder::new(None);
    let octets = folder.octets();
    // (octets of the file, how long it is then, or that it is not there)
    let each = (octets.len() - 32) / 3;
    let cases = [(0, None), (20, None), (40, None), (32 + each + 7, Some(32 + each + SEAL))];
    for (left, then) in cases {
        fs::create_dir_all(folder.path(1).parent().unwrap()).unwrap();
        fs::write(folder.path(1), &octets[..left]).unwrap();
        let segments = segments(folder.temp.path());
        segments.scan(QUEUE).unwrap();
        segments.sync().unwrap();
        let length = fs::metadata(folder.path(1)).ok().map(|metadata| metadata.len());
        assert_eq!(length, then.map(|octets| octets as u64), "{left} octets");
        assert_eq!(segments.queues().unwrap().len(), usize::from(then.is_some()));
        segments.delete_queue(QUEUE).unwrap();
    }
    fs::create_dir_all(folder.path(1).parent().unwrap()).unwrap();
    let segments = segments(folder.temp.path());
    assert_eq!(segments.scan(QUEUE).unwrap(), []);
    segments.sync().unwrap();
    assert!(segments.queues().unwrap().is_empty());
}
