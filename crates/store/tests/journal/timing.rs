//! When is written and when is synced: as late as nobody minds, and once for all who wait.

use std::time::{Duration, Instant};

use warrenmq_store::{JournalOptions, Lsn, Step, scan};
use warrenmq_testkit::disk::Operation;

use crate::model::{Model, check};

const DURABLE: Step = Step::Worked { durable: true };
const WRITTEN: Step = Step::Worked { durable: false };

fn idle(next: u64) -> Step {
    Step::Idle { next: Some(next) }
}

#[test]
fn who_waits_is_served_at_once() {
    let mut model = Model::new(JournalOptions::default());
    let (writes, syncs) = (model.tried(Operation::Write), model.tried(Operation::Sync));
    model.append_many(50, 100, false);
    model.append(100, true);
    model.append_many(49, 100, false);
    assert!(model.journal.pending_octets() > 100 * 100);
    assert_eq!(model.journal.step(0).unwrap(), DURABLE);
    assert_eq!(model.journal.durable(), Lsn(100));
    assert_eq!(model.journal.pending_octets(), 0);
    assert_eq!(model.journal.step(0).unwrap(), Step::Idle { next: None });
    assert_eq!((model.tried(Operation::Write) - writes, model.tried(Operation::Sync) - syncs), (1, 1));
}

#[test]
fn what_nobody_waits_for_is_written_soon_and_synced_later() {
    let mut model = Model::new(JournalOptions::default());
    model.append(100, false);
    assert_eq!(model.journal.step(1000).unwrap(), idle(1010));
    model.append(100, false);
    assert_eq!(model.journal.step(1009).unwrap(), idle(1010));
    assert_eq!(model.journal.step(1010).unwrap(), WRITTEN);
    assert_eq!(model.journal.step(1010).unwrap(), idle(1210));
    model.append(100, false);
    assert_eq!(model.journal.step(1100).unwrap(), idle(1110));
    assert_eq!(model.journal.step(1150).unwrap(), WRITTEN);
    assert_eq!(model.journal.step(1209).unwrap(), idle(1210));
    assert_eq!(model.journal.durable(), Lsn(0));
    assert_eq!(model.journal.step(1210).unwrap(), DURABLE);
    assert_eq!(model.journal.step(1210).unwrap(), Step::Idle { next: None });
    // Somebody changes their mind.
    model.append(100, false);
    assert_eq!(model.journal.step(2000).unwrap(), idle(2010));
    model.journal.want(Lsn(4));
    assert_eq!(model.journal.step(2000).unwrap(), DURABLE);
    model.append(100, false);
    model.run(3000);
    assert_eq!(model.run(3010), idle(3210));
    model.journal.want(Lsn(99));
    assert_eq!(model.journal.step(3010).unwrap(), DURABLE);
    model.journal.want(Lsn(5));
    assert_eq!(model.journal.step(3010).unwrap(), Step::Idle { next: None });
}

#[test]
fn much_is_written_and_synced_though_nobody_waits() {
    let options = JournalOptions { lazy_sync_octets: 500_000, ..JournalOptions::default() };
    let mut model = Model::new(options);
    model.append(140_000, false);
    assert_eq!(model.journal.step(0).unwrap(), WRITTEN);
    model.append(400_000, false);
    assert_eq!(model.journal.step(0).unwrap(), DURABLE);
}

#[test]
fn without_fsync_written_is_durable() {
    let options = JournalOptions { fsync: false, file_octets: 4096, ..JournalOptions::default() };
    let mut model = Model::new(options);
    let syncs = model.tried(Operation::Sync);
    model.append(100, true);
    assert_eq!(model.journal.step(0).unwrap(), DURABLE);
    assert_eq!(model.journal.step(9999).unwrap(), Step::Idle { next: None });
    assert_eq!(model.tried(Operation::Sync), syncs);
    // A file that ends is synced, and so is its successor's header.
    model.append(4000, true);
    model.run(0);
    assert_eq!(model.tried(Operation::Sync), syncs + 3);
    model.append(10, false);
    model.journal.close();
    assert_eq!(model.run(0), Step::Closed);
    let found = scan(&model.disk.crash(1)).unwrap();
    assert_eq!(found.last, Lsn(3));
    check(&found, &model.records);
}

#[test]
fn a_group_is_bounded_and_a_record_is_not_split() {
    let options = JournalOptions { group_octets: 10_000, ..JournalOptions::default() };
    let mut model = Model::new(options);
    model.append_many(50, 950, true);
    model.append(50_000, true);
    let mut durable = vec![0];
    while model.journal.step(0).unwrap() == DURABLE {
        durable.push(model.journal.durable().0);
    }
    let groups: Vec<u64> = durable.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(groups.len() >= 6 && groups.iter().all(|group| *group <= 10), "{groups:?}");
    assert_eq!((groups.iter().sum::<u64>(), groups.last()), (51, Some(&1)));
}

#[test]
fn the_commit_thread_sleeps_until_there_is_work() {
    let mut model = Model::new(JournalOptions::default());
    let begin = Instant::now();
    model.journal.wait_for_work(Duration::from_millis(20));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    let long = Duration::from_secs(60);
    let begin = Instant::now();
    // The first, though nobody waits for it, so that its time can be set.
    model.append(10, false);
    model.journal.wait_for_work(long);
    assert_eq!(model.journal.step(0).unwrap(), idle(10));
    model.append(10, false);
    model.journal.wait_for_work(Duration::from_millis(1));
    model.append(10, true);
    model.journal.wait_for_work(long);
    model.run(0);
    model.journal.rotate();
    model.journal.wait_for_work(long);
    model.run(0);
    let journal = &model.journal;
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| journal.wait_for_work(long));
        journal.close();
        sleeper.join().unwrap();
        journal.wait_for_work(long);
    });
    assert!(begin.elapsed() < long / 2);
}
