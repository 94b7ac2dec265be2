//! The clock of `perf`: nanoseconds of the system's monotonic clock.
//!
//! Invariant: all threads, and all processes of one machine, read the same clock, so that a stamp written by one
//! process can be subtracted in another. (`std::time::Instant` cannot be put into a message.)

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since an arbitrary moment before this process started; never goes back.
#[inline]
pub(crate) fn now_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// What a clock shows, in nanoseconds.
#[inline]
pub(crate) fn ns(Timespec { tv_sec, tv_nsec }: Timespec) -> u64 {
    (tv_sec as u64).wrapping_mul(NANOS_PER_SECOND).wrapping_add(tv_nsec as u64)
}

/// `ns` as the system calls want it.
pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / NANOS_PER_SECOND) as i64, tv_nsec: (ns % NANOS_PER_SECOND) as _ }
}

/// `time` in nanoseconds; the most there is when it has more.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `ns` as seconds, for rates and reports.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / NANOS_PER_SECOND as f64
}
