//! Messages that come back: in which order they are served, how long they wait, and how often that may happen.
//!
//! Invariants: `order` holds every message in the set `returned` of some level once, and `waiting` every one in a set `waiting`; both
//! are counted as their settings say ([`Attempts`]). A quorum queue serves what came back before what is ready, in the order in
//! which it came back; a classic queue has a place for each message, and only lets it wait.

use std::collections::{BTreeMap, VecDeque};

use crate::block::Block;
use crate::blocks::Search;
use crate::delivery::{Attempted, Back, Effects, Reason};
use crate::hand_out::Next;
use crate::kept::Kept;
use crate::level::{Head, Slice};
use crate::queue::Queue;
use crate::rare::{Empty, Rare};
use crate::redelivered::Attempts;
use crate::settings::{Kind, Retry, RetryWhen};
use crate::spans::Spans;
use crate::{Millis, Position};

/// What is known of messages that came back, besides how often.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    /// Ready, first and last of each range; the next to be served stands first.
    pub(crate) order: VecDeque<(Position, Position)>,
    /// Not ready yet, by the time at which they are: the last of those in a row from the position.
    pub(crate) waiting: BTreeMap<(Millis, Position), Position>,
    /// Messages in `waiting`.
    pub(crate) waiting_count: u64,
    /// Why doomed messages die, if not because they were rejected.
    pub(crate) reasons: Spans<Reason>,
    /// Doomed messages that were handed out and stay until they are buried.
    pub(crate) kept: Kept,
    /// When a message expires that stood first in `order` when its body left memory; [`Millis::MAX`] for never.
    soonest: Option<(Position, Millis)>,
}

impl Empty for Returns {
    const EMPTY: &'static Returns = &Returns {
        order: VecDeque::new(),
        waiting: BTreeMap::new(),
        waiting_count: 0,
        reasons: Spans::new(),
        kept: Kept::new(),
        soonest: None,
    };
}

impl Returns {
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.order.is_empty() && self.waiting.is_empty() && self.reasons.is_empty() && self.kept.is_empty()
    }

    fn wait(&mut self, due: Millis, first: Position, last: Position) {
        self.waiting.insert((due, first), last);
        self.waiting_count += last - first + 1;
    }

    /// Takes out the first of those that have waited until `now`.
    fn take_due(&mut self, now: Millis) -> Option<(Position, Position)> {
        let entry = self.waiting.first_entry()?;
        let (due, first) = *entry.key();
        if due > now {
            return None;
        }
        let last = entry.remove();
        self.waiting_count -= last - first + 1;
        Some((first, last))
    }

    /// When the first of those that wait is ready, or dead letters are to be handed out again.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let ready = self.waiting.first_key_value().map(|((at, _), _)| *at);
        ready.into_iter().chain(self.kept.next_due()).min()
    }

    /// When the first, which is on disk, expires; 0 if it has to be read to know that.
    fn first_expires(&self) -> Millis {
        let first = self.order.front().map(|(first, _)| *first);
        self.soonest.filter(|(position, _)| Some(*position) == first).map_or(0, |(_, expires)| expires)
    }

    /// When messages on disk expire is not known any more.
    pub(crate) fn forget_soonest(&mut self) {
        self.soonest = None;
    }
}

impl Queue {
    /// Messages that came back and are not ready yet.
    pub fn waiting(&self) -> u64 {
        self.returns.waiting_count
    }

    /// How often messages came back, as far as that is counted: what a restart has to be told. Ascending.
    pub fn attempts(&self) -> Vec<Attempted> {
        let mut due: Spans<Millis> = Spans::new();
        for ((at, first), last) in &self.returns.waiting {
            due.set(*first, *last, *at);
        }
        let mut told = Vec::new();
        for (mut first, last, attempts) in self.redelivered.attempts().iter() {
            while first <= last {
                let (due, end) = due.of(first, last);
                told.push(Attempted { first, last: end, attempts, due });
                first = end + 1;
            }
        }
        told
    }

    /// The unacked messages from `first` to `last` come back. Nothing is dropped until [`Queue::drop_returned`] and handed out until
    /// [`Queue::hand_out`], so that several ranges come back together.
    pub fn requeue(&mut self, first: Position, last: Position, back: Back, effects: &mut Effects) {
        if self.settings.kind == Kind::Quorum || self.settings.retry.is_some() {
            return self.come_back(first, last, back, effects);
        }
        for at in 0..self.levels.len() {
            self.put_back(at, first, last, back != Back::Unsent);
        }
    }

    /// Unacked messages of a level are ready again at their original place.
    fn put_back(&mut self, at: usize, first: Position, last: Position, redelivered: bool) {
        let Queue { levels, ledger, redelivered: marks, .. } = self;
        levels[at].requeue(first, last, ledger, |first, last| {
            if redelivered {
                marks.insert(first, last);
            }
        });
        self.watch(at, first, last);
    }

    fn come_back(&mut self, first: Position, last: Position, back: Back, effects: &mut Effects) {
        let mut ranges = Vec::new();
        for (at, level) in self.levels.iter().enumerate() {
            let mut next = first;
            while let Some((from, to)) = level.unacked.range_within(next, last) {
                ranges.push((from, to, at));
                next = to.saturating_add(1);
            }
        }
        ranges.sort_unstable();
        for (mut from, to, at) in ranges {
            while from <= to {
                let (attempts, end) = self.redelivered.attempts().of(from, to);
                self.come_back_alike(at, (from, end), attempts.unwrap_or_default(), back, effects);
                from = end + 1;
            }
        }
    }

    /// Unacked messages in a row of which nobody came back more often than the others.
    fn come_back_alike(
        &mut self,
        at: usize,
        (first, last): (Position, Position),
        before: Attempts,
        back: Back,
        effects: &mut Effects,
    ) {
        let is_quorum = self.settings.kind == Kind::Quorum;
        if back == Back::Unsent {
            return match before.returned {
                1.. if is_quorum => self.line_up(at, first, last),
                _ => self.put_back(at, first, last, false),
            };
        }
        let attempts = before.one_more(back == Back::Failed);
        if self.settings.delivery_limit.is_some_and(|limit| attempts.returned > limit) {
            return self.give_up(at, first, last, effects);
        }
        self.redelivered.count(first, last, attempts);
        let due =
            self.settings.retry.and_then(|retry| retry.delay(back, attempts)).map(|delay| self.now + delay);
        if self.settings.recorded {
            effects.attempts.push(Attempted { first, last, attempts, due });
        }
        match due {
            Some(due) => {
                self.levels[at].put_aside(first, last);
                self.returns.wait(due, first, last);
            }
            None if is_quorum => self.line_up(at, first, last),
            None => self.put_back(at, first, last, true),
        }
    }

    /// Unacked messages are ready again, behind those that came back before.
    fn line_up(&mut self, at: usize, first: Position, last: Position) {
        let Queue { levels, ledger, returns, .. } = self;
        levels[at].line_up(first, last, ledger);
        returns.order.push_back((first, last));
        self.watch(at, first, last);
    }

    /// Unacked messages came back too often.
    fn give_up(&mut self, at: usize, first: Position, last: Position, effects: &mut Effects) {
        let Queue { levels, ledger, redelivered, returns, .. } = self;
        if self.settings.dead_letters {
            returns.reasons.set(first, last, Reason::DeliveryLimit);
            levels[at].discard(first, last);
            self.bury(at, first, last, effects);
        } else {
            levels[at].settle(first, last, ledger, effects, |first, last| redelivered.forget(first, last));
        }
    }

    /// Those that have waited long enough are ready.
    pub(crate) fn end_waiting(&mut self) {
        while let Some((first, last)) = self.returns.held().and_then(|returns| returns.take_due(self.now)) {
            let Some(at) = self.levels.iter().position(|level| level.waiting.contains(first)) else {
                continue;
            };
            let is_quorum = self.settings.kind == Kind::Quorum;
            self.levels[at].end_waiting(first, last, is_quorum, &mut self.ledger);
            if is_quorum {
                self.returns.order.push_back((first, last));
            }
            self.watch(at, first, last);
        }
        self.forget_idle_returns();
    }

    /// The first of those that came back, and its level.
    pub(crate) fn first_returned(&mut self) -> Option<(usize, Head)> {
        let (first, last) = *self.returns.order.front()?;
        let at = self.levels.iter().position(|level| level.returned.contains(first));
        let at = at.expect("invariant: what came back is in a level");
        let blocks = &mut self.levels[at].blocks;
        let index = blocks.find(first, Search::Settled).expect("invariant: what came back is in a block");
        let block: &mut Block = blocks.get_mut(index);
        if block.is_stored() {
            return Some((at, Head::Stored(index)));
        }
        let (piece, offset) = block.locate(first);
        let last = last.min(block.body.pieces()[piece].last()).min(block.last);
        let count = (last - first + 1) as u32;
        Some((at, Head::Here(Slice { block: index, piece, first, count, offset })))
    }

    /// The same, for a consumer.
    pub(crate) fn next_returned(&mut self, effects: &mut Effects) -> Option<Next> {
        match self.first_returned()? {
            (at, Head::Stored(block)) => {
                self.want(at, block, effects);
                Some(Next::Stalled)
            }
            (at, Head::Here(mut slice)) => {
                let last = self.redelivered.of(slice.first, slice.last()).2;
                slice.count = if self.expirable { 1 } else { (last - slice.first + 1) as u32 };
                Some(Next::Here(at, slice))
            }
        }
    }

    /// Messages of a slice have left; those that came back stand first.
    #[inline]
    pub(crate) fn note_taken(&mut self, slice: &Slice) {
        if !self.returns.is_none() {
            self.shorten_order(slice.first, slice.last());
        }
    }

    pub(crate) fn shorten_order(&mut self, first: Position, last: Position) {
        if let Some(returns) = self.returns.held()
            && let Some(front) = returns.order.front_mut()
            && front.0 == first
        {
            if last < front.1 {
                front.0 = last + 1;
            } else {
                returns.order.pop_front();
                self.forget_idle_returns();
            }
        }
    }

    /// These have left from wherever they stood; ascending. Those that had come back before have no turn any more.
    pub(crate) fn forget_returned(&mut self, gone: &[Position]) {
        let Some(returns) = self.returns.held() else { return };
        for (first, last) in std::mem::take(&mut returns.order) {
            let from = gone.partition_point(|position| *position < first);
            let mut next = first;
            for position in gone.get(from..).unwrap_or_default().iter().take_while(|at| **at <= last) {
                if next < *position {
                    returns.order.push_back((next, *position - 1));
                }
                next = *position + 1;
            }
            if next <= last {
                returns.order.push_back((next, last));
            }
        }
        self.forget_idle_returns();
    }

    /// Expired messages that stand first of those that came back leave.
    pub(crate) fn drop_expired_returns(&mut self, effects: &mut Effects) {
        let (ttl, now) = (self.settings.message_ttl, self.now);
        while let Some((at, head)) = self.first_returned() {
            match head {
                Head::Here(slice)
                    if (self.levels[at].piece(&slice).expires(slice.offset, ttl))
                        .is_some_and(|expires| expires <= now) =>
                {
                    self.drop_one(at, &slice, Reason::Expired, effects);
                }
                Head::Stored(block) if self.returns.first_expires() <= now => {
                    return self.want(at, block, effects);
                }
                _ => return,
            }
        }
    }

    /// When the first of those that came back expires, or is to be read because that is not known.
    pub(crate) fn returned_expires(&mut self) -> Option<Millis> {
        match self.first_returned()? {
            (at, Head::Here(slice)) => {
                self.levels[at].piece(&slice).expires(slice.offset, self.settings.message_ttl)
            }
            // Once it was asked for, its arrival is what to wait for.
            (at, Head::Stored(block)) if self.levels[at].blocks.get(block).loading => None,
            _ => Some(self.returns.first_expires()).filter(|expires| *expires < Millis::MAX),
        }
    }

    /// The body of a block is about to leave memory: notes when its message expires that stands first of those that came back.
    pub(crate) fn note_leaving(&mut self, at: usize, index: usize) {
        let (ttl, expirable) = (self.settings.message_ttl, self.expirable);
        let Queue { levels, returns, .. } = self;
        let Some(returns) = returns.held() else { return };
        let Some(first) = returns.order.front().map(|(first, _)| *first) else { return };
        let is_here = levels[at].returned.contains(first);
        let block = levels[at].blocks.get_mut(index);
        if is_here && block.first <= first && first <= block.last {
            let expires = if expirable { block.expires(first, ttl) } else { None };
            returns.soonest = Some((first, expires.unwrap_or(Millis::MAX)));
        }
    }

    /// Asks for the first of those that came back if whether it expires is known on disk alone.
    pub(crate) fn want_first_returned(&mut self, effects: &mut Effects) {
        if let Some((at, Head::Stored(block))) = self.first_returned()
            && self.returns.first_expires() == 0
        {
            self.want(at, block, effects);
        }
    }

    /// Everything that came back and was not handed out again leaves; says how many of them were not ready.
    pub(crate) fn purge_returns(&mut self, effects: &mut Effects) -> u64 {
        let waiting = self.waiting();
        let Queue { levels, ledger, redelivered, returns, .. } = self;
        for level in levels {
            for (first, last) in level.take_returns(ledger) {
                level.blocks.settle(first, last, true, ledger, effects);
                redelivered.forget(first, last);
            }
        }
        if let Some(returns) = returns.held() {
            returns.order.clear();
            returns.waiting.clear();
            returns.waiting_count = 0;
        }
        self.forget_idle_returns();
        waiting
    }

    /// After a restart: what is known of messages that are back. Those that have to wait are not ready yet.
    pub(crate) fn restore_attempts(&mut self, known: &Spans<(Attempts, Option<Millis>)>) {
        for (first, last, (attempts, due)) in known.iter() {
            for at in 0..self.levels.len() {
                let mut next = first;
                while let Some((from, to)) = self.levels[at].ready.range_within(next, last) {
                    self.redelivered.count(from, to, attempts);
                    if let Some(due) = due.filter(|due| *due > self.now) {
                        self.levels[at].wait_on(from, to, &mut self.ledger);
                        self.returns.wait(due, from, to);
                    }
                    next = to.saturating_add(1);
                }
            }
        }
    }

    pub(crate) fn forget_idle_returns(&mut self) {
        if self.returns.is_idle() {
            self.returns = Rare::default();
        }
    }
}

impl Retry {
    /// How long a message waits that comes back like this, for the `attempts.failed`th time as a failure: RabbitMQ counts these alone
    /// (`rabbit_fifo:calculate_ready_at/4`).
    fn delay(&self, back: Back, attempts: Attempts) -> Option<Millis> {
        let waits = match self.when {
            RetryWhen::All => true,
            RetryWhen::Failed => back == Back::Failed,
            RetryWhen::Returned => back == Back::Returned,
        };
        let delay = self.min.saturating_mul(Millis::from(attempts.failed.max(1)));
        waits.then(|| delay.min(self.max.unwrap_or(self.min)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_with_failures_up_to_its_bound() {
        let (all, failed, returned) = (RetryWhen::All, RetryWhen::Failed, RetryWhen::Returned);
        for (when, max, back, failures, delay) in [
            (all, Some(250), Back::Failed, 1, Some(100)),
            (all, Some(250), Back::Failed, 2, Some(200)),
            (all, Some(250), Back::Failed, 3, Some(250)),
            (all, Some(250), Back::Returned, 0, Some(100)),
            (all, Some(250), Back::Returned, 2, Some(200)),
            (all, None, Back::Failed, 3, Some(100)),
            (all, Some(u64::MAX), Back::Failed, u32::MAX, Some(100 * u64::from(u32::MAX))),
            (failed, Some(250), Back::Failed, 2, Some(200)),
            (failed, Some(250), Back::Returned, 2, None),
            (returned, Some(250), Back::Failed, 2, None),
            (returned, Some(250), Back::Returned, 2, Some(200)),
        ] {
            let retry = Retry { when, min: 100, max };
            let attempts = Attempts { returned: failures, failed: failures };
            assert_eq!(retry.delay(back, attempts), delay, "{when:?} {max:?} {back:?} {failures}");
        }
    }
}
