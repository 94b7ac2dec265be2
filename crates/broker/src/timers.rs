//! The deadlines of queues and exchanges: messages that expire at the head, queues that expire unused, messages whose delay is over.
//!
//! Invariant: a queue, or an exchange that delays, stands here at most once per deadline that it has armed, and not at all when nothing of it can expire; so
//! quiet queues cost nothing, and there is no timer per message.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::task::Waker;

use parking_lot::Mutex;
use warrenmq_protocol::Millis;

use crate::delayed::Delayed;
use crate::queue_cell::QueueCell;

/// Whose deadline it is.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    /// Something of it expires.
    Queue(Weak<QueueCell>),
    /// Messages of it are to be moved.
    Delayed(Weak<Delayed>),
}

/// Names a deadline, so that it can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Armed(Millis, u64);

/// Armed deadlines, soonest first. Its lock is a leaf.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By time, then by a number that tells equal times apart.
    armed: BTreeMap<(Millis, u64), Due>,
    next_number: u64,
    waker: Option<Waker>,
}

impl Timers {
    /// Notes that there is something to do at `at`, and wakes who waits if that is the soonest now.
    pub(crate) fn arm(&self, at: Millis, due: Due) -> Armed {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        let soonest = state.armed.first_key_value().is_none_or(|((first, _), _)| at < *first);
        state.armed.insert((at, number), due);
        let waker = if soonest { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Armed(at, number)
    }

    /// Takes a deadline back, if it has not come yet.
    pub(crate) fn disarm(&self, Armed(at, number): Armed) {
        self.state.lock().armed.remove(&(at, number));
    }

    /// Who is to be woken when a sooner deadline is armed.
    pub(crate) fn register(&self, waker: &Waker) {
        self.state.lock().waker = Some(waker.clone());
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.state.lock().armed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out all whose deadline has come. What they arm is not among them, so this ends.
    pub(crate) fn take_due(&self, now: Millis) -> Vec<Due> {
        let mut state = self.state.lock();
        let later = state.armed.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut state.armed, later).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_once_or_is_taken_back() {
        let timers = Timers::default();
        let due = || Due::Delayed(Weak::new());
        let early = timers.arm(5, due());
        let late = timers.arm(9, due());
        timers.arm(5, due());
        assert_eq!(timers.next(), Some(5));
        timers.disarm(early);
        assert_eq!(timers.take_due(4).len(), 0);
        assert_eq!(timers.take_due(5).len(), 1);
        assert_eq!(timers.next(), Some(9));
        timers.disarm(late);
        timers.disarm(late);
        assert_eq!((timers.next(), timers.take_due(Millis::MAX).len()), (None, 0));
    }
}
