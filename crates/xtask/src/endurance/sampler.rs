//! Samples of the broker's process and of its folder, taken by a thread of their own for as long as a run lasts. While there is no
//! process there are no samples.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use warrenmq_testkit::usage::{Usage, disk_octets};

/// From one sample to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// How often it is looked whether the run is over.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Since the begin of the run.
    pub(crate) seconds: f64,
    /// Octets.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    /// Octets of the data folder.
    pub(crate) disk: u64,
    /// Processors in use on the average since the sample before; of the first sample of a process since its start.
    pub(crate) cores: f64,
}

/// The thread, and what it has seen so far.
#[derive(Debug)]
pub(crate) struct Sampler {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    folder: PathBuf,
    process: Option<Watched>,
    /// CPU seconds of processes that have ended, as of the last look at each.
    cpu_before: f64,
    samples: Vec<Sample>,
    is_over: bool,
}

#[derive(Debug)]
struct Watched {
    pid: u32,
    cpu: Duration,
    at: Instant,
}

impl Sampler {
    /// Begins; the processes keep their data in `folder`.
    pub(crate) fn start(folder: PathBuf) -> Sampler {
        let state = State {
            started: Instant::now(),
            folder,
            process: None,
            cpu_before: 0.0,
            samples: Vec::new(),
            is_over: false,
        };
        let state = Arc::new(Mutex::new(state));
        let theirs = Arc::clone(&state);
        thread::spawn(move || {
            let mut next = Instant::now();
            while !lock(&theirs).is_over {
                thread::sleep(POLL_INTERVAL);
                if Instant::now() >= next {
                    next += INTERVAL;
                    lock(&theirs).sample();
                }
            }
        });
        Sampler { state }
    }

    /// A process begins.
    pub(crate) fn watch(&self, pid: u32) {
        lock(&self.state).process = Some(Watched { pid, cpu: Duration::ZERO, at: Instant::now() });
    }

    /// It is about to end.
    pub(crate) fn leave(&self) {
        let mut state = lock(&self.state);
        state.sample();
        if let Some(process) = state.process.take() {
            state.cpu_before += process.cpu.as_secs_f64();
        }
    }

    /// Seconds since the begin.
    pub(crate) fn seconds(&self) -> f64 {
        lock(&self.state).started.elapsed().as_secs_f64()
    }

    /// CPU seconds of all processes so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let state = lock(&self.state);
        let now = state.process.as_ref().and_then(|process| Usage::of(process.pid).ok());
        state.cpu_before + now.map_or(0.0, |usage| usage.cpu.as_secs_f64())
    }

    /// Samples that were taken since the second `from`.
    pub(crate) fn since(&self, from: f64) -> Vec<Sample> {
        let state = lock(&self.state);
        state.samples.iter().filter(|sample| sample.seconds >= from).copied().collect()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        lock(&self.state).is_over = true;
    }
}

impl State {
    fn sample(&mut self) {
        let Some(process) = &mut self.process else { return };
        // One that has just ended by itself is reported by who waits for it.
        let Ok(usage) = Usage::of(process.pid) else { return };
        let used = usage.cpu.saturating_sub(process.cpu).as_secs_f64();
        let time = process.at.elapsed().as_secs_f64().max(0.001);
        process.cpu = usage.cpu;
        process.at = Instant::now();
        self.samples.push(Sample {
            seconds: self.started.elapsed().as_secs_f64(),
            resident: usage.resident,
            descriptors: usage.descriptors,
            disk: disk_octets(&self.folder),
            cores: used / time,
        });
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
