//! Tells who waits in front of a terminal how far it is.
//!
//! Invariant: what is done soon is done without a word.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::report::size;

/// Between two lines, and before the first.
const INTERVAL: Duration = Duration::from_secs(2);

/// Octets that were read.
#[derive(Debug)]
pub(super) struct Progress {
    octets: u64,
    next: Instant,
}

impl Progress {
    pub(super) fn start() -> Progress {
        Progress { octets: 0, next: Instant::now() + INTERVAL }
    }

    pub(super) fn add(&mut self, octets: u64) {
        self.octets += octets;
        let now = Instant::now();
        if now >= self.next {
            self.next = now + INTERVAL;
            // Nobody may be reading.
            let _ = writeln!(io::stderr(), "{} read", size(self.octets));
        }
    }
}
