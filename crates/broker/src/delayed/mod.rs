//! Messages that wait at an exchange of the type `x-delayed-message` until they are due.
//!
//! ```text
//!   publish ──► bucket of its slot of time ──► finer bucket ──► … ──► sorted in memory ──► the exchange's queues
//!               (a day, an hour, a minute, a second; where there are very many a tenth or hundredth of one)
//! ```
//! A bucket is a queue that no client can name: its messages leave memory, stand in journal and segments and come back at a start as
//! those of every durable queue do. Invariants: a message is in one bucket of its exchange, from its publish on; it moves to a
//! finer one, and to its queues, in one record of the journal; how many wait costs disk, not memory.

mod bucket;
mod buckets;
mod cascade;
mod delays;
mod grid;
mod header;
mod listing;
mod release;
mod wheel;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use warrenmq_protocol::Millis;
use warrenmq_queue::{Record, RunBuilder};

use crate::lock::{Rank, Ranked};
use crate::queue_cell::{QueueCell, Scratch};
use crate::timers::{Armed, Due};
pub(crate) use bucket::Bucket;
use buckets::Buckets;
pub(crate) use delays::{Delays, in_journal};
use grid::Class;
pub(crate) use grid::{EXCHANGE_MAX, Slot, Stamp, is_slot};
pub(crate) use header::{NoNumber, delay};
pub use listing::{DelayedExchange, PendingMessage};
use wheel::Wheel;

/// What waits at one exchange.
#[derive(Debug)]
pub(crate) struct Delayed {
    /// Names it on disk, among all exchanges of the node.
    pub(crate) number: u64,
    pub(crate) vhost: Arc<str>,
    pub(crate) exchange: Arc<str>,
    pub(crate) durable: bool,
    node: Arc<Delays>,
    me: Weak<Delayed>,
    wheel: Ranked<Wheel>,
    buckets: Ranked<Buckets>,
    /// Counts messages, so that those of one moment stay in order.
    order: AtomicU64,
    /// When the timers call it; the maximum for never.
    armed: AtomicU64,
    /// The one deadline that they know. Its lock is held while theirs is taken, and nothing else.
    deadline: Mutex<Option<Armed>>,
}

impl Delayed {
    pub(crate) fn new(
        number: u64,
        vhost: &Arc<str>,
        exchange: &Arc<str>,
        durable: bool,
        node: &Arc<Delays>,
    ) -> Arc<Delayed> {
        let delayed = Arc::new_cyclic(|me| Delayed {
            number,
            vhost: Arc::clone(vhost),
            exchange: Arc::clone(exchange),
            durable,
            node: Arc::clone(node),
            me: Weak::clone(me),
            wheel: Ranked::new(Rank::Wheel, Wheel::default()),
            buckets: Ranked::new(Rank::Buckets, Buckets::default()),
            // Those of before a start are likely far away.
            order: AtomicU64::new(node.started_ms()),
            armed: AtomicU64::new(Millis::MAX),
            deadline: Mutex::default(),
        });
        node.add(&delayed);
        delayed
    }

    /// A stamp for a message that is to wait for so long from `now` on.
    pub(crate) fn stamp(&self, now: Millis, delay: u64) -> Stamp {
        let due = self.node.epoch_ms() + now + delay;
        Stamp::new(due, self.order.fetch_add(1, Ordering::Relaxed))
    }

    /// The bucket for a message with this stamp. `None`: the exchange is gone.
    pub(crate) fn bucket(&self, stamp: Stamp, now: Millis) -> Option<Arc<QueueCell>> {
        let unix = self.node.epoch_ms() + now;
        let class = Class::of(stamp.due().saturating_sub(unix));
        self.bucket_of(stamp, class, now)
    }

    /// The record as it stands in a bucket. What waits survives a restart as its exchange does, and nothing of it expires: both are
    /// looked up in its properties again when it has waited.
    pub(crate) fn waiting<'a>(&self, record: Record<'a>, stamp: Stamp) -> Record<'a> {
        Record { persistent: self.durable, ttl: None, due: Some(stamp.0), ..record }
    }

    /// Puts one record with its stamp where it is to wait. Without effect when the exchange is gone.
    pub(crate) fn put(&self, record: Record<'_>, scratch: &mut Scratch) {
        self.put_at_most(record, Class::Day, scratch);
    }

    /// The same, into a bucket of this class or a finer one.
    fn put_at_most(&self, record: Record<'_>, class: Class, scratch: &mut Scratch) {
        let Some(stamp) = record.due.map(Stamp) else { return };
        let unix = self.node.epoch_ms() + scratch.now;
        let class = Class::of(stamp.due().saturating_sub(unix)).min(class);
        let mut builder = RunBuilder::new();
        builder.push(&record);
        let Some(run) = builder.finish() else { return };
        // A bucket that goes is seen to be gone by those who look for one before it is deleted, so this ends.
        while let Some(cell) = self.bucket_of(stamp, class, scratch.now) {
            if let Some(first) = cell.publish(run.clone(), u64::MAX, None, scratch).first() {
                let places = if self.durable { vec![(cell.info.store_id, first)] } else { Vec::new() };
                scratch.work.publish(places, &run, false, self.node.epoch_ms() + scratch.now);
                return;
            }
        }
    }

    /// Has [`Delayed::turn`] called at `at`, or sooner.
    pub(crate) fn arm(&self, at: Millis) {
        if at >= self.armed.load(Ordering::Acquire) {
            return;
        }
        let mut deadline = self.deadline.lock();
        if at < self.armed.load(Ordering::Acquire) {
            self.armed.store(at, Ordering::Release);
            let later = deadline.replace(self.node.timers().arm(at, Due::Delayed(Weak::clone(&self.me))));
            if let Some(later) = later {
                self.node.timers().disarm(later);
            }
        }
    }

    /// A turn begins: whoever publishes from here on, or has published and is not seen by it, has another one called.
    fn disarm(&self) {
        let mut deadline = self.deadline.lock();
        self.armed.store(Millis::MAX, Ordering::Release);
        if let Some(deadline) = deadline.take() {
            self.node.timers().disarm(deadline);
        }
    }

    /// How many messages wait.
    pub(crate) fn pending(&self) -> u64 {
        self.cells().iter().map(|(_, cell)| cell.held()).sum()
    }
}

/// Messages of a run that came to a bucket that was gone find another one.
pub(crate) fn put_again(bucket: &QueueCell, run: &warrenmq_queue::Run, scratch: &mut Scratch) {
    let owner = bucket.bucket().and_then(|bucket| bucket.owner.upgrade());
    for (_, record) in run.records() {
        if let Some(delayed) = &owner {
            delayed.put(record, scratch);
        }
    }
}
