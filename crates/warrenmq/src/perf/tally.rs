//! What one producer or consumer has done so far, for the thread that reports.
//!
//! Invariant: only the worker writes the counters, once for each read or write and not for each message; each worker's
//! counters have cache lines of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Largest latency told apart, in nanoseconds: an hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Two digits: percentiles are within one percent, and a histogram fits the cache.
const DIGITS: u8 = 2;

/// Counters of one worker.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Tally {
    /// Messages published or consumed.
    pub(crate) messages: Counter,
    /// Messages acknowledged by the broker.
    pub(crate) confirmed: Counter,
    /// Messages refused by the broker.
    pub(crate) nacked: Counter,
    /// Answers to messages that were not published, or answered before.
    pub(crate) unexpected: Counter,
    /// Messages that could not be routed.
    pub(crate) returned: Counter,
    /// Messages with the redelivered flag.
    pub(crate) redelivered: Counter,
    /// Messages that were sent before the run began.
    pub(crate) stale: Counter,
    /// Messages out of order.
    pub(crate) violations: Counter,
    /// When `messages` last changed, [`super::clock::now_ns`].
    pub(crate) last_ns: Counter,
    /// CPU time of the worker's thread when it ended.
    pub(crate) cpu_ns: Counter,
    /// Set when the worker has published or consumed all it was to.
    pub(crate) done: AtomicBool,
    /// Latencies since the reporter last took them, in nanoseconds. The worker holds the lock while it goes through
    /// one read buffer, the reporter while it copies.
    pub(crate) latency: Mutex<Histogram<u64>>,
    /// How long after its time each message of a producer with a rate was written, in nanoseconds. The lock is held for one
    /// entry.
    pub(crate) lateness: Mutex<Histogram<u64>>,
}

/// A number written by one thread and read by others.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Replaces the value.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value; for the one thread that writes.
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            messages: Counter::default(),
            confirmed: Counter::default(),
            nacked: Counter::default(),
            unexpected: Counter::default(),
            returned: Counter::default(),
            redelivered: Counter::default(),
            stale: Counter::default(),
            violations: Counter::default(),
            last_ns: Counter::default(),
            cpu_ns: Counter::default(),
            done: AtomicBool::new(false),
            latency: Mutex::new(histogram()),
            lateness: Mutex::new(histogram()),
        }
    }
}

/// An empty histogram of latencies in nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("invariant: the bounds are in order")
}
