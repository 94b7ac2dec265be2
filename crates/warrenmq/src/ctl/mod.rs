//! `warrenmq ctl`: what an operator does with a broker, or with the data folder of one that does not run.
//!
//! Invariant: the result is on stdout, one line for each thing; progress and refusals are on stderr. The exit code is 0 when all is
//! well, 1 when something is damaged or was refused, 2 when nothing was looked at.

mod check;
mod definitions;
mod node;
mod progress;
mod report;
mod salvage;
mod settings;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use warrenmq_store::{DataDir, DataDirError, SalvageError};

use node::NodeError;

/// Arguments of `warrenmq ctl`.
#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// Look at, or repair, the data folder of a broker that is not running.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Vhosts, users, permissions, exchanges, queues and bindings as a file in RabbitMQ's format.
    #[command(subcommand)]
    Definitions(definitions::DefinitionsCommand),
    #[command(flatten)]
    Settings(settings::SettingsCommand),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read everything and say what is there and what is damaged. Changes nothing.
    #[command(after_help = EXIT_CODES)]
    Check(FolderArgs),
    /// Keep everything that is whole of a damaged folder. What is replaced is moved to a folder salvage-… in it.
    #[command(after_help = EXIT_CODES)]
    Salvage(FolderArgs),
}

const EXIT_CODES: &str = "\
Exit code: 0 nothing is damaged (any more), 1 something is damaged or could not be salvaged, 2 nothing was looked at.";

#[derive(Debug, Args)]
struct FolderArgs {
    /// The data folder, as given to the broker with --data-dir.
    dir: PathBuf,
}

/// Why a command did not get to its result. `Display` is one line.
#[derive(Debug, thiserror::Error)]
enum CtlError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Salvage(#[from] SalvageError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the result cannot be printed: {0}")]
    Output(#[from] io::Error),
}

/// What a command has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    Damaged,
}

impl CtlError {
    /// Whether nothing has been looked at, so that another try elsewhere finds all as it was.
    fn is_before(&self) -> bool {
        match self {
            CtlError::DataDir(_) | CtlError::Read { .. } => true,
            CtlError::Node(error) => error.is_before(),
            _ => false,
        }
    }
}

/// Runs what the command line asks for.
pub(crate) fn run(args: CtlArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let done = match args.command {
        CtlCommand::Store(command) => store(&command, &mut out),
        CtlCommand::Definitions(command) => definitions::run(&command, &mut out).map(|()| Verdict::Whole),
        CtlCommand::Settings(command) => settings::run(command, &mut out).map(|()| Verdict::Whole),
    };
    match done {
        Ok(Verdict::Whole) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::from(1),
        Err(error) => {
            // Without anybody to read it, the exit code is all that can be told.
            let _ = writeln!(io::stderr(), "warrenmq: {error}");
            ExitCode::from(if error.is_before() { 2 } else { 1 })
        }
    }
}

fn store(command: &StoreCommand, out: &mut dyn Write) -> Result<Verdict, CtlError> {
    match command {
        StoreCommand::Check(FolderArgs { dir }) => check::run(&DataDir::open_existing(dir)?, out),
        StoreCommand::Salvage(FolderArgs { dir }) => salvage::run(&DataDir::open_existing(dir)?, out),
    }
}
