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
    },
}

impl Queue {
    /// A stored block was found: its messages come back unless they are `gone`, transient, or known from elsewhere. Says whether any
    /// does; otherwise nothing needs the place.
    pub fn restore_block(
        &mut self,
        place: Place,
        level: u8,
        ranges: &[PageRange],
        octets: u64,
        gone: &Positions,
    ) -> bool {
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
        let what = What::Stored { place, count, octets, live };
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
            What::Stored { place, count, octets, live } => {
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
                if ledger.weight == Weight::Bodies {
                    // Not known yet: nothing may be dropped for what is only guessed.
                    block.weight = u64::from(*count);
                }
                block.ready_size = block.measure(*first, *first, ledger.weight) * u64::from(own);
                ledger.ready += u64::from(own);
                ledger.ready_size += block.ready_size;
                level.blocks.push(block, ledger);
            }
        }
    }
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
            let mut builder = RunBuilder::new();
            for body in [b"a", b"b", b"c"] {
                let record = Record {
                    route: &[0, 0],
                    header: b"",
                    body,
                    persistent: true,
                    priority: None,
                    ttl: None,
                    dead: false,
                    due: None,
                };
                builder.push(record);
            }
            let run = builder.finish().expect("three messages");
            let mut queue = Queue::new(settings);
            queue.restore_run(&run, 0, 0, &Positions::new());
            queue.restored(3, None);
            queue.begin_again(&mut Effects::default());
            assert_eq!(queue.ready(), ready, "{kind:?} {overflow:?}");
        }
    }
}
