//! Blocks of messages in the segments of queues: what is written is read, what is released is gone, and what a file
//! may hold after a crash or damage never becomes another message.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{Block, BlockRange, FolderDisk, Found, Place, SegmentOptions, Segments};

fn segments(folder: &Path, file_octets: u64, open_files_max: usize) -> Segments {
    let options = SegmentOptions { file_octets, open_files_max };
    Segments::open(Arc::new(FolderDisk::new(folder)), options).unwrap()
}

/// A block of one range from `first` on, with a body that depends on `first`.
fn block(first: u64, octets: usize, transient: bool) -> Block {
    let body: Vec<u8> = (0..octets).map(|index| (first as usize * 31 + index) as u8).collect();
    let range = BlockRange { first, count: 10, transient, arrived: 1_700_000_000_000 + first };
    let body = Bytes::from(body);
    let half = body.len() / 2;
    Block { level: 3, ranges: vec![range], body: vec![body.slice(..half), body.slice(half..)] }
}

fn one_piece(mut block: Block) -> Block {
    block.body = vec![Bytes::from(block.body.concat())];
    block
}

/// The names in a queue's folder, with their lengths.
fn files(folder: &Path, queue: u64) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(folder.join(format!("queues/{queue:016x}"))) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}

#[test]
fn blocks_are_found_and_read_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..10).map(|index| block(index * 10, 300, index % 3 == 0)).collect();
    let first = segments(folder.path(), 1000, 4);
    let places: Vec<Place> = blocks.iter().map(|block| first.write(5, block).unwrap()).collect();
    first.sync().unwrap();
    assert_eq!(first.queues().unwrap(), [5]);
    for again in [&first, &segments(folder.path(), 1000, 4)] {
        let found = again.scan(5).unwrap();
        assert_eq!(found.len(), blocks.len());
        for ((block, place), found) in blocks.iter().zip(&places).zip(found) {
            let Found { level, ranges, octets, .. } = found;
            assert_eq!((found.place, level, &ranges, octets), (*place, 3, &block.ranges, 300));
            assert_eq!(again.read(5, *place).unwrap(), one_piece(block.clone()));
        }
        assert_eq!(again.octets(), files(folder.path(), 5).iter().map(|file| file.1).sum::<u64>());
    }
}
