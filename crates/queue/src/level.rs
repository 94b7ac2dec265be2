//! The messages of one priority: where each stands, and the blocks they are in.
//!
//! Invariants: a message that is not gone is in exactly one of `ready`, `unacked`, `doomed`, `returned` and `waiting`, and in exactly one block or, if it
//! has just joined a backlog, in `open`; so what leaves out of order leaves nothing behind but a hole in a set.
//!
//! Small runs that join a backlog are copied together in `open`, since a run of one message costs several times its size.

use crate::block::{Block, Piece};
use crate::blocks::{Blocks, Search};
use crate::delivery::{Dead, Delivery, Effects, Picks, Reason};
use crate::ledger::{Ledger, Weight};
use crate::page::came_together;
use crate::positions::Positions;
use crate::rare::Rare;
use crate::redelivered::Redelivered;
use crate::returns::Returns;
use crate::run::RunBuilder;
use crate::{Millis, Position};

/// Runs up to this size are copied together when they join a backlog.
const SMALL_RUN_OCTETS: usize = 4 * 1024;
/// A run gathered from small ones is closed at this size.
const GATHERED_RUN_OCTETS: usize = 32 * 1024;
/// Or when its messages stand in so many places: those of other priorities are between them.
const GATHERED_PARTS: usize = 512;
/// Copying starts only behind this many blocks: a queue that keeps up never pays for it.
const BACKLOG_BLOCKS: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Level {
    /// Of all its messages, as the queue counts it.
    pub(crate) priority: u8,
    pub(crate) blocks: Blocks,
    pub(crate) ready: Positions,
    pub(crate) unacked: Positions,
    /// Dead letters as soon as their bodies are loaded, or until they are buried.
    pub(crate) doomed: Rare<Positions>,
    /// Ready again, and not at their place: the queue says in which order.
    pub(crate) returned: Rare<Positions>,
    /// Back, and not ready before their time.
    pub(crate) waiting: Rare<Positions>,
    /// `None` until the level has had a backlog: an idle queue stays small.
    open: Option<Box<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    builder: RunBuilder,
    /// Those in a row together, in ascending order.
    parts: Vec<Part>,
}

/// Messages in a row that were gathered.
#[derive(Debug)]
struct Part {
    first: Position,
    count: u32,
    offset: u32,
    size: u32,
    /// Of the last.
    arrived: Millis,
}

/// What stands first in a level.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    /// It is on disk, in this block.
    Stored(usize),
    Here(Slice),
}

/// Ready messages in a row, in one piece of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) block: usize,
    pub(crate) piece: usize,
    pub(crate) first: Position,
    pub(crate) count: u32,
    pub(crate) offset: u32,
}

impl Slice {
    pub(crate) fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }
}

impl Level {
    pub(crate) fn new(priority: u8) -> Level {
        Level { priority, ..Level::default() }
    }

    /// Appends messages that were just published.
    /// With `gather` small runs of a backlog may be copied together; not where each message has its own time.
    pub(crate) fn push(&mut self, piece: Piece, gather: bool, ledger: &mut Ledger) {
        self.ready.insert(piece.first, piece.last());
        ledger.ready += u64::from(piece.count);
        ledger.ready_size += piece.weight(ledger.weight);
        if gather && self.blocks.with_ready() >= BACKLOG_BLOCKS && piece.size as usize <= SMALL_RUN_OCTETS {
            self.gather(&piece, ledger);
        } else {
            self.seal(ledger);
            self.blocks.push(Block::of_piece(piece, ledger), ledger);
        }
    }

    /// What stands first.
    #[inline]
    pub(crate) fn head(&mut self, ledger: &mut Ledger) -> Option<Head> {
        let first = self.ready.first()?;
        let at = self.blocks.find(first, Search::Next).or_else(|| {
            self.seal(ledger);
            self.blocks.find(first, Search::Next)
        });
        let at = at.expect("invariant: ready messages are in a block");
        let block = self.blocks.get_mut(at);
        if block.is_stored() {
            return Some(Head::Stored(at));
        }
        let (piece, offset) = block.locate(first);
        let (_, last) = self.ready.range_within(first, block.body.pieces()[piece].last())?;
        Some(Head::Here(Slice { block: at, piece, first, count: (last - first + 1) as u32, offset }))
    }

    /// Where the record behind a slice starts.
    #[inline]
    pub(crate) fn end_of(&self, slice: &Slice) -> u32 {
        self.piece(slice).end_of(slice.first, slice.offset, slice.count)
    }

    pub(crate) fn piece(&self, slice: &Slice) -> &Piece {
        &self.blocks.get(slice.block).body.pieces()[slice.piece]
    }

    /// A slice that ends at octet `end` has been handed over.
    #[inline]
    pub(crate) fn take(&mut self, slice: &Slice, end: u32, ledger: &mut Ledger) {
        if self.returned.is_empty() || !self.returned.contains(slice.first) {
            self.ready.remove(slice.first, slice.last(), |_, _| {});
        } else {
            self.returned.remove(slice.first, slice.last(), |_, _| {});
        }
        self.unacked.insert(slice.first, slice.last());
        self.blocks.get_mut(slice.block).mark(slice.last() + 1, end);
        let size = self.piece(slice).weigh(ledger.weight, slice.offset, end, slice.count);
        self.blocks.take(slice.block, slice.count, size, ledger);
    }

    /// Ready messages from `first` to `last` are gone; with `told` that is reported.
    pub(crate) fn lose(
        &mut self,
        first: Position,
        last: Position,
        told: bool,
        ledger: &mut Ledger,
        effects: &mut Effects,
    ) {
        let Level { blocks, ready, returned, .. } = self;
        let mut each = |first, last| {
            blocks.unready(first, last, ledger);
            blocks.settle(first, last, told, ledger, effects);
        };
        ready.remove(first, last, &mut each);
        if !returned.is_empty() {
            returned.remove(first, last, each);
        }
    }

    /// Unacked messages from `first` to `last` are gone. Each range of them is told.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        first: Position,
        last: Position,
        ledger: &mut Ledger,
        effects: &mut Effects,
        mut each: impl FnMut(Position, Position),
    ) {
        let Level { blocks, unacked, .. } = self;
        unacked.remove(first, last, |first, last| {
            blocks.settle(first, last, true, ledger, effects);
            each(first, last);
        });
    }

    /// The same of those of the 64 positions from `base` on that are meant by the bits of `mask`.
    pub(crate) fn settle_some(
        &mut self,
        base: Position,
        mask: u64,
        ledger: &mut Ledger,
        effects: &mut Effects,
    ) -> u64 {
        let settled = self.unacked.remove_some(base, mask);
        if settled != 0 {
            self.blocks.settle_some(base, settled, ledger, effects);
        }
        settled
    }

    /// Unacked messages from `first` to `last` are dead letters, or will be once they are loaded.
    pub(crate) fn discard(&mut self, first: Position, last: Position) {
        let Level { unacked, doomed, .. } = self;
        unacked.remove(first, last, |first, last| doomed.insert(first, last));
    }

    /// Ready messages from `first` to `last` are to be dead letters.
    pub(crate) fn doom(&mut self, first: Position, last: Position, ledger: &mut Ledger) {
        let Level { blocks, ready, returned, doomed, .. } = self;
        let mut each = |first, last| {
            doomed.insert(first, last);
            blocks.unready(first, last, ledger);
        };
        ready.remove(first, last, &mut each);
        if !returned.is_empty() {
            returned.remove(first, last, each);
        }
    }

    /// What is doomed from `first` to `last` and in memory becomes dead letters, which stay if there is a time until which they are
    /// kept. For what is not in memory a position in each block is returned.
    pub(crate) fn bury(
        &mut self,
        (first, last): (Position, Position),
        redelivered: &mut Redelivered,
        mut returns: Option<&mut Returns>,
        keep_until: Option<Millis>,
        ledger: &mut Ledger,
        effects: &mut Effects,
    ) -> Vec<Position> {
        let mut wanted = Vec::new();
        let mut next = Some(first);
        while let Some(from) = next
            && let Some((from, to)) = self.doomed.range_within(from, last)
        {
            let at =
                self.blocks.find(from, Search::Settled).expect("invariant: doomed messages are in a block");
            let block = self.blocks.get_mut(at);
            let mut to = to.min(block.last);
            let kept = returns.as_deref().is_some_and(|returns| {
                let (kept, end) = returns.kept.of(from, to);
                to = end;
                kept
            });
            if kept {
                // Others are asked to take them at present.
            } else if block.is_stored() {
                wanted.push(from);
            } else {
                let (piece, offset) = block.locate(from);
                to = redelivered.of(from, to.min(block.body.pieces()[piece].last())).2;
                let mut reason = None;
                if let Some(returns) = returns.as_deref_mut() {
                    (reason, to) = returns.reasons.of(from, to);
                    match keep_until {
                        Some(until) => returns.kept.set(from, to, until),
                        None => returns.reasons.remove(from, to),
                    }
                }
                let slice = Slice { block: at, piece, first: from, count: (to - from + 1) as u32, offset };
                let delivery = self.delivery(&slice, redelivered);
                let (reason, kept) = (reason.unwrap_or(Reason::Rejected), keep_until.is_some());
                effects.dead.push(Dead { delivery, reason, kept });
                if !kept {
                    self.doomed.remove(from, to, |_, _| {});
                    self.blocks.settle(from, to, false, ledger, effects);
                    redelivered.forget(from, to);
                }
            }
            next = to.checked_add(1);
        }
        wanted
    }

    /// Unacked messages from `first` to `last` are ready again. Each range of them is told.
    pub(crate) fn requeue(
        &mut self,
        first: Position,
        last: Position,
        ledger: &mut Ledger,
        mut each: impl FnMut(Position, Position),
    ) {
        let Level { blocks, ready, unacked, .. } = self;
        unacked.remove(first, last, |first, last| {
            ready.insert(first, last);
            blocks.put_back(first, last, ledger);
            each(first, last);
        });
    }

    /// Unacked messages from `first` to `last` are ready again, wherever the queue has them.
    pub(crate) fn line_up(&mut self, first: Position, last: Position, ledger: &mut Ledger) {
        let Level { blocks, returned, unacked, .. } = self;
        unacked.remove(first, last, |first, last| {
            returned.insert(first, last);
            blocks.put_back(first, last, ledger);
        });
    }

    /// Unacked messages from `first` to `last` are back, and not ready before their time.
    pub(crate) fn put_aside(&mut self, first: Position, last: Position) {
        let Level { waiting, unacked, .. } = self;
        unacked.remove(first, last, |first, last| waiting.insert(first, last));
    }

    /// Ready messages from `first` to `last` are not ready before their time.
    pub(crate) fn wait_on(&mut self, first: Position, last: Position, ledger: &mut Ledger) {
        let Level { blocks, ready, waiting, .. } = self;
        ready.remove(first, last, |first, last| {
            waiting.insert(first, last);
            blocks.unready(first, last, ledger);
        });
    }

    /// The time of those from `first` to `last` has come: they are ready at their place, or wherever the queue has them.
    pub(crate) fn end_waiting(
        &mut self,
        first: Position,
        last: Position,
        lined_up: bool,
        ledger: &mut Ledger,
    ) {
        let Level { blocks, ready, returned, waiting, .. } = self;
        waiting.remove(first, last, |first, last| {
            match lined_up {
                true => returned.insert(first, last),
                false => ready.insert(first, last),
            }
            blocks.put_back(first, last, ledger);
        });
        if waiting.is_empty() {
            *waiting = Rare::default();
        }
    }

    /// Takes out everything that came back and was not handed out again; none of it is ready then.
    pub(crate) fn take_returns(&mut self, ledger: &mut Ledger) -> Vec<(Position, Position)> {
        let (returned, waiting) = (self.returned.take(), self.waiting.take());
        returned.ranges().for_each(|(first, last)| self.blocks.unready(first, last, ledger));
        returned.ranges().chain(waiting.ranges()).collect()
    }

    /// A slice as a delivery.
    #[inline]
    pub(crate) fn delivery(&self, slice: &Slice, redelivered: &Redelivered) -> Delivery {
        let (redelivered, attempts, _) = redelivered.of(slice.first, slice.last());
        Delivery {
            run: self.piece(slice).run.clone(),
            first: slice.first,
            picks: Picks::Range { offset: slice.offset, count: slice.count },
            redelivered,
            attempts,
        }
    }

    /// Where the messages that are ready stand, wherever they are served.
    pub(crate) fn ready_within(&self, first: Position, last: Position) -> Option<(Position, Position)> {
        if self.returned.is_empty() {
            return self.ready.range_within(first, last);
        }
        first_of(&[&self.ready, &*self.returned], first, last)
    }

    /// The first range of live messages in a row from `first` to `last`.
    pub(crate) fn live_within(&self, first: Position, last: Position) -> Option<(Position, Position)> {
        first_of(&self.sets(), first, last)
    }

    /// Everything that lives.
    pub(crate) fn sets(&self) -> [&Positions; 5] {
        [&self.ready, &self.unacked, &*self.doomed, &*self.returned, &*self.waiting]
    }

    /// Makes a block of what was gathered.
    pub(crate) fn seal(&mut self, ledger: &mut Ledger) {
        if let Some(open) = &mut self.open {
            ledger.resident -= open.builder.len() as u64;
            if let Some(run) = open.builder.finish() {
                let piece = |Part { first, count, offset, size, arrived }| {
                    let run = run.clone();
                    Piece { run, first, count, offset, size, arrived }
                };
                let pieces = open.parts.drain(..).map(piece).collect();
                if let Some(block) = Block::of_pieces(pieces, ledger) {
                    self.blocks.push(block, ledger);
                }
            }
        }
    }

    /// Weighs everything anew; nothing is open. What is only on disk weighs next to nothing until it is loaded.
    pub(crate) fn reweigh(&mut self, ledger: &mut Ledger) {
        for at in 0..self.blocks.len() {
            let block = self.blocks.get_mut(at);
            if block.is_dead() {
                continue;
            }
            block.weight = match ledger.weight {
                Weight::Records => block.octets,
                Weight::Bodies if block.is_stored() => u64::from(block.count),
                Weight::Bodies => block.body.pieces().iter().map(|piece| piece.weight(ledger.weight)).sum(),
            };
            let (mut size, mut next, last) = (0, block.first, block.last);
            while let Some((from, to)) = self.ready_within(next, last) {
                let block = self.blocks.get_mut(at);
                size += block.measure(from, to, ledger.weight);
                next = to + 1;
            }
            self.blocks.set_ready_size(at, size, ledger);
        }
    }

    /// Messages that were gathered and are in no block yet.
    pub(crate) fn gathered(&self) -> Option<&RunBuilder> {
        self.open.as_ref().map(|open| &open.builder).filter(|builder| !builder.is_empty())
    }

    fn gather(&mut self, piece: &Piece, ledger: &mut Ledger) {
        let open = self.open.get_or_insert_default();
        let full = open.builder.len() + piece.size as usize > GATHERED_RUN_OCTETS;
        if full || open.parts.len() >= GATHERED_PARTS {
            self.seal(ledger);
        }
        let Piece { first, count, size, arrived, .. } = *piece;
        let open = self.open.get_or_insert_default();
        let offset = open.builder.len() as u32;
        match open.parts.last_mut() {
            // Nothing expires where messages are gathered.
            Some(last)
                if last.first + u64::from(last.count) == first
                    && came_together(last.arrived, arrived, false) =>
            {
                last.count += count;
                last.size += size;
                last.arrived = last.arrived.max(arrived);
            }
            _ => open.parts.push(Part { first, count, offset, size, arrived }),
        }
        open.builder.push_raw(&piece.run, piece.offset, piece.offset + piece.size, piece.count);
        ledger.resident += u64::from(piece.size);
    }
}

/// The first range in a row from `first` to `last` of what is in any of these sets.
fn first_of(sets: &[&Positions], first: Position, last: Position) -> Option<(Position, Position)> {
    let (from, mut to) = sets.iter().filter_map(|set| set.range_within(first, last)).min()?;
    while to < last
        && let Some((_, further)) =
            sets.iter().filter_map(|set| set.range_within(to + 1, last)).find(|(next, _)| *next == to + 1)
    {
        to = further;
    }
    Some((from, to))
}
