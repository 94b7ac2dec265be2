//! What all exchanges that delay messages have in common on one node.
//!
//! Invariant: a number is given to one exchange only, as long as anything on disk may name it; what generations count makes
//! positions of a bucket differ from those of an earlier bucket of the same slot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use warrenmq_protocol::{Exception, Millis};
use warrenmq_queue::Position;
use warrenmq_store::Scan;
use warrenmq_wire::reply::ReplyCode;

use super::{Delayed, EXCHANGE_MAX, Slot, is_slot};
use crate::broker::Options;
use crate::queue_cell::QueueCell;
use crate::storage::Storage;
use crate::timers::Timers;

/// Positions of one generation of a bucket.
const GENERATION_BITS: u32 = 32;
/// A bucket keeps so many octets in memory however many buckets there are.
const SHARE_MIN: u64 = 4 * 1024;
/// More would make its pages no better.
const SHARE_MAX: u64 = 64 * 1024;

/// The exchanges of a node that delay.
#[derive(Debug)]
pub(crate) struct Delays {
    /// The highest number of an exchange.
    highest: AtomicU64,
    generation: AtomicU32,
    /// Buckets that are there.
    buckets: AtomicUsize,
    by_number: Mutex<BTreeMap<u64, Weak<Delayed>>>,
    timers: Arc<Timers>,
    storage: Arc<Storage>,
    epoch_ms: u64,
    started_ms: u64,
    memory: u64,
    loaded: u64,
    loaded_octets: u64,
}

impl Delays {
    pub(crate) fn new(timers: &Arc<Timers>, storage: &Arc<Storage>, options: &Options) -> Delays {
        let Options { limits, epoch_ms, now, .. } = options;
        Delays {
            highest: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            buckets: AtomicUsize::new(0),
            by_number: Mutex::default(),
            timers: Arc::clone(timers),
            storage: Arc::clone(storage),
            epoch_ms: *epoch_ms,
            started_ms: epoch_ms + now,
            memory: limits.delayed_memory_octets,
            loaded: limits.delayed_loaded_max,
            loaded_octets: limits.delayed_loaded_octets,
        }
    }

    /// Numbers up to `highest` are in use.
    pub(crate) fn start_above(&self, highest: u64) {
        self.highest.fetch_max(highest, Ordering::Relaxed);
    }

    /// A number for a new exchange.
    pub(crate) fn next_number(&self) -> Result<u64, Exception> {
        let given = self.highest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |highest| {
            (highest < EXCHANGE_MAX).then_some(highest + 1)
        });
        given.map(|before| before + 1).map_err(|_| {
            let text = format!("more than {EXCHANGE_MAX} exchanges that delay messages since the last start");
            Exception::new(ReplyCode::ResourceError, text)
        })
    }

    /// Makes the buckets that journal and segments name, of exchanges that are there.
    pub(crate) fn restore_buckets(&self, named: impl Iterator<Item = u64>) {
        for (number, slot) in named.filter_map(Slot::of_number) {
            let delayed = self.by_number.lock().get(&number).and_then(Weak::upgrade);
            if let Some(delayed) = delayed.filter(|delayed| delayed.durable) {
                delayed.restore_bucket(slot);
            }
        }
    }

    /// After the start: all look what is to be done.
    pub(crate) fn begin(&self, now: Millis) {
        self.all().iter().for_each(|delayed| delayed.arm(now));
    }

    /// Those that are there, by number.
    pub(crate) fn all(&self) -> Vec<Arc<Delayed>> {
        self.by_number.lock().values().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn add(&self, delayed: &Arc<Delayed>) {
        self.by_number.lock().insert(delayed.number, Arc::downgrade(delayed));
    }

    /// The exchange is gone; sessions may still know it.
    pub(super) fn remove(&self, number: u64) {
        self.by_number.lock().remove(&number);
    }

    pub(super) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Unix time in ms when the broker's time was 0.
    pub(super) fn epoch_ms(&self) -> u64 {
        self.epoch_ms
    }

    /// Unix time in ms when the broker was started.
    pub(super) fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// The first position of a new bucket.
    pub(super) fn first_position(&self) -> Position {
        u64::from(self.generation.load(Ordering::Relaxed)) << GENERATION_BITS
    }

    /// The first position of a bucket whose next one is `end`.
    pub(crate) fn floor_of(end: Position) -> Position {
        end >> GENERATION_BITS << GENERATION_BITS
    }

    pub(super) fn bucket_made(&self) {
        self.buckets.fetch_add(1, Ordering::Relaxed);
    }

    /// A bucket is deleted. Another one of the same slot begins behind it: what the journal still says of this one does not touch it.
    pub(super) fn bucket_gone(&self, cell: &QueueCell) {
        self.buckets.fetch_sub(1, Ordering::Relaxed);
        let generation = (cell.end() >> GENERATION_BITS) as u32;
        // It begins again at 0 after so long that no slot comes again.
        self.generation.fetch_max(generation.wrapping_add(1), Ordering::Relaxed);
    }

    /// Octets that a bucket keeps in memory while nothing of it is near.
    pub(super) fn share(&self) -> u64 {
        let buckets = self.buckets.load(Ordering::Relaxed).max(1) as u64;
        (self.memory / buckets).clamp(SHARE_MIN, SHARE_MAX)
    }

    /// A slot with more messages, or more octets, is parted.
    pub(super) fn is_many(&self, messages: u64, octets: u64) -> bool {
        messages > self.loaded || octets > self.loaded_octets
    }
}

/// The numbers of buckets that the journal names.
pub(crate) fn in_journal(scan: &Scan) -> impl Iterator<Item = u64> + '_ {
    let published = scan.publishes.iter().flat_map(|published| published.queues.iter().map(|(id, _)| *id));
    published.chain(scan.settles.keys().copied()).filter(|id| is_slot(*id))
}
