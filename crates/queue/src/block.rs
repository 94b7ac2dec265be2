//! Neighbours in a queue that share one fate on disk: a run as it was published, or a page of many.
//!
//! Invariants: positions in `pieces` ascend and lie between `first` and `last`; `ready <= live <= count`; a block without a body
//! has a place. Which of its messages are live is said by the sets of its level, not here. A block whose `live` is 0 is dead.

use crate::ledger::{Ledger, Weight};
use crate::page::{PageId, Place};
use crate::run::Run;
use crate::{Millis, Position};

/// Some of the messages of a run, at positions in a row.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) run: Run,
    pub(crate) first: Position,
    pub(crate) count: u32,
    /// Where the first record starts in the run.
    pub(crate) offset: u32,
    /// Octets of the records.
    pub(crate) size: u32,
    /// When they came to this queue.
    pub(crate) arrived: Millis,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// On disk only.
    Stored,
    One(Piece),
    Many(Vec<Piece>),
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: PageId,
    pub(crate) first: Position,
    pub(crate) last: Position,
    /// Messages that are not gone: ready, unacked or doomed.
    pub(crate) live: u32,
    pub(crate) ready: u32,
    /// What the ready ones weigh: exact with a body, estimated without.
    pub(crate) ready_size: u64,
    /// Messages that it was made with, gone or not.
    pub(crate) count: u32,
    /// Octets of their records.
    pub(crate) octets: u64,
    /// What they weigh.
    pub(crate) weight: u64,
    /// One of them at least outlives a restart.
    pub(crate) persistent: bool,
    /// Its body was asked for.
    pub(crate) loading: bool,
    pub(crate) place: Option<Place>,
    /// The page on its way to the disk that it is a part of.
    pub(crate) writing: Option<PageId>,
    /// Without a body: when its first ready message expires, 0 for unknown and the maximum for never.
    pub(crate) soonest: Millis,
    pub(crate) body: Body,
    marks: [Mark; 2],
}

/// Where a record starts that was looked up: what comes after it is found from here.
#[derive(Clone, Copy, Debug)]
struct Mark {
    position: Position,
    offset: u32,
}

const NO_MARKS: [Mark; 2] = [Mark { position: Position::MAX, offset: 0 }; 2];

impl Piece {
    /// A whole run.
    pub(crate) fn of_run(run: Run, first: Position, arrived: Millis) -> Piece {
        let (count, size) = (run.count(), run.len() as u32);
        Piece { run, first, count, offset: 0, size, arrived }
    }

    pub(crate) fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }

    /// Takes the first `count` messages off, which have `size` octets; `count` is less than what the piece holds.
    pub(crate) fn take_front(&mut self, count: u32, size: u32) -> Piece {
        debug_assert!(count > 0 && count < self.count);
        let front = Piece { run: self.run.clone(), count, size, ..*self };
        self.first += u64::from(count);
        self.offset += size;
        self.count -= count;
        self.size -= size;
        front
    }

    /// When the message whose record is at `offset` expires, with the queue's time to live.
    pub(crate) fn expires(&self, offset: u32, queue_ttl: Option<Millis>) -> Option<Millis> {
        let own = if self.run.has_ttl() { self.run.ttl_at(offset) } else { None };
        let ttl = match (own, queue_ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        ttl.map(|ttl| self.arrived.saturating_add(ttl))
    }

    /// What `count` records weigh that stand from `offset` to the octet `end`.
    #[inline]
    pub(crate) fn weigh(&self, weight: Weight, offset: u32, end: u32, count: u32) -> u64 {
        match weight {
            Weight::Records => u64::from(end - offset),
            Weight::Bodies => self.run.bodies(offset, count) + u64::from(count),
        }
    }

    /// What all of it weighs.
    pub(crate) fn weight(&self, weight: Weight) -> u64 {
        self.weigh(weight, self.offset, self.offset + self.size, self.count)
    }

    /// The octet behind `count` records from the one at `position`, which starts at `offset`.
    #[inline]
    pub(crate) fn end_of(&self, position: Position, offset: u32, count: u32) -> u32 {
        if position + u64::from(count) > self.last() {
            self.offset + self.size
        } else {
            self.run.skip(offset, count)
        }
    }
}

impl Body {
    pub(crate) fn pieces(&self) -> &[Piece] {
        match self {
            Body::Stored => &[],
            Body::One(piece) => std::slice::from_ref(piece),
            Body::Many(pieces) => pieces,
        }
    }

    pub(crate) fn of_pieces(mut pieces: Vec<Piece>) -> Body {
        match pieces.len() {
            1 => Body::One(pieces.remove(0)),
            _ => Body::Many(pieces),
        }
    }

    pub(crate) fn into_pieces(self) -> Vec<Piece> {
        match self {
            Body::Stored => Vec::new(),
            Body::One(piece) => vec![piece],
            Body::Many(pieces) => pieces,
        }
    }

    /// Octets in memory.
    pub(crate) fn octets(&self) -> u64 {
        self.pieces().iter().map(|piece| u64::from(piece.size)).sum()
    }
}

impl Block {
    /// Messages that were just published: all of them are ready.
    pub(crate) fn of_piece(piece: Piece, ledger: &Ledger) -> Block {
        let (first, last, count) = (piece.first, piece.last(), piece.count);
        let (octets, weight) = (u64::from(piece.size), piece.weight(ledger.weight));
        Block {
            persistent: ledger.keeps_all || piece.run.persistent_of(piece.offset, count) > 0,
            body: Body::One(piece),
            ready_size: weight,
            weight,
            ..Block::stored(PageId(first), (first, last), count, octets)
        }
    }

    /// The same for several pieces, at least one, in ascending order.
    pub(crate) fn of_pieces(pieces: Vec<Piece>, ledger: &Ledger) -> Option<Block> {
        let bounds = (pieces.first()?.first, pieces.last()?.last());
        let count = pieces.iter().map(|piece| piece.count).sum();
        let octets = pieces.iter().map(|piece| u64::from(piece.size)).sum();
        let weight = pieces.iter().map(|piece| piece.weight(ledger.weight)).sum();
        Some(Block {
            persistent: ledger.keeps_all
                || pieces.iter().any(|piece| piece.run.persistent_of(piece.offset, piece.count) > 0),
            body: Body::of_pieces(pieces),
            ready_size: weight,
            weight,
            ..Block::stored(PageId(bounds.0), bounds, count, octets)
        })
    }

    /// A block of which nothing is in memory and everything is ready.
    pub(crate) fn stored(id: PageId, (first, last): (Position, Position), count: u32, octets: u64) -> Block {
        Block {
            id,
            first,
            last,
            live: count,
            ready: count,
            ready_size: octets,
            count,
            octets,
            weight: octets,
            persistent: false,
            loading: false,
            place: None,
            writing: None,
            soonest: 0,
            body: Body::Stored,
            marks: NO_MARKS,
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.live == 0
    }

    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.body, Body::Stored)
    }

    /// Exchanges the body; returns the old one.
    pub(crate) fn set_body(&mut self, body: Body) -> Body {
        self.marks = NO_MARKS;
        std::mem::replace(&mut self.body, body)
    }

    /// The piece that holds a position, and where its record starts in it. Only for live positions of a block with a body.
    #[inline]
    pub(crate) fn locate(&mut self, position: Position) -> (usize, u32) {
        let Block { body, marks, .. } = self;
        let pieces = body.pieces();
        let at = if pieces.len() == 1 { 0 } else { pieces.partition_point(|piece| piece.last() < position) };
        let piece = &pieces[at];
        if position == piece.first {
            return (at, piece.offset);
        }
        // The higher mark goes with what is handed out, the lower one with what came back.
        // A mark at the first of the piece may stand behind the end of the piece before, in another run.
        let usable = |mark: &Mark| mark.position > piece.first && mark.position <= position;
        let which =
            usize::from(usable(&marks[1]) && (!usable(&marks[0]) || marks[1].position >= marks[0].position));
        let from = if usable(&marks[which]) {
            marks[which]
        } else {
            Mark { position: piece.first, offset: piece.offset }
        };
        let offset = piece.run.skip(from.offset, (position - from.position) as u32);
        marks[which] = Mark { position, offset };
        (at, offset)
    }

    /// Notes where a record starts that will likely be looked for next.
    #[inline]
    pub(crate) fn mark(&mut self, position: Position, offset: u32) {
        let higher = self.marks[1].position;
        let which = usize::from(higher == Position::MAX || higher <= position);
        self.marks[which] = Mark { position, offset };
    }

    /// What the live messages from `first` to `last` weigh, all of which are in the block.
    pub(crate) fn measure(&mut self, first: Position, last: Position, weight: Weight) -> u64 {
        if self.is_stored() {
            let count = last - first + 1;
            return (count * self.weight / u64::from(self.count)).max(count);
        }
        let mut sum = 0;
        let mut from = first;
        while from <= last {
            let (at, offset) = self.locate(from);
            let piece = &self.body.pieces()[at];
            let end = last.min(piece.last());
            let count = (end - from + 1) as u32;
            sum += piece.weigh(weight, offset, piece.end_of(from, offset, count), count);
            from = end + 1;
        }
        sum
    }

    /// The position at which a record starts, when it expires. Only for live positions of a block with a body.
    pub(crate) fn expires(&mut self, position: Position, queue_ttl: Option<Millis>) -> Option<Millis> {
        let (at, offset) = self.locate(position);
        self.body.pieces()[at].expires(offset, queue_ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Record, RunBuilder};

    fn piece(first: Position, bodies: &[&[u8]]) -> Piece {
        let mut builder = RunBuilder::new();
        for body in bodies {
            let (route, header) = (&[0, 0][..], &[0; 14][..]);
            let (persistent, priority, ttl, dead) = (true, None, None, false);
            builder.push(&Record {
                route,
                hidden: b"",
                header,
                body,
                persistent,
                priority,
                ttl,
                dead,
                due: None,
            });
        }
        Piece::of_run(builder.finish().expect("it has records"), first, 0)
    }

    /// What is behind the end of one piece is looked for in the next one, though its first message is gone.
    #[test]
    fn a_mark_means_nothing_in_another_piece() {
        let pieces = vec![piece(0, &[b"a", b"b", b"c"]), piece(3, &[b"", b"long", b"f"])];
        let end = pieces[0].size;
        let offsets = [0, 28, pieces[1].run.skip(0, 2)];
        let mut block = Block { body: Body::of_pieces(pieces), ..Block::stored(PageId(0), (0, 5), 6, 100) };
        block.mark(3, end);
        assert_eq!([3, 4, 5].map(|position| block.locate(position)), offsets.map(|offset| (1, offset)));
    }
}
