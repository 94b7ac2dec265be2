//! Benchmarks (`cargo xtask bench`): WarrenMQ beside the floor and other brokers, in one run, on one machine, and the page that says
//! what came of it. The table of workloads is `rows.rs`.
//!
//! Invariant: what was measured is on disk before the next step begins; a step that fails costs nothing but itself.

pub(crate) mod child;
mod contender;
mod figure;
pub(crate) mod machine;
mod measure;
mod page;
mod plan;
mod results;
mod rows;
mod table;
mod topology;
mod verdict;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use warrenmq_testkit::process::{self, Profile};

use crate::command;
use contender::Contender;
use figure::Figure;
use machine::Machine;
use measure::Meter;
use plan::{Plan, Step};
use results::{Results, Round};
use rows::{ROWS, Row};

/// What is measured, and where the page goes.
#[derive(Args)]
pub(crate) struct Selection {
    /// Another broker that runs already; with its process id, if it is on this machine, CPU time and memory are measured
    #[arg(long, value_name = "NAME=URI[,PID]")]
    against: Vec<String>,
    /// This row alone; may be given several times
    #[arg(long, value_name = "ROW", value_parser = ROWS.iter().map(|row| row.name).collect::<Vec<_>>())]
    only: Vec<String>,
    /// Rounds, in each of which every row runs on every broker [default: 3, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of each run [default: 3, or 1 with --quick]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// One short round, without what takes other brokers long
    #[arg(long)]
    quick: bool,
    /// Measure this build of WarrenMQ instead of one of this checkout
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Another build of WarrenMQ beside it, to see what a change has done; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    build: Vec<String>,
    /// Generate load with this build of WarrenMQ instead of one of this checkout
    #[arg(long, value_name = "PATH")]
    generator: Option<PathBuf>,
    /// Leave RabbitMQ out, though it is installed
    #[arg(long)]
    no_rabbitmq: bool,
    /// Folder of benchmarks.md [default: docs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep what an earlier run has found for the rows that this one leaves out
    #[arg(long)]
    keep: bool,
    /// Measure nothing: write the page again from the results that are there
    #[arg(long)]
    render: bool,
}

/// Measures and writes the page; true when nothing has failed. A limit that was missed is no failure: it is on the page.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let out = selection.out.clone().unwrap_or_else(|| root.join("docs"));
    let outcome = if selection.render {
        Results::load(&results_path(&out)).map(|results| (results, true))
    } else {
        measure_all(root, selection, &out)
    };
    let written = outcome.and_then(|(results, complete)| {
        page::write(&results, &out)?;
        verdict::complaints(&results).iter().for_each(|complaint| println!("{complaint}"));
        println!("{}", out.join("benchmarks.md").display());
        Ok(complete)
    });
    written.unwrap_or_else(|error| {
        println!("failed: {error}");
        false
    })
}

fn results_path(out: &Path) -> PathBuf {
    out.join("benchmarks").join("results.json")
}

/// Runs all steps; what is returned beside the results is whether every one has succeeded.
fn measure_all(root: &Path, selection: &Selection, out: &Path) -> io::Result<(Results, bool)> {
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| selection.only.is_empty() || selection.only.iter().any(|name| name == row.name))
        .collect();
    let rounds = selection.rounds.unwrap_or(if selection.quick { 1 } else { 3 });
    let seconds = selection.seconds.unwrap_or(if selection.quick { 1.0 } else { 3.0 });
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    raise_file_limit()?;
    let (generator, mut contenders) = prepare(root, selection)?;
    let meter = Meter { generator, seconds, stopped };
    let path = results_path(out);
    fs::create_dir_all(out.join("benchmarks"))?;
    let mut results = Results::new(Machine::look(), seconds);
    if selection.keep {
        let earlier = Results::load(&path)?;
        results.brokers = earlier.brokers;
        results.rows = earlier.rows;
        results.rows.retain(|name, _| rows.iter().all(|row| row.name != name));
    }
    contenders.iter().for_each(|contender| results.introduce(&contender.about));
    let kinds = contenders.iter().map(|contender| contender.about.kind).collect();
    let mut plan = Plan::new(&rows, kinds, rounds, selection.quick, seconds);
    let mut complete = true;
    for index in 0..plan.steps.len() {
        let step = plan.steps[index];
        let Some(contender) = contenders.get_mut(step.contender) else { continue };
        print_step(&plan, index, &contender.about.name);
        let started = Instant::now();
        let outcome = meter.measure(step.row, contender);
        if meter.stopped.load(Relaxed) {
            println!("interrupted");
            return Ok((results, false));
        }
        plan.took(step, started.elapsed());
        complete &= outcome.is_ok();
        record(&mut results, step, &contender.about.name, outcome);
        results.save(&path)?;
    }
    Ok((results, complete))
}

/// Binaries and brokers.
fn prepare(root: &Path, selection: &Selection) -> io::Result<(PathBuf, Vec<Contender>)> {
    let built = if selection.binary.is_none() || selection.generator.is_none() {
        Some(process::build(root, Profile::Release)?)
    } else {
        None
    };
    let pick = |given: &Option<PathBuf>| given.clone().or_else(|| built.clone()).unwrap_or_default();
    let commit = if selection.binary.is_none() { command::commit(root) } else { String::new() };
    let mut contenders = vec![
        Contender::relay(process::build_binary(root, "warrenmq-relay", Profile::Release)?),
        Contender::warrenmq("WarrenMQ", pick(&selection.binary), &commit)?,
    ];
    for text in &selection.build {
        let (name, path) = text.split_once('=').ok_or_else(|| io::Error::other("--build is NAME=PATH"))?;
        contenders.push(Contender::warrenmq(name, path.into(), "")?);
    }
    if !selection.no_rabbitmq {
        match Contender::rabbitmq() {
            Ok(Some(rabbitmq)) => contenders.push(rabbitmq),
            Ok(None) => println!("skipped: RabbitMQ is not installed"),
            Err(error) => println!("skipped: {error}"),
        }
    }
    for text in &selection.against {
        contenders.push(Contender::running(text).map_err(io::Error::other)?);
    }
    Ok((pick(&selection.generator), contenders))
}

/// As many open files as the system lets us have: ten thousand connections need as many, at either end.
fn raise_file_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn print_step(plan: &Plan, index: usize, broker: &str) {
    use std::io::Write;
    let step = plan.steps[index];
    let left = plan::clock(plan.left(index));
    let count = plan.steps.len();
    print!("[{:3}/{count} {left:>5} left] {:20} {broker:10} ", index + 1, step.row.name);
    // Progress that cannot be shown is no reason to stop.
    let _ = io::stdout().flush();
}

/// Notes what a step has found, and shows it.
fn record(results: &mut Results, step: Step, broker: &str, outcome: Result<Round, String>) {
    results.machine.date = machine::now();
    let measured = results.entry(step.row.name, broker);
    if measured.date.is_empty() {
        measured.date = machine::now();
    }
    match outcome {
        Ok(round) => {
            let shown =
                Figure::ALL.iter().filter_map(|figure| Some(figure.text_with_unit(round.get(*figure)?)));
            println!("{}", shown.collect::<Vec<_>>().join(", "));
            measured.rounds.push(Round { round: step.round, ..round });
        }
        Err(failure) => {
            println!("failed: {failure}");
            measured.failures.push(failure);
        }
    }
}
