//! Messages on disk whose bodies begin to count: a policy has given the queue its first limit in octets.
//!
//! Invariants: each block that was on disk then is read, the oldest of the lowest priority first, one at a time; until then its
//! messages count as nothing, so that none is dropped for what is only guessed.

use std::collections::VecDeque;

use crate::block::Block;
use crate::delivery::Effects;
use crate::ledger::Weight;
use crate::page::PageId;
use crate::queue::Queue;
use crate::rare::Rare;

/// Blocks that are still to be read.
pub(crate) type Unweighed = Rare<VecDeque<PageId>>;

impl Queue {
    /// Notes what is on disk and has to be read, if octets are limited.
    pub(crate) fn weigh_all(&mut self) {
        self.unweighed = Rare::default();
        if !self.counts_bodies() {
            return;
        }
        let blocks = self.levels.iter().flat_map(|level| level.blocks.iter());
        let stored: VecDeque<PageId> =
            blocks.filter(|block| block.is_stored()).map(|block| block.id).collect();
        if !stored.is_empty() {
            self.unweighed = Rare::from(stored);
        }
    }

    /// Asks for the next of them, unless it is under way.
    pub(crate) fn weigh_next(&mut self, effects: &mut Effects) {
        while let Some(id) = self.unweighed.front().copied() {
            if let Some((at, index)) = self.find(id)
                && self.levels[at].blocks.get(index).is_stored()
            {
                return self.want(at, index, effects);
            }
            // It is gone, or was read for another reason.
            self.unweighed.pop_front();
        }
        self.unweighed = Rare::default();
    }
}

/// The body of a block is here: what its messages weigh stays known when it leaves again.
pub(crate) fn weigh(block: &mut Block, weight: Weight, unweighed: &mut Unweighed) {
    unweighed.pop_front_if(|next| *next == block.id);
    block.weight = block.body.pieces().iter().map(|piece| piece.weight(weight)).sum();
}

#[cfg(test)]
mod tests {
    use crate::run::{Record, RunBuilder};
    use crate::{Effects, Page, Place, Queue, Settings};

    fn publish(queue: &mut Queue, octets: usize) {
        let mut builder = RunBuilder::new();
        let (route, header, body) = (&[0, 0][..], &[0; 14][..], &vec![0; octets][..]);
        let (persistent, priority, ttl, dead, due) = (true, None, None, false, None);
        builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
        queue.publish(builder.finish().unwrap(), &mut Effects::new());
    }

    /// Everything goes to the disk.
    fn page_out(queue: &mut Queue, pages: &mut Vec<(Place, Page)>) {
        for page in queue.page_out(0, 200) {
            let place = Place(page.id.0, 1);
            queue.paged(page.id, place, &mut Effects::new());
            pages.push((place, page));
        }
    }

    #[test]
    fn a_limit_in_octets_that_comes_later_finds_what_is_on_disk() {
        let settings = Settings { recorded: true, ..Settings::default() };
        let mut queue = Queue::new(settings);
        let mut pages = Vec::new();
        for octets in [100, 0, 30, 500, 1, 70, 70, 200] {
            publish(&mut queue, octets);
            page_out(&mut queue, &mut pages);
        }
        assert_eq!(pages.len(), 8);
        let mut effects = Effects::new();
        queue.configure(Settings { max_length_bytes: Some(400), ..settings }, &mut effects);
        let mut read = Vec::new();
        while let Some((id, place)) = effects.loads.pop() {
            assert!(effects.loads.is_empty(), "one at a time");
            read.push(place.0);
            let (_, page) = pages.iter().find(|(at, _)| *at == place).expect("it was written there");
            assert!(queue.loaded(id, place, &page.ranges, page.pieces.concat().into(), &mut effects));
            queue.check();
        }
        assert_eq!(read, [0, 1, 2, 3, 4, 5, 6, 7]);
        // 971 octets in all: the first four are too much, and what is behind them stays known when it leaves.
        page_out(&mut queue, &mut Vec::new());
        assert_eq!((queue.ready(), queue.ready_size()), (4, 1 + 70 + 70 + 200 + 4));
        assert!((4..8).all(|position| queue.is_stored(position)));
        queue.hand_out(&mut effects);
        assert_eq!(effects.loads, [], "nothing is read twice");
    }
}
