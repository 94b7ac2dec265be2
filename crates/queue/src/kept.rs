//! Dead letters that stay in their queue until it is said that others have them.
//!
//! Invariants: what is kept is doomed, too, and is handed out again once its time is over, however long the answer takes; `next` is
//! never later than the first of these times.

use crate::delivery::Effects;
use crate::queue::Queue;
use crate::spans::Spans;
use crate::{Millis, Position};

/// How long a dead letter stays that nobody has taken before it is handed out again, at least.
const RETRY_MS: Millis = 10_000;
/// Times are multiples of this, so that many messages have few of them.
const STEP_MS: Millis = 1000;

/// Doomed messages that were handed out, each with the time of the next attempt.
#[derive(Debug)]
pub(crate) struct Kept {
    due: Spans<Millis>,
    next: Millis,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::new()
    }
}

impl Kept {
    pub(crate) const fn new() -> Kept {
        Kept { due: Spans::new(), next: Millis::MAX }
    }

    /// When to hand out again what is handed out at `now`.
    pub(crate) fn until(now: Millis) -> Millis {
        now.saturating_add(RETRY_MS).div_ceil(STEP_MS).saturating_mul(STEP_MS)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Whether `first` is here, and the last of those up to `last` of which the same is true.
    pub(crate) fn of(&self, first: Position, last: Position) -> (bool, Position) {
        let (due, end) = self.due.of(first, last);
        (due.is_some(), end)
    }

    pub(crate) fn set(&mut self, first: Position, last: Position, until: Millis) {
        self.due.set(first, last, until);
        self.next = self.next.min(until);
    }

    fn remove(&mut self, first: Position, last: Position) {
        self.due.remove(first, last);
        if self.due.is_empty() {
            self.next = Millis::MAX;
        }
    }

    /// When to look for the next that are to be handed out again.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        (self.next < Millis::MAX).then_some(self.next)
    }

    /// Takes out those whose time has come.
    fn take_due(&mut self, now: Millis) -> Vec<(Position, Position)> {
        if self.next > now {
            return Vec::new();
        }
        let is_due = |(first, last, due): (Position, Position, Millis)| (due <= now).then_some((first, last));
        let taken: Vec<(Position, Position)> = self.due.iter().filter_map(is_due).collect();
        taken.iter().for_each(|(first, last)| self.due.remove(*first, *last));
        self.next = self.due.iter().map(|(.., due)| due).min().unwrap_or(Millis::MAX);
        taken
    }

    /// For tests.
    pub(crate) fn check(&self, is_doomed: impl Fn(Position, Position) -> bool) {
        for (first, last, due) in self.due.iter() {
            assert!(is_doomed(first, last), "kept, but alive or gone");
            assert!(self.next <= due, "nobody would look");
        }
    }
}

impl Queue {
    /// Dead letters that stay until they are buried, or that wait for their bodies; none where they are not kept.
    pub fn kept(&self) -> u64 {
        if !self.settings.keep_dead {
            return 0;
        }
        self.levels.iter().map(|level| level.doomed.count()).sum()
    }

    /// The dead letters from `first` to `last` are where they are to be: they leave. Nothing of that is in [`Effects::gone`].
    pub fn buried(&mut self, first: Position, last: Position, effects: &mut Effects) {
        for at in 0..self.levels.len() {
            self.leave(at, (first, last), false, effects);
        }
    }

    /// Unacked messages of a level are to be kept: after a restart they may be ready again, and were seen.
    pub(crate) fn mark_seen(&mut self, at: usize, first: Position, last: Position) {
        let mut next = Some(first);
        while let Some(from) = next
            && let Some((from, to)) = self.levels[at].unacked.range_within(from, last)
        {
            self.redelivered.insert(from, to);
            next = to.checked_add(1);
        }
    }

    /// Doomed messages of a level leave; with `told` that is reported.
    pub(crate) fn leave(
        &mut self,
        at: usize,
        (first, last): (Position, Position),
        told: bool,
        effects: &mut Effects,
    ) {
        let Queue { levels, ledger, redelivered, returns, .. } = self;
        let level = &mut levels[at];
        if level.doomed.is_empty() {
            return;
        }
        let blocks = &mut level.blocks;
        level.doomed.remove(first, last, |first, last| {
            blocks.settle(first, last, told, ledger, effects);
            redelivered.forget(first, last);
            if let Some(returns) = returns.held() {
                returns.reasons.remove(first, last);
                returns.kept.remove(first, last);
            }
        });
        self.forget_idle_returns();
    }

    /// Dead letters that nobody has taken in time are handed out again.
    pub(crate) fn retry_dead(&mut self, effects: &mut Effects) {
        let Some(returns) = self.returns.held() else { return };
        for (first, last) in returns.kept.take_due(self.now) {
            (0..self.levels.len()).for_each(|at| self.bury(at, first, last, effects));
        }
        self.forget_idle_returns();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Place;
    use crate::run::{Record, RunBuilder};
    use crate::settings::{Kind, Overflow, Settings};
    use crate::{Back, Get, Reason};

    fn queue() -> Queue {
        let mut queue = Queue::new(Settings {
            kind: Kind::Quorum,
            message_ttl: Some(60_000),
            max_length: Some(4),
            overflow: Overflow::RejectPublish,
            dead_letters: true,
            keep_dead: true,
            delivery_limit: Some(0),
            recorded: true,
            ..Settings::default()
        });
        assert!([0, 1, 2, 3].iter().all(|number| publish(&mut queue, *number).is_some()));
        queue
    }

    fn publish(queue: &mut Queue, number: u8) -> Option<Position> {
        let body = [number; 100];
        let mut builder = RunBuilder::new();
        builder.push(&Record {
            route: b"\x00\x01q",
            hidden: b"",
            header: b"header",
            body: &body,
            persistent: true,
            priority: None,
            ttl: None,
            dead: false,
            due: None,
        });
        queue.publish(builder.finish().expect("a record"), &mut Effects::new())
    }

    /// The dead letters of this command, and nothing that is gone.
    fn dead(
        queue: &mut Queue,
        command: impl FnOnce(&mut Queue, &mut Effects),
    ) -> Vec<(Position, u32, Reason)> {
        let mut effects = Effects::new();
        command(queue, &mut effects);
        queue.check();
        assert_eq!(effects.gone, []);
        assert!(effects.dead.iter().all(|dead| dead.kept));
        effects.dead.iter().map(|dead| (dead.delivery.first, dead.delivery.count(), dead.reason)).collect()
    }

    fn take(queue: &mut Queue) {
        assert!(matches!(queue.get(true, &mut Effects::new()), Get::Message(_)));
    }

    #[test]
    fn the_dead_stay_until_they_are_buried() {
        let mut queue = queue();
        (0..3).for_each(|_| take(&mut queue));
        let all = [(0, 1, Reason::Rejected), (1, 1, Reason::Rejected), (2, 1, Reason::DeliveryLimit)];
        let limit = |queue: &mut Queue, effects: &mut Effects| queue.requeue(2, 2, Back::Failed, effects);
        assert_eq!(dead(&mut queue, |queue, effects| queue.discard(0, 1, effects)), all[..2]);
        assert_eq!(dead(&mut queue, limit), all[2..]);
        assert_eq!((queue.ready(), queue.unacked(), queue.kept()), (1, 0, 3));
        assert_eq!(publish(&mut queue, 9), None, "they count for the limit");
        assert_eq!(queue.deadline(), Some(10_000));
        assert_eq!(dead(&mut queue, |queue, effects| queue.advance(9_999, effects)), []);
        assert_eq!(dead(&mut queue, |queue, effects| queue.advance(10_001, effects)), all);
        assert_eq!(queue.deadline(), Some(21_000));
        assert_eq!(dead(&mut queue, |queue, effects| queue.buried(1, 2, effects)), []);
        assert_eq!(dead(&mut queue, |queue, effects| queue.buried(1, 1, effects)), [], "it has left");
        assert_eq!(dead(&mut queue, |queue, effects| queue.advance(21_000, effects)), all[..1]);
        let mut effects = Effects::new();
        assert_eq!(queue.purge(&mut effects), 1, "what is kept is not ready");
        assert_eq!((effects.gone, queue.kept()), (vec![(3, 3)], 1));
        assert_eq!(dead(&mut queue, |queue, effects| queue.buried(0, 0, effects)), []);
        assert_eq!((queue.kept(), queue.deadline()), (0, None));
        assert!(queue.returns.is_none());
    }

    #[test]
    fn expired_messages_stay_on_disk_too() {
        let mut queue = queue();
        let expired: Vec<_> = (0..4).map(|at| (at, 1, Reason::Expired)).collect();
        assert_eq!(dead(&mut queue, |queue, effects| queue.advance(60_000, effects)), expired);
        let mut effects = Effects::new();
        for page in queue.page_out(0, 1000) {
            queue.paged(page.id, Place(page.id.0, 1), &mut effects);
        }
        queue.check();
        assert!((0..4).all(|at| queue.is_stored(at)));
        assert_eq!(
            dead(&mut queue, |queue, effects| {
                queue.advance(70_000, effects);
                assert!(!effects.loads.is_empty(), "they are read first");
            }),
            []
        );
        assert_eq!(queue.kept(), 4);
        // Nobody wants them any more.
        let settings = Settings { dead_letters: false, keep_dead: false, ..queue.settings };
        queue.configure(settings, &mut effects);
        queue.check();
    }

    #[test]
    fn without_an_exchange_they_leave_when_it_is_time() {
        let mut queue = queue();
        take(&mut queue);
        assert_eq!(
            dead(&mut queue, |queue, effects| queue.discard(0, 0, effects)),
            [(0, 1, Reason::Rejected)]
        );
        let mut effects = Effects::new();
        queue.configure(Settings { dead_letters: false, keep_dead: false, ..queue.settings }, &mut effects);
        assert!(effects.is_empty());
        queue.advance(10_000, &mut effects);
        queue.check();
        assert_eq!((effects.dead.len(), effects.gone), (0, vec![(0, 0)]));
    }
}
