//! Segments on a disk that loses what was not synced: whatever a power cut leaves, what was synced is found, and what
//! is found is what was written.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{Block, BlockRange, Place, SegmentOptions, Segments};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

/// Histories of the ordinary run; the variable `SEEDS` says another number.
const SEEDS: u64 = 400;
const QUEUES: u64 = 3;

/// What the test knows of a block that it wrote.
#[derive(Clone, Debug)]
struct Written {
    block: Block,
    place: Place,
    /// A sync has returned since it was written.
    synced: bool,
    /// It was released, which is not noted in the segments: it may come back as long as its file is there.
    released: bool,
    /// A start did not find it; another may until a sync has returned.
    missing: bool,
}

impl Written {
    fn is_transient(&self) -> bool {
        self.block.ranges.iter().all(|range| range.transient)
    }
}

/// A node that crashes: its disk, its segments, and every block by queue and first position.
struct Node {
    random: Random,
    disk: SimDisk,
    segments: Segments,
    written: BTreeMap<(u64, u64), Written>,
    next: u64,
}

impl Node {
    fn new(seed: u64) -> Node {
        let mut random = Random::new(seed);
        let disk = SimDisk::new();
        disk.set_garbage(random.chance(500));
        let segments = open(&disk);
        Node { random, disk, segments, written: BTreeMap::new(), next: 1 }
    }

    fn run(&mut self) {
        for _ in 0..self.random.below(4) + 1 {
            for _ in 0..self.random.below(40) {
                self.step();
            }
            self.crash();
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..50 => self.write(),
            50..85 => self.release(),
            85..97 => {
                self.segments.sync().unwrap();
                let files = self.disk.files();
                let has_file = |queue, place| files.iter().any(|(path, _)| *path == path_of(queue, place));
                self.written.retain(|(queue, _), written| {
                    !written.missing && (!written.released || has_file(*queue, written.place))
                });
                self.written.values_mut().for_each(|written| written.synced = true);
            }
            _ => {
                let queue = self.random.below(QUEUES);
                self.segments.delete_queue(queue).unwrap();
                let of_queue = self.written.range_mut((queue, 0)..=(queue, u64::MAX));
                of_queue.for_each(|(_, written)| written.released = true);
            }
        }
    }

    fn write(&mut self) {
        let queue = self.random.below(QUEUES);
        let block = self.block();
        let place = self.segments.write(queue, &block).unwrap();
        let key = (queue, block.ranges[0].first);
        self.written.insert(key, Written { block, place, synced: false, released: false, missing: false });
    }

    fn block(&mut self) -> Block {
        let mut ranges = Vec::new();
        for _ in 0..self.random.below(4) + 1 {
            let count = self.random.below(5) as u32 + 1;
            let (first, transient) = (self.next, self.random.chance(400));
            self.next += u64::from(count) + self.random.below(3);
            ranges.push(BlockRange { first, count, transient, arrived: self.next * 100 });
        }
        let octets = self.random.below(*self.random.clone().pick(&[10, 2000, 2000, 9000]).unwrap());
        let body: Vec<u8> = (0..octets).map(|_| self.random.draw() as u8).collect();
        Block { level: self.random.below(10) as u8, ranges, body: vec![Bytes::from(body)] }
    }

    fn release(&mut self) {
        let live: Vec<(u64, u64)> =
            self.written.iter().filter(|(_, written)| !written.released).map(|(key, _)| *key).collect();
        let Some(key) = self.random.pick(&live) else { return };
        let written = self.written.get_mut(key).unwrap();
        written.released = true;
        self.segments.release(key.0, written.place).unwrap();
    }

    /// A power cut or a kill, then the next process: it finds what there must be and nothing that was never there.
    fn crash(&mut self) {
        let was_killed = self.random.chance(300);
        self.disk = if was_killed { self.disk.crash_process() } else { self.disk.crash(self.random.draw()) };
        self.segments = open(&self.disk);
        let before = std::mem::take(&mut self.written);
        for queue in self.segments.queues().unwrap() {
            for found in self.segments.scan(queue).unwrap() {
                let key = (queue, found.ranges[0].first);
                let mut written = before.get(&key).expect("what is found was written").clone();
                assert_eq!((found.level, &found.ranges), (written.block.level, &written.block.ranges));
                let read = self.segments.read(queue, found.place);
                if !written.is_transient() {
                    assert_eq!(read.unwrap(), written.block);
                } else if let Ok(read) = read {
                    assert_eq!(read, written.block);
                }
                assert_eq!(written.place, found.place);
                (written.released, written.missing, written.synced) = (false, false, false);
                assert!(self.written.insert(key, written).is_none(), "found once");
            }
        }
        for (key, mut written) in before {
            let Entry::Vacant(entry) = self.written.entry(key) else { continue };
            let must = (written.synced || was_killed) && !written.released && !written.is_transient();
            assert!(!must, "{key:?} is lost: {written:?}");
            (written.released, written.missing) = (true, true);
            entry.insert(written);
        }
    }
}

fn path_of(queue: u64, place: Place) -> String {
    format!("queues/{queue:016x}/{:08x}.seg", place.segment)
}

fn open(disk: &SimDisk) -> Segments {
    let options = SegmentOptions { file_octets: 10_000, open_files_max: 3 };
    Segments::open(Arc::new(disk.clone()), options).unwrap()
}

#[test]
fn what_was_synced_survives_power_cuts() {
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        Node::new(seed).run();
    }
}
