//! The blocks of one level, oldest first.
//!
//! Invariants: blocks are disjoint and ascend; a block that is dead stays in its place with nothing in it until enough of them
//! have gathered, so that a message that nobody settles holds up nothing and removal costs the same for each block, wherever
//! it stands; the first and the last are never dead.

use std::collections::VecDeque;

use crate::Position;
use crate::block::{Block, Body};
use crate::delivery::Effects;
use crate::ledger::Ledger;

/// So many dead blocks are not worth a sweep.
const DEAD_MIN: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Blocks {
    list: VecDeque<Block>,
    dead: usize,
    /// Blocks with ready messages.
    ready: usize,
    /// Where something was found last, by [`Search`].
    found: [usize; 2],
}

/// What a block is looked for; each has its own memory of where it was last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Next,
    Settled,
}

impl Blocks {
    /// Dead ones count too.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn with_ready(&self) -> usize {
        self.ready
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Block> {
        self.list.iter().filter(|block| !block.is_dead())
    }

    pub(crate) fn get(&self, at: usize) -> &Block {
        &self.list[at]
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> &mut Block {
        &mut self.list[at]
    }

    /// When messages on disk expire is not known any more.
    pub(crate) fn forget_soonest(&mut self) {
        self.list.iter_mut().for_each(|block| block.soonest = 0);
    }

    /// Appends a block whose messages stand behind all others.
    pub(crate) fn push(&mut self, block: Block, ledger: &mut Ledger) {
        debug_assert!(self.list.back().is_none_or(|last| last.last < block.first));
        ledger.resident += block.body.octets();
        ledger.stored += u64::from(block.is_stored());
        self.ready += usize::from(block.ready > 0);
        self.list.push_back(block);
    }

    /// The block around a position of a live message; `None` when it is in none.
    #[inline]
    pub(crate) fn find(&mut self, position: Position, search: Search) -> Option<usize> {
        let memory = self.found[search as usize];
        let is_here = |at: usize| {
            self.list
                .get(at)
                .is_some_and(|block| block.first <= position && position <= block.last && !block.is_dead())
        };
        let at = if is_here(memory) {
            memory
        } else if is_here(memory + 1) {
            memory + 1
        } else {
            self.first_from(position)
        };
        self.found[search as usize] = at;
        self.list.get(at).is_some_and(|block| block.first <= position).then_some(at)
    }

    /// The first block that ends at `position` or behind it.
    pub(crate) fn first_from(&self, position: Position) -> usize {
        self.list.partition_point(|block| block.last < position)
    }

    /// Live messages from `first` to `last` are gone. Blocks that are dead now give up what they have.
    /// With `told` what a restart would bring back is reported.
    pub(crate) fn settle(
        &mut self,
        first: Position,
        last: Position,
        told: bool,
        ledger: &mut Ledger,
        effects: &mut Effects,
    ) {
        let mut from = first;
        while from <= last {
            let block = match self.list.front_mut() {
                // Nearly always the oldest are settled first.
                Some(front) if from <= front.last => front,
                _ => {
                    let at = self.find(from, Search::Settled);
                    &mut self.list[at.expect("invariant: live messages are in a block")]
                }
            };
            let end = last.min(block.last);
            block.live -= (end - from + 1) as u32;
            if told {
                ledger.gone(block.persistent, from, end, effects);
            }
            if block.is_dead() {
                bury(block, ledger, effects);
                self.dead += 1;
            }
            from = end + 1;
        }
        if self.dead > 0 {
            self.sweep();
        }
    }

    /// Live messages are gone: those of the 64 positions from `base` on that are meant by the bits of `mask`.
    pub(crate) fn settle_some(
        &mut self,
        base: Position,
        mask: u64,
        ledger: &mut Ledger,
        effects: &mut Effects,
    ) {
        let first = base + u64::from(mask.trailing_zeros());
        let last = base + 63 - u64::from(mask.leading_zeros());
        let at = match self.list.front() {
            Some(front) if last <= front.last => 0,
            _ => self.find(first, Search::Settled).expect("invariant: live messages are in a block"),
        };
        let block = &mut self.list[at];
        let (count, is_told) = (mask.count_ones(), ledger.recorded && block.persistent);
        if last <= block.last && !is_told && count < block.live {
            block.live -= count;
        } else {
            ranges_of(base, mask, |first, last| self.settle(first, last, true, ledger, effects));
        }
    }

    /// Ready messages from `first` to `last` are not ready any more.
    pub(crate) fn unready(&mut self, first: Position, last: Position, ledger: &mut Ledger) {
        let mut from = first;
        while from <= last {
            let at = self.find(from, Search::Next).expect("invariant: ready messages are in a block");
            let block = &mut self.list[at];
            let end = last.min(block.last);
            let count = (end - from + 1) as u32;
            let size =
                if count == block.ready { block.ready_size } else { block.measure(from, end, ledger.weight) };
            self.take(at, count, size, ledger);
            from = end + 1;
        }
    }

    /// So many ready messages of one block, which weigh `size`, are not ready any more.
    #[inline]
    pub(crate) fn take(&mut self, at: usize, count: u32, size: u64, ledger: &mut Ledger) {
        let block = &mut self.list[at];
        block.ready -= count;
        // Where sizes were estimated, the last one takes the rest, and the others leave something.
        let rest = u64::from(block.ready);
        let size = if rest == 0 { block.ready_size } else { size.min(block.ready_size - rest) };
        block.ready_size -= size;
        if block.is_stored() {
            // Who stands first now may expire sooner.
            block.soonest = 0;
        }
        self.ready -= usize::from(block.ready == 0);
        ledger.ready -= u64::from(count);
        ledger.ready_size -= size;
    }

    /// Live messages from `first` to `last` are ready again.
    pub(crate) fn put_back(&mut self, first: Position, last: Position, ledger: &mut Ledger) {
        let mut from = first;
        while from <= last {
            let at = self.find(from, Search::Settled).expect("invariant: live messages are in a block");
            let block = &mut self.list[at];
            let end = last.min(block.last);
            let size = block.measure(from, end, ledger.weight);
            self.ready += usize::from(block.ready == 0);
            block.ready += (end - from + 1) as u32;
            block.ready_size += size;
            // What stands first now may expire sooner.
            block.soonest = 0;
            ledger.ready += end - from + 1;
            ledger.ready_size += size;
            from = end + 1;
        }
    }

    /// Exchanges the body of a block; the octets of the ready messages are what they are in the new one.
    pub(crate) fn set_body(&mut self, at: usize, body: Body, ledger: &mut Ledger) -> Body {
        let block = &mut self.list[at];
        let octets = body.octets();
        ledger.stored += u64::from(matches!(body, Body::Stored));
        ledger.resident += octets;
        let old = block.set_body(body);
        ledger.stored -= u64::from(matches!(old, Body::Stored));
        ledger.resident -= old.octets();
        if block.writing.is_some() {
            ledger.leaving = ledger.leaving + octets - old.octets();
        }
        old
    }

    /// Gives a block what its level knows its ready messages to weigh.
    pub(crate) fn set_ready_size(&mut self, at: usize, size: u64, ledger: &mut Ledger) {
        let block = &mut self.list[at];
        ledger.ready_size = ledger.ready_size - block.ready_size + size;
        block.ready_size = size;
    }

    /// Puts one block in the place of several, the first of which is at `from` and the last at `to`.
    /// What they had of bodies and places was taken from them before.
    pub(crate) fn replace(&mut self, from: usize, to: usize, block: Block) {
        let ready = |block: &Block| usize::from(block.ready > 0);
        self.ready = self.ready + ready(&block) - self.list.range(from..=to).map(ready).sum::<usize>();
        let last = block.last;
        self.list[from] = block;
        for at in from + 1..=to {
            let rest = &mut self.list[at];
            self.dead += usize::from(!rest.is_dead());
            (rest.live, rest.ready, rest.ready_size, rest.writing) = (0, 0, 0, None);
            // Behind the new block, so that searching still works.
            (rest.first, rest.last) = (last, last);
        }
        self.sweep();
    }

    /// Panics when an invariant does not hold; for tests.
    pub(crate) fn check(&self) {
        assert_eq!(self.dead, self.list.iter().filter(|block| block.is_dead()).count());
        assert!(self.dead <= DEAD_MIN.max(self.list.len() / 2), "dead blocks stay");
        assert!(
            self.list.is_empty() || !(self.list[0].is_dead() || self.list[self.list.len() - 1].is_dead())
        );
        assert!(self.list.iter().is_sorted_by_key(|block| block.last));
    }

    /// Removes dead blocks at the ends, and the others once they are many.
    fn sweep(&mut self) {
        while self.list.front().is_some_and(Block::is_dead) {
            self.list.pop_front();
            self.dead -= 1;
            self.found = self.found.map(|at| at.saturating_sub(1));
        }
        while self.list.back().is_some_and(Block::is_dead) {
            self.list.pop_back();
            self.dead -= 1;
        }
        if self.dead > DEAD_MIN && self.dead > self.list.len() / 2 {
            self.list.retain(|block| !block.is_dead());
            self.dead = 0;
        }
        if self.list.capacity() > 1024 && self.list.len() < self.list.capacity() / 8 {
            self.list.shrink_to(2 * self.list.len());
        }
    }
}

/// The ranges in a row of the positions that are meant by the bits of a mask.
pub(crate) fn ranges_of(base: Position, mut mask: u64, mut each: impl FnMut(Position, Position)) {
    while mask != 0 {
        let first = mask.trailing_zeros();
        let count = (mask >> first).trailing_ones();
        each(base + u64::from(first), base + u64::from(first + count) - 1);
        mask &= u64::MAX.checked_shl(first + count).unwrap_or(0);
    }
}

/// A block is dead: its body and its place are given up.
fn bury(block: &mut Block, ledger: &mut Ledger, effects: &mut Effects) {
    debug_assert_eq!(block.ready, 0);
    ledger.stored -= u64::from(block.is_stored());
    let octets = block.set_body(Body::Stored).octets();
    ledger.resident -= octets;
    if block.writing.take().is_some() {
        ledger.leaving -= octets;
    }
    if let Some(place) = block.place.take() {
        ledger.release(place, effects);
    }
}
