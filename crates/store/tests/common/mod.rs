//! Which histories the tests on a simulated disk try.

use std::collections::VecDeque;

/// Random histories of each test. `STORE_SEEDS` and `STORE_FIRST_SEED` say otherwise.
const SEEDS: u64 = 300;
/// The longest histories of which all are tried.
const HISTORY_MAX: usize = 5;

/// Calls with every seed, and names the one that fails.
pub(crate) fn for_each_seed(test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("STORE_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("STORE_SEEDS").unwrap_or(SEEDS) {
        println!("STORE_FIRST_SEED={seed} STORE_SEEDS=1");
        test(seed);
    }
}

/// Calls with every history of up to five of these commands, each after its own beginnings. One of which the call says
/// that its last command did nothing is not made longer.
pub(crate) fn for_each_history<C: Copy>(commands: &[C], mut did_something: impl FnMut(&[C]) -> bool) {
    let mut histories = VecDeque::from([Vec::new()]);
    while let Some(history) = histories.pop_front() {
        if did_something(&history) && history.len() < HISTORY_MAX {
            histories.extend(commands.iter().map(|command| [&*history, &[*command]].concat()));
        }
    }
}
