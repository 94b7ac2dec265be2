//! Locks with ranks. A thread takes them in ascending rank only, and never two queues at once.
//!
//! | rank | lock | protects | longest hold |
//! |---|---|---|---|
//! | definitions | [`Rank::Definitions`] | exchanges, bindings, policies and names of one vhost; global parameters | one declare, bind, delete or change of a policy |
//! | wheel | [`Rank::Wheel`] | which delayed messages of one exchange come next | one turn |
//! | buckets | [`Rank::Buckets`] | where delayed messages of one exchange wait | looking one up, making or deleting one |
//! | queue | [`Rank::Queue`] | one queue | handing out one run |
//! | inbox | [`Rank::Inbox`] | what waits for one connection | one push or swap |
//!
//! Invariant: debug builds stop the thread that breaks the order. No lock is held across a call back, disk or await.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The order of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Definitions,
    Wheel,
    Buckets,
    Queue,
    Inbox,
}

/// A mutex that knows its rank.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    rank: Rank,
    inner: Mutex<T>,
}

pub(crate) struct Guard<'a, T> {
    inner: MutexGuard<'a, T>,
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl<T> Ranked<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Ranked<T> {
        Ranked { rank, inner: Mutex::new(value) }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        held::take(self.rank);
        let _ = self.rank;
        Guard {
            inner: self.inner.lock(),
            #[cfg(debug_assertions)]
            rank: self.rank,
        }
    }
}

impl<T> Guard<'_, T> {
    /// Gives the lock up until somebody says that something has changed, and takes it again; says whether nobody has in that
    /// time.
    pub(crate) fn wait(&mut self, changed: &Condvar, time_max: Duration) -> bool {
        changed.wait_for(&mut self.inner, time_max).timed_out()
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        held::release(self.rank);
    }
}

#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(top) = held.last() {
                assert!(*top < rank, "lock order: {rank:?} asked for while {top:?} is held");
            }
            held.push(rank);
        });
    }

    pub(super) fn release(rank: Rank) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|other| *other == rank) {
                held.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_held() {
        let definitions = Ranked::new(Rank::Definitions, ());
        let queue = Ranked::new(Rank::Queue, ());
        let inbox = Ranked::new(Rank::Inbox, ());
        {
            let _a = definitions.lock();
            let _b = queue.lock();
            let _c = inbox.lock();
        }
        let wrong = std::thread::spawn(move || {
            let _b = queue.lock();
            let _a = definitions.lock();
        });
        assert_eq!(wrong.join().is_err(), cfg!(debug_assertions));
    }
}
