//! A small map as the disk of a queue, and what a restart would find: pages, the journal, and what was told to be gone.
//!
//! Invariants: a place is freed once and nothing is asked for that is not there; what was told to be gone was told once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use warrenmq_queue::{
    Attempted, Dead, Effects, Page, PageId, Place, Position, Positions, Queue, Run, Settings, Stored,
};

use crate::model::START;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Everything that was ever written; readers may be late.
    written: BTreeMap<Place, Page>,
    /// Places that are not freed.
    here: BTreeSet<Place>,
    next: u64,
    /// Pages on their way.
    pub(crate) writing: Vec<Page>,
    /// Loads that were asked for.
    pub(crate) loads: Vec<(PageId, Place)>,
    /// Each published run with the position of its first message and its time.
    journal: Vec<(Position, Run, u64)>,
    /// Told to be gone, or dead.
    pub(crate) gone: BTreeSet<Position>,
    /// What was told of messages that came back.
    attempts: Vec<Attempted>,
}

impl Disk {
    pub(crate) fn publish(&mut self, first: Position, run: Run, now: u64) {
        self.journal.push((first, run, now));
    }

    /// Writes a page; returns where.
    pub(crate) fn write(&mut self, page: Page) -> Place {
        self.next += 1;
        let place = Place(self.next, page.ranges.len() as u32);
        self.written.insert(place, page);
        self.here.insert(place);
        place
    }

    pub(crate) fn read(&self, place: Place) -> (&Page, Bytes) {
        let page = &self.written[&place];
        (page, Bytes::from(page.pieces.concat()))
    }

    /// Takes note of what a command caused.
    pub(crate) fn note(&mut self, effects: &Effects) {
        for place in &effects.freed {
            assert!(self.here.remove(place), "{place:?} is freed twice");
        }
        for load in &effects.loads {
            assert!(self.written.contains_key(&load.1), "{load:?} is nowhere");
            self.loads.push(*load);
        }
        self.attempts.extend(&effects.attempts);
        for (first, last) in &effects.gone {
            (*first..=*last).for_each(|position| self.bury(position));
        }
        for Dead { delivery, .. } in &effects.dead {
            let positions = delivery.first..delivery.first + u64::from(delivery.count());
            positions.for_each(|position| self.bury(position));
        }
    }

    fn bury(&mut self, position: Position) {
        assert!(self.gone.insert(position), "{position} is gone twice");
    }

    /// The queue is deleted, and all it has on disk with it.
    pub(crate) fn delete(&mut self, published: Position) {
        self.here.clear();
        self.journal.clear();
        self.attempts.clear();
        self.gone.extend(START..published);
    }

    /// Whether anything was ever written or told.
    pub(crate) fn is_used(&self) -> bool {
        self.next > 0 || !self.gone.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.here.is_empty()
    }

    /// Whether the body of a message was asked for and is still waited for.
    pub(crate) fn is_asked(&self, queue: &Queue, position: Position) -> bool {
        let mut asked = self.loads.iter().filter(|(id, place)| queue.awaits(*id, *place));
        asked.any(|(_, place)| holds(&self.written[place], position))
    }

    /// What a restart is told of stored blocks has to be true and enough.
    pub(crate) fn check_gone(&self, queue: &Queue, live: &BTreeSet<Position>) {
        let mut gone = Positions::new();
        for (first, last) in queue.gone() {
            assert!(live.range(first..=last).next().is_none(), "{first}-{last} is not gone");
            gone.insert(first, last);
        }
        for range in self.here.iter().flat_map(|place| &self.written[place].ranges) {
            for position in range.first..=range.last() {
                assert!(live.contains(&position) || gone.contains(position), "{position} would come back");
            }
        }
    }

    /// A queue with what is here; what was lost of `gone` comes back. Pages whose places were freed are found again now and then.
    pub(crate) fn restore(
        &mut self,
        settings: Settings,
        next: Position,
        below: Option<Position>,
        now: u64,
    ) -> Queue {
        self.writing.clear();
        self.loads.clear();
        let mut gone = Positions::new();
        self.gone.iter().for_each(|position| gone.insert(*position, *position));
        let mut queue = Queue::new(settings);
        queue.advance(now, &mut Effects::new());
        // Their order is no matter either.
        self.attempts.sort_unstable_by_key(|attempted| (attempted.first * 7 + next) % 5);
        self.attempts.iter().for_each(|attempted| queue.restore_attempted(*attempted));
        let mut found: Vec<Place> = self.written.keys().copied().collect();
        found.retain(|place| self.here.contains(place) || place.0 % 3 == 0);
        // The order is no matter.
        found.sort_by_key(|place| (place.0 * 7 + next) % 5);
        for place in found {
            let Page { level, ranges, octets, pieces, .. } = &self.written[&place];
            let run = Run::from_bytes(pieces.concat().into()).expect("it was a run");
            let messages = queue.counts_bodies().then_some(&run);
            let block = Stored { place, level: *level, ranges, octets: *octets, messages };
            if queue.restore_block(&block, &gone) {
                self.here.insert(place);
            } else {
                self.here.remove(&place);
            }
        }
        self.written.retain(|place, _| self.here.contains(place));
        for (first, run, arrived) in &self.journal {
            let run = Run::from_bytes(run.bytes().clone()).expect("it was a run");
            queue.restore_run(&run, *first, *arrived, &gone);
            if first % 3 == 0 {
                queue.restore_run(&run, *first, *arrived, &gone);
            }
        }
        queue.restored(next, below);
        queue
    }
}

pub(crate) fn holds(page: &Page, position: Position) -> bool {
    page.ranges.iter().any(|range| range.first <= position && position <= range.last())
}
