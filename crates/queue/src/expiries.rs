//! When to look into which block for expired messages, in queues where these leave wherever they stand.
//!
//! Invariants: every ready message that may expire is in a block that is looked into when it expires, or sooner; looking too often
//! does no harm. One entry stands for a block, not for a message, and there are few more of them than blocks, however many messages
//! have come and gone before their time; one block at a time is read back for this. So memory stays bounded.

use std::collections::{BTreeSet, HashSet};

use crate::delivery::{Effects, Reason};
use crate::level::{Level, Slice};
use crate::queue::Queue;
use crate::rare::{Empty, Rare};
use crate::{Millis, Position};

/// So many entries more than twice the blocks are not worth a sweep.
const STALE_MIN: usize = 64;

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
        while let Some((from, _)) = self.levels[level].ready_within(next, last) {
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
        if self.expiries.due.len() > self.watched_max() {
            self.forget_stale();
        }
    }

    /// Most entries that stay: beyond it some are of messages that were taken before their time.
    fn watched_max(&self) -> usize {
        2 * self.levels.iter().map(|level| level.blocks.len()).sum::<usize>() + STALE_MIN
    }

    /// Keeps the soonest entry of each block in which something is ready: whoever looks into it notes the next.
    fn forget_stale(&mut self) {
        let (mut seen, mut due) = (HashSet::new(), std::mem::take(&mut self.expiries.due));
        due.retain(|(_, priority, position)| {
            let Some(level) = self.levels.iter().find(|level| level.priority == *priority) else {
                return false;
            };
            let index = level.blocks.first_from(*position);
            index < level.blocks.len()
                && level.blocks.get(index).ready > 0
                && seen.insert((*priority, level.blocks.get(index).last))
        });
        self.expiries.due = due;
    }

    /// Everything may expire at other times than was known.
    pub(crate) fn watch_all(&mut self) {
        self.expiries = Rare::default();
        for level in 0..self.levels.len() {
            self.levels[level].seal(&mut self.ledger);
            let Level { ready, returned, .. } = &self.levels[level];
            if let Some(last) = ready.last().max(returned.last()) {
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
        let expired = self.expired(level, index);
        for position in expired.iter().copied() {
            let index = self.levels[level].blocks.first_from(position);
            let (piece, offset) = self.levels[level].blocks.get_mut(index).locate(position);
            let slice = Slice { block: index, piece, first: position, count: 1, offset };
            self.drop_one(level, &slice, Reason::Expired, effects);
        }
        self.forget_returned(&expired);
        self.watch(level, first, last);
    }

    /// The ready messages of a block that have expired.
    fn expired(&mut self, level: usize, index: usize) -> Vec<Position> {
        let (ttl, now) = (self.settings.message_ttl, self.now);
        let level = &mut self.levels[level];
        let block = level.blocks.get(index);
        let (mut expired, mut next, last) = (Vec::new(), block.first, block.last);
        while let Some((from, to)) = level.ready_within(next, last) {
            let block = level.blocks.get_mut(index);
            expired.extend((from..=to).filter(|at| block.expires(*at, ttl).is_some_and(|at| at <= now)));
            next = to + 1;
        }
        expired
    }

    /// When the first of the ready messages of a block from `first` to `last` expires; 0 where that is to be read.
    fn soonest(&mut self, level: usize, index: usize, first: Position, last: Position) -> Option<Millis> {
        let ttl = self.settings.message_ttl;
        let level = &mut self.levels[level];
        if level.blocks.get(index).is_stored() {
            return Some(0);
        }
        let (mut soonest, mut next) = (None, first);
        while let Some((from, to)) = level.ready_within(next, last) {
            let block = level.blocks.get_mut(index);
            let times = (from..=to).filter_map(|position| block.expires(position, ttl));
            soonest = times.chain(soonest).min();
            next = to + 1;
        }
        soonest
    }
}

#[cfg(test)]
mod tests {
    use super::STALE_MIN;
    use crate::run::{Record, RunBuilder};
    use crate::{Back, Effects, Get, Kind, Place, Positions, Queue, Settings, Stored};

    /// A queue that never is empty, through which messages pass long before they expire.
    #[test]
    fn what_has_gone_is_not_looked_for_for_ever() {
        let settings =
            Settings { message_ttl: Some(86_400_000), expire_anywhere: true, ..Settings::default() };
        let (mut queue, mut effects) = (Queue::new(settings), Effects::new());
        let publish = |queue: &mut Queue, effects: &mut Effects| {
            let mut builder = RunBuilder::new();
            let (route, header, body) = (&[0, 0][..], &[0; 14][..], &[0; 16][..]);
            let (persistent, priority, ttl, dead, due) = (false, None, None, false, None);
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
            queue.publish(builder.finish().unwrap(), effects);
        };
        publish(&mut queue, &mut effects);
        for now in 0..10_000 {
            queue.advance(now, &mut effects);
            publish(&mut queue, &mut effects);
            assert!(matches!(queue.get(false, &mut effects), Get::Message(_)));
            assert!(queue.expiries.due.len() < 2 * STALE_MIN, "{now}");
        }
        // What is left still expires.
        queue.advance(86_400_000 + 10_000, &mut effects);
        assert_eq!(queue.ready(), 0);
    }

    /// After a restart nobody knows what of it may expire: it is looked for in one block after the other.
    #[test]
    fn what_is_on_disk_since_a_restart_expires_wherever_it_stands() {
        let settings = Settings { expire_anywhere: true, recorded: true, ..Settings::default() };
        let (mut queue, mut effects) = (Queue::new(settings), Effects::new());
        let mut pages = Vec::new();
        for ttl in [None, None, Some(100), None, Some(50)] {
            let mut builder = RunBuilder::new();
            let (route, header, body) = (&[0, 0][..], &[0; 14][..], &[0; 16][..]);
            let (persistent, priority, dead, due) = (true, None, false, None);
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
            queue.publish(builder.finish().unwrap(), &mut effects);
            pages.extend(queue.page_out(0, usize::MAX));
        }
        assert_eq!(pages.len(), 5);
        let mut queue = Queue::new(settings);
        for page in &pages {
            let (place, level) = (Place(page.id.0, 1), page.level);
            let block = Stored { place, level, ranges: &page.ranges, octets: page.octets, messages: None };
            assert!(queue.restore_block(&block, &Positions::new()));
        }
        queue.restored(5, None);
        for (now, left) in [(1, 5), (49, 5), (50, 4), (100, 3), (1000, 3)] {
            queue.advance(now, &mut effects);
            queue.hand_out(&mut effects);
            while let Some((id, place)) = effects.loads.pop() {
                let page = &pages[place.0 as usize];
                assert!(queue.loaded(id, place, &page.ranges, page.pieces.concat().into(), &mut effects));
                queue.advance(now, &mut effects);
            }
            queue.check();
            assert_eq!(queue.ready(), left, "{now}");
        }
    }

    /// What came back to a quorum queue stands before the rest, and expires there behind what does not.
    #[test]
    fn what_came_back_expires_wherever_it_stands() {
        let settings = Settings { kind: Kind::Quorum, expire_anywhere: true, ..Settings::default() };
        let (mut queue, mut effects) = (Queue::new(settings), Effects::new());
        for ttl in [None, Some(100), Some(50), None, Some(100)] {
            let mut builder = RunBuilder::new();
            let (route, header, body) = (&[0, 0][..], &[0; 14][..], &[0; 16][..]);
            let (persistent, priority, dead, due) = (true, None, false, None);
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
            queue.publish(builder.finish().unwrap(), &mut effects);
        }
        (0..4).for_each(|_| assert!(matches!(queue.get(true, &mut effects), Get::Message(_))));
        queue.requeue(0, 3, Back::Returned, &mut effects);
        for (now, left) in [(49, 5), (50, 4), (100, 2), (1000, 2)] {
            queue.advance(now, &mut effects);
            queue.check();
            assert_eq!(queue.ready(), left, "{now}");
        }
        for position in [0, 3] {
            let Get::Message(got) = queue.get(false, &mut effects) else { panic!("nothing there") };
            assert_eq!(got.delivery.first, position);
        }
    }
}
