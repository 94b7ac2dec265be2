//! Copies that come back to their queue: how often, and how long they wait there.
//!
//! Invariant: what was not on disk at a crash makes ranges of what was known exactly; what the broker says about a count narrows them again.

use super::Oracle;
use super::copy::{CopyId, Place, Queue, Shown};
use crate::content::Reason;

/// How often a message comes back to a quorum queue that says nothing else.
const DELIVERY_LIMIT: u64 = 20;

/// How often a copy came back, and when it is ready again.
#[derive(Clone, Debug, Default)]
pub(super) struct Returns {
    /// In whatever way: so often at least, and at most.
    pub(super) least: u64,
    pub(super) most: u64,
    /// As a failure.
    failed: (u64, u64),
    /// The calls in which it came back since the last start, and whether as a failure.
    calls: Vec<(u64, bool)>,
    /// It is not ready before the first of these times, and is from the second on, if it had to wait.
    pub(super) wait: Option<(u64, u64)>,
}

impl Returns {
    /// Once more.
    fn add(&mut self, call: u64, is_failure: bool) {
        self.least += 1;
        self.most += 1;
        let failures = u64::from(is_failure);
        self.failed = (self.failed.0 + failures, self.failed.1 + failures);
        self.calls.push((call, is_failure));
    }

    /// A crash: what is not on disk may be forgotten. Whoever was out, or is done with, waits no more when it is back.
    pub(super) fn survive(&mut self, durable: u64, was_ready: bool) {
        let unwritten = || self.calls.iter().filter(|(call, _)| *call >= durable);
        let (returns, failures) =
            (unwritten().count() as u64, unwritten().filter(|(_, failed)| *failed).count() as u64);
        self.least = self.least.saturating_sub(returns);
        self.failed.0 = self.failed.0.saturating_sub(failures);
        self.wait = match self.wait {
            Some((_, by)) if was_ready && returns > 0 => Some((0, by)),
            wait => wait.filter(|_| was_ready),
        };
        self.calls.clear();
    }

    /// The broker says how often; whether that can be.
    pub(super) fn hear(&mut self, said: u64) -> bool {
        let fits = (self.least..=self.most).contains(&said);
        (self.least, self.most) = (said, said);
        self.failed = (self.failed.0.min(said), self.failed.1.min(said));
        fits
    }

    /// It cannot be ready yet.
    pub(super) fn must_wait(&self, now: u64) -> bool {
        self.wait.is_some_and(|(from, _)| now < from)
    }

    /// It may not be ready yet.
    pub(super) fn may_wait(&self, now: u64) -> bool {
        self.wait.is_some_and(|(_, by)| now < by)
    }
}

impl Oracle {
    /// A copy that was delivered is back in its queue, if that did not happen too often.
    pub(super) fn give_back(&mut self, id: CopyId, is_failure: bool) {
        let now = self.moment();
        let Queue { deleted, kind, rules, .. } = self.queues[self.copies[id].queue];
        let copy = &mut self.copies[id];
        copy.shown = Shown::Yes;
        if deleted {
            copy.place = Place::Absent;
            return;
        }
        if kind.quorum && copy.returns.most >= rules.delivery_limit.unwrap_or(DELIVERY_LIMIT) {
            // What came back too often is not noted as delivered, if a crash brings it back.
            copy.shown = Shown::Maybe;
            self.die(id, Reason::DeliveryLimit);
            return;
        }
        (copy.loose, copy.returned, copy.place) = (true, now, Place::Ready);
        copy.returns.wait = None;
        if kind.quorum || rules.retry.is_some() {
            copy.returns.add(now.call, is_failure);
            let ready = |failures| rules.retry_delay(is_failure, failures).map(|delay| now.time + delay);
            let (least, most) = copy.returns.failed;
            copy.returns.wait = ready(least).zip(ready(most));
        }
    }

    /// A copy may have been on its way to somebody who leaves, and be back.
    pub(super) fn may_come_back(&mut self, id: CopyId) {
        let Queue { kind, rules, .. } = self.queues[self.copies[id].queue];
        let now = self.moment();
        let copy = &mut self.copies[id];
        if copy.shown == Shown::Never {
            copy.shown = Shown::Maybe;
        }
        if !kind.quorum && rules.retry.is_none() {
            return;
        }
        if kind.quorum && copy.returns.most >= rules.delivery_limit.unwrap_or(DELIVERY_LIMIT) {
            (copy.sure, copy.may_be_dead) = (false, true);
        }
        copy.returns.most += 1;
        copy.returns.failed.1 += 1;
        if let Some(delay) = rules.retry_delay(true, copy.returns.failed.1) {
            let (_, by) = copy.returns.wait.unwrap_or_default();
            copy.returns.wait = Some((0, by.max(now.time + delay)));
        }
    }

    /// In how many milliseconds the next of those that came back is ready.
    pub fn next_wait(&self) -> Option<u64> {
        let waits = self.copies.iter().filter(|copy| copy.place == Place::Ready);
        let times = waits.filter_map(|copy| copy.returns.wait).map(|(_, by)| by);
        times.filter(|by| *by > self.now).min().map(|by| by - self.now)
    }

    /// When all that came back is ready.
    pub(super) fn last_wait(&self) -> u64 {
        let waits = self.copies.iter().filter(|copy| copy.place == Place::Ready);
        waits.filter_map(|copy| copy.returns.wait).map(|(_, by)| by).max().unwrap_or(0)
    }
}
