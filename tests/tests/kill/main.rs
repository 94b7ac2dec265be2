//! Kill -9 at random moments, again and again, over one data folder: what a broker has promised outlives it. Nothing that was
//! confirmed is lost, duplicated, torn or reordered; nothing is invented; what was declared is there and what was deleted is
//! not; transactions are there whole or not at all.
//!
//! `WARRENMQ_KILL_ROUNDS=300 cargo test -p warrenmq-tests --test kill -- --nocapture` plays more rounds than the 30 of the
//! gate, and shows each; `WARRENMQ_KILL_SEED` is another number from which their times and messages come. With `WARRENMQ_KILL_COPY`
//! the folder of a failure has a copy of what the broker found at its last start.

mod churn;
mod consumer;
mod drain;
mod message;
mod oracle;
mod publisher;
mod rounds;
mod scene;

use rounds::World;

/// Rounds unless the variable says otherwise.
const ROUNDS: u32 = 30;
/// After so many rounds everything but the long backlog is drained and compared.
const AUDIT_EVERY: u32 = 5;

#[test]
fn promises_outlive_kill_9() {
    let number = |name| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
    let rounds = number("WARRENMQ_KILL_ROUNDS").unwrap_or(ROUNDS);
    let mut world = World::new(number("WARRENMQ_KILL_SEED").unwrap_or(1).into());
    for round in 1..=rounds {
        if round % AUDIT_EVERY == 0 {
            world.play_and_drain(round);
        } else {
            world.play_and_kill(round);
        }
    }
    world.finish();
}
