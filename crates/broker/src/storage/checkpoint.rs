//! Letting the oldest file of the journal go: what still lives in it moves to segments, or, if it is little, to the
//! end of the journal; what it knows about settled messages in segments is said again.
//!
//! Invariant: positions make it safe to repeat: whatever stands in two places after a crash is one message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use warrenmq_protocol::Millis;
use warrenmq_queue::{Attempted, Page, Position};
use warrenmq_store::{ClosedFile, Entry, Lsn, Note, StoreError};

use super::attempts::note;
use super::copy;
use super::writer::write_page;
use super::{Storage, from_queue};
use crate::broker::Broker;
use crate::queue_cell::QueueCell;

/// Blocks with many settled messages that one checkpoint writes anew per queue, so that it stays short.
const REWRITES_MAX: usize = 64;

/// What part of a file has to have come since the last silence.
const MUCH: u64 = 32;

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
    /// What the file knows of messages that came back.
    attempts: Vec<Attempted>,
    /// No block had settled messages in it.
    whole: bool,
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
    /// Files that are let go because of this silence. Those that come of it are as small as can be.
    left: usize,
    /// The present checkpoint is made in silence.
    silent: bool,
    /// Octets that batches had appended at the last silence that was used.
    appended: u64,
    /// The journal can become smaller though nothing came.
    again: bool,
}

impl Idle {
    /// Whether nothing was appended for a while. Then the current file is closed as well, once.
    pub(super) fn is_idle(&mut self, storage: &Storage, now: Millis) -> bool {
        let end = storage.journal.end();
        if end != self.end {
            (self.end, self.since, self.silent) = (end, now, false);
            return false;
        }
        if now.saturating_sub(self.since) < storage.bounds.idle_ms {
            return false;
        }
        let appended = storage.appended.load(Ordering::Relaxed);
        // For little it is not worth the syncs, nor that the next message waits for a new file.
        let is_much = self.is_much(appended, storage);
        let closed = storage.journal.closed_files().len();
        if end > self.retired && (is_much || self.again || closed > 0) {
            (self.retired, self.appended, self.again) = (end, appended, false);
            storage.journal.rotate();
            self.left = closed + 1;
        }
        true
    }

    /// Whether one more file is let go.
    pub(super) fn takes_one(&mut self) -> bool {
        let takes = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.silent = takes;
        takes
    }

    /// Whether the journal is still larger than what is in it. Says so once.
    pub(super) fn has_slack(&mut self) -> bool {
        std::mem::replace(&mut self.trimmed, self.end) != self.end
    }

    /// The journal tells about blocks that are not there any more: it can become smaller still.
    pub(super) fn begin_again(&mut self) {
        (self.retired, self.again) = (Lsn::default(), true);
    }

    /// A file has gone.
    pub(super) fn retired(&mut self, storage: &Storage) {
        let (end, appended) = (storage.journal.end(), storage.appended.load(Ordering::Relaxed));
        if self.silent && !self.is_much(appended, storage) {
            // Only what the checkpoint itself has appended came since, or little more: that waits for the next silence.
            (self.end, self.retired) = (end, end);
        }
        self.trimmed = Lsn::default();
    }

    /// Whether much has come since the last silence that was used, when so many octets were appended in all.
    fn is_much(&self, appended: u64, storage: &Storage) -> bool {
        appended - self.appended >= storage.bounds.journal_file / MUCH
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
        idle: bool,
    ) -> Result<Checkpoint, StoreError> {
        let mut queues = Vec::new();
        // In an order that is the same each time, as everything that a simulation sees.
        let mut named: Vec<_> = file.queues.iter().collect();
        named.sort_unstable_by_key(|(store_id, _)| **store_id);
        for (store_id, known) in named {
            let Some(queue) = storage.queue(*store_id) else { continue };
            let mut pages = known
                .highest
                .map_or_else(Vec::new, |highest| queue.checkpoint(highest, storage.bounds.block));
            let mut gone = Vec::new();
            let mut rewrites = Vec::new();
            if known.settles {
                if idle {
                    pages.extend(queue.rest(storage.bounds.block));
                }
                rewrites = rewrite_holes(&queue, storage, broker, now)?;
                if !rewrites.is_empty() {
                    holed.insert(*store_id);
                }
                gone = queue.gone();
            }
            let attempts = if known.notes { queue.attempts() } else { Vec::new() };
            let is_idle = pages.is_empty() && rewrites.is_empty() && gone.is_empty() && attempts.is_empty();
            if !is_idle {
                let whole = queue.is_whole();
                queues.push(Moved { queue, pages, rewrites, gone, attempts, whole });
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
        let (pages, gone, attempts) = (Vec::new(), Vec::new(), Vec::new());
        let moved = Moved { queue, pages, rewrites, gone, attempts, whole: true };
        Ok(Some(Checkpoint { file: None, queues: vec![moved] }))
    }

    pub(super) fn file(&self) -> Option<u64> {
        self.file
    }

    /// Writes what was collected; returns what the journal has to reach before the file may go, and about how many octets of it
    /// are of the checkpoint.
    pub(super) fn write(
        self,
        storage: &Storage,
        broker: &Broker,
        now: Millis,
    ) -> Result<(Lsn, u64), StoreError> {
        let mut cost = 0;
        // Asked once: the answer waits for a sync that is under way.
        let mut still_there = self.file.map(|file| storage.journal.published_after(file)).unwrap_or_default();
        // A page of this round in which nothing lived any more when it was written is released in the next one.
        still_there.extend(storage.to_be_released());
        // A journal whose files are full of copies would never become shorter.
        let mut room = storage.bounds.journal_file / 4;
        for Moved { queue, pages, rewrites, gone, attempts, whole } in self.queues {
            let (mut entries, mut copied) = (Vec::new(), Vec::new());
            let id = queue.info.store_id;
            // By now everything is released that had died with what the file knows, but for what this round has written, and everything
            // is written that may be younger than its settlement, pages that were under way too: only where nothing of that is left, a
            // restart needs not be told.
            let whole = whole && queue.is_whole();
            let needs_telling = !whole || still_there.contains(&id) || storage.segments.holds_released(id);
            let octets: u64 = pages.iter().map(|page| page.octets).sum();
            let is_little = octets <= storage.bounds.leftover && octets <= room;
            for page in pages {
                if is_little {
                    copied.extend(page.ranges.iter().map(|range| (range.first, range.last())));
                    copy::forward(queue.info.store_id, &page, storage.epoch_ms, &mut entries);
                    queue.unpaged(page.id);
                } else {
                    write_page(&queue, page, storage, broker, now)?;
                }
            }
            if is_little {
                room -= octets;
                cost += octets;
            }
            if !rewrites.is_empty() {
                storage.segments.begin_anew(queue.info.store_id);
            }
            for page in rewrites {
                write_page(&queue, page, storage, broker, now)?;
            }
            if needs_telling && !gone.is_empty() {
                cost += (gone.len() * size_of::<(Position, Position)>()) as u64;
                entries.push(Entry::Settle { queue: queue.info.store_id, ranges: gone });
            }
            if !attempts.is_empty() {
                let notes: Vec<Note> = attempts.iter().map(|one| note(one, storage.epoch_ms)).collect();
                cost += size_of_val(&*notes) as u64;
                entries.push(Entry::Note { queue: queue.info.store_id, notes });
            }
            if !entries.is_empty() {
                storage.journal.append(entries, true);
            }
            let ranges = settled_meanwhile(&queue, &copied);
            if !ranges.is_empty() {
                storage.journal.append(vec![Entry::Settle { queue: id, ranges }], true);
            }
        }
        let end = storage.journal.end();
        storage.journal.want(end);
        Ok((end, cost))
    }
}

/// What is gone by now of what was copied to the end of the journal. A slot of a delaying exchange is forgotten as soon as it is empty, and
/// nobody says again what is gone of it: that has to stand behind the copy.
fn settled_meanwhile(queue: &QueueCell, copied: &[(Position, Position)]) -> Vec<(Position, Position)> {
    if queue.bucket().is_none() {
        return Vec::new();
    }
    let gone = queue.gone();
    if queue.is_deleted() {
        return copied.to_vec();
    }
    let both = |&(first, last): &(Position, Position)| {
        let within = gone.iter().map(move |(from, to)| (first.max(*from), last.min(*to)));
        within.filter(|(first, last)| first <= last)
    };
    copied.iter().flat_map(both).collect()
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
