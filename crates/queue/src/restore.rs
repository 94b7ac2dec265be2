//! A queue after a restart: put together from what is on disk.
//!
//! Invariants: a position comes back once, whatever names it, and not at all if it is gone; blocks stand in order in their level,
//! also where a crash has brought messages back into the gaps of a page: then a stored block comes in several parts that share
//! their place.

use crate::block::{Block, Piece};
use crate::delivery::{Attempted, Effects};
use crate::ledger::{Ledger, Weight};
use crate::level::Level;
use crate::page::{PageId, PageRange, Place};
use crate::positions::Positions;
use crate::queue::Queue;
use crate::redelivered::{Attempts, Redelivered};
use crate::run::Run;
use crate::settings::Settings;
use crate::spans::Spans;
use crate::{Millis, Position};

/// What was found so far, in any order.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    found: Vec<Found>,
    seen: Positions,
    next: Position,
    /// How often messages came back, and until when they wait.
    attempts: Spans<(Attempts, Option<Millis>)>,
}

#[derive(Debug)]
struct Found {
    priority: u8,
    first: Position,
    last: Position,
    what: What,
}

#[derive(Debug)]
enum What {
    Piece(Piece),
    /// With the positions that it brings back.
    Stored {
        place: Place,
        count: u32,
        octets: u64,
        live: Positions,
        /// Octets of their bodies, if somebody has looked.
        bodies: Option<u64>,
    },
}

/// A block that was found on disk.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Where.
    pub place: Place,
    /// The priority of its messages.
    pub level: u8,
    /// Their positions.
    pub ranges: &'a [PageRange],
    /// Octets of the block.
    pub octets: u64,
    /// The messages themselves, for queues that [count](Queue::counts_bodies) the octets of bodies. Without them each counts for nothing
    /// until it is read.
    pub messages: Option<&'a Run>,
}

impl Queue {
    /// A stored block was found: its messages come back unless they are `gone`, transient, or known from elsewhere. Says whether any
    /// does; otherwise nothing needs the place.
    pub fn restore_block(&mut self, block: &Stored<'_>, gone: &Positions) -> bool {
        let Stored { place, level, ranges, octets, messages } = *block;
        let highest = self.settings.level(Some(u8::MAX));
        let restoring = self.restoring.get_or_insert_default();
        let mut live = Positions::new();
        for range in ranges {
            restoring.next = restoring.next.max(range.last() + 1);
            if !range.transient {
                missing((range.first, range.last()), gone, &restoring.seen, |first, last| {
                    live.insert(first, last)
                });
            }
        }
        let (Some(first), Some(last)) = (live.first(), live.last()) else { return false };
        live.ranges().for_each(|(first, last)| restoring.seen.insert(first, last));
        let count = ranges.iter().map(|range| range.count).sum();
        let bodies = messages.and_then(|run| bodies_of(run, ranges, &live));
        let what = What::Stored { place, count, octets, live, bodies };
        restoring.found.push(Found { priority: level.min(highest), first, last, what });
        true
    }

    /// A published run was found that begins at position `first`: what outlives a restart comes back unless it is `gone` or known
    /// from elsewhere.
    pub fn restore_run(&mut self, run: &Run, first: Position, arrived: Millis, gone: &Positions) {
        let settings = self.settings;
        let restoring = self.restoring.get_or_insert_default();
        let last = first + u64::from(run.count()) - 1;
        restoring.next = restoring.next.max(last + 1);
        let mut ranges = Vec::new();
        missing((first, last), gone, &restoring.seen, |first, last| ranges.push((first, last)));
        let (mut position, mut offset) = (first, 0);
        for (from, to) in ranges {
            offset = run.skip(offset, (from - position) as u32);
            position = from;
            while position <= to {
                let piece = alike(run, (position, to), offset, &settings, arrived);
                (position, offset) = (piece.last() + 1, offset + piece.size);
                if !settings.keeps_all() && !run.persistent_at(piece.offset) {
                    continue;
                }
                self.expirable |= run.has_ttl();
                let (first, last) = (piece.first, piece.last());
                restoring.seen.insert(first, last);
                let priority = settings.level(run.priority_at(piece.offset));
                restoring.found.push(Found { priority, first, last, what: What::Piece(piece) });
            }
        }
    }

    /// What was told of messages that came back ([`Queue::attempts`], [`crate::Effects::attempts`]), in any order: who came back more
    /// often was told later.
    pub fn restore_attempted(&mut self, attempted: Attempted) {
        let Attempted { mut first, last, attempts, due } = attempted;
        let known = &mut self.restoring.get_or_insert_default().attempts;
        while first <= last {
            let (before, end) = known.of(first, last);
            if before.is_none_or(|before| before < (attempts, due)) {
                known.set(first, end, (attempts, due));
            }
            first = end.saturating_add(1);
        }
    }

    /// Everything was found. The next message gets position `next`, or a higher one if that was there; those below `delivered_below`
    /// were delivered before, or all if that is not known. Nothing is handed out or asked for until [`Queue::hand_out`].
    pub fn restored(&mut self, next: Position, delivered_below: Option<Position>) {
        let Restoring { mut found, next: seen, attempts, .. } =
            self.restoring.take().map(|r| *r).unwrap_or_default();
        self.next = self.next.max(next).max(seen);
        self.redelivered = Redelivered::below(delivered_below.unwrap_or(self.next).min(self.next));
        found.sort_unstable_by_key(|found| (found.priority, found.first));
        let mut found = found.into_iter().peekable();
        while let Some(first) = found.next() {
            let (priority, mut last) = (first.priority, first.last);
            let mut together = vec![first];
            while let Some(next) = found.next_if(|next| next.priority == priority && next.first <= last) {
                last = last.max(next.last);
                together.push(next);
            }
            let gather = !self.expirable;
            let at = self.levels.at(priority);
            put(&mut self.levels[at], together, gather, &mut self.ledger);
        }
        for level in &mut self.levels {
            level.seal(&mut self.ledger);
        }
        self.unsure = self.ledger.stored > 0;
        // Where messages leave from anywhere, looking at the heads is not enough.
        self.expirable |= self.unsure && self.settings.expire_anywhere;
        self.restore_attempts(&attempts);
        self.watch_all();
    }

    /// All queues are back: what is too much leaves, as it had before a crash that has brought it back. Nobody waits for it yet.
    pub fn begin_again(&mut self, effects: &mut Effects) {
        self.drop_overflow(effects);
    }
}

/// Puts what was found between two positions into its level.
fn put(level: &mut Level, together: Vec<Found>, gather: bool, ledger: &mut Ledger) {
    let mut parts: Vec<(Position, Position, usize)> = Vec::new();
    for (which, found) in together.iter().enumerate() {
        match &found.what {
            What::Piece(_) => parts.push((found.first, found.last, which)),
            What::Stored { .. } if together.len() == 1 => parts.push((found.first, found.last, which)),
            What::Stored { live, .. } => {
                parts.extend(live.ranges().map(|(first, last)| (first, last, which)))
            }
        }
    }
    parts.sort_unstable();
    // Neighbours of the same block are one part.
    parts.dedup_by(|next, part| {
        let is_same = next.2 == part.2;
        if is_same {
            part.1 = next.1;
        }
        is_same
    });
    let mut blocks = vec![0_u32; together.len()];
    parts.iter().for_each(|(.., which)| blocks[*which] += 1);
    for (first, last, which) in &parts {
        match &together[*which].what {
            What::Piece(piece) => level.push(piece.clone(), gather, ledger),
            What::Stored { place, count, octets, live, bodies } => {
                if blocks[*which] > 1 {
                    ledger.shared.insert(*place, blocks[*which]);
                }
                let mut own = 0;
                let mut next = *first;
                while let Some((from, to)) = live.range_within(next, *last) {
                    level.ready.insert(from, to);
                    own += (to - from + 1) as u32;
                    next = to + 1;
                }
                level.seal(ledger);
                let mut block = Block::stored(PageId(*first), (*first, *last), *count, *octets);
                (block.live, block.ready, block.persistent, block.place) = (own, own, true, Some(*place));
                let (all, own) = (live.count(), u64::from(own));
                block.ready_size = match (ledger.weight, bodies) {
                    (Weight::Records, _) => block.measure(*first, *first, ledger.weight) * own,
                    (Weight::Bodies, Some(bodies)) => {
                        block.weight = (bodies + all) * u64::from(*count) / all;
                        bodies * own / all + own
                    }
                    (Weight::Bodies, None) => {
                        // Not known yet: nothing may be dropped for what is only guessed.
                        block.weight = u64::from(*count);
                        own
                    }
                };
                ledger.ready += own;
                ledger.ready_size += block.ready_size;
                level.blocks.push(block, ledger);
            }
        }
    }
}

/// Octets of the bodies of those messages of a block that are live. `None` when the run is not that of these ranges.
fn bodies_of(run: &Run, ranges: &[PageRange], live: &Positions) -> Option<u64> {
    let (mut offset, mut left, mut octets) = (0, run.count(), 0);
    for range in ranges {
        left = left.checked_sub(range.count)?;
        let mut next = range.first;
        while let Some((from, to)) = live.range_within(next, range.last()) {
            offset = run.skip(offset, (from - next) as u32);
            let count = (to - from + 1) as u32;
            octets += run.bodies(offset, count);
            offset = run.skip(offset, count);
            next = to + 1;
        }
        offset = run.skip(offset, (range.first + u64::from(range.count)).saturating_sub(next) as u32);
    }
    Some(octets)
}

/// The messages in a row from one position that have the same priority and both outlive a restart, or both not.
fn alike(
    run: &Run,
    (first, last): (Position, Position),
    offset: u32,
    settings: &Settings,
    arrived: Millis,
) -> Piece {
    let kind = |offset: u32| (run.persistent_at(offset), settings.level(run.priority_at(offset)));
    let (most, mut count, mut end) = ((last - first + 1) as u32, 1, offset + run.size_at(offset));
    while count < most && kind(end) == kind(offset) {
        end += run.size_at(end);
        count += 1;
    }
    Piece { run: run.clone(), first, count, offset, size: end - offset, arrived }
}

/// Tells the ranges of positions from `first` to `last` that are in neither set.
fn missing(
    (first, last): (Position, Position),
    gone: &Positions,
    seen: &Positions,
    mut each: impl FnMut(Position, Position),
) {
    let mut next = first;
    while next <= last {
        let known = [gone, seen].into_iter().filter_map(|set| set.range_within(next, last)).min();
        let Some((from, to)) = known else { return each(next, last) };
        if next < from {
            each(next, from - 1);
        }
        next = to + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Record, RunBuilder};
    use crate::settings::{Kind, Overflow};

    #[test]
    fn a_queue_that_a_crash_has_made_too_long_is_short_again() {
        for (kind, overflow, ready) in [
            (Kind::Classic, Overflow::DropHead, 1),
            (Kind::Quorum, Overflow::DropHead, 1),
            (Kind::Quorum, Overflow::RejectPublish, 3),
        ] {
            let settings = Settings { kind, overflow, max_length: Some(1), ..Settings::default() };
            let run = run(&[b"a", b"b", b"c"]);
            let mut queue = Queue::new(settings);
            queue.restore_run(&run, 0, 0, &Positions::new());
            queue.restored(3, None);
            queue.begin_again(&mut Effects::default());
            assert_eq!(queue.ready(), ready, "{kind:?} {overflow:?}");
        }
    }

    #[test]
    fn octets_that_are_on_disk_alone_count_when_somebody_has_looked() {
        let stored = run(&[&[0; 10], &[0; 500], &[0; 1], &[0; 20]]);
        let range = |first, count| PageRange { first, count, transient: false, arrived: 0 };
        let ranges = [range(4, 3), range(9, 1)];
        let mut gone = Positions::new();
        gone.insert(5, 5);
        let (overflow, max_length_bytes) = (Overflow::RejectPublish, Some(40));
        // 31 octets are there, or nobody knows; 9 more are enough.
        for (messages, full) in [(Some(&stored), [false, true, true]), (None, [false, false, true])] {
            let mut queue = Queue::new(Settings { overflow, max_length_bytes, ..Settings::default() });
            let octets = stored.len() as u64;
            let block = Stored { place: Place(7, 1), level: 0, ranges: &ranges, octets, messages };
            assert!(queue.restore_block(&block, &gone));
            queue.restored(10, None);
            queue.check();
            assert_eq!(queue.ready(), 3);
            let rejects = [9, 10, 41].map(|more| queue.rejects(&run(&[&vec![0; more]])));
            assert_eq!(rejects, full, "known: {}", messages.is_some());
        }
    }

    fn run(bodies: &[&[u8]]) -> Run {
        let mut builder = RunBuilder::new();
        for body in bodies {
            let (route, header) = (&[0, 0][..], &[][..]);
            let (persistent, priority, ttl, dead, due) = (true, None, None, false, None);
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
        }
        builder.finish().expect("it has messages")
    }
}
