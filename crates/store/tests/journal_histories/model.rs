//! What a journal must give back: the naive list of everything that was appended, and how much of it was promised.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use warrenmq_store::{Entry, Note, Scan};

/// An entry that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Publish { queues: Vec<(u64, u64)>, count: u32, arrived: u64, body: Vec<u8> },
    Settle { queue: u64, ranges: Vec<(u64, u64)> },
    Note { queue: u64, notes: Vec<Note> },
    Delivered { queue: u64, below: u64 },
}

impl Item {
    pub(crate) fn entry(&self) -> Entry {
        match self.clone() {
            Item::Publish { queues, count, arrived, body } => {
                Entry::Publish { queues: queues.into(), count, arrived, records: Bytes::from(body) }
            }
            Item::Settle { queue, ranges } => Entry::Settle { queue, ranges },
            Item::Note { queue, notes } => Entry::Note { queue, notes },
            Item::Delivered { queue, below } => Entry::Delivered { queue, below },
        }
    }
}

/// All that was appended, and what was said about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// The record with LSN 1 first.
    pub(crate) records: Vec<Vec<Item>>,
    /// Everything up to here was reported durable and not retired since.
    pub(crate) durable: u64,
    /// Everything up to here was in files that were, or were about to be, retired.
    pub(crate) retired: u64,
}

impl Model {
    pub(crate) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// Compares what a scan found, bodies too, and takes its end for the truth from here on: what was not found by now
    /// must never be.
    pub(crate) fn accept(&mut self, scan: &Scan) -> Result<(), String> {
        let last = scan.last.0;
        if last == 0 && self.durable <= self.retired {
            // No file is left: everything begins again, numbers too.
            *self = Model::default();
        }
        if last < self.durable || last > self.end() {
            return Err(format!(
                "the last record is {last}; {} were durable of {}",
                self.durable,
                self.end()
            ));
        }
        self.records.truncate(last as usize);
        self.compare_publishes(scan)?;
        self.compare_settles(scan)?;
        self.compare_notes(scan)?;
        self.compare_delivered(scan)?;
        let queues = |from: u64| self.from(from).flat_map(queues_of).max().unwrap_or(0);
        if scan.highest_queue < queues(self.retired) || scan.highest_queue > queues(0) {
            return Err(format!("the highest queue is {}", scan.highest_queue));
        }
        Ok(())
    }

    fn compare_publishes(&self, scan: &Scan) -> Result<(), String> {
        let mut expected = self.publishes();
        for found in &scan.publishes {
            let body = scan.read(found).map_err(|error| error.to_string())?;
            let publish = Item::Publish {
                queues: found.queues.to_vec(),
                count: found.count,
                arrived: found.arrived,
                body: body.to_vec(),
            };
            let found = (found.lsn.0, &publish);
            loop {
                match expected.next() {
                    Some(publish) if publish == found => break,
                    Some((lsn, _)) if lsn <= self.retired => {}
                    other => return Err(format!("found {found:?} instead of {other:?}")),
                }
            }
        }
        match expected.find(|(lsn, _)| *lsn > self.retired) {
            Some(missing) => Err(format!("{missing:?} is missing")),
            None => Ok(()),
        }
    }

    fn compare_settles(&self, scan: &Scan) -> Result<(), String> {
        let settled = |from: u64| -> BTreeSet<(u64, u64)> {
            let all = self.from(from).filter_map(|item| match item {
                Item::Settle { queue, ranges } => Some((*queue, ranges)),
                _ => None,
            });
            all.flat_map(|(queue, ranges)| positions(queue, ranges)).collect()
        };
        let found: BTreeSet<(u64, u64)> =
            scan.settles.iter().flat_map(|(queue, ranges)| positions(*queue, ranges)).collect();
        if !found.is_superset(&settled(self.retired)) || !found.is_subset(&settled(0)) {
            return Err(format!("settled are {found:?}"));
        }
        Ok(())
    }

    /// Notes are found in their order, those of files that are gone perhaps not.
    fn compare_notes(&self, scan: &Scan) -> Result<(), String> {
        let noted = |from: u64| -> BTreeMap<u64, Vec<Note>> {
            let mut all: BTreeMap<u64, Vec<Note>> = BTreeMap::new();
            for item in self.from(from) {
                if let Item::Note { queue, notes } = item {
                    all.entry(*queue).or_default().extend(notes);
                }
            }
            all
        };
        let (least, most) = (noted(self.retired), noted(0));
        let ends_with = |all: &BTreeMap<u64, Vec<Note>>, queue: &u64, end: &[Note]| {
            all.get(queue).is_some_and(|notes| notes.ends_with(end))
        };
        let missing = least
            .iter()
            .find(|(queue, notes)| !scan.notes.get(queue).is_some_and(|found| found.ends_with(notes)));
        let invented = scan.notes.iter().find(|(queue, found)| !ends_with(&most, queue, found));
        match (missing, invented) {
            (None, None) => Ok(()),
            other => Err(format!("noted are {:?}: {other:?}", scan.notes)),
        }
    }

    fn compare_delivered(&self, scan: &Scan) -> Result<(), String> {
        let found: BTreeMap<u64, u64> =
            scan.delivered.iter().map(|(queue, below)| (*queue, *below)).collect();
        let last = self.records.last().into_iter().flatten();
        let delivered = last.map(|item| match item {
            Item::Delivered { queue, below } => Some((*queue, *below)),
            _ => None,
        });
        let expected: BTreeMap<u64, u64> = delivered.collect::<Option<_>>().unwrap_or_default();
        // A start after the orderly stop takes them back: nothing is always right.
        if !found.is_empty() && found != expected {
            return Err(format!("delivered are {found:?}, the last record is {:?}", self.records.last()));
        }
        Ok(())
    }

    fn publishes(&self) -> impl Iterator<Item = (u64, &Item)> {
        let records = self.records.iter().zip(1..);
        let items = records.flat_map(|(items, lsn)| items.iter().map(move |item| (lsn, item)));
        items.filter(|(_, item)| matches!(item, Item::Publish { .. }))
    }

    /// The items of all records behind this one.
    fn from(&self, lsn: u64) -> impl Iterator<Item = &Item> {
        self.records.iter().skip(lsn as usize).flatten()
    }
}

fn positions(queue: u64, ranges: &[(u64, u64)]) -> impl Iterator<Item = (u64, u64)> {
    ranges.iter().flat_map(move |(first, last)| (*first..=*last).map(move |position| (queue, position)))
}

fn queues_of(item: &Item) -> Vec<u64> {
    match item {
        Item::Publish { queues, .. } => queues.iter().map(|(queue, _)| *queue).collect(),
        Item::Settle { queue, .. } | Item::Note { queue, .. } | Item::Delivered { queue, .. } => vec![*queue],
    }
}
