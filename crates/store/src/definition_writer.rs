//! Owns the one thread that writes definitions. Invariants: commits happen in the order of the submits; the durable
//! number grows and covers only what a commit has returned `Ok` for; after a failure nothing more is accepted.
//!
//! ```text
//!   submit ─┐                        ┌─ durable number, waiters, listener: once per group
//!   submit ─┼─ pending ── a group ── commit
//!   submit ─┘  (bounded)  (bounded)
//! ```
//! There is no timer: what arrives while a commit runs is the next group, so a lone change waits for nothing and a
//! thousand pipelined ones share a sync.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::definition::{Change, DefinitionError, DefinitionStore};

/// Most bytes of changes that wait for the disk; above it `submit` blocks until a group has been taken.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most bytes of changes in one group (one submission is never split, and may be larger): it bounds how long one
/// commit takes and with it how long the first of the next group waits.
pub const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// The store rests when nothing was committed for so long ([`DefinitionStore::rest`]).
const REST_AFTER: Duration = Duration::from_secs(1);

/// Number of a submission. A submission is durable when [`DefinitionWriter::durable`] is at least its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitSeq(pub u64);

/// Called with the durable number, once per group.
type OnDurable = Box<dyn Fn(CommitSeq) + Send>;
/// Called with the error that ends the writing, at most once.
type OnFailure = Box<dyn Fn(DefinitionError) + Send>;

/// Gathers changes, commits them in groups and tells when they are durable.
///
/// The listeners run where the commit runs: on the writer's thread, or inside `submit` for [`Self::inline`]. They
/// must neither submit, wait or close, nor take a lock under which anyone submits, because a submitter may be
/// waiting, with that lock, for the room that only the writer's next turn makes.
pub struct DefinitionWriter {
    shared: Arc<Shared>,
    mode: Mode,
}

impl DefinitionWriter {
    /// Starts a thread that owns `store`.
    ///
    /// A commit that fails, or panics, is final: it is not repeated, `on_failure` is called, what was pending is
    /// dropped and later submits are refused.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn spawn(store: Box<dyn DefinitionStore>, on_durable: OnDurable, on_failure: OnFailure) -> Self {
        let shared = Arc::new(Shared::default());
        let mut committer = Committer::new(&shared, store, on_durable, on_failure);
        let thread = thread::Builder::new()
            .name("definitions".to_owned())
            .spawn(move || while committer.turn() {})
            .expect("invariant: a thread can be started while the broker starts");
        DefinitionWriter { shared, mode: Mode::Thread(Mutex::new(Some(thread))) }
    }

    /// The same without a thread: each submit is a commit and has become durable when it returns.
    #[must_use]
    pub fn inline(store: Box<dyn DefinitionStore>, on_durable: OnDurable, on_failure: OnFailure) -> Self {
        let shared = Arc::new(Shared::default());
        let committer = Committer::new(&shared, store, on_durable, on_failure);
        DefinitionWriter { shared, mode: Mode::Inline(Mutex::new(committer)) }
    }

    /// Hands over changes that belong together: they become durable all or none. Without any changes it returns
    /// the number of the last submission, for who wants to wait for all before.
    ///
    /// Blocks while [`PENDING_BYTES_MAX`] bytes wait for the disk.
    ///
    /// # Errors
    /// [`DefinitionError::TooLarge`], [`DefinitionError::Failed`] after a failure, [`DefinitionError::Closed`]; the
    /// changes were not taken then.
    pub fn submit(&self, changes: Vec<Change>) -> Result<CommitSeq, DefinitionError> {
        changes.iter().try_for_each(Change::check)?;
        // Inline, the committer is locked first, so that numbers and commits keep one order.
        let committer = match &self.mode {
            Mode::Inline(committer) => Some(committer.lock()),
            Mode::Thread(_) => None,
        };
        let mut queue = self.shared.queue.lock();
        queue.check_open()?;
        if changes.is_empty() {
            return Ok(queue.last);
        }
        while queue.bytes >= PENDING_BYTES_MAX {
            self.shared.room.wait(&mut queue);
            queue.check_open()?;
        }
        let seq = queue.push(changes);
        let Some(mut committer) = committer else {
            self.shared.work.notify_one();
            return Ok(seq);
        };
        drop(queue);
        committer.turn();
        self.shared.check_failure().map(|()| seq)
    }

    /// The highest number that is durable, and with it all below. One atomic load.
    #[must_use]
    pub fn durable(&self) -> CommitSeq {
        CommitSeq(self.shared.durable.load(Ordering::Acquire))
    }

    /// Blocks until a submission is durable; for the start and for tests, never for a thread that serves clients.
    ///
    /// # Errors
    /// [`DefinitionError::Failed`] when it will never be.
    pub fn wait(&self, seq: CommitSeq) -> Result<(), DefinitionError> {
        let mut queue = self.shared.queue.lock();
        while self.durable() < seq {
            queue.check_failure()?;
            self.shared.progress.wait(&mut queue);
        }
        Ok(())
    }

    /// Makes everything submitted durable and ends the thread; later submits are refused. Again is nothing more.
    ///
    /// # Errors
    /// [`DefinitionError::Failed`] when a commit has failed, now or before.
    pub fn close(&self) -> Result<(), DefinitionError> {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_one();
        self.shared.room.notify_all();
        if let Mode::Thread(thread) = &self.mode {
            let thread = thread.lock().take();
            // A listener may hold the last handle; the thread then ends by itself after that listener.
            if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
                thread.join().expect("invariant: panics of the store are caught, listeners do not panic");
            }
        }
        self.shared.check_failure()
    }
}

impl Drop for DefinitionWriter {
    fn drop(&mut self) {
        // Who wants to know the outcome calls close.
        let _ = self.close();
    }
}

enum Mode {
    /// Locked to join the thread only.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// Locked during each commit, before `Shared::queue`.
    Inline(Mutex<Committer>),
}

#[derive(Default)]
struct Shared {
    /// What is pending and why nothing more may be. Leaf lock, held for a push or a take, never during a commit.
    queue: Mutex<Queue>,
    /// There is something to commit, or an end.
    work: Condvar,
    /// There is room for submits again, or an end.
    room: Condvar,
    /// The durable number has grown, or will not any more.
    progress: Condvar,
    /// The durable number; written by the committer alone.
    durable: AtomicU64,
}

impl Shared {
    fn check_failure(&self) -> Result<(), DefinitionError> {
        self.queue.lock().check_failure()
    }
}

#[derive(Default)]
struct Queue {
    pending: VecDeque<(CommitSeq, Vec<Change>)>,
    bytes: usize,
    last: CommitSeq,
    closed: bool,
    failure: Option<String>,
}

impl Queue {
    fn push(&mut self, changes: Vec<Change>) -> CommitSeq {
        self.last.0 += 1;
        self.bytes += bytes_of(&changes);
        self.pending.push_back((self.last, changes));
        self.last
    }

    /// Takes the first submission and what follows within the bound.
    fn take_group(&mut self) -> Option<(CommitSeq, Vec<Change>)> {
        let (mut last, mut group) = self.pending.pop_front()?;
        let mut bytes = bytes_of(&group);
        while let Some((_, changes)) = self.pending.front() {
            let more = bytes_of(changes);
            if bytes + more > GROUP_BYTES_MAX {
                break;
            }
            let Some((seq, mut changes)) = self.pending.pop_front() else { break };
            bytes += more;
            last = seq;
            group.append(&mut changes);
        }
        self.bytes -= bytes;
        Some((last, group))
    }

    fn check_open(&self) -> Result<(), DefinitionError> {
        self.check_failure()?;
        if self.closed { Err(DefinitionError::Closed) } else { Ok(()) }
    }

    fn check_failure(&self) -> Result<(), DefinitionError> {
        match &self.failure {
            Some(reason) => Err(DefinitionError::Failed { reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

/// The side that writes.
struct Committer {
    shared: Arc<Shared>,
    store: Box<dyn DefinitionStore>,
    on_durable: OnDurable,
    on_failure: OnFailure,
    /// Something was committed since the store rested.
    active: bool,
}

/// What there is to do.
enum Next {
    Group(CommitSeq, Vec<Change>),
    Rest,
    End,
}

impl Committer {
    fn new(
        shared: &Arc<Shared>,
        store: Box<dyn DefinitionStore>,
        on_durable: OnDurable,
        on_failure: OnFailure,
    ) -> Committer {
        Committer { shared: Arc::clone(shared), store, on_durable, on_failure, active: false }
    }

    /// Waits for a group and commits it, or lets the store rest. `false` when there will be no group any more.
    fn turn(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        match next(&shared, shared.queue.lock(), self.active.then_some(REST_AFTER)) {
            Next::Group(seq, group) => {
                self.active = true;
                let committed = self.attempt(|store| store.commit(&group));
                if committed {
                    self.announce(seq);
                }
                committed
            }
            Next::Rest => {
                self.active = false;
                self.attempt(|store| store.rest())
            }
            Next::End => false,
        }
    }

    /// Lets the store do something. `false` when that has failed, and nothing more is taken.
    fn attempt(
        &mut self,
        work: impl FnOnce(&mut dyn DefinitionStore) -> Result<(), DefinitionError>,
    ) -> bool {
        // sled panics on some I/O errors; whoever waits for this commit has to hear of it all the same.
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut *self.store))).unwrap_or_else(|_| {
            Err(DefinitionError::Failed { reason: "the storage engine panicked".into() })
        });
        let Err(error) = done else { return true };
        let reason = error.to_string();
        // First of all: whoever sees the failure may count on this having been done.
        (self.on_failure)(error);
        let shared = &self.shared;
        let mut queue = shared.queue.lock();
        queue.failure = Some(reason);
        queue.pending.clear();
        queue.bytes = 0;
        drop(queue);
        shared.room.notify_all();
        shared.progress.notify_all();
        false
    }

    /// Tells that everything up to `seq` is durable.
    fn announce(&self, seq: CommitSeq) {
        let shared = &self.shared;
        shared.durable.store(seq.0, Ordering::Release);
        // Under the lock, so that no waiter looks at the number before and sleeps after.
        let queue = shared.queue.lock();
        shared.progress.notify_all();
        drop(queue);
        (self.on_durable)(seq);
    }
}

/// What comes first: a group, the end, or that nothing came for the time of `patience`.
fn next(shared: &Shared, mut queue: MutexGuard<'_, Queue>, patience: Option<Duration>) -> Next {
    let mut patient = true;
    loop {
        if let Some((seq, group)) = queue.take_group() {
            shared.room.notify_all();
            return Next::Group(seq, group);
        }
        if queue.closed || queue.failure.is_some() {
            return Next::End;
        }
        if !patient {
            return Next::Rest;
        }
        match patience {
            Some(patience) => patient = !shared.work.wait_for(&mut queue, patience).timed_out(),
            None => shared.work.wait(&mut queue),
        }
    }
}

fn bytes_of(changes: &[Change]) -> usize {
    changes.iter().map(|change| change.key().len() + change.value().map_or(0, <[u8]>::len)).sum()
}
