//! Letting the oldest file of the journal go: what still lives in it moves to segments, or, if it is little, to the
//! end of the journal; what it knows about settled messages in segments is said again.
//!
//! Invariant: positions make it safe to repeat: whatever stands in two places after a crash is one message.

use std::collections::BTreeSet;
use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::{Page, Position};
use warrenmq_store::{ClosedFile, Entry, Lsn, StoreError};

use super::copy;
use super::writer::write_page;
use super::{Storage, from_queue};
use crate::broker::Broker;
use crate::queue_cell::QueueCell;

/// Blocks with many settled messages that one checkpoint writes anew per queue, so that it stays short.
const REWRITES_MAX: usize = 64;

/// What has to be done before a file goes.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// `None`: only blocks are written anew.
    file: Option<u64>,
    queues: Vec<Moved>,
}

#[derive(Debug)]
struct Moved {
    queue: Arc<QueueCell>,
    /// Messages whose only copy is in the file.
    pages: Vec<Page>,
    /// Blocks without their settled messages.
    rewrites: Vec<Page>,
    gone: Vec<(Position, Position)>,
}

/// Sees that nothing happens any more, so that the journal can become small.
#[derive(Debug, Default)]
pub(super) struct Idle {
    end: Lsn,
    since: Millis,
    /// The end of the journal after the last checkpoint: what came of that is no news.
    retired: Lsn,
    /// The end of the journal when it was made as small as it can be.
    trimmed: Lsn,
}

impl Idle {
    /// Whether nothing was appended for a while. Then the current file is closed as well, once.
    pub(super) fn is_idle(&mut self, storage: &Storage, now: Millis) -> bool {
        let end = storage.journal.end();
        if end != self.end {
            (self.end, self.since) = (end, now);
            return false;
        }
        if now.saturating_sub(self.since) < storage.bounds.idle_ms {
            return false;
        }
        if end > self.retired {
            self.retired = end;
            storage.journal.rotate();
        }
        true
    }

    /// Whether the journal is still larger than what is in it. Says so once.
    pub(super) fn has_slack(&mut self) -> bool {
        std::mem::replace(&mut self.trimmed, self.end) != self.end
    }

    pub(super) fn retired(&mut self, end: Lsn) {
        if self.end >= self.retired {
            // Only what the checkpoint itself has appended came since.
            (self.end, self.retired) = (end, end);
        }
    }
}

impl Checkpoint {
    /// Looks what the queues named in a file still need of it.
    pub(super) fn collect(
        file: &ClosedFile,
        storage: &Storage,
        broker: &Broker,
        now: Millis,
        holed: &mut BTreeSet<u64>,
    ) -> Result<Checkpoint, StoreError> {
        let mut queues = Vec::new();
        // In an order that is the same each time, as everything that a simulation sees.
        let mut named: Vec<_> = file.queues.iter().collect();
        named.sort_unstable_by_key(|(store_id, _)| **store_id);
        for (store_id, known) in named {
            let Some(queue) = storage.queue(*store_id) else { continue };
            let pages = known
                .highest
                .map_or_else(Vec::new, |highest| queue.checkpoint(highest, storage.bounds.block));
            let mut gone = Vec::new();
            let mut rewrites = Vec::new();
            if known.settles {
                rewrites = rewrite_holes(&queue, storage, broker, now)?;
                if rewrites.len() == REWRITES_MAX {
                    holed.insert(*store_id);
                }
                gone = queue.gone();
            }
            if !pages.is_empty() || !rewrites.is_empty() || !gone.is_empty() {
                queues.push(Moved { queue, pages, rewrites, gone });
            }
        }
        Ok(Checkpoint { file: Some(file.number), queues })
    }

    /// More blocks of a queue that has many with holes.
    pub(super) fn collect_holes(
        storage: &Storage,
        broker: &Broker,
        now: Millis,
        holed: &mut BTreeSet<u64>,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let Some(queue) = holed.pop_first().and_then(|id| storage.queue(id)) else { return Ok(None) };
        let rewrites = rewrite_holes(&queue, storage, broker, now)?;
        if rewrites.is_empty() {
            return Ok(None);
        }
        holed.insert(queue.info.store_id);
        let moved = Moved { queue, pages: Vec::new(), rewrites, gone: Vec::new() };
        Ok(Some(Checkpoint { file: None, queues: vec![moved] }))
    }

    pub(super) fn file(&self) -> Option<u64> {
        self.file
    }

    /// Writes what was collected; returns what the journal has to reach before the file may go.
    pub(super) fn write(self, storage: &Storage, broker: &Broker, now: Millis) -> Result<Lsn, StoreError> {
        // A journal whose files are full of copies would never become shorter.
        let mut room = storage.bounds.journal_file / 4;
        for Moved { queue, pages, rewrites, gone } in self.queues {
            let mut entries = Vec::new();
            let octets: u64 = pages.iter().map(|page| page.octets).sum();
            let is_little = octets <= storage.bounds.leftover && octets <= room;
            for page in pages {
                if is_little {
                    copy::forward(queue.info.store_id, &page, storage.epoch_ms, &mut entries);
                    queue.unpaged(page.id);
                } else {
                    write_page(&queue, page, storage, broker, now)?;
                }
            }
            if is_little {
                room -= octets;
            }
            for page in rewrites {
                write_page(&queue, page, storage, broker, now)?;
            }
            if !gone.is_empty() {
                entries.push(Entry::Settle { queue: queue.info.store_id, ranges: gone });
            }
            if !entries.is_empty() {
                storage.journal.append(entries, true);
            }
        }
        let end = storage.journal.end();
        storage.journal.want(end);
        Ok(end)
    }
}

/// Pages for the blocks of a queue that hold little but settled messages.
fn rewrite_holes(
    queue: &Arc<QueueCell>,
    storage: &Storage,
    broker: &Broker,
    now: Millis,
) -> Result<Vec<Page>, StoreError> {
    let mut pages = Vec::new();
    for (id, place) in queue.holes(REWRITES_MAX) {
        let block = match storage.segments.read(queue.info.store_id, from_queue(place)) {
            Ok(block) => block,
            Err(_) if queue.is_deleted() => break,
            Err(error) => return Err(error),
        };
        let ranges = storage.to_queue_ranges(&block.ranges);
        let body = block.body.into_iter().next().unwrap_or_default();
        pages.extend(storage.batch(broker, now, |scratch| queue.rewrite(id, &ranges, body, scratch)));
    }
    Ok(pages)
}
