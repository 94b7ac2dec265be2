//! Which messages were delivered before.
//!
//! Invariant: positions in the set belong to messages that are still here, and are not below the mark of the last restart.

use crate::Position;
use crate::positions::Positions;
use crate::rare::Rare;

#[derive(Debug, Default)]
pub(crate) struct Redelivered {
    /// Everything below was there before a restart and may have been delivered then.
    below: Position,
    since: Rare<Positions>,
}

impl Redelivered {
    pub(crate) fn below(position: Position) -> Redelivered {
        Redelivered { below: position, since: Rare::default() }
    }

    pub(crate) fn insert(&mut self, first: Position, last: Position) {
        if last >= self.below {
            self.since.insert(first.max(self.below), last);
        }
    }

    /// Behind the last that was delivered before.
    pub(crate) fn end(&self) -> Position {
        self.since.last().map_or(self.below, |last| last + 1)
    }

    #[inline]
    pub(crate) fn forget(&mut self, first: Position, last: Position) {
        if !self.since.is_empty() {
            self.since.remove(first, last, |_, _| {});
        }
    }

    /// Whether the message at `first` is redelivered, and the last of those up to `last` of which the same is true.
    #[inline]
    pub(crate) fn of(&self, first: Position, last: Position) -> (bool, Position) {
        if first < self.below {
            return (true, last.min(self.below - 1));
        }
        if self.since.is_empty() {
            return (false, last);
        }
        match self.since.range_within(first, last) {
            Some((from, to)) if from == first => (true, to),
            Some((from, _)) => (false, from - 1),
            None => (false, last),
        }
    }

    pub(crate) fn since(&self) -> &Positions {
        &self.since
    }
}
