//! The journal on a disk that crashes: what was reported durable is there exactly as it was appended, whatever else the
//! crash leaves or loses; nothing is invented, and nothing comes back that was once found missing.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

#[path = "../common/mod.rs"]
mod common;
mod model;
mod node;

use warrenmq_store::{StoreError, scan};
use warrenmq_testkit::disk::{Crash, Operation, SimDisk};
use warrenmq_testkit::random::Random;

use common::{for_each_history, for_each_seed};
use model::Model;
use node::{Command, Node, Refused, options, start};

const COMMANDS: [Command; 7] = [
    Command::Publish { octets: 9, wanted: true },
    Command::Publish { octets: 1300, wanted: false },
    Command::Settle,
    Command::Step { after: 1 },
    Command::Rotate,
    Command::Retire,
    Command::Kill,
];

#[test]
fn every_crash_point_of_every_small_history() {
    let mut points = 0;
    for_each_history(&COMMANDS, |history| {
        let found = crash_within_last(history, points);
        points += found;
        found > 0 || matches!(history.last(), Some(Command::Publish { .. } | Command::Settle))
    });
    assert!(points > 5000, "{points} crash points");
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
    match start(disk.clone(), &mut model, options(true), frozen) {
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

/// After a crash: the start finds what it must; then it crashes while it starts and works, twice, and finds it again.
fn survive(mut disk: SimDisk, mut model: Model, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..2 {
        let frozen = random.below(14);
        if let Ok(mut node) = start(disk.clone(), &mut model, options(true), Some(frozen)) {
            work(&mut node, &mut random, 4);
            (disk, model) = (node.disk, node.model);
        }
        disk = disk.crash(random.draw());
    }
    let mut node =
        start(disk, &mut model, options(true), None).unwrap_or_else(|_| panic!("nothing fails here"));
    node.drain();
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
        _ => random.below(1200) as usize,
    };
    match random.below(20) {
        0..7 => Command::Publish { octets, wanted: random.chance(500) },
        7 => Command::Settle,
        8 => Command::Mixed,
        9 => Command::Delivered,
        10..16 => Command::Step { after: random.below(150) },
        16 => Command::Rotate,
        17 | 18 => Command::Retire,
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
            if let Ok(mut node) = start(disk.clone(), &mut model, options(true), Some(frozen)) {
                let count = random.below(100);
                work(&mut node, &mut random, count);
                (disk, model) = (node.disk, node.model);
            }
            disk = disk.crash(random.draw());
        }
        let mut node = start(disk, &mut model, options(true), None).ok().unwrap();
        node.drain();
    });
}

#[test]
fn without_fsync_a_killed_process_loses_nothing_that_was_reported() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (mut disk, mut model) = (SimDisk::new(), Model::default());
        for _ in 0..4 {
            let frozen = disk.operations() + random.below(60);
            if let Ok(mut node) = start(disk.clone(), &mut model, options(false), Some(frozen)) {
                work(&mut node, &mut random, 60);
                (disk, model) = (node.disk, node.model);
            }
            disk = disk.crash_process();
        }
        start(disk.clone(), &mut model, options(false), None).ok().unwrap();
        // A power cut may take what was not synced; what is found is a beginning of it all the same.
        model.durable = 0;
        start(disk.crash(seed), &mut model, options(false), None).ok().unwrap();
    });
}

#[test]
fn a_disk_that_refuses_once_is_refused_for_good() {
    for operation in
        [Operation::Write, Operation::Sync, Operation::SyncDir, Operation::Rename, Operation::Create]
    {
        for_each_seed(|seed| {
            let mut random = Random::new(seed);
            let (disk, mut model) = (SimDisk::new(), Model::default());
            let mut node = start(disk.clone(), &mut model, options(true), None).ok().unwrap();
            disk.fail_once(operation, random.below(12));
            work_until_it_fails(&mut node, &mut random);
            let (disk, model) = (node.disk, node.model);
            survive(disk.crash(random.draw()), model.clone(), seed);
            survive(disk.crash_process(), model, seed);
        });
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_reported() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk.clone(), &mut model, options(true), None).ok().unwrap();
        disk.set_free(random.below(30_000));
        work_until_it_fails(&mut node, &mut random);
        let (disk, model) = (node.disk, node.model);
        disk.set_free(1 << 30);
        survive(disk.crash(random.draw()), model, seed);
    });
}

/// Commands but a restart, until one is refused; none after that writes again.
fn work_until_it_fails(node: &mut Node, random: &mut Random) {
    for _ in 0..200 {
        let command = any_command(random);
        if command == Command::Kill {
            continue;
        }
        if node.apply(command).is_err() {
            let durable = node.model.durable;
            assert!(command == Command::Retire || node.step().is_err(), "the journal went on after an error");
            assert!(command == Command::Retire || node.model.durable == durable);
            return;
        }
    }
}

#[test]
fn damage_is_reported_or_costs_the_end_and_never_gives_wrong_data() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, options(true), None).ok().unwrap();
        for _ in 0..12 {
            node.apply(any_command(&mut random)).ok().unwrap();
        }
        node.drain();
        // What is written from here on says that everything before is durable.
        let known = node.model.durable;
        node.apply(Command::Publish { octets: 40, wanted: true }).ok().unwrap();
        node.drain();
        for _ in 0..20 {
            let disk = node.disk.crash_process();
            let files = disk.files();
            let (path, octets) = random.pick(&files).unwrap();
            let offset = random.below(*octets);
            disk.flip(path, offset).unwrap();
            let damage = format!("flipped {path} at {offset}");
            expect_damage_or_truth(&disk, &node.model, known, &damage);
            // Once a new file has begun, even the last record cannot be missing unnoticed.
            let disk = node.disk.crash_process();
            start(disk.clone(), &mut node.model.clone(), options(true), None).ok().unwrap();
            if disk.flip(path, offset).is_ok() {
                expect_damage_or_truth(&disk, &node.model, node.model.end(), &damage);
            }
        }
    });
}

fn expect_damage_or_truth(disk: &SimDisk, model: &Model, known: u64, damage: &str) {
    match scan(disk) {
        Ok(found) => {
            let mut model = Model { durable: known, ..model.clone() };
            model.accept(&found).unwrap_or_else(|error| panic!("{damage}: {error}"));
        }
        Err(StoreError::Damaged { .. } | StoreError::Newer { .. }) => {}
        Err(error) => panic!("{damage}: {error}"),
    }
}

#[test]
fn short_reads_give_no_wrong_data() {
    for_each_seed(|seed| {
        let mut random = Random::new(seed);
        let (disk, mut model) = (SimDisk::new(), Model::default());
        let mut node = start(disk, &mut model, options(true), None).ok().unwrap();
        work(&mut node, &mut random, 30);
        node.drain();
        for each in 1..6 {
            node.disk.shorten_reads(each);
            if let Ok(found) = scan(&node.disk) {
                node.disk.heal();
                node.model.clone().accept(&found).unwrap();
            }
        }
    });
}
