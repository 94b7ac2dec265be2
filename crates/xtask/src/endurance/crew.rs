//! Clients of one phase: runs of `warrenmq perf` beside each other. What fails while the broker is being ended on purpose is expected;
//! everything else that fails is kept, with what it has said.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::load::{BURST_INTERVAL, BURSTS, FLOWS, Flow, Phase};
use crate::bench::child;

/// A run that takes so much longer than its phase hangs.
const TIME_EXTRA_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether the run was interrupted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What clients have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) published: u64,
    pub(crate) consumed: u64,
    /// Runs of churns that have come to their end.
    pub(crate) bursts: u64,
}

/// What the clients of a phase have in common.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    /// The binary whose `perf` they are.
    pub(crate) generator: &'a Path,
    pub(crate) uri: String,
    pub(crate) phase: Phase,
    pub(crate) length: Duration,
    pub(crate) tail: Duration,
    /// Set when the user wants an end.
    pub(crate) interrupted: &'a AtomicBool,
}

/// What is gathered while they work.
#[derive(Debug, Default)]
struct Notes {
    work: Mutex<(Work, Vec<String>)>,
    /// Clients are to end, and may fail.
    is_cut: AtomicBool,
    /// Runs that are to be whole before the broker is ended.
    counted: AtomicUsize,
}

impl Crew<'_> {
    /// Lets them work. With a `cut`, that is run at its time from the begin of the phase, or later when the backlogs are not whole
    /// by then, and the phase is over.
    pub(crate) fn work(&self, cut: Option<(Duration, &mut dyn FnMut())>) -> (Work, Vec<String>) {
        let notes = Notes::default();
        let end = Instant::now() + self.length;
        thread::scope(|scope| {
            for flow in FLOWS.iter().filter(|flow| flow.is_in(self.phase)) {
                let notes = &notes;
                notes.counted.fetch_add(usize::from(flow.is_counted()), Relaxed);
                scope.spawn(move || self.run_flow(flow, notes));
            }
            if self.phase != Phase::Tail {
                scope.spawn(|| self.churn(end, &notes));
            }
            let cut_at = cut.as_ref().map(|(after, _)| end - self.length + *after);
            while !self.interrupted.load(Relaxed)
                && (Instant::now() < cut_at.unwrap_or(end) || notes.counted.load(Relaxed) > 0)
            {
                thread::sleep(POLL_INTERVAL);
            }
            if let Some((_, cut)) = cut {
                notes.is_cut.store(true, Relaxed);
                cut();
            } else if self.interrupted.load(Relaxed) {
                notes.is_cut.store(true, Relaxed);
            }
        });
        notes.work.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_flow(&self, flow: &Flow, notes: &Notes) {
        let words = flow.arguments(self.length, self.tail);
        if let Some(report) = self.run(flow.name, &words, notes) {
            let count = |place: &str| report.pointer(place).and_then(Value::as_u64).unwrap_or(0);
            notes.add(Work {
                published: count("/published/messages"),
                consumed: count("/consumed/messages"),
                bursts: 0,
            });
        }
        notes.counted.fetch_sub(usize::from(flow.is_counted()), Relaxed);
    }

    /// One burst after the other, as often as their interval says or as long as each takes.
    fn churn(&self, end: Instant, notes: &Notes) {
        for args in BURSTS.iter().cycle() {
            let next = Instant::now() + BURST_INTERVAL;
            if next > end || notes.is_cut.load(Relaxed) {
                return;
            }
            let words: Vec<String> = ["perf"].into_iter().chain(args.split(' ')).map(str::to_owned).collect();
            if self.run(args, &words, notes).is_some() {
                notes.add(Work { bursts: 1, ..Work::default() });
            }
            while Instant::now() < next && !notes.is_cut.load(Relaxed) {
                thread::sleep(POLL_INTERVAL);
            }
        }
    }

    fn run(&self, name: &str, words: &[String], notes: &Notes) -> Option<Value> {
        let mut command = Command::new(self.generator);
        command.args(words).args(["-H", &self.uri, "--json"]);
        match child::report(&mut command, self.length + TIME_EXTRA_MAX, &notes.is_cut) {
            Ok(report) => Some(report),
            Err(_) if notes.is_cut.load(Relaxed) => None,
            Err(failure) => {
                let mut work = notes.work.lock().unwrap_or_else(PoisonError::into_inner);
                work.1.push(format!("{name}: {failure}"));
                None
            }
        }
    }
}

impl Notes {
    fn add(&self, more: Work) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).0 += more;
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, more: Work) {
        self.published += more.published;
        self.consumed += more.consumed;
        self.bursts += more.bursts;
    }
}
