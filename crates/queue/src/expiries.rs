//! When to look into which block for expired messages, in queues where these leave wherever they stand.
//!
//! Invariants: every ready message that may expire is in a block that is looked into when it expires, or sooner; looking too often
//! does no harm. One entry stands for a block, not for a message; one block at a time is read back for this, so that memory stays
//! bounded.

use std::collections::BTreeSet;

use crate::delivery::{Effects, Reason};
use crate::level::{Level, Slice};
use crate::queue::Queue;
use crate::rare::{Empty, Rare};
use crate::{Millis, Position};

/// What to look at, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    /// Time, priority, and a position in the block.
    due: BTreeSet<(Millis, u8, Position)>,
    /// The block that is being read back for this: priority and a position in it.
    reading: Option<(u8, Position)>,
    /// Blocks that are to be read back after it.
    next: Vec<(u8, Position)>,
}

impl Empty for Expiries {
    const EMPTY: &'static Expiries = &Expiries { due: BTreeSet::new(), reading: None, next: Vec::new() };
}

impl Queue {
    /// Messages from `first` to `last` are ready in this level, for the first time or again, or have come back into memory.
    pub(crate) fn watch(&mut self, level: usize, first: Position, last: Position) {
        if !self.settings.expire_anywhere || !self.expirable {
            return;
        }
        let mut next = first;
        while let Some((from, _)) = self.levels[level].ready.range_within(next, last) {
            let index = self.levels[level].blocks.first_from(from);
            if index == self.levels[level].blocks.len() {
                // Gathered when nothing here could expire.
                return;
            }
            let end = self.levels[level].blocks.get(index).last.min(last);
            if let Some(at) = self.soonest(level, index, from, end) {
                let priority = self.levels[level].priority;
                self.expiries.due.insert((at, priority, from));
            }
            next = end + 1;
        }
    }

    /// Everything may expire at other times than was known.
    pub(crate) fn watch_all(&mut self) {
        self.expiries = Rare::default();
        for level in 0..self.levels.len() {
            self.levels[level].seal(&mut self.ledger);
            if let Some(last) = self.levels[level].ready.last() {
                self.watch(level, 0, last);
            }
        }
    }

    /// Takes expired messages out wherever they stand.
    pub(crate) fn drop_expired_anywhere(&mut self, effects: &mut Effects) {
        while let Some(at) = self.next_look()
            && at <= self.now
            && let Some((_, priority, position)) = self.expiries.due.pop_first()
        {
            if let Some(level) = self.levels.find(priority) {
                self.look_into(level, position, effects);
            }
        }
    }

    /// When to look next.
    pub(crate) fn next_look(&mut self) -> Option<Millis> {
        if let Some((priority, position)) = self.expiries.reading {
            let loads = self.levels.find(priority).is_some_and(|level| {
                let blocks = &self.levels[level].blocks;
                let index = blocks.first_from(position);
                index < blocks.len() && blocks.get(index).loading
            });
            if !loads {
                // It has come, or nobody needs it any more.
                self.expiries.reading = None;
                if let Some((priority, position)) = self.expiries.next.pop() {
                    self.expiries.due.insert((0, priority, position));
                }
            }
        }
        self.expiries.due.first().map(|(at, ..)| *at)
    }

    /// Drops what has expired in one block, and notes when to come back.
    fn look_into(&mut self, level: usize, position: Position, effects: &mut Effects) {
        let Level { blocks, priority, .. } = &self.levels[level];
        let (priority, index) = (*priority, blocks.first_from(position));
        if index == blocks.len() {
            return;
        }
        let block = blocks.get(index);
        let (first, last) = (block.first, block.last);
        if block.is_stored() {
            if block.ready > 0 && self.expiries.reading.is_some() {
                self.expiries.next.push((priority, last));
            } else if block.ready > 0 {
                self.want(level, index, effects);
                self.expiries.reading = Some((priority, last));
            }
            return;
        }
        for position in self.expired(level, index) {
            let index = self.levels[level].blocks.first_from(position);
            let (piece, offset) = self.levels[level].blocks.get_mut(index).locate(position);
            let slice = Slice { block: index, piece, first: position, count: 1, offset };
            self.drop_one(level, &slice, Reason::Expired, effects);
        }
        self.watch(level, first, last);
    }

    /// The ready messages of a block that have expired.
    fn expired(&mut self, level: usize, index: usize) -> Vec<Position> {
        let (ttl, now) = (self.settings.message_ttl, self.now);
        let Level { blocks, ready, .. } = &mut self.levels[level];
        let block = blocks.get_mut(index);
        let (mut expired, mut next, last) = (Vec::new(), block.first, block.last);
        while let Some((from, to)) = ready.range_within(next, last) {
            expired.extend((from..=to).filter(|at| block.expires(*at, ttl).is_some_and(|at| at <= now)));
            next = to + 1;
        }
        expired
    }

    /// When the first of the ready messages of a block from `first` to `last` expires; 0 where that is to be read.
    fn soonest(&mut self, level: usize, index: usize, first: Position, last: Position) -> Option<Millis> {
        let ttl = self.settings.message_ttl;
        let Level { blocks, ready, .. } = &mut self.levels[level];
        let block = blocks.get_mut(index);
        if block.is_stored() {
            return Some(0);
        }
        let (mut soonest, mut next) = (None, first);
        while let Some((from, to)) = ready.range_within(next, last) {
            let times = (from..=to).filter_map(|position| block.expires(position, ttl));
            soonest = times.chain(soonest).min();
            next = to + 1;
        }
        soonest
    }
}
