//! Power cuts at every point of a history, and at random points of random ones, life after life.

use std::sync::Arc;

use warrenmq_store::{Disk, Entry, Journal, Lsn, Step, scan};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

use crate::model::{Model, QUEUE, begin, check, publish, small};

/// What came of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    appended: u64,
    durable: Lsn,
    /// Whether writing began.
    began: bool,
}

/// Records of one history; the last is that of an orderly stop.
const RECORDS: u64 = 8;

/// A short history with everything in it: lazy and wanted records, a long one, rotation, retirement, the end. Stops
/// where the disk does.
fn history(disk: &SimDisk) -> Outcome {
    let nothing = Outcome { appended: 0, durable: Lsn(0), began: false };
    let Ok(found) = scan(disk) else { return nothing };
    let before = Outcome { appended: found.last.0, durable: found.last, began: false };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(journal) = Journal::begin(shared, small(), &found) else { return before };
    for lsn in found.last.0 + 1..=found.last.0 + RECORDS {
        let wanted = ![2, 5].contains(&(lsn % RECORDS));
        journal.append(record(lsn), wanted);
        for now in [0, 10, 300] {
            while matches!(journal.step(now), Ok(Step::Worked { .. })) {}
        }
        if lsn % RECORDS == 4 {
            journal.rotate();
        }
        if let [first, _, ..] = &journal.closed_files()[..]
            && journal.retire(first.number).is_err()
        {
            break;
        }
    }
    journal.close();
    while matches!(journal.step(0), Ok(Step::Worked { .. })) {}
    Outcome { appended: journal.end().0, durable: journal.durable(), began: true }
}

fn record(lsn: u64) -> Vec<Entry> {
    match [0, 10, 300, 300, 500, 2000, 50, 400][(lsn % RECORDS) as usize] {
        0 => vec![Entry::Delivered { queue: QUEUE, below: lsn }],
        octets => vec![publish(lsn, octets)],
    }
}

#[test]
fn every_point_of_a_history() {
    let ended = |lsn| Outcome { appended: lsn, durable: Lsn(lsn), began: true };
    let whole = SimDisk::new();
    assert_eq!((history(&whole), history(&whole)), (ended(RECORDS), ended(2 * RECORDS)));
    let records: Vec<_> = (1..=4 * RECORDS).map(record).collect();
    for operation in 0..=whole.operations() {
        let disk = SimDisk::new();
        disk.freeze(operation);
        // The second finds nothing that it could read if the disk has stopped in the first.
        let (first, second) = (history(&disk), history(&disk));
        let (appended, durable) = (first.appended.max(second.appended), first.durable.max(second.durable));
        for seed in 0..16 {
            let what = format!("operation {operation}, seed {seed}");
            let after = disk.crash(seed);
            let found = scan(&after).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!((durable.0..=appended).contains(&found.last.0), "{what}: {:?}", found.last);
            check(&found, &records);
            let stopped = found.last.0.is_multiple_of(RECORDS) && found.last.0 > 0;
            let again = second.began && found.last.0 == RECORDS;
            assert!(found.delivered.is_empty() || (stopped && !again), "{what}: this was no orderly stop");
            // It goes on from there, crashes again early, and goes on.
            after.freeze(seed * 2);
            let third = history(&after);
            let last = after.crash(seed);
            let found = scan(&last).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(found.last >= third.durable, "{what}: {:?} after {third:?}", found.last);
            check(&found, &records);
            assert_eq!(history(&last), ended(found.last.0 + RECORDS), "{what}");
        }
    }
}

#[test]
fn a_start_after_an_orderly_stop_is_never_forgotten() {
    let disk = SimDisk::new();
    history(&disk);
    assert!(!scan(&disk).unwrap().delivered.is_empty());
    // A start in which nothing is written: messages may have been delivered.
    drop(begin(&disk, &small(), &scan(&disk).unwrap()));
    for operation in 0..10 {
        for seed in 0..16 {
            let disk = disk.crash_process();
            let found = scan(&disk).unwrap();
            disk.freeze(disk.operations() + operation);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            drop(Journal::begin(shared, small(), &found));
            let found = scan(&disk.crash(seed)).unwrap();
            assert_eq!(
                (found.last, found.delivered.len()),
                (Lsn(RECORDS), 0),
                "operation {operation}, seed {seed}"
            );
        }
    }
}

#[test]
fn random_histories() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let mut model = Model::new(small());
        model.disk.set_garbage(random.chance(300));
        let mut now = 0;
        for _ in 0..5 {
            let mut retired = 0;
            for _ in 0..random.below(60) {
                let octets = *random.pick(&[0, 5, 60, 200, 450, 1500]).unwrap_or(&1);
                model.append(octets, random.chance(200));
                now += random.below(8);
                if random.chance(600) {
                    model.journal.step(now).unwrap();
                }
                if random.chance(50) {
                    model.journal.rotate();
                }
                let files = model.journal.closed_files();
                if files.len() > 1 && random.chance(300) {
                    retired = files[0].queues[&QUEUE].highest.unwrap();
                    model.journal.retire(files[0].number).unwrap();
                }
            }
            let disk =
                if random.chance(300) { model.disk.crash_process() } else { model.disk.crash(random.draw()) };
            let found = scan(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let first = found.publishes.first().map_or(found.last.0 + 1, |published| published.lsn.0);
            assert!(
                first <= retired + 1 || retired == 0,
                "seed {seed}: {first} is the first, {retired} was retired"
            );
            model = model.restart(disk);
        }
    }
}
