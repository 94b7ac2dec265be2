//! Many seeds, one after the other on each core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::scheduler::Scheduler;
use crate::trace::Trace;

/// Lines of a failed run that are shown.
const TRACE_LINES: usize = 40;
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Runs `count` seeds from `first` on and prints the first that fails; true when none does.
pub fn run(first: u64, count: u64, trace_lines: Option<usize>) -> bool {
    let started = Instant::now();
    let done = AtomicU64::new(0);
    let failed: Mutex<Option<u64>> = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(count.max(1) as usize);
    // A panic is a finding like others; its text is printed when the seed is run again.
    std::panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for worker in 0..workers {
            let (done, failed) = (&done, &failed);
            scope.spawn(move || {
                let mut shown = Instant::now();
                loop {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    if number >= count || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        break;
                    }
                    if worker == 0 && shown.elapsed() > PROGRESS_INTERVAL {
                        println!("{number} of {count} seeds");
                        shown = Instant::now();
                    }
                    let seed = first.wrapping_add(number);
                    if catch_unwind(|| outcome(seed, 0)).is_ok_and(|(ruling, _)| ruling.is_ok()) {
                        continue;
                    }
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    *failed = Some(failed.map_or(seed, |other| other.min(seed)));
                }
            });
        }
    });
    drop(std::panic::take_hook());
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failed {
        None => println!("{count} seeds from {first} on in {:.1} s", started.elapsed().as_secs_f64()),
        Some(seed) => explain(seed, trace_lines.unwrap_or(TRACE_LINES)),
    }
    failed.is_none()
}

/// Runs a seed, keeping the last lines of what happened.
fn outcome(seed: u64, lines: usize) -> (Result<(), String>, String) {
    match Scheduler::new(seed, Trace::keeping(lines)) {
        Err(error) => (Err(error), String::new()),
        Ok(mut scheduler) => {
            let ruling = catch_unwind(AssertUnwindSafe(|| scheduler.run()));
            (ruling.unwrap_or_else(|_| Err("a panic".to_owned())), scheduler.trace())
        }
    }
}

fn explain(seed: u64, lines: usize) {
    let (ruling, trace) = outcome(seed, lines);
    let what =
        ruling.err().unwrap_or_else(|| "it passes now: the run does not depend on its seed alone".to_owned());
    println!(
        "seed {seed}: {what}\nthe last of what happened:\n{trace}repeat with: cargo xtask sim --seeds 1 --first {seed}"
    );
}
