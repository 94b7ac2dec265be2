//! The command `warrenmq`: reads the command line and hands over to the subcommand. It knows nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod allocator;
mod config;
mod control;
mod ctl;
mod perf;
mod serve;

/// An AMQP 0-9-1 message broker that programs written for RabbitMQ can use unchanged.
///
/// Without a command it serves: `warrenmq` and `warrenmq serve` are the same.
#[derive(Debug, Parser)]
#[command(name = "warrenmq", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (what happens when no command is given).
    Serve(serve::ServeArgs),
    /// Measure a broker.
    Perf(perf::PerfArgs),
    /// Control a broker, or look after its data.
    Ctl(ctl::CtlArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Perf(args)) => perf::run(args),
        Some(Command::Ctl(args)) => ctl::run(args),
    }
}
