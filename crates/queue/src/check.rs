//! What always holds between two verbs, for tests: everything that is kept twice is compared.
//!
//! Invariant: nothing here changes a queue.

use std::collections::BTreeMap;

use crate::Position;
use crate::block::Block;
use crate::ledger::{Ledger, Weight};
use crate::level::Level;
use crate::page::{PageId, Place};
use crate::positions::Positions;
use crate::queue::Queue;

impl Queue {
    /// Panics when an invariant does not hold; for tests.
    pub fn check(&self) {
        let Ledger { recorded, keeps_all, weight, .. } = self.ledger;
        let mut sum = Ledger { recorded, keeps_all, weight, ..Ledger::default() };
        let mut places: BTreeMap<Place, u32> = BTreeMap::new();
        let mut all = Positions::new();
        assert!(self.levels.is_sorted_by(|a, b| a.priority < b.priority), "levels in order");
        for (at, level) in self.levels.iter().enumerate() {
            check_level(level, weight);
            for set in level.sets() {
                let before = all.count();
                set.ranges().for_each(|(first, last)| all.insert(first, last));
                assert_eq!(all.count(), before + set.count(), "a message is in two sets");
            }
            for block in level.blocks.iter() {
                self.check_writing(at, block);
                sum.ready_size += block.ready_size;
                sum.resident += block.body.octets();
                sum.leaving += if block.writing.is_some() { block.body.octets() } else { 0 };
                sum.stored += u64::from(block.is_stored());
                if let Some(place) = block.place {
                    *places.entry(place).or_default() += 1;
                }
            }
            let gathered = level.gathered().map_or(0, |builder| builder.len() as u64);
            sum.ready += level.ready.count() + level.returned.count();
            sum.ready_size += gathered;
            sum.resident += gathered;
        }
        sum.shared = self.ledger.shared.clone();
        assert_eq!(sum, self.ledger);
        for (place, blocks) in places {
            assert_eq!(blocks, self.ledger.shared.get(&place).copied().unwrap_or(1), "blocks of {place:?}");
        }
        assert!(all.last().is_none_or(|last| last < self.next));
        for (first, last) in self.redelivered.since().ranges() {
            assert_eq!(all.range_within(first, last), Some((first, last)), "redelivered, but not here");
        }
        assert!((self.ledger.ready == 0) == (self.ledger.ready_size == 0), "ready size");
        self.check_returns();
        self.check_flow();
    }

    /// Whether a message that is here has its body on disk only; for tests.
    pub fn is_stored(&self, position: Position) -> bool {
        let level = self.levels.iter().find(|level| level.live_within(position, position).is_some());
        let block = level.and_then(|level| level.blocks.iter().find(|block| block.last >= position));
        block.is_some_and(Block::is_stored)
    }

    /// What is ready goes to whoever may receive, unless the first has to be loaded; then that was asked for.
    fn check_flow(&self) {
        let returned = self.returns.order.front().and_then(|(first, _)| {
            self.levels.iter().find(|level| level.returned.contains(*first)).map(|level| (level, *first))
        });
        let ready = self.levels.iter().rev().find_map(|level| Some((level, level.ready.first()?)));
        let Some((level, first)) = returned.or(ready) else { return };
        if self.consumers.any_in_turn() {
            let block = level.blocks.iter().find(|block| block.last >= first);
            let stalls = block.is_some_and(|block| block.is_stored() && block.loading);
            assert!(stalls, "a consumer with credit waits beside ready messages");
        }
    }

    /// What came back stands in the order, or waits; and all of it is counted.
    fn check_returns(&self) {
        let returns = &*self.returns;
        let order = returns.order.iter().copied();
        let waiting = returns.waiting.iter().map(|((_, first), last)| (*first, *last));
        let mut sets = [Positions::new(), Positions::new()];
        for (which, (first, last)) in order.map(|range| (0, range)).chain(waiting.map(|range| (1, range))) {
            sets[which].insert(first, last);
            let levels = self.levels.iter();
            let of = |level: &Level| [&level.returned, &level.waiting][which].range_within(first, last);
            assert_eq!(levels.filter_map(of).collect::<Vec<_>>(), [(first, last)], "one level has it");
        }
        let count = |of: fn(&Level) -> u64| self.levels.iter().map(of).sum::<u64>();
        assert_eq!(sets[0].count(), count(|level| level.returned.count()));
        assert_eq!(sets[1].count(), count(|level| level.waiting.count()));
        assert_eq!(sets[1].count(), returns.waiting_count);
        for (first, last, _) in self.redelivered.attempts().iter() {
            assert_eq!(self.redelivered.since().range_within(first, last), Some((first, last)), "counted");
        }
        let is_doomed =
            |first, last| (first..=last).all(|at| self.levels.iter().any(|level| level.doomed.contains(at)));
        for (first, last, _) in returns.reasons.iter() {
            assert!(is_doomed(first, last), "a reason without a death");
        }
        returns.kept.check(is_doomed);
    }

    fn check_writing(&self, at: usize, block: &Block) {
        if let Some(id) = block.writing {
            let draft = self.writing.get(&id).expect("a page that is being written is known");
            assert_eq!(draft.priority, self.levels[at].priority);
        }
    }
}

fn check_level(level: &Level, weight: Weight) {
    let mut end = None;
    let mut live = 0;
    let mut names: Vec<PageId> = Vec::new();
    for block in level.blocks.iter() {
        assert!(end.is_none_or(|end| end < block.first) && block.first <= block.last, "blocks in order");
        end = Some(block.last);
        names.push(block.id);
        let count = |set: &Positions| {
            let (mut count, mut next) = (0, block.first);
            while let Some((first, last)) = set.range_within(next, block.last) {
                count += (last - first + 1) as u32;
                next = last + 1;
            }
            count
        };
        let ready = count(&level.ready) + count(&level.returned);
        let others = count(&level.unacked) + count(&level.doomed) + count(&level.waiting);
        assert_eq!((block.ready, block.live), (ready, ready + others), "{block:?}");
        assert!(block.live <= block.count);
        assert!((block.ready == 0) == (block.ready_size == 0));
        live += u64::from(block.live);
        check_body(level, block, weight);
    }
    assert!(names.is_sorted_by(|a, b| a < b), "names");
    let gathered = level.gathered().map_or(0, |builder| u64::from(builder.count()));
    let sets: u64 = level.sets().iter().map(|set| set.count()).sum();
    assert_eq!(sets, live + gathered, "all messages are in blocks");
    assert_eq!(level.blocks.with_ready(), level.blocks.iter().filter(|block| block.ready > 0).count());
    level.blocks.check();
}

/// A block is on disk, or every live message has its place in a body; then sizes are exact.
fn check_body(level: &Level, block: &Block, weight: Weight) {
    if block.is_stored() {
        assert!(block.place.is_some(), "a block that is nowhere");
        return;
    }
    assert!(!block.loading);
    let mut size = 0;
    let mut covered = 0;
    for piece in block.body.pieces() {
        let mut offset = piece.offset;
        for position in piece.first..=piece.last() {
            let octets = piece.run.size_at(offset);
            if position < block.first || position > block.last {
                // Of another part of the same page.
                offset += octets;
                continue;
            }
            let weighs = piece.weigh(weight, offset, offset + octets, 1);
            size += if level.ready_within(position, position).is_some() { weighs } else { 0 };
            covered += u32::from(level.live_within(position, position).is_some());
            offset += octets;
        }
        assert_eq!(offset, piece.offset + piece.size);
    }
    assert_eq!((size, covered), (block.ready_size, block.live), "{block:?}");
}
