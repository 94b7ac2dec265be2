//! Blocks of messages in the segments of queues: what is written is read, by whoever and whenever; what is released is
//! gone, with its file and its folder.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use proptest::prelude::*;
use warrenmq_store::{Block, BlockRange, Found, Place, SegmentOptions, Segments, StoreError};
use warrenmq_testkit::disk::{Crash, Operation, SimDisk};

/// The number of the first file of the second process.
const NEXT_PROCESS: u32 = 4097;

fn segments(disk: &SimDisk, file_octets: u64, open_files_max: usize) -> Segments {
    let options = SegmentOptions { file_octets, open_files_max };
    Segments::open(Arc::new(disk.clone()), options).unwrap()
}

/// A block of ten messages from `first` on, in two pieces that follow from `first`.
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

/// The segment files of all queues.
fn files(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".seg")).collect()
}

#[test]
fn blocks_are_found_and_read_by_the_next_process() {
    let disk = SimDisk::new();
    let blocks: Vec<Block> = (0..10).map(|index| block(index * 10, 300, index % 3 == 0)).collect();
    let first = segments(&disk, 1000, 4);
    let places: Vec<Place> = blocks.iter().map(|block| first.write(5, block).unwrap()).collect();
    first.sync().unwrap();
    assert_eq!(first.queues().unwrap(), [5]);
    for again in [&first, &segments(&disk, 1000, 4)] {
        let found = again.scan(5).unwrap();
        assert_eq!(found.len(), blocks.len());
        for ((block, place), found) in blocks.iter().zip(&places).zip(found) {
            let Found { level, ranges, octets, .. } = found;
            assert_eq!((found.place, level, &ranges, octets), (*place, 3, &block.ranges, 300));
            assert_eq!(again.read(5, *place).unwrap(), one_piece(block.clone()));
        }
        assert_eq!(again.octets(), disk.files().iter().map(|file| file.1).sum::<u64>());
    }
}

#[test]
fn a_file_goes_with_its_last_block_and_the_folder_with_its_last_file() {
    let disk = SimDisk::new();
    let segments = segments(&disk, 1000, 4);
    let places: Vec<Place> =
        (0..6).map(|index| segments.write(7, &block(index * 10, 300, false)).unwrap()).collect();
    assert_eq!(places.iter().map(|place| place.segment).collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3]);
    // (released, the numbers that are left)
    let steps: &[(usize, &[u32])] =
        &[(3, &[1, 2, 3]), (2, &[1, 3]), (4, &[1, 3]), (0, &[1, 3]), (5, &[1]), (1, &[])];
    for (index, left) in steps {
        segments.release(7, places[*index]).unwrap();
        let paths: Vec<String> =
            left.iter().map(|number| format!("queues/0000000000000007/{number:08x}.seg")).collect();
        assert_eq!(files(&disk), paths, "after {index}");
    }
    assert_eq!((segments.queues().unwrap(), segments.octets(), disk.open_files()), (vec![], 0, 0));
    // Nothing is found where something else was.
    let place = segments.write(7, &block(0, 300, false)).unwrap();
    assert_eq!(place.segment, 4);
    segments.delete_queue(7).unwrap();
    segments.delete_queue(7).unwrap();
    assert_eq!((segments.queues().unwrap(), segments.octets(), disk.open_files()), (vec![], 0, 0));
    segments.sync().unwrap();
    segments.release(7, place).unwrap();
    assert!(matches!(segments.read(7, place), Err(StoreError::Io { .. })));
}

#[test]
fn the_next_process_begins_a_new_file_and_releases_what_it_found() {
    let disk = SimDisk::new();
    segments(&disk, 4 << 20, 4).write(1, &block(0, 300, false)).unwrap();
    for scans in [true, false] {
        let disk = disk.crash_process();
        let again = segments(&disk, 4 << 20, 4);
        let found = if scans { again.scan(1).unwrap() } else { Vec::new() };
        // Without a scan too: what is there is not written over.
        let place = again.write(1, &block(10, 300, false)).unwrap();
        assert_eq!(place.segment, NEXT_PROCESS);
        assert_eq!(again.write(1, &block(20, 300, false)).unwrap().segment, NEXT_PROCESS);
        for Found { place, .. } in found {
            again.release(1, place).unwrap();
            assert_eq!(files(&disk), ["queues/0000000000000001/00001001.seg"]);
        }
    }
}

#[test]
fn what_a_killed_process_wrote_again_is_durable_before_the_old_file_goes() {
    let disk = SimDisk::new();
    let first = segments(&disk, 500, 4);
    let old = first.write(1, &block(0, 300, false)).unwrap();
    first.sync().unwrap();
    let new = first.write(1, &block(0, 200, false)).unwrap();
    assert_ne!(old.segment, new.segment);
    let disk = disk.crash_process();
    let next = segments(&disk, 500, 4);
    assert_eq!(next.scan(1).unwrap().len(), 2);
    next.release(1, old).unwrap();
    let found = segments(&disk.crash_with(Crash::LosesAll, 1), 500, 4).scan(1).unwrap();
    assert!(found.iter().any(|found| found.place == new), "{found:?}");
    // That is done once: what this process writes is synced by those who need it.
    let place = next.write(1, &block(10, 200, false)).unwrap();
    let syncs = disk.tried(Operation::Sync);
    next.release(1, place).unwrap();
    assert_eq!(disk.tried(Operation::Sync), syncs);
}

#[test]
fn a_block_longer_than_a_file_has_one_of_its_own() {
    let disk = SimDisk::new();
    let segments = segments(&disk, 1000, 4);
    let numbers: Vec<u32> = [100, 5000, 100, 100]
        .iter()
        .enumerate()
        .map(|(index, &octets)| segments.write(1, &block(index as u64 * 10, octets, false)).unwrap().segment)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 3]);
}

#[test]
fn open_files_are_bounded_and_a_closed_one_is_synced() {
    let disk = SimDisk::new();
    let written = segments(&disk, 4 << 20, 8);
    for round in 0..3 {
        for queue in 0..50 {
            written.write(queue, &block(round * 10, 100, false)).unwrap();
            assert!(disk.open_files() <= 8);
        }
    }
    written.sync().unwrap();
    assert!(disk.open_files() <= 8);
    assert_eq!(files(&disk).len(), 50, "a file that was closed is opened again");
    let after = segments(&disk.crash(1), 4 << 20, 8);
    for queue in 0..50 {
        assert_eq!(after.scan(queue).unwrap().len(), 3);
    }
}

#[test]
fn each_is_synced_once_and_a_start_after_a_sync_syncs_no_file() {
    let disk = SimDisk::new();
    let first = segments(&disk, 1000, 8);
    for index in 0..4 {
        first.write(1, &block(index * 10, 300, false)).unwrap();
        first.write(2, &block(index * 10, 300, true)).unwrap();
    }
    let syncs = |disk: &SimDisk| (disk.tried(Operation::Sync), disk.tried(Operation::SyncDir));
    // The first number, then two files of the first queue and its folder, the folder above and the data folder; transient ones are not.
    first.sync().unwrap();
    assert_eq!(syncs(&disk), (2, 4));
    first.sync().unwrap();
    assert_eq!(syncs(&disk), (2, 4));
    let place = first.write(1, &block(100, 300, false)).unwrap();
    first.sync().unwrap();
    assert_eq!(syncs(&disk), (3, 5), "a new file in a known folder");
    first.release(1, place).unwrap();
    first.sync().unwrap();
    assert_eq!(syncs(&disk), (3, 6), "what was removed stays removed");

    let disk = disk.crash_process();
    let again = segments(&disk, 1000, 8);
    assert_eq!((again.scan(1).unwrap().len(), again.scan(2).unwrap().len()), (4, 4));
    // Only what may have been removed last: the two folders, the one above and the data folder.
    again.sync().unwrap();
    assert_eq!(syncs(&disk), (0, 4));
}

#[test]
fn after_a_write_that_failed_others_go_on_in_a_new_file() {
    let disk = SimDisk::new();
    let segments = segments(&disk, 4 << 20, 8);
    let first = segments.write(1, &block(0, 300, false)).unwrap();
    disk.set_free(100);
    for _ in 0..3 {
        let error = segments.write(1, &block(10, 300, false)).unwrap_err();
        assert!(
            matches!(&error, StoreError::Io { doing: "writing", source, .. }
            if source.kind() == ErrorKind::StorageFull),
            "{error}"
        );
        let error = segments.write(2, &block(10, 300, false)).unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
    }
    assert_eq!(segments.queues().unwrap(), [1]);
    disk.set_free(10_000);
    let second = segments.write(1, &block(10, 300, false)).unwrap();
    assert_ne!(first.segment, second.segment);
    segments.sync().unwrap();
    let disk = disk.crash(1);
    let again = self::segments(&disk, 4 << 20, 8);
    let places: Vec<Place> = again.scan(1).unwrap().iter().map(|found| found.place).collect();
    assert_eq!(places, [first, second]);
}

#[test]
fn a_sync_that_failed_is_final() {
    for operation in [Operation::Sync, Operation::SyncDir] {
        let disk = SimDisk::new();
        let segments = segments(&disk, 4 << 20, 8);
        let place = segments.write(1, &block(0, 300, false)).unwrap();
        disk.fail_once(operation, 0);
        let error = segments.sync().unwrap_err().to_string();
        assert!(error.starts_with("syncing "), "{error}");
        assert_eq!(segments.sync().unwrap_err().to_string(), error);
        assert_eq!(segments.write(2, &block(0, 300, false)).unwrap_err().to_string(), error);
        assert_eq!(segments.read(1, place).unwrap(), one_piece(block(0, 300, false)));
    }
}

#[test]
fn a_seal_that_could_not_be_written_does_no_harm() {
    let disk = SimDisk::new();
    let first = segments(&disk, 4 << 20, 8);
    let place = first.write(1, &block(0, 300, false)).unwrap();
    disk.set_free(20);
    first.sync().unwrap();
    disk.set_free(10_000);
    let other = first.write(1, &block(10, 300, false)).unwrap();
    assert_ne!(place.segment, other.segment);
    let found = segments(&disk.crash_process(), 4 << 20, 8).scan(1).unwrap();
    assert_eq!(found.iter().map(|found| found.place).collect::<Vec<_>>(), [place, other]);
}

#[test]
fn blocks_that_cannot_be_are_refused() {
    let range = |first, count| BlockRange { first, count, transient: false, arrived: 0 };
    let cases = [
        vec![],
        vec![range(5, 0)],
        vec![range(5, 2), range(6, 1)],
        vec![range(5, 2), range(1, 1)],
        vec![range(u64::MAX - 1, 2)],
    ];
    let segments = segments(&SimDisk::new(), 4 << 20, 8);
    for ranges in cases {
        let block = Block { level: 0, ranges: ranges.clone(), body: Vec::new() };
        let error = segments.write(1, &block).unwrap_err();
        assert!(
            matches!(&error, StoreError::Io { source, .. } if source.kind() == ErrorKind::InvalidInput),
            "{ranges:?}: {error}"
        );
    }
    assert!(segments.queues().unwrap().is_empty());
}

#[test]
fn one_reads_while_another_writes_syncs_and_releases() {
    let disk = SimDisk::new();
    let segments = segments(&disk, 5_000, 2);
    let kept: Vec<(Place, Block)> = (0..20)
        .map(|index| block(index * 10, 1000, false))
        .map(|block| (segments.write(1, &block).unwrap(), one_piece(block)))
        .collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (place, block) in &kept {
                    assert_eq!(&segments.read(1, *place).unwrap(), block);
                }
            }
        });
        for round in 20..200 {
            let places: Vec<Place> =
                (1..4).map(|queue| segments.write(queue, &block(round * 10, 500, false)).unwrap()).collect();
            segments.sync().unwrap();
            for (queue, place) in (1..4).zip(places) {
                segments.release(queue, place).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(segments.queues().unwrap(), [1]);
}

/// What a block may be made of: gaps between ranges, their lengths, flags and times, and pieces.
fn any_block() -> impl Strategy<Value = Block> {
    let gap = prop_oneof![Just(0), 1..200u64, 0..u64::MAX / 64];
    let count = prop_oneof![1..200u32, 1..u32::MAX];
    let arrived = prop_oneof![1_700_000_000_000..1_700_000_100_000u64, any::<u64>()];
    let ranges = proptest::collection::vec((gap, count, any::<bool>(), arrived), 1..40);
    let piece = proptest::collection::vec(any::<u8>(), 0..300);
    let body = proptest::collection::vec(piece, 0..5);
    (any::<u8>(), ranges, body).prop_map(|(level, ranges, body)| {
        let mut next = 0;
        let ranges = ranges.into_iter().map(|(gap, count, transient, arrived)| {
            let first = next + gap;
            next = first + u64::from(count);
            BlockRange { first, count, transient, arrived }
        });
        Block { level, ranges: ranges.collect(), body: body.into_iter().map(Bytes::from).collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_blocks_come_back(
        blocks in proptest::collection::vec((0..3u64, any_block()), 1..30),
        file_octets in 0..20_000u64,
    ) {
        let disk = SimDisk::new();
        let first = segments(&disk, file_octets, 2);
        let places: Vec<Place> =
            blocks.iter().map(|(queue, block)| first.write(*queue, block).unwrap()).collect();
        let again = segments(&disk, file_octets, 2);
        let found: Vec<Vec<Found>> = (0..3).map(|queue| again.scan(queue).unwrap()).collect();
        let mut next = [0; 3];
        for ((queue, block), place) in blocks.into_iter().zip(places) {
            let index = &mut next[queue as usize];
            let found = &found[queue as usize][*index];
            *index += 1;
            prop_assert_eq!((found.place, found.level, &found.ranges), (place, block.level, &block.ranges));
            prop_assert_eq!(first.read(queue, place).unwrap(), one_piece(block.clone()));
            prop_assert_eq!(again.read(queue, place).unwrap(), one_piece(block));
        }
        prop_assert_eq!(next, [found[0].len(), found[1].len(), found[2].len()]);
    }
}
