//! What counts and what does not. Callgrind switches its count over where `count_on` and `count_off` are entered and left, by
//! their names; for measurements of time the meter is a stopwatch.
//!
//! Invariant: both are real calls in the binary, entered only in turn; no other function has their names in its own.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Paused) };
    /// Since when it counts, when time is measured.
    static STOPWATCH: Cell<Option<Stopwatch>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing counts until it is switched on.
    Off,
    Paused,
    Counting,
}

#[derive(Clone, Copy)]
struct Stopwatch {
    total: Duration,
    since: Instant,
}

/// What runs in `part` counts.
pub fn in_the_count<R>(part: impl FnOnce() -> R) -> R {
    if STATE.get() != State::Paused {
        return part();
    }
    STATE.set(State::Counting);
    go_on();
    let result = count_on(part);
    pause();
    STATE.set(State::Paused);
    result
}

/// What runs in `part` does not count, wherever it is called: the kernel and the clients.
pub fn beside_the_count<R>(part: impl FnOnce() -> R) -> R {
    if STATE.get() != State::Counting {
        return part();
    }
    STATE.set(State::Paused);
    let result = count_off(|| {
        pause();
        let result = part();
        go_on();
        result
    });
    STATE.set(State::Counting);
    result
}

/// Nothing counts while `part` runs, whatever it says itself.
pub fn warm_up(part: impl FnOnce()) {
    STATE.set(State::Off);
    part();
    STATE.set(State::Paused);
}

/// The time that was in the count while `part` ran.
pub fn time(part: impl FnOnce()) -> Duration {
    STOPWATCH.set(Some(Stopwatch { total: Duration::ZERO, since: Instant::now() }));
    part();
    STOPWATCH.take().map_or(Duration::ZERO, |stopwatch| stopwatch.total)
}

#[inline(never)]
fn count_on<R>(part: impl FnOnce() -> R) -> R {
    // Something to do after the call: a jump instead of it would leave this function too early.
    black_box(part())
}

#[inline(never)]
fn count_off<R>(part: impl FnOnce() -> R) -> R {
    black_box(part())
}

fn go_on() {
    if let Some(stopwatch) = STOPWATCH.get() {
        STOPWATCH.set(Some(Stopwatch { since: Instant::now(), ..stopwatch }));
    }
}

fn pause() {
    if let Some(stopwatch) = STOPWATCH.get() {
        let total = stopwatch.total + stopwatch.since.elapsed();
        STOPWATCH.set(Some(Stopwatch { total, ..stopwatch }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_count_takes_time() {
        let wait = || std::thread::sleep(Duration::from_millis(100));
        let counted = time(|| {
            wait();
            beside_the_count(wait);
            in_the_count(|| beside_the_count(|| in_the_count(|| beside_the_count(wait))));
            warm_up(|| in_the_count(wait));
        });
        assert!(counted < Duration::from_millis(100), "{counted:?}");
        let counted = time(|| in_the_count(|| in_the_count(wait)));
        assert!(counted >= Duration::from_millis(100), "{counted:?}");
    }
}
