//! One side of a run: its producers, or its consumers, as threads with their counters.
//!
//! Invariant: a thread whose work is done keeps its connection until the run is stopped, so that no farewell falls into
//! the measured window; a thread that has failed ends at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use hdrhistogram::Histogram;

use super::{
    connection::{Connection, TURN},
    error::PerfError,
    process::thread_cpu_ns,
    tally::{Counter, Tally, histogram},
};

/// The workers of one kind.
#[derive(Debug)]
pub(crate) struct Side {
    handles: Vec<JoinHandle<Result<(), PerfError>>>,
    tallies: Vec<Arc<Tally>>,
    /// Latencies taken from the workers so far.
    latency: Histogram<u64>,
}

impl Side {
    pub(crate) fn new() -> Self {
        Self { handles: Vec::new(), tallies: Vec::new(), latency: histogram() }
    }

    /// Starts a worker; `work` returns the connection that is to be closed after the run.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(crate) fn spawn(
        &mut self,
        name: &str,
        tally: &Arc<Tally>,
        stop: &Arc<AtomicBool>,
        work: impl FnOnce() -> Result<Option<Connection>, PerfError> + Send + 'static,
    ) -> Result<(), PerfError> {
        self.tallies.push(Arc::clone(tally));
        let (tally, stop) = (Arc::clone(tally), Arc::clone(stop));
        let worker = move || {
            let connection = work()?;
            tally.cpu_ns.set(thread_cpu_ns());
            tally.done.store(true, Relaxed);
            while !stop.load(Relaxed) {
                thread::sleep(TURN);
            }
            if let Some(connection) = connection {
                connection.close();
            }
            Ok(())
        };
        let thread = thread::Builder::new().name(name.into()).spawn(worker);
        self.handles.push(thread.map_err(PerfError::Thread)?);
        Ok(())
    }

    /// Whether all workers have done their work.
    pub(crate) fn all_done(&self) -> bool {
        self.tallies.iter().all(|tally| tally.done.load(Relaxed))
    }

    /// Finds out whether a worker has failed, while none may end otherwise.
    ///
    /// # Errors
    /// The failure of the first that has.
    pub(crate) fn check(&mut self) -> Result<(), PerfError> {
        match self.handles.iter().position(JoinHandle::is_finished) {
            Some(index) => join(self.handles.swap_remove(index)),
            None => Ok(()),
        }
    }

    /// Waits for all workers, after they were told to stop.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn join(&mut self) -> Result<(), PerfError> {
        let results: Vec<_> = self.handles.drain(..).map(join).collect();
        results.into_iter().collect()
    }

    /// Sum of one counter of all workers.
    pub(crate) fn sum(&self, counter: impl Fn(&Tally) -> &Counter) -> u64 {
        self.tallies.iter().map(|tally| counter(tally).get()).sum()
    }

    /// When a message last moved here, if one did.
    pub(crate) fn last_ns(&self) -> Option<u64> {
        self.tallies.iter().map(|tally| tally.last_ns.get()).max().filter(|&ns| ns > 0)
    }

    /// Latencies recorded since the last call.
    pub(crate) fn take_latency(&mut self) -> Histogram<u64> {
        let mut fresh = histogram();
        for tally in &self.tallies {
            let mut latency = tally.latency.lock();
            fresh += &*latency;
            latency.reset();
        }
        self.latency += &fresh;
        fresh
    }

    /// How late the messages of the whole run were written.
    pub(crate) fn lateness(&self) -> Histogram<u64> {
        let mut all = histogram();
        for tally in &self.tallies {
            all += &*tally.lateness.lock();
        }
        all
    }

    /// Latencies of the whole run.
    pub(crate) fn latency(&mut self) -> &Histogram<u64> {
        self.take_latency();
        &self.latency
    }
}

fn join(handle: JoinHandle<Result<(), PerfError>>) -> Result<(), PerfError> {
    handle.join().unwrap_or(Err(PerfError::Panicked))
}
