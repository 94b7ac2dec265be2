//! `cargo xtask differential`: random scripts on RabbitMQ and on WarrenMQ, compared in all that a client can see. Playing is mostly
//! waiting, so many scripts are played at once, each with names of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use warrenmq_testkit::differential::{DEFINITIONS, Finding, Judge, PLUGINS, Turns, script};
use warrenmq_testkit::process::{self, BrokerHome, BrokerProcess, Profile};

use crate::command;
use crate::rabbitmq::RabbitMq;
use crate::tally::Tally;

/// Which scripts run, and against which broker.
#[derive(Args, Clone)]
pub(crate) struct Selection {
    /// The broker to compare with, which runs already, with the plugins and definitions that `docs/differential.md` names
    /// [default: RabbitMQ of the system's package, started for this]
    #[arg(long, value_name = "amqp://HOST:PORT")]
    against: Option<String>,
    /// That broker is RabbitMQ 3.10: what it is known to do otherwise is counted, not reported. So is the one started here.
    #[arg(long = "rabbitmq-3.10")]
    rabbitmq_3_10: bool,
    /// How many scripts.
    #[arg(long, default_value_t = SCRIPTS_OF_GATE, value_name = "N")]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_name = "S")]
    first: u64,
    /// These seeds and no others.
    #[arg(long, value_delimiter = ',', value_name = "S,S,…")]
    only: Vec<u64>,
    /// How many scripts are played at once; most of them wait.
    #[arg(long, default_value_t = SCRIPTS_AT_ONCE, value_name = "N")]
    at_once: usize,
    /// How many of them take a step at once.
    #[arg(long, default_value_t = STEPS_AT_ONCE, value_name = "N")]
    steps_at_once: usize,
    /// Another WarrenMQ than that of this checkout, which runs already.
    #[arg(long, value_name = "HOST:PORT")]
    judge: Option<String>,
    /// Print the scripts instead of playing them.
    #[arg(long)]
    print: bool,
}

/// Scripts of the gate.
const SCRIPTS_OF_GATE: u64 = 500;
const SCRIPTS_AT_ONCE: usize = 48;
/// So many times fewer are played at once when they are played again because they were not judged.
const FEWER_AT_ONCE: usize = 8;
/// More than that go no faster, but what is a matter of time goes more slowly.
const STEPS_AT_ONCE: usize = 5;
/// How long they may take there: what is left then is not played.
const TIME_MAX_OF_GATE: Duration = Duration::from_secs(120);
/// How often a long run says where it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Debian's package.
const PACKAGE: &str = "rabbitmq-server";

/// What all scripts together have shown.
#[derive(Debug, Default)]
struct Summary {
    scripts: u64,
    /// Scripts that are to be played again, because they were not judged.
    again: Vec<u64>,
    steps: u64,
    /// Transcripts of differences, by seed.
    differences: BTreeMap<u64, PathBuf>,
    /// Why scripts were not judged, and how many.
    unsteady: BTreeMap<&'static str, u64>,
    /// How many scripts have met a known difference.
    known: BTreeMap<&'static str, u64>,
    errors: Vec<String>,
}

/// The step of the gate: the same seeds each time.
pub(crate) fn gate(root: &Path) -> Tally {
    if let Err(reason) = provide_rabbitmq() {
        println!("skipped: {reason}");
        return Tally::skipped();
    }
    let selection = Selection {
        against: None,
        rabbitmq_3_10: true,
        seeds: SCRIPTS_OF_GATE,
        first: 1,
        only: Vec::new(),
        at_once: SCRIPTS_AT_ONCE,
        steps_at_once: STEPS_AT_ONCE,
        judge: None,
        print: false,
    };
    Tally::of(report(run_all(root, &selection, Some(TIME_MAX_OF_GATE))))
}

/// Plays the scripts and prints what differs; true when nothing does.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    if selection.print {
        for seed in selection.all() {
            println!("# Seed {seed}\n{}", script(seed));
        }
        return true;
    }
    report(run_all(root, selection, None))
}

fn report(outcome: io::Result<Summary>) -> bool {
    match outcome {
        Ok(summary) => summary.print(),
        Err(error) => {
            println!("{error}");
            false
        }
    }
}

fn run_all(root: &Path, selection: &Selection, time_max: Option<Duration>) -> io::Result<Summary> {
    let mut rabbitmq = None;
    let (reference, is_3_10) = match &selection.against {
        Some(uri) => (address(uri)?, selection.rabbitmq_3_10),
        None => {
            let missing = || io::Error::other(format!("{PACKAGE} is not installed; give --against"));
            let node = RabbitMq::installed()?.ok_or_else(missing)?;
            let node = rabbitmq.insert(node.with(&PLUGINS, DEFINITIONS));
            node.resume()?;
            (node.address(), true)
        }
    };
    let home = BrokerHome::new()?;
    let mut broker = None;
    let judged = match &selection.judge {
        Some(text) => address(text)?,
        None => {
            let binary = process::build(root, Profile::Dev)?;
            let definitions = home.write_file("definitions.json", DEFINITIONS)?;
            let arguments = ["--load-definitions".as_ref(), definitions.as_os_str()];
            broker.insert(BrokerProcess::start(&binary, &home, arguments)?).address()
        }
    };
    println!("comparing WarrenMQ at {judged} with the reference at {reference}");
    let turns = Turns::new(selection.steps_at_once);
    let judge = || Judge::new(reference, judged, is_3_10, &turns);
    let summary = play(root, selection, &judge, time_max);
    if let Some(broker) = &mut broker
        && !broker.is_running()?
    {
        return Err(io::Error::other(format!(
            "WarrenMQ has ended; its output ends with:\n{}",
            home.log_tail()
        )));
    }
    summary
}

fn play(
    root: &Path,
    selection: &Selection,
    judge: &(dyn Fn() -> Judge + Sync),
    time_max: Option<Duration>,
) -> io::Result<Summary> {
    let folder = root.join("target/differential");
    fs::create_dir_all(&folder)?;
    let (mut summary, started) = (Summary::default(), Instant::now());
    let is_over = || time_max.is_some_and(|time_max| started.elapsed() > time_max);
    let mut shown = started;
    let mut note = |summary: &Summary| {
        if shown.elapsed() > PROGRESS_INTERVAL {
            shown = Instant::now();
            println!("[{:7.1} s] {}", started.elapsed().as_secs_f64(), summary.line());
        }
    };
    let fewer = (selection.at_once / FEWER_AT_ONCE).max(1);
    each(&selection.all(), selection.at_once, judge, &is_over, |seed, finding| {
        match finding {
            Ok(Finding::Unsteady { .. }) => summary.again.push(seed),
            finding => summary.add(seed, finding, &folder),
        }
        note(&summary);
    });
    let again = std::mem::take(&mut summary.again);
    let mut left = again.len() as u64;
    each(&again, fewer, judge, &is_over, |seed, finding| {
        left -= 1;
        summary.add(seed, finding, &folder);
        note(&summary);
    });
    if left > 0 {
        summary.unsteady.insert("there was no time to play it once more", left);
    }
    Ok(summary)
}

/// Plays scripts, some at once, and tells of each, until it is over.
fn each(
    seeds: &[u64],
    at_once: usize,
    judge: &(dyn Fn() -> Judge + Sync),
    is_over: &(dyn Fn() -> bool + Sync),
    tell: impl FnMut(u64, Result<Finding, String>) + Send,
) {
    let (next, tell) = (AtomicUsize::new(0), Mutex::new(tell));
    thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                let mut judge = judge();
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
                    && !is_over()
                {
                    let finding = judge.judge(*seed);
                    tell.lock().unwrap_or_else(|poisoned| poisoned.into_inner())(*seed, finding);
                }
            });
        }
    });
}

impl Selection {
    /// All seeds.
    fn all(&self) -> Vec<u64> {
        if self.only.is_empty() { (self.first..self.first + self.seeds).collect() } else { self.only.clone() }
    }
}

impl Summary {
    fn add(&mut self, seed: u64, finding: Result<Finding, String>, folder: &Path) {
        self.scripts += 1;
        match finding {
            Ok(Finding::Same { steps, known }) => {
                self.steps += steps as u64;
                known.into_iter().for_each(|name| *self.known.entry(name).or_default() += 1);
            }
            Ok(Finding::Unsteady { reason, seen }) => {
                println!("seed {seed} is not judged: {reason} {seen}");
                *self.unsteady.entry(reason).or_default() += 1;
            }
            Ok(Finding::Differs(transcript)) => {
                let path = folder.join(format!("seed-{seed}.txt"));
                let comments = transcript.lines().take_while(|line| line.starts_with('#'));
                println!("differs: {}\n{}", path.display(), comments.collect::<Vec<_>>().join("\n"));
                match fs::write(&path, &transcript) {
                    Ok(()) => {}
                    Err(error) => self.errors.push(format!("{}: {error}\n{transcript}", path.display())),
                }
                self.differences.insert(seed, path);
            }
            Err(error) => {
                println!("seed {seed}: {error}");
                self.errors.push(error);
            }
        }
    }

    fn line(&self) -> String {
        let unsteady: u64 = self.unsteady.values().sum();
        format!(
            "{} scripts, {} steps that are the same, {} differences, {unsteady} not judged, {} errors{}",
            self.scripts,
            self.steps,
            self.differences.len(),
            self.errors.len(),
            if self.again.is_empty() {
                String::new()
            } else {
                format!(", {} to be played again", self.again.len())
            }
        )
    }

    /// True when the brokers do not differ.
    fn print(&self) -> bool {
        for (name, count) in &self.known {
            println!("known, in {count} scripts: {name}");
        }
        for (reason, count) in &self.unsteady {
            println!("not judged, {count} scripts: {reason}");
        }
        println!("{}", self.line());
        for path in self.differences.values() {
            println!("  {}", path.display());
        }
        self.differences.is_empty() && self.errors.is_empty() && self.scripts > 0
    }
}

/// Installs RabbitMQ where it is missing and can be installed; an error says why there is none.
fn provide_rabbitmq() -> Result<(), String> {
    let is_there = || RabbitMq::installed().map(|node| node.is_some()).map_err(|error| error.to_string());
    if is_there()? {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        PACKAGE,
    ]);
    if rustix::process::geteuid().is_root() && command::is_available(&mut install) && is_there()? {
        return Ok(());
    }
    Err(format!("{PACKAGE} is not installed and cannot be installed"))
}

/// `amqp://HOST:PORT`, or without the scheme.
fn address(text: &str) -> io::Result<SocketAddr> {
    let unknown = || io::Error::other(format!("{text} is not an address"));
    let bare = text.trim_start_matches("amqp://").trim_end_matches('/');
    bare.to_socket_addrs()?.next().ok_or_else(unknown)
}
