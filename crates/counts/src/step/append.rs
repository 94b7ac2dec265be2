//! Runs to the octets of the journal's file, checksums included.

use std::sync::Arc;

use warrenmq_queue::Run;
use warrenmq_store::{Entry, Journal, JournalOptions, Step, scan};

use super::record::run;
use crate::Work;
use crate::meter::in_the_count;
use crate::null_disk::NullDisk;

/// Messages of 1 KiB in one read.
const IN_A_READ: usize = 120;

/// A journal on a disk that keeps nothing.
pub(super) struct Append {
    journal: Journal,
    run: Run,
    next: u64,
}

impl Append {
    /// Messages of so many octets.
    pub(super) fn new(octets: usize) -> Append {
        let found = scan(&NullDisk).expect("an empty disk is whole");
        let journal = Journal::begin(Arc::new(NullDisk), JournalOptions::default(), &found);
        let run = run(IN_A_READ, octets, true);
        Append { journal: journal.expect("the disk takes everything"), run, next: 0 }
    }
}

impl Work for Append {
    fn work(&mut self) -> u64 {
        let Append { journal, run, next } = self;
        let lsn = in_the_count(|| {
            let entry = Entry::Publish {
                queues: Box::new([(1, *next)]),
                count: run.count(),
                arrived: 0,
                records: run.bytes().clone(),
            };
            let lsn = journal.append(vec![entry], true);
            while let Ok(Step::Worked { .. }) = journal.step(0) {}
            lsn
        });
        assert!(journal.durable() >= lsn, "it is written");
        for file in journal.closed_files() {
            journal.retire(file.number).expect("the disk takes everything");
        }
        *next += IN_A_READ as u64;
        IN_A_READ as u64
    }
}
