//! Many who append, one who commits, one who retires.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use warrenmq_store::{Disk, Entry, FolderDisk, Journal, JournalOptions, Lsn, Step, scan};

const APPENDERS: u64 = 4;
const RECORDS: u64 = 2000;

fn commit(journal: &Journal) {
    let begin = Instant::now();
    loop {
        match journal.step(begin.elapsed().as_millis() as u64).unwrap() {
            Step::Worked { .. } => {}
            Step::Idle { next } => {
                let next = next.unwrap_or(u64::MAX).saturating_sub(begin.elapsed().as_millis() as u64);
                journal.wait_for_work(Duration::from_millis(next.min(10_000)));
            }
            Step::Closed => return,
        }
    }
}

/// Appends to a queue of its own and waits for each fiftieth.
fn append(journal: &Journal, queue: u64) {
    let mut last = Lsn(0);
    for position in 1..=RECORDS {
        let records = Bytes::from(vec![queue as u8; (position % 1200) as usize]);
        let wanted = position % 50 == 0;
        let queues = [(queue, position)].into();
        let lsn =
            journal.append(vec![Entry::Publish { queues, count: 1, arrived: position, records }], wanted);
        assert!(lsn > last);
        last = lsn;
        while wanted && journal.durable() < lsn {
            thread::yield_now();
        }
    }
    journal.want(last);
    while journal.durable() < last {
        thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn everybody_gets_through() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::new(folder.path()));
    let options =
        JournalOptions { file_octets: 256 * 1024, group_octets: 64 * 1024, ..JournalOptions::default() };
    let journal = Journal::begin(Arc::clone(&disk), options, &scan(&*disk).unwrap()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let commits = scope.spawn(|| commit(&journal));
        let retires = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Three stay, to be looked at in the end.
                if let [oldest, _, _, ..] = &journal.closed_files()[..] {
                    journal.retire(oldest.number).unwrap();
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let appenders: Vec<_> = (1..=APPENDERS).map(|queue| (queue, &journal)).collect();
        let appenders =
            appenders.into_iter().map(|(queue, journal)| scope.spawn(move || append(journal, queue)));
        appenders.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Relaxed);
        retires.join().unwrap();
        journal.close();
        commits.join().unwrap();
    });
    let found = scan(&*disk).unwrap();
    assert_eq!((found.last, found.torn.clone()), (Lsn(APPENDERS * RECORDS), None));
    for queue in 1..=APPENDERS {
        let of_queue = found.publishes.iter().filter(|published| published.queues[0].0 == queue);
        let positions: Vec<u64> = of_queue.clone().map(|published| published.queues[0].1).collect();
        assert!(positions.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert!(positions.last().is_none_or(|last| *last == RECORDS));
        for published in of_queue {
            let body = found.read(published).unwrap();
            assert_eq!(body, vec![queue as u8; (published.queues[0].1 % 1200) as usize]);
        }
    }
}
