//! The threads that drive the storage: commit, writer, reader. The only place below the server with threads and a clock.
//!
//! Invariant: a thread sleeps only after its worker had nothing to do, and is woken by whatever may change that; a failure
//! ends all three, and is told once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use warrenmq_protocol::Millis;
use warrenmq_store::{Step, StoreError};

use super::{Progress, Storage};
use crate::broker::Broker;

/// How long a thread sleeps at most: it looks whether the journal is idle, and whether the broker is still there.
const LOOK_MS: u64 = 500;
/// How long a batch may be under way.
const SOON: Duration = Duration::from_micros(200);

#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) writer: Signal,
    pub(super) reader: Signal,
}

/// A flag that one thread sleeps on.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Mutex<bool>,
    condvar: Condvar,
}

impl Signal {
    pub(super) fn raise(&self) {
        let mut raised = self.raised.lock();
        if !std::mem::replace(&mut *raised, true) {
            self.condvar.notify_one();
        }
    }

    fn wait(&self, timeout: Duration) {
        let mut raised = self.raised.lock();
        if !*raised {
            self.condvar.wait_for(&mut raised, timeout);
        }
        *raised = false;
    }
}

/// The running threads.
#[derive(Debug)]
pub(crate) struct Threads {
    storage: Arc<Storage>,
    stop: Arc<Stop>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

/// Told of the first failure.
pub(crate) type OnFailure = Box<dyn Fn(StoreError) + Send + Sync>;

struct Stop {
    workers: AtomicBool,
    failure: Mutex<Option<StoreError>>,
    on_failure: OnFailure,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

impl Threads {
    /// Starts them.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub(crate) fn start(broker: &Arc<Broker>, storage: &Arc<Storage>, on_failure: OnFailure) -> Threads {
        let stop = Arc::new(Stop { workers: AtomicBool::new(false), failure: Mutex::new(None), on_failure });
        let threads =
            Threads { storage: Arc::clone(storage), stop: Arc::clone(&stop), handles: Mutex::default() };
        let clock = Clock::new(storage.epoch_ms);
        let commit = {
            let (storage, stop) = (Arc::clone(storage), Arc::clone(&stop));
            move || commit_loop(&storage, &stop, clock)
        };
        threads.spawn("journal", commit);
        let workers: [(&str, Worker, Find); 2] = [
            ("writer", Storage::write, |storage| &storage.signals.writer),
            ("reader", Storage::read, |storage| &storage.signals.reader),
        ];
        for (name, work, signal) in workers {
            let (storage, stop, broker) = (Arc::clone(storage), Arc::clone(&stop), Arc::downgrade(broker));
            threads.spawn(name, move || work_loop(&storage, &stop, &broker, clock, work, signal(&storage)));
        }
        threads
    }

    /// Ends the threads: first those that move messages, then, with everything on disk, the one that commits.
    ///
    /// # Errors
    /// When something could not be written, now or before.
    pub(crate) fn close(&self, last: impl FnOnce()) -> Result<(), StoreError> {
        self.stop.workers.store(true, Ordering::Release);
        self.storage.signals.writer.raise();
        self.storage.signals.reader.raise();
        let mut handles = std::mem::take(&mut *self.handles.lock());
        let commit = (!handles.is_empty()).then(|| handles.remove(0));
        join(handles);
        last();
        self.storage.journal.close();
        join(commit);
        self.stop.failure.lock().clone().map_or(Ok(()), Err)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) {
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _end = EndWithPanic;
                body();
            })
            .expect("invariant: a thread can be started while the broker starts");
        self.handles.lock().push(handle);
    }
}

/// Without one of these threads, publishers would wait for ever: a panic in it ends the process, as a kill would.
struct EndWithPanic;

impl Drop for EndWithPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the thread that stores messages has panicked; the process ends");
            std::process::abort();
        }
    }
}

fn join(handles: impl IntoIterator<Item = JoinHandle<()>>) {
    for handle in handles {
        // The last handle of the broker may be dropped in one of them.
        if handle.thread().id() != thread::current().id() {
            let _ = handle.join();
        }
    }
}

impl Stop {
    fn fail(&self, error: StoreError) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            *failure = Some(error.clone());
            drop(failure);
            self.workers.store(true, Ordering::Release);
            (self.on_failure)(error);
        }
    }
}

fn commit_loop(storage: &Storage, stop: &Stop, clock: Clock) {
    loop {
        match storage.commit(clock.now()) {
            Ok(Step::Closed) => return,
            Ok(Step::Idle { next }) => {
                let timeout = next.map_or(LOOK_MS, |at| at.saturating_sub(clock.now()).clamp(1, LOOK_MS));
                storage.journal.wait_for_work(Duration::from_millis(timeout));
            }
            Ok(Step::Worked { .. }) => {}
            Err(error) => return stop.fail(error),
        }
    }
}

type Worker = fn(&Storage, &Broker, Millis) -> Result<Progress, StoreError>;
type Find = fn(&Storage) -> &Signal;

fn work_loop(
    storage: &Storage,
    stop: &Stop,
    broker: &Weak<Broker>,
    clock: Clock,
    work: Worker,
    signal: &Signal,
) {
    while !stop.workers.load(Ordering::Acquire) {
        let Some(node) = broker.upgrade() else { return };
        let progress = work(storage, &node, clock.now());
        drop(node);
        match progress {
            Ok(Progress::More) => {}
            Ok(Progress::Soon) => thread::sleep(SOON),
            Ok(Progress::Nothing) => signal.wait(Duration::from_millis(LOOK_MS)),
            Err(error) => return stop.fail(error),
        }
    }
}

/// The broker's time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
    at_start: Millis,
}

impl Clock {
    fn new(epoch_ms: u64) -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        Clock { start: Instant::now(), at_start: unix.saturating_sub(epoch_ms) }
    }

    fn now(&self) -> Millis {
        self.at_start + self.start.elapsed().as_millis() as u64
    }
}
