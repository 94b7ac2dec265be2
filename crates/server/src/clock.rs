//! The time that sessions are told: Unix time in milliseconds as it was at the start, and what has passed since.
//!
//! Invariant: never goes backwards, whatever happens to the clock of the system; times of an earlier start compare with it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A started clock; copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    at_start: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), at_start: millis(unix) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.at_start + millis(self.start.elapsed())
    }

    pub(crate) fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis.saturating_sub(self.at_start))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
