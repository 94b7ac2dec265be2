//! Looking at messages without taking them: what is in memory, and where the rest stands.
//!
//! Invariant: nothing changes by it but that what was gathered becomes a block.

use crate::Position;
use crate::delivery::{Delivery, Picks};
use crate::page::Place;
use crate::queue::Queue;
use crate::{PageRange, Run};

/// Messages that live, in the order of their positions.
#[derive(Debug)]
pub enum Look {
    /// In memory.
    Here(Delivery),
    /// On disk.
    There {
        /// Where their block stands.
        place: Place,
        /// Which of its messages live, from the one that was asked for on.
        live: Vec<(Position, Position)>,
    },
}

impl Look {
    /// The position behind what was seen.
    pub fn end(&self) -> Position {
        match self {
            Look::Here(delivery) => delivery.first + u64::from(delivery.count()),
            Look::There { live, .. } => live.last().map_or(0, |(_, last)| last + 1),
        }
    }
}

impl Queue {
    /// What stands first at `from` or behind it. Only of a queue without priorities.
    pub fn look(&mut self, from: Position) -> Option<Look> {
        let Queue { levels, ledger, redelivered, .. } = self;
        let level = levels.first_mut()?;
        level.seal(ledger);
        let sets = level.sets();
        let first = sets.iter().filter_map(|set| set.first_from(from)).min()?;
        let at = level.blocks.first_from(first);
        let end = level.blocks.get(at).last;
        let (_, last) = level.live_within(first, end)?;
        let block = level.blocks.get_mut(at);
        if let Some(place) = block.place.filter(|_| block.is_stored()) {
            let mut live = Vec::new();
            let mut next = first;
            while let Some((from, to)) = level.live_within(next, end) {
                live.push((from, to));
                next = to + 1;
            }
            return Some(Look::There { place, live });
        }
        let (piece, offset) = block.locate(first);
        let piece = &block.body.pieces()[piece];
        let count = (last.min(piece.last()) - first + 1) as u32;
        let picks = Picks::Range { offset, count };
        let redelivered = redelivered.of(first, first).0;
        Some(Look::Here(Delivery { run: piece.run.clone(), first, picks, redelivered, attempts: 0 }))
    }

    /// Takes out one message, ready or not, that is done with. Says whether it was there.
    pub fn strike(&mut self, position: Position, effects: &mut crate::Effects) -> bool {
        let Queue { levels, ledger, redelivered, .. } = self;
        let Some(level) = levels.first_mut() else { return false };
        level.seal(ledger);
        if level.ready.contains(position) {
            level.lose(position, position, true, ledger, effects);
        } else if level.unacked.contains(position) {
            level.settle(position, position, ledger, effects, |_, _| {});
        } else {
            return false;
        }
        redelivered.forget(position, position);
        true
    }

    /// The position of the next message.
    pub fn end(&self) -> Position {
        self.next
    }

    /// No position below `floor` was ever used here, and none will be; and nothing here expires, so that what is on disk since a
    /// restart need not be looked at.
    pub fn begin_at(&mut self, floor: Position) {
        self.floor = floor;
        self.next = self.next.max(floor);
        self.unsure = false;
    }
}

/// The messages of a block that was read, with their positions and offsets. `None`: its ranges do not name what it holds.
pub fn read_block(run: &Run, ranges: &[PageRange], mut each: impl FnMut(Position, u32)) -> Option<()> {
    let mut records = run.records();
    for range in ranges {
        for position in range.first..=range.last() {
            each(position, records.next()?.0);
        }
    }
    records.next().is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Effects, Get, Page, Record, RunBuilder, Settings};

    fn publish(queue: &mut Queue, bodies: &[&[u8]]) {
        let mut builder = RunBuilder::new();
        for body in bodies {
            let (route, header) = (&[0, 0][..], &[0; 14][..]);
            let (persistent, priority, ttl, dead, due) = (true, None, None, false, Some(5));
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
        }
        queue.publish(builder.finish().unwrap(), &mut Effects::new());
    }

    /// Bodies of everything that is there, with the positions; `pages` says what was written where.
    fn all(queue: &mut Queue, pages: &[(Place, Page)]) -> Vec<(Position, Vec<u8>)> {
        let mut seen = Vec::new();
        let mut from = 0;
        while let Some(look) = queue.look(from) {
            from = look.end();
            match look {
                Look::Here(Delivery { run, first, picks: Picks::Range { mut offset, count }, .. }) => {
                    for position in first..first + u64::from(count) {
                        let (record, next) = run.record(offset);
                        seen.push((position, record.body.to_vec()));
                        offset = next;
                    }
                }
                Look::Here(_) => panic!("not a range"),
                Look::There { place, live } => {
                    let (_, page) = pages.iter().find(|(at, _)| *at == place).expect("it was written there");
                    let run = Run::from_bytes(Bytes::from(page.pieces.concat())).expect("records");
                    let is_live = |at| live.iter().any(|(first, last)| *first <= at && at <= *last);
                    let each = |at, offset| {
                        if is_live(at) {
                            seen.push((at, run.record(offset).0.body.to_vec()));
                        }
                    };
                    read_block(&run, &page.ranges, each).expect("the ranges name the records");
                }
            }
        }
        seen
    }

    #[test]
    fn everything_that_lives_is_seen_wherever_it_is() {
        let mut queue = Queue::new(Settings { recorded: true, ..Settings::default() });
        queue.begin_at(1 << 32);
        let base = 1 << 32;
        for number in 0..40_u8 {
            publish(&mut queue, &[&[number, 0], &[number, 1], &[number, 2]]);
        }
        let mut effects = Effects::new();
        let mut pages = Vec::new();
        for page in queue.page_out(400, 300) {
            let place = Place(page.id.0, 1);
            queue.paged(page.id, place, &mut effects);
            pages.push((place, page));
        }
        assert!(pages.len() > 3);
        let mut expected: Vec<_> =
            (0..120_u64).map(|at| (base + at, vec![(at / 3) as u8, (at % 3) as u8])).collect();
        assert_eq!(all(&mut queue, &pages), expected);
        assert_eq!(queue.gone(), []);
        // One that is taken is still there.
        let got = queue.get(true, &mut effects);
        assert!(matches!(got, Get::Message(_) | Get::Stalled));
        for at in [0, 5, 6, 60, 118, 119] {
            assert!(queue.strike(base + at, &mut effects));
            assert!(!queue.strike(base + at, &mut effects), "it is gone");
            expected.retain(|(position, _)| *position != base + at);
        }
        assert!(!queue.strike(base - 1, &mut effects));
        assert_eq!(all(&mut queue, &pages), expected);
        let gone: u64 = queue.gone().iter().map(|(first, last)| last - first + 1).sum();
        assert_eq!(gone, 6, "nothing below where it began is named");
        let told: u64 = effects.gone.iter().map(|(first, last)| last - first + 1).sum();
        assert_eq!(told, 6);
        queue.check();
    }
}
