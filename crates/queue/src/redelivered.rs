//! Which messages were delivered before, and how often they came back.
//!
//! Invariants: positions in the set belong to messages that are still here; those below the mark of the last restart are in it only
//! if it is counted how often they came back; every message that is counted is in it.

use crate::Position;
use crate::positions::Positions;
use crate::rare::{Empty, Rare};
use crate::spans::Spans;

/// How often a message came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempts {
    /// In whatever way.
    pub returned: u32,
    /// Those of them that were failures.
    pub failed: u32,
}

impl Attempts {
    pub(crate) fn one_more(self, failed: bool) -> Attempts {
        let Attempts { returned, failed: failures } = self;
        Attempts { returned: returned.saturating_add(1), failed: failures.saturating_add(u32::from(failed)) }
    }
}

impl Empty for Spans<Attempts> {
    const EMPTY: &'static Spans<Attempts> = &Spans::new();
}

#[derive(Debug, Default)]
pub(crate) struct Redelivered {
    /// Everything below was there before a restart and may have been delivered then.
    below: Position,
    since: Rare<Positions>,
    attempts: Rare<Spans<Attempts>>,
}

impl Redelivered {
    pub(crate) fn below(position: Position) -> Redelivered {
        Redelivered { below: position, ..Redelivered::default() }
    }

    pub(crate) fn insert(&mut self, first: Position, last: Position) {
        if last >= self.below {
            self.since.insert(first.max(self.below), last);
        }
    }

    /// They came back so often.
    pub(crate) fn count(&mut self, first: Position, last: Position, attempts: Attempts) {
        self.since.insert(first, last);
        self.attempts.set(first, last, attempts);
    }

    /// Behind the last that was delivered before.
    pub(crate) fn end(&self) -> Position {
        self.since.last().map_or(self.below, |last| (last + 1).max(self.below))
    }

    #[inline]
    pub(crate) fn forget(&mut self, first: Position, last: Position) {
        if !self.since.is_empty() {
            self.since.remove(first, last, |_, _| {});
            if !self.attempts.is_empty() {
                self.attempts.remove(first, last);
            }
        }
    }

    /// Whether the message at `first` is redelivered and how often it came back, and the last of those up to `last` of which the same
    /// is true.
    #[inline]
    pub(crate) fn of(&self, first: Position, last: Position) -> (bool, u32, Position) {
        if first < self.below && self.attempts.is_empty() {
            return (true, 0, last.min(self.below - 1));
        }
        if self.since.is_empty() {
            return (false, 0, last);
        }
        self.look_up(first, last)
    }

    fn look_up(&self, first: Position, last: Position) -> (bool, u32, Position) {
        let (redelivered, end) = if first < self.below {
            (true, last.min(self.below - 1))
        } else {
            match self.since.range_within(first, last) {
                Some((from, to)) if from == first => (true, to),
                Some((from, _)) => (false, from - 1),
                None => (false, last),
            }
        };
        let (attempts, end) = self.attempts.of(first, end);
        (redelivered, attempts.unwrap_or_default().returned, end)
    }

    pub(crate) fn since(&self) -> &Positions {
        &self.since
    }

    pub(crate) fn attempts(&self) -> &Spans<Attempts> {
        &self.attempts
    }
}
