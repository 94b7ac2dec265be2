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
    /// Instead of seeds, all histories of up to so many letters, ended at every operation of the disk.
    #[arg(long)]
    histories: Option<u32>,
}

fn main() -> ExitCode {
    let Arguments { seeds, first, lines, histories } = Arguments::parse();
    if let Some(length) = histories {
        return match warrenmq_sim::histories::run(length) {
            Ok(runs) => {
                println!("{runs} runs of histories of up to {length} letters");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if warrenmq_sim::seeds::run(first, seeds, lines) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
