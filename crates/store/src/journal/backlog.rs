//! What was appended and waits to be written. Invariant: records stand in the order of their LSNs, without a gap.

use std::collections::VecDeque;

use super::Lsn;
use super::entry::Entry;
use super::record::{RECORD_HEADER, padded};

/// Octets that wait at most before they are written although nobody waits for them.
const LAZY_WRITE_OCTETS: u64 = 128 * 1024;
/// How long they wait at most, in ms.
const LAZY_WRITE_MS: u64 = 10;

/// A record before it is written.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) entries: Vec<Entry>,
    /// Its octets in the file.
    pub(super) octets: u64,
}

impl Waiting {
    pub(super) fn new(entries: Vec<Entry>) -> Waiting {
        let octets: usize = entries.iter().map(|entry| entry.head_octets() + entry.body_octets()).sum();
        Waiting { octets: padded((RECORD_HEADER + octets) as u64), entries }
    }
}

/// What appenders share with the commit thread; held for moments only.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    records: VecDeque<Waiting>,
    octets: u64,
    /// LSN of the last record that was appended.
    last: Lsn,
    /// Somebody waits for everything up to here.
    wanted: Lsn,
    /// When the commit thread first left the records to wait.
    since: Option<u64>,
    rotate: bool,
    closed: bool,
    /// Nothing will be written any more.
    failed: bool,
    /// There is something for the commit thread to look at.
    due: bool,
    /// The commit thread sleeps.
    pub(super) sleeping: bool,
}

/// What the commit thread is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// Octets of the records that were moved.
    pub(super) moved: u64,
    /// When the records that were left are to be written.
    pub(super) later: Option<u64>,
    pub(super) wanted: Lsn,
    pub(super) rotate: bool,
    pub(super) closed: bool,
}

impl Backlog {
    pub(super) fn new(last: Lsn) -> Backlog {
        Backlog { last, ..Backlog::default() }
    }

    /// LSN of the last record that was appended.
    pub(super) fn last(&self) -> Lsn {
        self.last
    }

    /// Whether the commit thread has something to look at.
    pub(super) fn is_due(&self) -> bool {
        self.due || self.closed
    }

    /// Appends a record. It is due when somebody waits for it, when it is the first (so that its time can be set)
    /// and when there are many.
    pub(super) fn push(&mut self, record: Waiting, wanted: bool) -> Lsn {
        self.last.0 += 1;
        if wanted {
            self.wanted = self.last;
        }
        if !self.failed {
            self.octets += record.octets;
            self.due |= wanted || self.records.is_empty() || self.octets >= LAZY_WRITE_OCTETS;
            self.records.push_back(record);
        }
        self.last
    }

    /// Somebody waits for everything up to `lsn`.
    pub(super) fn want(&mut self, lsn: Lsn) {
        self.wanted = self.wanted.max(lsn.min(self.last));
        self.due = true;
    }

    pub(super) fn rotate(&mut self) {
        self.rotate = true;
        self.due = true;
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Drops what waits; later appends get their LSN and nothing else.
    pub(super) fn fail(&mut self) {
        self.failed = true;
        self.records = VecDeque::new();
        self.octets = 0;
    }

    /// Moves the records to the end of `into` if they are to be written now, and says what else is asked for.
    pub(super) fn take(&mut self, now: u64, into: &mut VecDeque<Waiting>) -> Asked {
        self.due = false;
        let mut asked = Asked { wanted: self.wanted, closed: self.closed, ..Asked::default() };
        asked.rotate = std::mem::take(&mut self.rotate);
        if self.records.is_empty() {
            return asked;
        }
        let later = *self.since.get_or_insert(now) + LAZY_WRITE_MS;
        let waited_for = self.wanted.0 + self.records.len() as u64 > self.last.0;
        if waited_for || self.closed || self.octets >= LAZY_WRITE_OCTETS || later <= now {
            asked.moved = std::mem::take(&mut self.octets);
            self.since = None;
            if into.is_empty() {
                std::mem::swap(&mut self.records, into);
            } else {
                into.append(&mut self.records);
            }
        } else {
            asked.later = Some(later);
        }
        asked
    }
}
