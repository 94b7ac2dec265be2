//! The fuzz targets of `fuzz/`, each for some seconds: enough to see that they build and that their corpus holds. What they
//! find goes to a temporary folder; a crash stays in `fuzz/artifacts`. Long runs are made by hand with `cargo fuzz run`.

use std::path::Path;
use std::process::Command;

use crate::command;
use crate::tally::Tally;

/// How long each target runs.
const SECONDS_PER_TARGET: u32 = 10;

/// Runs every target; skipped without nightly or cargo-fuzz.
pub(crate) fn run(root: &Path) -> Tally {
    if !root.join("fuzz/Cargo.toml").exists() {
        println!("skipped: there are no fuzz targets");
        return Tally::skipped();
    }
    if !command::is_available(&mut cargo_fuzz(root, &["--version"])) {
        println!("skipped: fuzzing needs a nightly toolchain and cargo-fuzz");
        return Tally::skipped();
    }
    let mut targets = Vec::new();
    let mut tally = Tally::default();
    let mut keep = |line: &str| targets.push(line.trim().to_owned());
    let listed = command::succeeds_with_lines(&mut cargo_fuzz(root, &["list"]), None, &mut keep);
    for target in &targets {
        tally += Tally::of(run_target(root, target).unwrap_or(false));
    }
    tally.with_exit(listed)
}

/// One target, started from its corpus; no sanitizer, as the workspace has no `unsafe` for one to find.
fn run_target(root: &Path, target: &str) -> std::io::Result<bool> {
    let found = tempfile::tempdir()?;
    println!("fuzzing {target} for {SECONDS_PER_TARGET} s");
    let mut command = cargo_fuzz(root, &["run", "--sanitizer", "none", target]);
    command.arg(found.path());
    let corpus = root.join("fuzz/corpus").join(target);
    if corpus.is_dir() {
        command.arg(corpus);
    }
    command.arg("--").arg(format!("-max_total_time={SECONDS_PER_TARGET}"));
    // libFuzzer says a lot; it is of interest only when something was found.
    let output = command.output()?;
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}

/// `cargo fuzz` of the nightly toolchain; the toolchain that runs us is named in the environment and has to be forgotten.
fn cargo_fuzz(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).args(arguments).current_dir(root);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}
