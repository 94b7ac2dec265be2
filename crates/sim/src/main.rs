//! `warrenmq-sim`: runs seeds. `cargo xtask sim` builds it optimised and runs it.

use std::process::ExitCode;

use clap::Parser;

/// Runs the broker, its clients and its disk in one thread, from one seed after the other.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many lines of a failed run are shown.
    #[arg(long)]
    lines: Option<usize>,
}

fn main() -> ExitCode {
    let Arguments { seeds, first, lines } = Arguments::parse();
    if warrenmq_sim::seeds::run(first, seeds, lines) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
