//! The last messages of an `x-recent-history` exchange, for who is bound later.
//!
//! Invariants: no more than the exchange's length of them and no more than `recent_history_octets` octets are kept, the last ones; they
//! are in memory alone and gone after a restart. The lock is a leaf: nothing is called while it is held.
//!
//! A message is kept before it is routed, and who binds looks after the binding is in the picture. A publisher that looks for a newer
//! picture in between ([`keep`] first, then route) therefore misses nobody.

use std::collections::VecDeque;

use parking_lot::Mutex;
use warrenmq_queue::{Record, Run, RunBuilder};
use warrenmq_routing::Message;

use super::Picture;

/// A header that is true on messages that are not to be kept.
const NO_STORE: &[u8] = b"x-recent-history-no-store";

/// What one exchange keeps.
#[derive(Debug)]
pub(crate) struct History {
    length: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// One message each, the oldest first.
    runs: VecDeque<Run>,
    octets: usize,
}

impl History {
    /// Keeps up to so many messages.
    pub(crate) fn new(length: u64) -> History {
        History { length: usize::try_from(length).unwrap_or(usize::MAX), kept: Mutex::default() }
    }

    /// The messages, the oldest first.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.kept.lock().runs.iter().cloned().collect()
    }

    /// Nothing is kept before a message that cannot be.
    fn clear(&self) {
        *self.kept.lock() = Kept::default();
    }

    fn add(&self, run: Run, octets_max: usize) {
        let mut kept = self.kept.lock();
        kept.octets += run.len();
        kept.runs.push_back(run);
        while (kept.runs.len() > self.length || kept.octets > octets_max)
            && let Some(oldest) = kept.runs.pop_front()
        {
            kept.octets -= oldest.len();
        }
    }
}

/// Keeps a message in the histories of the exchanges that it will pass.
pub(crate) fn keep(
    picture: &Picture,
    exchange: &str,
    message: &Message<'_>,
    record: Record<'_>,
    octets_max: usize,
) {
    let no_store = message.headers.and_then(|headers| headers.get(NO_STORE)?.as_bool());
    if no_store == Some(true) {
        return;
    }
    // A message that could not stay is not copied.
    let fits = record.header.len() + record.body.len() <= octets_max;
    let mut run: Option<Run> = None;
    picture.topology.histories(exchange, message, |name| {
        if run.is_none() && fits {
            let mut builder = RunBuilder::new();
            builder.push(&record);
            run = builder.finish();
        }
        match (picture.history(name), &run) {
            (Some(history), Some(run)) => history.add(run.clone(), octets_max),
            (Some(history), None) => history.clear(),
            (None, _) => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(body: &[u8]) -> Run {
        let mut builder = RunBuilder::new();
        let (route, header) = (&b"\x00\x00"[..], &b""[..]);
        builder.push(&Record {
            route,
            hidden: b"",
            header,
            body,
            persistent: false,
            priority: None,
            ttl: None,
            dead: false,
            due: None,
        });
        builder.finish().expect("one message")
    }

    fn bodies(history: &History) -> Vec<Vec<u8>> {
        history.runs().iter().map(|run| run.record(0).0.body.to_vec()).collect()
    }

    #[test]
    fn the_last_ones_are_kept_as_far_as_there_is_room() {
        let history = History::new(3);
        let octets = run(b"1").len();
        for body in [b"1", b"2", b"3", b"4"] {
            history.add(run(body), 10 * octets);
        }
        assert_eq!(bodies(&history), [b"2", b"3", b"4"]);
        history.add(run(b"5"), 2 * octets);
        assert_eq!(bodies(&history), [b"4", b"5"]);
        history.add(run(b"larger than the limit"), octets);
        assert_eq!(bodies(&history), [b""; 0]);
        history.add(run(b"6"), octets);
        assert_eq!(bodies(&history), [b"6"]);
        assert_eq!(history.kept.lock().octets, octets);
    }
}
