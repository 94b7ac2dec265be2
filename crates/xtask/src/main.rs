//! The commands of this repository (`cargo xtask …`). It may run everything and is needed by nothing.

mod bench;
mod chaos;
mod command;
mod counts;
mod differential;
mod endurance;
mod flat;
mod fuzz;
mod gate;
mod interop;
mod layers;
mod rabbitmq;
mod record;
mod sim;
mod tally;
mod tidy;
mod transcripts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole gate: format, lints, tests, documentation, house rules, fuzzing, clients of other languages.
    Test(gate::Selection),
    /// The house rules for source files alone.
    Tidy,
    /// The simulation: broker, clients and disk in one thread, from one seed after the other.
    Sim(sim::Selection),
    /// Instructions per message under callgrind, against the committed baseline.
    Counts(counts::Selection),
    /// Benchmarks: WarrenMQ beside the floor and other brokers; writes docs/benchmarks.md.
    Bench(bench::Selection),
    /// Real clients through a proxy that cuts, holds up and half-opens their connections.
    Chaos(chaos::Selection),
    /// The long run: mixed load for an hour, with restarts; writes docs/endurance.md.
    Endurance(endurance::Selection),
    /// Random scripts played to RabbitMQ and to WarrenMQ, and compared step by step.
    Differential(differential::Selection),
    /// Sessions of real clients with a broker that runs already, as transcripts.
    Record(record::Selection),
    /// The transcripts against a broker that runs already.
    Transcripts(transcripts::Selection),
}

fn main() -> ExitCode {
    let root = workspace_root();
    let green = match Arguments::parse().command {
        Task::Test(selection) => gate::run(&root, &selection),
        Task::Tidy => report(&tidy::violations(&root)),
        Task::Sim(selection) => sim::run(&root, &selection),
        Task::Counts(selection) => counts::run(&root, &selection),
        Task::Bench(selection) => bench::run(&root, &selection),
        Task::Chaos(selection) => chaos::run(&root, &selection),
        Task::Endurance(selection) => endurance::run(&root, &selection),
        Task::Differential(selection) => differential::run(&root, &selection),
        Task::Record(selection) => record::run(&root, &selection),
        Task::Transcripts(selection) => transcripts::run(&root, &selection),
    };
    if green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The folder of the root `Cargo.toml`: this crate lies two folders below it.
fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Prints each violation on a line of its own; true when there is none.
fn report(violations: &[String]) -> bool {
    for violation in violations {
        println!("{violation}");
    }
    violations.is_empty()
}
