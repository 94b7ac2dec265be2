//! The long run (`cargo xtask endurance`): mixed load for an hour, with restarts in order and without, while the broker's memory,
//! descriptors, disk and CPU time are sampled; at the end like phases have to be alike, and a page says what came of it.

pub(crate) mod census;
mod crew;
mod load;
mod page;
mod plan;
mod results;
pub(crate) mod sampler;
mod stage;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use warrenmq_testkit::process::{self, Profile};

use crate::bench::machine::{self, Machine};
use crate::command;
use plan::Plan;
use results::Results;
use stage::Stage;

/// The queues that are there all the time.
const DEFINITIONS: &str = include_str!("definitions.json");

/// How long it goes on, and where the page goes.
#[derive(Args)]
pub(crate) struct Selection {
    /// About so many minutes, 3 at least
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Folder of endurance.md [default: docs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run this build of WarrenMQ instead of one of this checkout
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Run nothing: write the page again from the results that are there
    #[arg(long)]
    render: bool,
}

/// Runs and writes the page; true when nothing has failed and all is flat.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let out = selection.out.clone().unwrap_or_else(|| root.join("docs"));
    let outcome = if selection.render { Results::load(&file(&out)) } else { run_all(root, selection, &out) };
    let written = outcome.and_then(|results| {
        page::write(&results, &out)?;
        let complaints = verdict::complaints(&results);
        complaints.iter().for_each(|complaint| println!("{complaint}"));
        println!("{}", out.join("endurance.md").display());
        Ok(complaints.is_empty())
    });
    written.unwrap_or_else(|error| {
        println!("failed: {error}");
        false
    })
}

fn file(out: &Path) -> PathBuf {
    out.join("endurance").join("results.json")
}

fn run_all(root: &Path, selection: &Selection, out: &Path) -> io::Result<Results> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let (binary, commit) = match &selection.binary {
        Some(binary) => (binary.clone(), String::new()),
        None => (process::build(root, Profile::Release)?, command::commit(root)),
    };
    std::fs::create_dir_all(out.join("endurance"))?;
    let plan = Plan::new(selection.minutes);
    let mut results = Results {
        machine: Machine::look(),
        version: version(&binary, &commit)?,
        planned: plan.turns.len(),
        ..Results::default()
    };
    let mut stage = Stage::open(&binary, &plan, &interrupted)?;
    for (index, &turn) in plan.turns.iter().enumerate() {
        println!("cycle {} of {}, {turn:?}", index + 1, plan.turns.len());
        let played = stage.play(turn);
        if interrupted.load(Relaxed) {
            println!("interrupted");
            break;
        }
        let cycle = played.map_err(io::Error::other)?;
        println!("  {:?}", cycle.rest);
        results.cycles.push(cycle);
        results.failures = stage.failures();
        results.samples = stage.samples();
        results.minutes = stage.minutes();
        results.machine.date = machine::now();
        results.save(&file(out))?;
    }
    results.failures = stage.close();
    results.save(&file(out))?;
    Ok(results)
}

/// What the binary says of itself, and the commit where that is known.
fn version(binary: &Path, commit: &str) -> io::Result<String> {
    let output = Command::new(binary).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if commit.is_empty() { version } else { format!("{version} ({commit})") })
}
