//! What a batch leaves to be done for the disk: entries for the journal, pages to write, blocks to read, places that are free.
//!
//! Invariant: it is gathered without I/O, and handed over in [`Storage::take`](super::Storage::take) before the batch ends.

use std::sync::Arc;

use warrenmq_queue::{Page, PageId, Place, Position, Run};
use warrenmq_store::{CommitSeq, Entry};

use crate::queue_cell::QueueCell;

/// Work of one batch.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// One record of the journal: durable together.
    pub(crate) entries: Vec<Entry>,
    /// Somebody waits for them.
    pub(crate) wanted: bool,
    /// The entries stay here until the whole transaction is.
    pub(crate) is_open: bool,
    pub(crate) pages: Vec<(Arc<QueueCell>, Vec<Page>)>,
    pub(crate) loads: Vec<Load>,
    pub(crate) freed: Vec<(u64, Place)>,
    /// Queues that are gone, with the change to the definitions that says so.
    pub(crate) deleted: Vec<(u64, Option<CommitSeq>)>,
    /// Change of the octets in memory.
    pub(crate) resident: i64,
    /// Octets that one queue may keep in memory at present.
    pub(crate) share: u64,
    /// Size of the blocks that pages are made for.
    pub(crate) block_octets: usize,
    /// Unix time in milliseconds when the broker's time was 0.
    pub(crate) epoch_ms: u64,
}

/// A block that is to be read back.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) queue: Arc<QueueCell>,
    pub(crate) id: PageId,
    pub(crate) place: Place,
}

impl Work {
    /// Notes where the messages of a run stand in durable queues, if they are to outlive a restart: those that are persistent, or all of
    /// them. `arrived` is Unix time in milliseconds.
    pub(crate) fn publish(&mut self, queues: Vec<(u64, Position)>, run: &Run, keeps_all: bool, arrived: u64) {
        if !queues.is_empty() && (keeps_all || run.persistent() > 0) {
            let (queues, records) = (queues.into(), run.bytes().clone());
            self.entries.push(Entry::Publish { queues, count: run.count(), arrived, records });
        }
    }

    /// Notes that positions of a durable queue are done with.
    pub(crate) fn settle(&mut self, queue: u64, ranges: Vec<(Position, Position)>) {
        if !ranges.is_empty() {
            self.entries.push(Entry::Settle { queue, ranges });
        }
    }

    /// About how many octets the entries have.
    pub(crate) fn entries_octets(&self) -> u64 {
        let octets = |entry: &Entry| match entry {
            Entry::Publish { queues, records, .. } => records.len() + size_of_val(&**queues),
            Entry::Settle { ranges, .. } => size_of_val(&**ranges),
            Entry::Note { notes, .. } => size_of_val(&**notes),
            Entry::Delivered { .. } => 0,
        };
        self.entries.iter().map(|entry| octets(entry) as u64).sum()
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.pages.is_empty()
            && self.loads.is_empty()
            && self.freed.is_empty()
            && self.deleted.is_empty()
            && self.resident == 0
    }
}
