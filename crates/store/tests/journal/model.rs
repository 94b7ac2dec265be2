//! What a journal must hold: the plain list of what was appended.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{Disk, Entry, Journal, JournalOptions, Lsn, Note, Scan, Step, scan};
use warrenmq_testkit::disk::SimDisk;

/// The queue that each record publishes to, at the position of its LSN.
pub(crate) const QUEUE: u64 = 1;

/// Small files and groups, so that little makes many of them.
pub(crate) fn small() -> JournalOptions {
    JournalOptions { file_octets: 1024, group_octets: 512, ..JournalOptions::default() }
}

/// A journal and what was appended to it, through all lives.
pub(crate) struct Model {
    pub(crate) disk: SimDisk,
    pub(crate) journal: Journal,
    pub(crate) records: Vec<Vec<Entry>>,
    options: JournalOptions,
}

impl Model {
    pub(crate) fn new(options: JournalOptions) -> Model {
        Model::on(SimDisk::new(), options, Vec::new())
    }

    /// A life that begins on `disk`, which must hold `records`.
    pub(crate) fn on(disk: SimDisk, options: JournalOptions, records: Vec<Vec<Entry>>) -> Model {
        let found = scan(&disk).unwrap();
        check(&found, &records);
        assert_eq!(found.last, Lsn(records.len() as u64));
        let journal = begin(&disk, &options, &found);
        Model { disk, journal, records, options }
    }

    /// The next life, on a disk that has crashed.
    pub(crate) fn restart(self, disk: SimDisk) -> Model {
        let found = scan(&disk).unwrap();
        let mut records = self.records;
        assert!(found.last >= self.journal.durable(), "{:?} was durable", self.journal.durable());
        assert!(found.last <= Lsn(records.len() as u64), "nothing is invented");
        records.truncate(found.last.0 as usize);
        Model::on(disk, self.options, records)
    }

    /// Appends a publish of `octets`, with a settle of each fourth position before.
    pub(crate) fn append(&mut self, octets: usize, wanted: bool) -> Lsn {
        let lsn = self.records.len() as u64 + 1;
        let mut entries = vec![publish(lsn, octets)];
        if lsn.is_multiple_of(4) {
            entries.insert(0, Entry::Settle { queue: QUEUE, ranges: vec![(lsn - 3, lsn - 2), (lsn, lsn)] });
        }
        if lsn.is_multiple_of(12) {
            let note = Note { first: lsn, last: lsn + 1, value: lsn << 32 | 1, time: 7 };
            entries.push(Entry::Note { queue: QUEUE, notes: vec![note] });
        }
        self.append_entries(entries, wanted)
    }

    pub(crate) fn append_many(&mut self, records: usize, octets: usize, wanted: bool) {
        for _ in 0..records {
            self.append(octets, wanted);
        }
    }

    pub(crate) fn append_entries(&mut self, entries: Vec<Entry>, wanted: bool) -> Lsn {
        self.records.push(entries.clone());
        let lsn = self.journal.append(entries, wanted);
        assert_eq!(lsn, Lsn(self.records.len() as u64));
        lsn
    }

    /// Steps at `now` until there is nothing to do.
    pub(crate) fn run(&self, now: u64) -> Step {
        loop {
            match self.journal.step(now).unwrap() {
                Step::Worked { .. } => {}
                step => return step,
            }
        }
    }

    /// Makes everything durable.
    pub(crate) fn flush(&self) {
        self.journal.want(self.journal.end());
        self.run(0);
        assert_eq!(self.journal.durable(), self.journal.end());
    }

    pub(crate) fn tried(&self, operation: warrenmq_testkit::disk::Operation) -> u64 {
        self.disk.tried(operation)
    }
}

pub(crate) fn begin(disk: &SimDisk, options: &JournalOptions, found: &Scan) -> Journal {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Journal::begin(disk, options.clone(), found).unwrap()
}

/// A message of `octets` at the position of its LSN; each seventh goes to more queues.
pub(crate) fn publish(lsn: u64, octets: usize) -> Entry {
    let mut queues = vec![(QUEUE, lsn)];
    if lsn.is_multiple_of(7) {
        queues.extend([(2, lsn * 10), (300, 5)]);
    }
    let records: Vec<u8> = (0..octets).map(|at| (lsn as usize * 31 + at) as u8).collect();
    Entry::Publish {
        queues: queues.into(),
        count: 1,
        arrived: 1_700_000_000_000 + lsn,
        records: records.into(),
    }
}

/// What was found is the records from the first that is still there to the last, in all particulars.
pub(crate) fn check(found: &Scan, records: &[Vec<Entry>]) {
    let last = found.last.0 as usize;
    let from = found.publishes.first().map_or(last, |published| published.lsn.0 as usize - 1);
    let held = &records[from..last];
    let mut publishes = found.publishes.iter();
    let mut settles: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut notes: BTreeMap<u64, Vec<Note>> = BTreeMap::new();
    for (entries, lsn) in held.iter().zip(from as u64 + 1..) {
        for entry in entries {
            match entry {
                Entry::Publish { queues, count, arrived, records } => {
                    let published = publishes.next().unwrap();
                    assert_eq!(published.lsn, Lsn(lsn));
                    assert_eq!(published.queues[..], queues[..]);
                    assert_eq!((published.count, published.arrived), (*count, *arrived));
                    assert_eq!(found.read(published).unwrap(), records);
                }
                Entry::Settle { queue, ranges } => {
                    settles.entry(*queue).or_default().extend(positions(ranges));
                }
                Entry::Note { queue, notes: more } => {
                    notes.entry(*queue).or_default().extend(more.iter().copied());
                }
                Entry::Delivered { .. } => {}
            }
        }
    }
    for (queue, expected) in &notes {
        assert!(found.notes[queue].ends_with(expected));
    }
    assert!(publishes.next().is_none(), "nothing is invented");
    assert_eq!(found.settles.len(), settles.len());
    for (queue, mut expected) in settles {
        expected.sort_unstable();
        expected.dedup();
        let mut found = positions(&found.settles[&queue]);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected);
    }
}

/// A message without meaning.
pub(crate) fn octets(octets: usize) -> Bytes {
    vec![7; octets].into()
}

fn positions(ranges: &[(u64, u64)]) -> Vec<u64> {
    ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
}
