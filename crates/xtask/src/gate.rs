//! The gate (`cargo xtask test`): the steps that a clean checkout must pass, in order, one after the other. A failed step
//! does not keep the next from running, so that one run shows everything; what the machine lacks is skipped with a line.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::Args;

use crate::tally::Tally;
use crate::{chaos, command, counts, differential, fuzz, interop, layers, report, sim, tidy};

/// Which steps of the gate run.
#[derive(Args)]
pub(crate) struct Selection {
    /// Leave out the clients of other languages.
    #[arg(long)]
    no_interop: bool,
    /// Run this step alone; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = STEPS.map(|step| step.name))]
    only: Vec<String>,
}

impl Selection {
    fn contains(&self, step: &Step) -> bool {
        let named = self.only.is_empty() || self.only.iter().any(|name| name == step.name);
        named && !(self.no_interop && ["chaos", "interop"].contains(&step.name))
    }
}

/// One step: its name for `--only`, what it shows, and how it is run in the root of the workspace.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Path) -> Tally,
}

const STEPS: [Step; 13] = [
    Step { name: "fmt", about: "source is formatted by rustfmt", run: fmt },
    Step { name: "clippy", about: "no warning of clippy in any target", run: clippy },
    Step { name: "test", about: "unit, property, transcript and black-box tests", run: test },
    Step { name: "doc", about: "documentation builds without a warning", run: doc },
    Step { name: "tidy", about: "house rules for source files", run: check_tidy },
    Step { name: "layers", about: "crates depend only on layers below their own", run: check_layers },
    Step { name: "deny", about: "licences and advisories of dependencies", run: deny },
    Step {
        name: "sim",
        about: "broker, clients and disk simulated: 2,000 seeds, all short histories",
        run: sim::gate,
    },
    Step {
        name: "differential",
        about: "500 random scripts on RabbitMQ and on WarrenMQ, compared in all that a client sees",
        run: differential::gate,
    },
    Step { name: "counts", about: "instructions per message are what they were", run: counts::gate },
    Step { name: "fuzz", about: "each fuzz target for some seconds", run: fuzz::run },
    Step {
        name: "chaos",
        about: "clients of other languages through a proxy that treats connections badly: half a minute",
        run: chaos::gate,
    },
    Step {
        name: "interop",
        about: "clients of other languages against the release binary",
        run: interop::run,
    },
];

/// Runs the selected steps and prints the sum as the last line; true when nothing has failed.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let started = Instant::now();
    let mut total = Tally::default();
    let mut summary = String::new();
    for step in STEPS.iter().filter(|step| selection.contains(step)) {
        println!("[{:7.1} s] {}: {}", started.elapsed().as_secs_f64(), step.name, step.about);
        let step_started = Instant::now();
        let tally = (step.run)(root);
        let seconds = step_started.elapsed().as_secs_f64();
        summary.push_str(&format!("{:8} {seconds:7.1} s  {tally}\n", step.name));
        total += tally;
    }
    println!("[{:7.1} s] done\n{summary}\n{total}", started.elapsed().as_secs_f64());
    total.failed == 0
}

/// `cargo` with arguments, in the root of the workspace.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(arguments);
    command
}

/// A skip with its line when cargo has no such subcommand here, and otherwise the subcommand's result.
fn cargo_component(root: &Path, component: &str, arguments: &[&str]) -> Tally {
    if !command::is_available(&mut cargo(root, &[component, "--version"])) {
        println!("skipped: cargo-{component} is not installed");
        return Tally::skipped();
    }
    Tally::of(command::succeeds(&mut cargo(root, arguments)))
}

fn fmt(root: &Path) -> Tally {
    cargo_component(root, "fmt", &["fmt", "--all", "--check"])
}

fn clippy(root: &Path) -> Tally {
    cargo_component(root, "clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn test(root: &Path) -> Tally {
    let mut tally = Tally::default();
    let mut count = |line: &str| tally += Tally::of_test_result(line).unwrap_or_default();
    let mut command = cargo(root, &["test", "--workspace", "--no-fail-fast"]);
    let success = command::succeeds_with_lines(&mut command, None, &mut count);
    tally.with_exit(success)
}

fn doc(root: &Path) -> Tally {
    let mut command = cargo(root, &["doc", "--workspace", "--no-deps", "--document-private-items"]);
    Tally::of(command::succeeds(command.env("RUSTDOCFLAGS", "-D warnings")))
}

/// Advisories apart from the rest: they come from a database that is not in the registry and cannot be had everywhere.
fn deny(root: &Path) -> Tally {
    let mut tally =
        cargo_component(root, "deny", &["deny", "--workspace", "check", "licenses", "bans", "sources"]);
    if tally.skipped > 0 {
        return tally;
    }
    if command::is_available(&mut cargo(root, &["deny", "fetch", "db"])) {
        let mut advisories = cargo(root, &["deny", "--workspace", "check", "advisories"]);
        tally += Tally::of(command::succeeds(&mut advisories));
    } else {
        println!("skipped: the database of advisories cannot be fetched");
        tally += Tally::skipped();
    }
    tally
}

fn check_tidy(root: &Path) -> Tally {
    Tally::of(report(&tidy::violations(root)))
}

fn check_layers(root: &Path) -> Tally {
    Tally::of(report(&layers::violations(root)))
}
