//! Instructions per message (`cargo xtask counts`): each step and each whole way of `crates/counts` under callgrind, compared
//! with `crates/counts/baseline.toml`.
//!
//! Invariant: the same code gives the same numbers. What depends on the machine is held still: which copying function libc
//! chooses, and what compiler and processor the baseline is for; on others nothing is compared.

mod baseline;
mod places;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Args;
use serde_json::Value;

use crate::command;
use crate::tally::Tally;
use baseline::{BASELINE, Baseline, maker};

/// What is counted.
#[derive(Args)]
pub(crate) struct Selection {
    /// Count this alone; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Make what is counted the new baseline, instead of comparing.
    #[arg(long)]
    write: bool,
    /// Leave each profile as NAME.callgrind in this folder, for callgrind_annotate.
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
    /// Show in which functions the instructions of NAME are, instead of comparing (binutils' addr2line is needed).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["only", "write", "profiles"])]
    places: Option<String>,
}

/// More or fewer than the baseline by this part of it asks for a new baseline, and for a reason in the commit.
const TOLERANCE: f64 = 0.02;
/// Copies by the same instructions whatever the processor: no microcode loops, which count an instruction for each octet, and
/// no stores past the cache, whose threshold depends on its size.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS:glibc.cpu.x86_non_temporal_threshold=0x10000000";
/// The two functions in `crates/counts/src/meter.rs`.
const SWITCHES: &str = "*meter*count_o*";

/// The step of the gate.
pub(crate) fn gate(root: &Path) -> Tally {
    if !command::is_available(Command::new("valgrind").arg("--version")) {
        println!("skipped: valgrind is not installed");
        return Tally::skipped();
    }
    let Some(baseline) = Baseline::read(root) else {
        println!("failed: {BASELINE} cannot be read");
        return Tally::of(false);
    };
    if baseline.made_by != maker() {
        println!("skipped: the baseline is for {}, and this is {}", baseline.made_by, maker());
        return Tally::skipped();
    }
    let selection = Selection { only: Vec::new(), write: false, profiles: None, places: None };
    match measure(root, &selection) {
        Ok(counts) => compare(&counts, Some(&baseline), true),
        Err(error) => {
            println!("failed: {error}");
            Tally::of(false)
        }
    }
}

/// The command; true when everything is within the tolerance, or was written.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    if let Some(name) = &selection.places {
        return places(root, name).map_err(|error| println!("{error}")).is_ok();
    }
    let counts = match measure(root, selection) {
        Ok(counts) => counts,
        Err(error) => {
            println!("{error}");
            return false;
        }
    };
    let baseline = Baseline::read(root).filter(|baseline| baseline.made_by == maker());
    let tally = compare(&counts, baseline.as_ref(), selection.only.is_empty());
    if !selection.write {
        return baseline.is_some() && tally.failed == 0;
    }
    let mut counted = baseline.map(|baseline| baseline.counts).unwrap_or_default();
    if selection.only.is_empty() {
        counted.clear();
    }
    counted.extend(counts.into_iter().map(|count| (count.name, count.instructions)));
    let written = fs::write(root.join(BASELINE), Baseline { made_by: maker(), counts: counted }.to_toml());
    if let Err(error) = &written {
        println!("{BASELINE}: {error}");
    }
    written.is_ok()
}

fn places(root: &Path, name: &str) -> Result<(), String> {
    let binary = build(root)?;
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let (instructions, messages) = count(&binary, name, file.path(), &["--dump-instr=yes"])?;
    let profile = fs::read_to_string(file.path()).map_err(|error| error.to_string())?;
    println!("{:12.1}  instructions per message", instructions / messages);
    print!("{}", places::table(&profile, &binary, messages)?);
    Ok(())
}

/// One result.
struct Count {
    name: String,
    about: String,
    /// Per message.
    instructions: f64,
}

/// Builds as for a release and counts, as many at once as there are processors.
fn measure(root: &Path, selection: &Selection) -> Result<Vec<Count>, String> {
    let binary = build(root)?;
    let list = output(Command::new(&binary))?;
    let subjects: Vec<(String, String)> = list.lines().filter_map(subject).collect();
    if let Some(unknown) = selection.only.iter().find(|name| subjects.iter().all(|(known, _)| known != *name))
    {
        return Err(format!("there is no {unknown:?}; there are:\n{list}"));
    }
    let subjects: Vec<(String, String)> = subjects
        .into_iter()
        .filter(|(name, _)| selection.only.is_empty() || selection.only.contains(name))
        .collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((at, (name, _))) = take(&next, &subjects) {
                    let profile =
                        selection.profiles.as_ref().map(|folder| folder.join(format!("{name}.callgrind")));
                    let profile = profile.unwrap_or_else(|| "/dev/null".into());
                    let counted = count(&binary, name, &profile, &[]);
                    if let Ok(mut results) = results.lock() {
                        results.insert(at, counted);
                    }
                }
            });
        }
    });
    let results = results.into_inner().map_err(|error| error.to_string())?;
    let counts = subjects.into_iter().zip(results.into_values()).map(|((name, about), counted)| {
        let (instructions, messages) = counted?;
        Ok(Count { name, about, instructions: instructions / messages })
    });
    counts.collect()
}

fn take<'a, T>(next: &AtomicUsize, all: &'a [T]) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, all.get(at)?))
}

/// The release profile, since much of what a message costs is decided at link time.
fn build(root: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release", "--package", "warrenmq-counts"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let messages = output(command)?;
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == "warrenmq-counts";
        ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    executable.ok_or_else(|| "cargo has built no warrenmq-counts".to_owned())
}

/// A line of the list: name, messages, what it is.
fn subject(line: &str) -> Option<(String, String)> {
    let mut fields = line.split('\t');
    let name = fields.next()?;
    Some((name.to_owned(), fields.nth(1)?.to_owned()))
}

/// Instructions and messages.
fn count(binary: &Path, name: &str, profile: &Path, options: &[&str]) -> Result<(f64, f64), String> {
    let mut command = Command::new("valgrind");
    command.env("GLIBC_TUNABLES", TUNABLES).args(["--tool=callgrind", "--log-fd=1"]).args(options);
    command.arg(format!("--callgrind-out-file={}", profile.display()));
    command.arg(format!("--toggle-collect={SWITCHES}")).arg(binary).arg(name);
    counted(&output(command)?).ok_or_else(|| format!("{name}: valgrind has counted nothing"))
}

/// Instructions from callgrind's `==PID== Collected : INSTRUCTIONS`, messages from a line of their own.
fn counted(text: &str) -> Option<(f64, f64)> {
    let messages: f64 = text.lines().find_map(|line| line.parse().ok())?;
    let instructions: f64 =
        text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())?;
    (messages > 0.0 && instructions > 0.0).then_some((instructions, messages))
}

/// What a program that succeeds writes to its standard output.
fn output(mut command: Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} ends with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Shows each count beside that of the baseline; a count is passed when they agree. When `all` was counted, one that is only in the
/// baseline has failed.
fn compare(counts: &[Count], baseline: Option<&Baseline>, all: bool) -> Tally {
    let mut tally = Tally::default();
    for Count { name, about, instructions } in counts {
        let before = baseline.and_then(|baseline| baseline.counts.get(name)).copied();
        let (verdict, passed) = verdict(*instructions, before);
        println!("{instructions:12.1}  {verdict:32} {name:16} {about}");
        tally += Tally::of(passed);
    }
    let gone = baseline.iter().flat_map(|baseline| baseline.counts.keys());
    for name in gone.filter(|name| all && counts.iter().all(|count| count.name != **name)) {
        println!("failed: {name} is in the baseline and is counted no more");
        tally += Tally::of(false);
    }
    if tally.failed > 0 {
        println!("where they are meant to differ: cargo xtask counts --write, and the reason in the commit");
    }
    tally
}

fn verdict(now: f64, before: Option<f64>) -> (String, bool) {
    let Some(before) = before else { return ("not in the baseline".to_owned(), false) };
    let change = now / before - 1.0;
    let passed = change.abs() <= TOLERANCE;
    let word = match (passed, change > 0.0) {
        (true, _) => "",
        (false, true) => " MORE",
        (false, false) => " fewer",
    };
    (format!("{:+6.1} % of {before:.1}{word}", change * 100.0), passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_and_messages_are_found() {
        let cases = [
            ("==7== Callgrind\n2000\n==7== \n==7== Collected : 5000\n", Some((5000.0, 2000.0))),
            ("2000\n==7== Collected : 0\n", None),
            ("==7== Collected : 5000\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(counted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn two_percent_either_way_is_too_much() {
        let cases = [(101.9, true), (98.1, true), (102.1, false), (97.9, false)];
        for (now, passed) in cases {
            assert_eq!(verdict(now, Some(100.0)).1, passed, "{now}");
        }
        assert!(!verdict(1.0, None).1);
    }
}
