//! A few seeds in the ordinary tests; `cargo xtask sim` runs many. Invariant that is tested besides: a run depends on its seed alone.

use warrenmq_sim::scheduler::Scheduler;
use warrenmq_sim::trace::Trace;

/// What happens with this seed, as text.
fn story(seed: u64) -> String {
    let mut scheduler = Scheduler::new(seed, Trace::keeping(100_000)).expect("the world begins");
    let ruling = scheduler.run();
    let trace = scheduler.trace();
    assert_eq!(ruling, Ok(()), "seed {seed}\n{trace}");
    trace
}

#[test]
fn a_seed_passes_and_repeats_itself() {
    for seed in 1..40 {
        assert_eq!(story(seed), story(seed), "seed {seed}");
    }
}
