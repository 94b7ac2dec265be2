//! The journal: one append-only log that makes messages, and what became of them, durable. Invariants: what
//! [`Journal::durable`] covers is found by [`scan()`] after any crash, each record whole or not at all, and nothing
//! that was never appended is found. The bytes are described in `docs/internals/storage-format.md`.
//!
//! ```text
//!   append ─┐                  ┌── step, on the commit thread ─────────────────────┐
//!   append ─┼─ backlog ── take ┤ group ── write ── sync, if wanted ── durable LSN  │
//!   append ─┘  (one lock)      └── files: begun, closed, retired, kept as a spare ─┘
//! ```

mod backlog;
mod entry;
mod file_header;
mod file_queues;
mod files;
mod group;
mod published;
mod reader;
mod record;
mod scan;
mod survey;
mod window;
mod writer;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::disk::Disk;
use crate::store_error::StoreError;
use backlog::{Backlog, Waiting};
use files::Files;
use writer::Writer;

pub use entry::{Entry, Note};
pub use file_queues::InFile;
pub use files::ClosedFile;
pub use published::{Published, PublishedQueues};
pub use scan::{Scan, TornTail, scan};
pub use survey::JournalSurvey;
pub(crate) use survey::survey;

/// Number of a record in the journal: 1, 2, 3 …; 0 is before all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

/// How a journal is written.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Octets of a file; a record that is longer makes it longer.
    pub file_octets: u64,
    /// Octets of a group, which one write and one sync make durable; at least one record.
    pub group_octets: usize,
    /// Whether durable means synced. Else it means written, and files are synced only when they end.
    pub fsync: bool,
    /// How long a record is unsynced at most when nobody waits for it, in ms.
    pub lazy_sync_ms: u64,
    /// How many octets are unsynced at most when nobody waits for them.
    pub lazy_sync_octets: u64,
}

impl Default for JournalOptions {
    fn default() -> JournalOptions {
        JournalOptions {
            file_octets: 32 << 20,
            group_octets: 1 << 20,
            fsync: true,
            lazy_sync_ms: 200,
            lazy_sync_octets: 16 << 20,
        }
    }
}

/// What a [`Journal::step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something; there may be more to do at once.
    Worked {
        /// Whether [`Journal::durable`] has grown.
        durable: bool,
    },
    /// Nothing.
    Idle {
        /// When there will be something to do though nothing is appended, in the time of `now`.
        next: Option<u64>,
    },
    /// Nothing: the journal is closed and everything that was appended is synced.
    Closed,
}

/// The journal of a node, shared by those who append and the one thread that calls [`Journal::step`].
#[derive(Debug)]
pub struct Journal {
    /// What was appended. Leaf lock, held for a push or a take.
    backlog: Mutex<Backlog>,
    /// The commit thread has something to look at.
    work: Condvar,
    /// Octets appended and not in a group yet.
    pending: AtomicU64,
    /// The durable LSN; written by `step` alone.
    durable: AtomicU64,
    /// Held during `step`, before the other locks.
    writer: Mutex<Writer>,
    files: Files,
}

impl Journal {
    /// Goes on behind what `scan` found, in a new file; what it found is durable then.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn begin(disk: Arc<dyn Disk>, options: JournalOptions, scan: &Scan) -> Result<Journal, StoreError> {
        let closed = scan.prepare(&*disk)?;
        let files = Files::new(Arc::clone(&disk), options.file_octets, closed);
        let mut writer = Writer::new(options, scan.next_number(), scan.last.0);
        writer.begin_file(&files)?;
        // After the new file, whose being there says that an orderly stop before it no longer counts.
        scan.remove_empty(&*disk)?;
        Ok(Journal {
            backlog: Mutex::new(Backlog::new(scan.last)),
            work: Condvar::new(),
            pending: AtomicU64::new(0),
            durable: AtomicU64::new(scan.last.0),
            writer: Mutex::new(writer),
            files,
        })
    }

    /// Appends a record of `entries`, of which there must be one at least, and gives its number. `wanted`: somebody
    /// waits for it. Never blocks and does no I/O; accepted after a failure too, but never durable then.
    pub fn append(&self, entries: Vec<Entry>, wanted: bool) -> Lsn {
        debug_assert!(!entries.is_empty(), "a record has entries");
        let record = Waiting::new(entries);
        let octets = record.octets;
        let mut backlog = self.backlog.lock();
        let lsn = backlog.push(record, wanted);
        self.pending.fetch_add(octets, Ordering::Relaxed);
        self.wake(backlog);
        lsn
    }

    /// The number of the last record that was appended.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.backlog.lock().last()
    }

    /// The highest number that is durable, and with it all below. One atomic load.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Asks that everything up to `lsn` becomes durable soon.
    pub fn want(&self, lsn: Lsn) {
        if lsn > self.durable() {
            let mut backlog = self.backlog.lock();
            backlog.want(lsn);
            self.wake(backlog);
        }
    }

    /// Octets that were appended and are in no group yet. One atomic load.
    #[must_use]
    pub fn pending_octets(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Does what there is to do at `now` (ms from any beginning): writes at most one group, syncs when somebody
    /// waits or it is time.
    ///
    /// # Errors
    /// [`StoreError::Io`]; final, returned again each time.
    pub fn step(&self, now: u64) -> Result<Step, StoreError> {
        let mut writer = self.writer.lock();
        if let Some(error) = &writer.failed {
            return Err(error.clone());
        }
        let asked = self.backlog.lock().take(now, &mut writer.taken);
        writer.taken_octets += asked.moved;
        let taken = writer.taken_octets;
        let step = writer.turn(now, asked, &self.files);
        match step {
            Ok(step) => {
                self.durable.store(writer.durable(), Ordering::Release);
                self.pending.fetch_sub(taken - writer.taken_octets, Ordering::Relaxed);
                Ok(step)
            }
            Err(error) => {
                writer.failed = Some(error.clone());
                writer.taken = VecDeque::new();
                self.backlog.lock().fail();
                Err(error)
            }
        }
    }

    /// Blocks until [`Self::step`] has something to do or `timeout` has passed; for the commit thread.
    pub fn wait_for_work(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut backlog = self.backlog.lock();
        while !backlog.is_due() {
            backlog.sleeping = true;
            let waited = self.work.wait_until(&mut backlog, deadline);
            backlog.sleeping = false;
            if waited.timed_out() {
                return;
            }
        }
    }

    /// Asks the commit thread to write and sync everything; [`Step::Closed`] says when that is done.
    pub fn close(&self) {
        let mut backlog = self.backlog.lock();
        backlog.close();
        self.wake(backlog);
    }

    /// The files that are written no more, oldest first; without the current one.
    #[must_use]
    pub fn closed_files(&self) -> Vec<ClosedFile> {
        self.files.closed()
    }

    /// The queues that messages came to by records that are written and stand in later files than `number`. Waits for the step that
    /// is under way.
    #[must_use]
    pub fn published_after(&self, number: u64) -> HashSet<u64> {
        let writer = self.writer.lock();
        let mut queues: HashSet<u64> = writer.with_publishes().collect();
        for file in self.files.closed().iter().filter(|file| file.number > number) {
            queues.extend(
                file.queues.iter().filter(|(_, held)| held.highest.is_some()).map(|(queue, _)| *queue),
            );
        }
        queues
    }

    /// Removes the oldest file, or keeps it to be the next one. Nothing happens if that is not its number. It does
    /// I/O, and does not disturb the commit thread.
    ///
    /// # Errors
    /// [`StoreError::Io`], final.
    pub fn retire(&self, number: u64) -> Result<(), StoreError> {
        self.files.retire(number)
    }

    /// Asks the next step to close the current file if it has a record.
    pub fn rotate(&self) {
        let mut backlog = self.backlog.lock();
        backlog.rotate();
        self.wake(backlog);
    }

    /// Gives back room that is kept for what comes next: the spare file, and what no record fills of the current one. For when
    /// nothing comes: the next records cost a little more.
    ///
    /// # Errors
    /// [`StoreError::Io`], final.
    pub fn trim(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        if let Some(error) = &writer.failed {
            return Err(error.clone());
        }
        writer.trim(&self.files)
    }

    /// What all files take on disk.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.files.octets()
    }

    /// Wakes the commit thread if it sleeps and has something to look at.
    fn wake(&self, mut backlog: parking_lot::MutexGuard<'_, Backlog>) {
        if backlog.sleeping && backlog.is_due() {
            backlog.sleeping = false;
            drop(backlog);
            self.work.notify_one();
        }
    }
}
