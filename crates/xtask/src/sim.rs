//! The simulation (`cargo xtask sim`), built optimised but with the checks of a debug build, in a profile of its own.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::command;
use crate::tally::Tally;

/// Which seeds run.
#[derive(Args)]
pub(crate) struct Selection {
    /// How many.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first: u64,
    /// How many lines of a failed run are shown.
    #[arg(long, default_value_t = 40)]
    lines: usize,
    /// Instead of seeds, all histories of up to so many operations, ended at every operation of the disk.
    #[arg(long, value_name = "LENGTH")]
    histories: Option<u32>,
}

/// Seeds of the gate: each about a millisecond.
const SEEDS_OF_GATE: u64 = 2000;
/// Letters of the histories of the gate.
const LENGTH_OF_GATE: u32 = 4;

/// The same seeds each time, so that a change is compared with what was before it.
pub(crate) fn gate(root: &Path) -> Tally {
    let seeds = Selection { seeds: SEEDS_OF_GATE, first: 1, lines: 40, histories: None };
    let mut tally = Tally::of(run(root, &seeds));
    tally += Tally::of(run(root, &Selection { histories: Some(LENGTH_OF_GATE), ..seeds }));
    tally
}

/// Builds and runs it; true when nothing fails.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["run", "--quiet", "--profile", "sim", "--package", "warrenmq-sim", "--"]);
    for (name, value) in [("--seeds", selection.seeds), ("--first", selection.first)] {
        command.arg(name).arg(value.to_string());
    }
    command.arg("--lines").arg(selection.lines.to_string());
    if let Some(length) = selection.histories {
        command.arg("--histories").arg(length.to_string());
    }
    command::succeeds(&mut command)
}
