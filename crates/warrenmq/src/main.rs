//! The command `warrenmq`: reads the command line and hands over to the subcommand. It knows nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod perf;

/// An AMQP 0-9-1 message broker.
#[derive(Debug, Parser)]
#[command(name = "warrenmq", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a broker.
    Perf(perf::PerfArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Perf(args) => perf::run(args),
    }
}
