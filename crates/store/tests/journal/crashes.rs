//! Power cuts at every point of a history, and at random points of random ones, life after life.

use std::sync::Arc;

use warrenmq_store::{Disk, Journal, Lsn, Step, scan};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

use crate::model::{Model, QUEUE, check, publish, small};

/// A short history with everything in it: lazy and wanted records, a long one, rotation, retirement, the end. Stops
/// where the disk does; says what was appended and what of it was durable.
fn history(disk: &SimDisk) -> (u64, Lsn) {
    let Ok(found) = scan(disk) else { return (0, Lsn(0)) };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(journal) = Journal::begin(shared, small(), &found) else { return (found.last.0, found.last) };
    let mut appended = found.last.0;
    for (octets, wanted) in
        [(10, true), (300, false), (300, true), (500, true), (2000, false), (50, true), (400, true)]
    {
        appended += 1;
        journal.append(vec![publish(appended, octets)], wanted);
        for now in [0, 10, 300] {
            while matches!(journal.step(now), Ok(Step::Worked { .. })) {}
        }
        if octets == 500 {
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
    (appended, journal.durable())
}

#[test]
fn every_point_of_a_history() {
    let whole = SimDisk::new();
    assert_eq!(history(&whole), (7, Lsn(7)));
    assert_eq!(history(&whole), (14, Lsn(14)));
    let records = (1..=14).zip([10, 300, 300, 500, 2000, 50, 400].into_iter().cycle());
    let records: Vec<_> = records.map(|(lsn, octets)| vec![publish(lsn, octets)]).collect();
    for operation in 0..=whole.operations() {
        let disk = SimDisk::new();
        disk.freeze(operation);
        // The second finds nothing that it could read if the disk has stopped in the first.
        let (first, second) = (history(&disk), history(&disk));
        let (appended, durable) = (first.0.max(second.0), first.1.max(second.1));
        for seed in 0..12 {
            let after = disk.crash(seed);
            let found = scan(&after).unwrap_or_else(|error| panic!("{operation} {seed}: {error}"));
            let ends = durable.0..=appended;
            assert!(ends.contains(&found.last.0), "{operation} {seed}: {:?} of {ends:?}", found.last);
            check(&found, &records);
            // And it goes on from there.
            assert_eq!(history(&after), (found.last.0 + 7, Lsn(found.last.0 + 7)));
        }
    }
}

#[test]
fn random_histories() {
    for seed in 0..300 {
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
