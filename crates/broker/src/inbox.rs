//! What other connections and the broker put down for one connection, and the way to wake it.
//!
//! Invariants: things are put in while the lock of their queue is held, so their order is the queue's; the connection is
//! woken after all locks are released, once for all that gathered. `notified` is cleared before the connection looks, so
//! no wake is lost. Bounded by the credit of the connection's consumers: the queue hands out nothing without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use warrenmq_queue::Delivery;

use crate::lock::{Rank, Ranked};

/// Number of a consumer within its connection.
pub(crate) type ConsumerKey = u32;

/// Anything but a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// There is something for a consumer that pulls.
    Hungry(ConsumerKey),
    /// The queue of a consumer is gone.
    Cancelled(ConsumerKey),
    /// The queue that this publisher waited for has room.
    Drained,
    /// The alarm that this connection waited for is over.
    Unblocked,
    /// The connection is to be closed with 320 and this explanation.
    Close(String),
    /// More is on disk than before.
    Durable,
    /// The queue that a basic.get waits for has read a block.
    Loaded,
}

#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) deliveries: Vec<(ConsumerKey, Delivery)>,
    pub(crate) notices: Vec<Notice>,
}

/// The inbox of one connection.
#[derive(Debug)]
pub struct Inbox {
    mail: Ranked<Mail>,
    notified: AtomicBool,
    /// Its own small lock: held only to store or call the waker, never together with another.
    waker: Mutex<Option<Waker>>,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox {
            mail: Ranked::new(Rank::Inbox, Mail::default()),
            notified: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Who is to be woken; called by the task that drives the connection.
    pub fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock();
        if slot.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Whether something waits; the driver asks before it sleeps, for what a session puts down for itself wakes nobody.
    pub fn is_notified(&self) -> bool {
        self.notified.load(Ordering::Acquire)
    }

    /// Puts things in and says whether the connection has to be woken by the caller.
    pub(crate) fn put(&self, put: impl FnOnce(&mut Mail)) -> bool {
        put(&mut self.mail.lock());
        !self.notified.swap(true, Ordering::AcqRel)
    }

    /// Puts a notice in and wakes at once; for use without other locks.
    pub(crate) fn notify(&self, notice: Notice) {
        if self.put(|mail| mail.notices.push(notice)) {
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Exchanges what has gathered for the caller's empty buffers. Says whether there was anything.
    pub(crate) fn swap(&self, mail: &mut Mail) -> bool {
        if !self.notified.swap(false, Ordering::AcqRel) {
            return false;
        }
        std::mem::swap(&mut *self.mail.lock(), mail);
        true
    }
}

/// Connections that got something during a batch, each once; woken when all locks are free.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    inboxes: Vec<Arc<Inbox>>,
}

impl Touched {
    pub(crate) fn put(&mut self, inbox: &Arc<Inbox>, put: impl FnOnce(&mut Mail)) {
        if inbox.put(put) {
            self.inboxes.push(Arc::clone(inbox));
        }
    }

    /// Leaves this one out: the connection whose batch it is, which looks into its inbox by itself before it sleeps.
    pub(crate) fn leave_out(&mut self, inbox: &Arc<Inbox>) {
        self.inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
    }

    pub(crate) fn wake_all(&mut self) {
        for inbox in self.inboxes.drain(..) {
            inbox.wake();
        }
    }
}
