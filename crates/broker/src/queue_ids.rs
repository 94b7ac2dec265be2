//! The numbers by which the messages of queues are named on disk.
//!
//! Invariant: no number is given twice while the node runs, and none that anything on disk still names, as long as
//! [`QueueIds::start_above`] was told all of those before the first was given. 0 is no number: it says "none yet" in
//! definitions of the time before there were any.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gives each queue of the node its number; names may come again, numbers do not.
#[derive(Debug, Default)]
pub(crate) struct QueueIds {
    /// The highest number that was given or is known from the disk.
    highest: AtomicU64,
}

impl QueueIds {
    /// Numbers up to `highest` are in use on disk. May be called several times: definitions, journal and segments each know
    /// some that the others do not.
    pub(crate) fn start_above(&self, highest: u64) {
        self.highest.fetch_max(highest, Ordering::Relaxed);
    }

    /// A number that no queue had before.
    pub(crate) fn next(&self) -> u64 {
        // One counter and nothing that hangs on its order: relaxed is enough. A billion queues a second last 584 years.
        self.highest.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_one_and_stay_above_what_is_known() {
        let ids = QueueIds::default();
        assert_eq!((ids.next(), ids.next()), (1, 2));
        ids.start_above(10);
        ids.start_above(7);
        assert_eq!((ids.next(), ids.next()), (11, 12));
        ids.start_above(3);
        assert_eq!(ids.next(), 13);
    }
}
