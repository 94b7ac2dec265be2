//! The deadlines of queues: messages that expire at the head, queues that expire unused.
//!
//! Invariant: a queue stands here at most once per deadline that it has armed, and not at all when nothing of it can expire; so
//! quiet queues cost nothing, and there is no timer per message.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::task::Waker;

use parking_lot::Mutex;
use warrenmq_protocol::Millis;

use crate::queue_cell::QueueCell;

/// Armed deadlines, soonest first. Its lock is a leaf.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By time, then by a number that tells equal times apart.
    armed: BTreeMap<(Millis, u64), Weak<QueueCell>>,
    next_number: u64,
    waker: Option<Waker>,
}

impl Timers {
    /// Notes that a queue has something to do at `at`, and wakes who waits if that is the soonest now.
    pub(crate) fn arm(&self, at: Millis, queue: Weak<QueueCell>) {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        let soonest = state.armed.first_key_value().is_none_or(|((first, _), _)| at < *first);
        state.armed.insert((at, number), queue);
        let waker = if soonest { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Who is to be woken when a sooner deadline is armed.
    pub(crate) fn register(&self, waker: &Waker) {
        self.state.lock().waker = Some(waker.clone());
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.state.lock().armed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out a queue whose deadline has come.
    pub(crate) fn take_due(&self, now: Millis) -> Option<Weak<QueueCell>> {
        let mut state = self.state.lock();
        let entry = state.armed.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
