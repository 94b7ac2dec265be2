//! Segments on a disk that crashes: blocks that were synced are there, others are there whole or not at all, what was
//! released and synced is gone, and damage is said and never read.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

#[path = "../common/mod.rs"]
mod common;
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use warrenmq_store::{SegmentOptions, Segments};
use warrenmq_testkit::disk::{Crash, Operation, SimDisk};
use warrenmq_testkit::random::Random;

use common::{for_each_history, for_each_seed};
use node::{Command, Model, Node, Refused, look, start};

const COMMANDS: [Command; 7] = [
    Command::Write { queue: 1, octets: 9, transient: false },
    Command::Write { queue: 1, octets: 2000, transient: false },
    Command::Write { queue: 2, octets: 700, transient: false },
    Command::Sync,
    Command::Release { queue: 1, index: 0 },
    Command::Delete { queue: 1 },
    Command::Kill,
];

#[test]
fn every_crash_point_of_every_small_history() {
    let mut points = 0;
    for_each_history(&COMMANDS, |history| {
        let found = crash_within_last(history, points);
        points += found;
        found > 0 || matches!(history.last(), Some(Command::Write { .. }))
    });
    assert!(points > 10_000, "{points} crash points");
}

/// Crashes after each operation of the last command; those of the others are crash points of shorter histories.
fn crash_within_last(history: &[Command], seed: u64) -> u64 {
    let before = match history.split_last() {
        Some((_, before)) => play(before, None).0.operations(),
        None => 0,
    };
    let end = play(history, None).0.operations();
    for point in before..end {
        let (disk, model) = play(history, Some(point));
        for crash in [Crash::LosesAll, Crash::KeepsAll] {
            survive(disk.crash_with(crash, point), model.clone(), seed + point);
        }
        survive(disk.crash(seed + point), model, seed + point);
    }
    end - before
}

/// The disk, frozen or not, and what must be on it after a history.
fn play(history: &[Command], frozen: Option<u64>) -> (SimDisk, Model) {
    let (disk, mut model) = (SimDisk::new(), Model::default());
    match start(disk.clone(), &mut model, frozen) {
        Err(Refused) => (disk, model),
        Ok(mut node) => {
            for command in history {
                if node.apply(*command).is_err() {
                    break;
                }
            }
            (node.disk, node.model)
        }
    }
}

/// After a crash: the start finds what it must; then it crashes while it starts or works, and the next one does.
fn survive(mut disk: SimDisk, mut model: Model, seed: u64) {
    let mut random = Random::new(seed);
    if let Ok(mut node) = start(disk.clone(), &mut model, Some(random.below(14))) {
        node.model.forget_what_was_not_found();
        work(&mut node, &mut random, 4);
        (disk, model) = (node.disk, node.model);
    }
    disk = disk.crash(random.draw());
    let mut node = start(disk, &mut model, None).ok().unwrap();
    node.sync().ok().unwrap();
    node.check();
}

/// So many random commands, or until the disk refuses.
fn work(node: &mut Node, random: &mut Random, count: u64) {
    for _ in 0..count {
        if node.apply(any_command(random)).is_err() {
            return;
        }
    }
}

fn any_command(random: &mut Random) -> Command {
    let octets = match random.below(6) {
        0 => 0,
        1 => 6000,
        _ => random.below(2000) as usize,
    };
    let queue = random.below(4);
    match random.below(20) {
        0..9 => Command::Write { queue, octets, transient: random.chance(200) },
        9..12 => Command::Sync,
        12..18 => Command::Release { queue, index: random.below(5) as usize },
        18 => Command::Delete { queue },
        _ => Command::Kill,
    }
}

#[test]
fn long_histories_with_many_crashes() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (mut disk, mut model) = (SimDisk::new(), Model::default());
        for _ in 0..6 {
            let frozen = random.below(120);
            disk.set_garbage(random.chance(500));
            if let Ok(mut node) = start(disk.clone(), &mut model, Some(frozen)) {
                node.model.forget_what_was_not_found();
                let count = random.below(100);
                work(&mut node, &mut random, count);
                (disk, model) = (node.disk, node.model);
            }
            disk = disk.crash(random.draw());
        }
        let mut node = start(disk, &mut model, None).ok().unwrap();
        node.sync().ok().unwrap();
        node.check();
    });
}

#[test]
fn what_a_killed_process_had_written_is_durable_with_the_next_sync() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, None).ok().unwrap();
        work(&mut node, &mut random, 20);
        node.apply(Command::Kill).ok().unwrap();
        node.sync().ok().unwrap();
        start(node.disk.crash_with(Crash::LosesAll, seed), &mut node.model, None).ok().unwrap();
    });
}

#[test]
fn a_sync_that_failed_is_final_and_loses_nothing_older() {
    for operation in [Operation::Sync, Operation::SyncDir] {
        for_each_seed(|seed| {
            let mut random = Random::new(seed);
            let (disk, mut model) = (SimDisk::new(), Model::default());
            let mut node = start(disk.clone(), &mut model, None).ok().unwrap();
            disk.fail_once(operation, random.below(8));
            for _ in 0..100 {
                let command = any_command(&mut random);
                if command != Command::Kill && node.apply(command).is_err() {
                    break;
                }
            }
            assert!(node.sync().is_err(), "{operation:?} has failed");
            let write = Command::Write { queue: 9, octets: 10, transient: false };
            assert!(node.apply(write).is_err(), "{operation:?} has failed");
            survive(node.disk.crash(random.draw()), node.model.clone(), seed);
        });
    }
}

#[test]
fn a_write_that_failed_costs_its_block_alone() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, None).ok().unwrap();
        for _ in 0..60 {
            match random.below(12) {
                0 => node.disk.fail_once(Operation::Write, 0),
                1 => node.disk.set_free(random.below(3000)),
                2 => node.disk.set_free(1 << 30),
                _ => {}
            }
            let command = any_command(&mut random);
            let is_write = matches!(command, Command::Write { .. });
            assert!(node.apply(command).is_ok() || is_write, "{command:?}");
            node.check();
        }
        node.disk.set_free(1 << 30);
        node.disk.heal();
        node.sync().ok().unwrap();
        survive(node.disk.crash(random.draw()), node.model.clone(), seed);
    });
}

#[test]
fn damage_in_what_was_synced_is_said() {
    let said = AtomicUsize::new(0);
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, None).ok().unwrap();
        work(&mut node, &mut random, 15);
        node.sync().ok().unwrap();
        let files = node.disk.files();
        for _ in 0..20 {
            let disk = node.disk.crash_process();
            let Some((path, octets)) = random.pick(&files).filter(|file| file.1 > 0) else { continue };
            let offset = random.below(*octets);
            disk.flip(path, offset).unwrap();
            let segments = Segments::open(Arc::new(disk), SegmentOptions::default()).unwrap();
            match look(&segments, &mut node.model.clone()) {
                Ok(()) => {}
                Err(error) if error.contains("is damaged at octet") || error.contains("has format") => {
                    assert!(error.contains(path.as_str()), "{error}");
                    said.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("flipped {path} at {offset}: {error}"),
            }
        }
    });
    assert!(said.into_inner() > 0);
}

#[test]
fn short_reads_give_no_wrong_data() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, None).ok().unwrap();
        work(&mut node, &mut random, 15);
        node.sync().ok().unwrap();
        for each in 1..5 {
            let disk = node.disk.crash_process();
            disk.shorten_reads(each);
            let segments = Segments::open(Arc::new(disk), SegmentOptions::default()).unwrap();
            if let Err(error) = look(&segments, &mut node.model.clone()) {
                assert!(error.contains("is damaged") || error.contains("failed"), "{error}");
            }
        }
    });
}
