//! Clients of other languages against the release binary. A suite is a folder of `interop/` with an executable `run`, called
//! in that folder as `run HOST PORT`; its last line is `interop/<folder>: N passed, N failed, N skipped`. All suites share
//! one broker, which must outlive them and then end in time at SIGTERM. `WARRENMQ_BINARY` tells them the program, for brokers
//! of their own that they restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use warrenmq_testkit::process::{self, BrokerHome, BrokerProcess, Profile};

use crate::command;
use crate::tally::Tally;

/// How long one suite may run, its installations included.
const SUITE_TIME_MAX: Duration = Duration::from_secs(8 * 60);
/// How long the broker may take to end.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// Builds, starts, runs every suite in the order of the names, stops.
pub(crate) fn run(root: &Path) -> Tally {
    run_suites(root).unwrap_or_else(|error| {
        println!("failed: {error}");
        Tally::of(false)
    })
}

fn run_suites(root: &Path) -> io::Result<Tally> {
    let binary = process::build(root, Profile::Release)?;
    let home = BrokerHome::new()?;
    let mut broker = BrokerProcess::start(&binary, &home, [""; 0])?;
    println!("{} listens on {}", binary.display(), broker.address());
    let mut tally = Tally::default();
    for suite in suites(root)? {
        tally += run_suite(&suite, &binary, &broker);
        if !broker.is_running()? {
            println!("failed: the broker has ended; its output ends with:\n{}", home.log_tail());
            tally += Tally::of(false);
            break;
        }
    }
    tally += Tally::of(stops_in_time(broker, &home));
    Ok(tally)
}

/// The folders with a `run`, in the order of their names.
fn suites(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut suites = Vec::new();
    let interop = root.join("interop");
    if interop.is_dir() {
        for entry in fs::read_dir(interop)? {
            let folder = entry?.path();
            if folder.join("run").is_file() {
                suites.push(folder);
            }
        }
    }
    suites.sort();
    Ok(suites)
}

fn run_suite(folder: &Path, binary: &Path, broker: &BrokerProcess) -> Tally {
    let address = broker.address();
    println!("{}/run {} {}", folder.display(), address.ip(), address.port());
    let mut command = Command::new(folder.join("run"));
    command.current_dir(folder).arg(address.ip().to_string()).arg(address.port().to_string());
    command.env("WARRENMQ_BINARY", binary);
    let began = Instant::now();
    let mut result = None;
    let mut keep = |line: &str| result = Tally::of_interop_result(line).or(result);
    let success = command::succeeds_with_lines(&mut command, Some(SUITE_TIME_MAX), &mut keep);
    println!("{} took {} s", folder.display(), began.elapsed().as_secs());
    result.unwrap_or_default().with_exit(success && result.is_some())
}

fn stops_in_time(broker: BrokerProcess, home: &BrokerHome) -> bool {
    let outcome = broker.stop(STOP_TIME_MAX);
    match &outcome {
        Ok(status) if status.success() => return true,
        Ok(status) => println!("failed: the broker ended with {status}; its output ends with:"),
        Err(error) => println!("failed: {error}; its output ends with:"),
    }
    println!("{}", home.log_tail());
    false
}
