//! The way of messages to the disk and back: journal, segments, and the work that batches leave for them.
//!
//! ```text
//!   batches ── take ──► journal entries ──► commit: groups, durable number ──► who waits for it
//!              │   └──► pages, free places ──► writer: segments, journal files that can go
//!              └──────► blocks to read ──────► reader: back into their queue
//! ```
//! Invariants: no batch does I/O or waits here; a page is written after everything it holds is durable in the journal; a block
//! goes after what emptied it is durable; a journal file goes after all that still counts in it stands elsewhere.
//! The three workers are steps, so that threads and a simulation drive the same code.

pub(crate) mod attempts;
mod checkpoint;
mod copy;
mod recovery;
mod sections;
mod threads;
mod waiting;
mod work;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use warrenmq_protocol::Millis;
use warrenmq_queue::{PageRange, Run};
use warrenmq_store::{CommitSeq, Entry, Journal, Lsn, Place, Segments, Step, StoreError};

use crate::broker::Broker;
use crate::inbox::{Inbox, Notice};
use crate::limits::Limits;
use crate::queue_cell::{QueueCell, Scratch};

pub(crate) use recovery::recover;
pub(crate) use sections::{Inside, Sections};
pub(crate) use threads::Threads;
pub(crate) use waiting::Waiting;
pub(crate) use work::{Load, Work};
pub(crate) use writer::Progress;
use writer::{Write, Writer};

/// What an answer waits for: both numbers have to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// Of the definitions.
    pub(crate) seq: CommitSeq,
    /// Of the journal.
    pub(crate) lsn: Lsn,
}

impl Point {
    /// Whether it is reached when `durable` is durable.
    pub(crate) fn is_in(self, durable: Point) -> bool {
        self.seq <= durable.seq && self.lsn <= durable.lsn
    }
}

/// Everything between queues and files.
#[derive(Debug)]
pub(crate) struct Storage {
    journal: Journal,
    segments: Segments,
    sections: Arc<Sections>,
    /// By the number that names them on disk.
    queues: Mutex<BTreeMap<u64, Weak<QueueCell>>>,
    /// Connections that wait for something to be durable.
    pub(crate) waiting: Arc<Waiting>,
    /// Publishers that wait for room.
    congested: Mutex<Vec<Arc<Inbox>>>,
    writes: Mutex<VecDeque<Write>>,
    loads: Mutex<VecDeque<Load>>,
    writer: Mutex<Writer>,
    /// Wakes the threads of the writer and the reader.
    signals: threads::Signals,
    /// Octets of entries that batches have appended to the journal, about.
    appended: AtomicU64,
    /// Octets of messages in memory, about: queues report in steps.
    resident: AtomicI64,
    /// Octets of pages that are not written yet.
    pages_pending: AtomicU64,
    bounds: Bounds,
    /// Unix time in milliseconds when the broker's time was 0.
    epoch_ms: u64,
}

/// The limits that matter here; see [`Limits`].
#[derive(Clone, Copy, Debug)]
struct Bounds {
    journal_pending: u64,
    pages_pending: u64,
    memory: u64,
    queue_memory: u64,
    block: usize,
    leftover: u64,
    journal_file: u64,
    idle_ms: u64,
}

/// Below this a queue keeps what it has, however full memory is: what consumers get next.
const SHARE_MIN: u64 = 256 * 1024;

impl Storage {
    pub(crate) fn new(
        journal: Journal,
        segments: Segments,
        waiting: Arc<Waiting>,
        limits: &Limits,
        epoch_ms: u64,
    ) -> Storage {
        Storage {
            journal,
            segments,
            sections: Arc::default(),
            queues: Mutex::default(),
            waiting,
            congested: Mutex::default(),
            writes: Mutex::default(),
            loads: Mutex::default(),
            writer: Mutex::new(Writer::default()),
            signals: threads::Signals::default(),
            appended: AtomicU64::new(0),
            resident: AtomicI64::new(0),
            pages_pending: AtomicU64::new(0),
            bounds: Bounds {
                journal_pending: limits.journal_pending_octets_max,
                pages_pending: limits.pages_pending_octets_max,
                memory: limits.message_memory_octets,
                queue_memory: limits.queue_memory_octets,
                block: limits.segment_block_octets,
                leftover: limits.journal_leftover_octets,
                journal_file: limits.journal_file_octets,
                idle_ms: limits.journal_idle_ms,
            },
            epoch_ms,
        }
    }

    /// Begins a batch: what it does to queues is in the journal when it has ended.
    pub(crate) fn enter(&self) -> Inside {
        self.sections.enter()
    }

    /// Tells a batch what it may keep in memory.
    pub(crate) fn brief(&self, work: &mut Work) {
        let full = self.resident.load(Ordering::Relaxed) > self.bounds.memory as i64;
        let least = SHARE_MIN.min(self.bounds.queue_memory);
        work.share = if full { least } else { self.bounds.queue_memory };
        work.block_octets = self.bounds.block;
        work.epoch_ms = self.epoch_ms;
    }

    /// From now on the queue's messages can be moved.
    pub(crate) fn add_queue(&self, queue: &Arc<QueueCell>) {
        self.queues.lock().insert(queue.info.store_id, Arc::downgrade(queue));
    }

    fn queue(&self, store_id: u64) -> Option<Arc<QueueCell>> {
        self.queues.lock().get(&store_id).and_then(Weak::upgrade)
    }

    /// Puts what a batch has gathered into the journal; says where it stands, if there was anything.
    pub(crate) fn append(&self, work: &mut Work) -> Option<Lsn> {
        if work.is_open {
            return None;
        }
        // Who waits, waits for this record, not for whatever comes next.
        let wanted = std::mem::take(&mut work.wanted);
        if work.entries.is_empty() {
            return None;
        }
        self.appended.fetch_add(work.entries_octets(), Ordering::Relaxed);
        Some(self.journal.append(std::mem::take(&mut work.entries), wanted))
    }

    /// Takes what a batch leaves to be done. No I/O, no waiting.
    pub(crate) fn take(&self, work: &mut Work) {
        if work.is_empty() {
            return;
        }
        self.append(work);
        if work.resident != 0 {
            self.resident.fetch_add(std::mem::take(&mut work.resident), Ordering::Relaxed);
        }
        if !work.loads.is_empty() {
            self.loads.lock().extend(work.loads.drain(..));
            self.signals.reader.raise();
        }
        if work.pages.is_empty() && work.freed.is_empty() && work.deleted.is_empty() {
            return;
        }
        let mut writes = self.writes.lock();
        for (queue, pages) in work.pages.drain(..) {
            let octets = pages.iter().map(|page| page.octets).sum();
            self.pages_pending.fetch_add(octets, Ordering::Relaxed);
            writes.push_back(Write::Pages { queue, pages, octets });
        }
        writes.extend(
            work.freed.drain(..).map(|(queue, place)| Write::Free { queue, place: from_queue(place) }),
        );
        for (queue, after) in work.deleted.drain(..) {
            self.queues.lock().remove(&queue);
            writes.push_back(Write::Delete { queue, after: after.unwrap_or_default() });
        }
        drop(writes);
        self.signals.writer.raise();
    }

    /// Number of the journal record that is durable, with all before it.
    pub(crate) fn durable(&self) -> Lsn {
        self.journal.durable()
    }

    /// Somebody waits for this record, which may have been appended when nobody did.
    pub(crate) fn want(&self, lsn: Lsn) {
        self.journal.want(lsn);
    }

    /// Makes this publisher wait if the disk is behind: it is told [`Notice::Drained`]. Says whether it has to.
    pub(crate) fn must_wait(&self, inbox: &Arc<Inbox>) -> bool {
        if !self.is_congested(1) {
            return false;
        }
        self.congested.lock().push(Arc::clone(inbox));
        // The disk may have caught up before the inbox stood in the list.
        self.relieve();
        true
    }

    /// Tells waiting publishers when half of what may wait for the disk is written.
    fn relieve(&self) {
        if self.is_congested(2) {
            return;
        }
        let inboxes = std::mem::take(&mut *self.congested.lock());
        for inbox in inboxes {
            inbox.notify(Notice::Drained);
        }
    }

    /// Whether publishers have to wait for the disk.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_congested(1)
    }

    fn is_congested(&self, divisor: u64) -> bool {
        self.journal.pending_octets() > self.bounds.journal_pending / divisor
            || self.pages_pending.load(Ordering::Relaxed) > self.bounds.pages_pending / divisor
    }

    /// Does one step of the journal, a group at most, and tells whom it has reached.
    pub(crate) fn commit(&self, now: Millis) -> Result<Step, StoreError> {
        let before = self.durable();
        let step = self.journal.step(now)?;
        if self.durable() > before {
            self.waiting.notify_all();
            self.signals.writer.raise();
        }
        self.relieve();
        Ok(step)
    }

    /// Does one step of the writer.
    pub(crate) fn write(&self, broker: &Broker, now: Millis) -> Result<Progress, StoreError> {
        let progress = self.writer.lock().step(self, broker, now)?;
        self.relieve();
        Ok(progress)
    }

    /// The queues of which a block is there that is to be released.
    fn to_be_released(&self) -> Vec<u64> {
        let of = |write: &Write| match write {
            Write::Free { queue, .. } => Some(*queue),
            Write::Pages { .. } | Write::Delete { .. } => None,
        };
        self.writes.lock().iter().filter_map(of).collect()
    }

    /// Reads one block that a queue waits for.
    pub(crate) fn read(&self, broker: &Broker, now: Millis) -> Result<Progress, StoreError> {
        let Some(Load { queue, id, place }) = self.loads.lock().pop_front() else {
            return Ok(Progress::Nothing);
        };
        let block = match self.segments.read(queue.info.store_id, from_queue(place)) {
            Ok(block) => block,
            // What was settled meanwhile, or a queue that is gone, takes its files along.
            Err(_) if !queue.awaits(id, place) => {
                self.batch(broker, now, |scratch| queue.tell_fetchers(scratch));
                return Ok(Progress::More);
            }
            Err(error) => return Err(error),
        };
        let ranges = self.to_queue_ranges(&block.ranges);
        let body = block.body.into_iter().next().unwrap_or_default();
        let window = broker.limits().queue_window_octets;
        let is_whole = |scratch: &mut Scratch| queue.loaded(id, place, &ranges, body, window, scratch);
        if self.batch(broker, now, is_whole) {
            return Ok(Progress::More);
        }
        Err(self.segments.not_as_written(queue.info.store_id, from_queue(place)))
    }

    /// Reads a block to look at it.
    pub(crate) fn read_block(
        &self,
        queue: &QueueCell,
        place: warrenmq_queue::Place,
    ) -> Result<(Run, Vec<PageRange>), StoreError> {
        let block = self.segments.read(queue.info.store_id, from_queue(place))?;
        let body = block.body.into_iter().next().unwrap_or_default();
        let run = Run::from_bytes(body)
            .ok_or_else(|| self.segments.not_as_written(queue.info.store_id, from_queue(place)))?;
        Ok((run, self.to_queue_ranges(&block.ranges)))
    }

    /// The last record of a journal that ends in order: up to where each queue's messages may have been delivered.
    pub(crate) fn append_last(&self) {
        let queues: Vec<Arc<QueueCell>> = self
            .queues
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .filter(|queue| queue.info.durable)
            .collect();
        let delivered = |queue: Arc<QueueCell>| Entry::Delivered {
            queue: queue.info.store_id,
            below: queue.delivered_below(),
        };
        let entries: Vec<Entry> = queues.into_iter().map(delivered).collect();
        if !entries.is_empty() {
            self.journal.append(entries, true);
        }
    }

    /// Ends without threads.
    pub(crate) fn close_in_steps(&self, now: Millis) -> Result<(), StoreError> {
        self.append_last();
        self.journal.close();
        while self.commit(now)? != Step::Closed {}
        Ok(())
    }

    /// Writes the pages that gathered without waiting for the journal: at the start, when all of it is durable.
    fn write_at_once(&self, broker: &Broker, now: Millis) -> Result<(), StoreError> {
        loop {
            let Some(write) = self.writes.lock().pop_front() else { return Ok(()) };
            write.execute(self, broker, now)?;
        }
    }

    /// Runs verbs on queues as a batch of its own.
    fn batch<T>(&self, broker: &Broker, now: Millis, verbs: impl FnOnce(&mut Scratch) -> T) -> T {
        let _inside = self.enter();
        let mut scratch = Scratch { now, ..Scratch::default() };
        self.brief(&mut scratch.work);
        let result = verbs(&mut scratch);
        broker.finish(&mut scratch);
        result
    }

    fn to_queue_ranges(&self, ranges: &[warrenmq_store::BlockRange]) -> Vec<PageRange> {
        let convert = |range: &warrenmq_store::BlockRange| PageRange {
            first: range.first,
            count: range.count,
            transient: range.transient,
            arrived: range.arrived.saturating_sub(self.epoch_ms),
        };
        ranges.iter().map(convert).collect()
    }
}

/// A place as queues keep it: they know no files.
fn to_queue(place: Place) -> warrenmq_queue::Place {
    warrenmq_queue::Place(u64::from(place.segment) << 32 | u64::from(place.offset), place.octets)
}

fn from_queue(place: warrenmq_queue::Place) -> Place {
    Place { segment: (place.0 >> 32) as u32, offset: place.0 as u32, octets: place.1 }
}
