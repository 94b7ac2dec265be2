//! The page and its charts, made of nothing but the results.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::figure::Figure;
use super::measure::is_timed;
use super::results::{Kind, Results};
use super::rows::{Group, Others, ROWS, Row, Work};
use super::table::{Table, capital, cell, line};
use super::verdict::{Verdict, verdicts};

/// A section: its rows, what is said about them, and the figures that get a chart and a table each.
struct Section {
    group: Group,
    title: &'static str,
    about: &'static str,
    figures: &'static [Figure],
}

const SECTIONS: [Section; 4] = [
    Section {
        group: Group::Messages,
        title: "Messages as fast as they go",
        about: "Publishers write as fast as the broker reads, unless a window of unconfirmed messages says otherwise. CPU time is the
broker's alone, user and system. The load generator shares the cores with the broker, so the rates are those of both together.",
        figures: &[Figure::Cpu, Figure::Rate],
    },
    Section {
        group: Group::Latency,
        title: "Latency at a steady rate",
        about: "Each message has a moment at which it is due, and its latency is counted from there: if the broker or the generator
stalls, all messages that were due meanwhile show it.",
        figures: &[Figure::P50, Figure::P99, Figure::Lateness],
    },
    Section {
        group: Group::Operations,
        title: "Connections, bindings, queues",
        about: "Many methods are under way at a time: a connection sends the next ones ahead of the answers, and connections are opened
beside each other.",
        figures: &[Figure::Operations, Figure::Each],
    },
    Section {
        group: Group::Memory,
        title: "Memory",
        about: "Resident memory of the broker's process, with what of its files is mapped into it. What a connection and a queue take
is in the section above.",
        figures: &[Figure::Idle],
    },
];

const HEAD: &str = "# Benchmarks

Written by `cargo xtask bench`: every broker on the same machine, one after the other in each round, under the same load
generator ([`warrenmq perf`](perf.md)). Times and rates are those of this machine, and say little without the ratios beside them.

";

const FLOOR: &str = "
The *relay* is the floor: a program of one thread that turns the frames of a publisher into the frames of a consumer with one
read and one write, and does nothing else (`crates/relay`). What it needs is what sockets and framing cost.
";

const BESIDE: &str = "
## Beside what stands idle

The first workload, alone and then beside something else on the same broker: CPU time of WarrenMQ for each message, in us.

| row | beside | alone | beside it | ratio |
|---|---|---:|---:|---:|
";

const METHOD: &str = "
## How this is measured

- Every row begins with a WarrenMQ and a relay that were just started. RabbitMQ serves all rows, as its package installs it but
  with a port and a folder of its own; between its rows its process is stopped (`SIGSTOP`), so that only one broker runs at any
  time, and before each of them it is waited for until it has nothing more to do.
- CPU time is that of the broker's process: the relay's, WarrenMQ's, and that of RabbitMQ's Erlang machine.
- In each round every row runs once on each broker that takes part, so that what changes on the machine meets all of them. A
  ratio is the median of the ratios of the rounds.
- Bodies carry a time and a number: the order of the messages is checked, and a run in which one is out of order has failed.
- What a broker would need minutes for runs on it once, or not at all.

| row | command | before it |
|---|---|---|
";

/// Writes `folder/benchmarks.md` and the charts in `folder/benchmarks`.
///
/// # Errors
/// Those of writing files.
pub(crate) fn write(results: &Results, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("benchmarks"))?;
    let mut page = HEAD.to_owned() + &about(results) + FLOOR + &limits(results);
    for section in &SECTIONS {
        page += &written(results, section, folder)?;
    }
    page += &beside(results);
    page += &method(results);
    fs::write(folder.join("benchmarks.md"), page)
}

/// The machine and the brokers.
fn about(results: &Results) -> String {
    let machine = &results.machine;
    let rounds = match rounds(results) {
        1 => "one round".to_owned(),
        count => format!("medians of {count} rounds, with the least and the most"),
    };
    let mut text = format!(
        "| | |\n|---|---|\n| machine | {} cores of {}, {} of memory, data folders on {} |\n| system | {} |\n\
         | date | {}; load of the machine in the minute before: {} |\n| runs | {rounds}; {} s each |\n\n\
         | broker | version | persistent messages |\n|---|---|---|\n",
        machine.cores,
        machine.processor,
        machine.memory,
        machine.file_system,
        machine.kernel,
        machine.date,
        machine.load,
        results.seconds
    );
    for broker in &results.brokers {
        let version = if broker.version.is_empty() { "–" } else { &broker.version };
        let _ = writeln!(text, "| {} | {version} | {} |", broker.name, broker.durability);
    }
    text
}

/// The most rounds that any row had.
fn rounds(results: &Results) -> usize {
    let measured = results.rows.values().flat_map(|brokers| brokers.values());
    measured.map(|measured| measured.rounds.len()).max().unwrap_or(0)
}

/// What is asked of WarrenMQ and what came of it.
fn limits(results: &Results) -> String {
    let mut text = "\n## What WarrenMQ has to keep to\n\n| row | workload | figure | has to be | is | |\n|---|---|---|---|---:|---|\n"
        .to_owned();
    for row in ROWS {
        let workload = if row.group == Group::Beside {
            format!("16 B beside {}", row.title)
        } else {
            row.title.to_owned()
        };
        for Verdict { what, bound, found, kept } in verdicts(results, row) {
            let mark = if kept { "kept" } else { "**missed**" };
            let name = format!("`{}`", row.name);
            text += &line(&[name, workload.clone(), what.to_owned(), bound, found, mark.to_owned()]);
        }
    }
    text
}

/// A section, with its charts in `folder`; nothing when nothing of it was measured.
fn written(results: &Results, section: &Section, folder: &Path) -> io::Result<String> {
    let mut text = String::new();
    for &figure in section.figures {
        let rows = ROWS.iter().filter(|row| row.group == section.group);
        let Some(table) = Table::new(results, figure, rows) else { continue };
        if text.is_empty() {
            let _ = write!(text, "\n## {}\n\n{}\n", section.title, section.about);
        }
        let (title, file) = (capital(figure.title()), format!("{}.svg", figure.key().replace('_', "-")));
        table.chart(&folder.join("benchmarks").join(&file))?;
        let _ = write!(text, "\n### {title}\n\n![{title}](benchmarks/{file})\n\n{}", table.markdown());
    }
    Ok(text)
}

/// What WarrenMQ costs beside something.
fn beside(results: &Results) -> String {
    let ours = results.broker(Kind::WarrenMq).map_or("", |broker| &broker.name);
    let rows = ROWS.iter().filter(|row| results.measured(row.name, ours).is_some());
    let lines = rows.filter(|row| row.group == Group::Beside).map(|row| {
        let ratio = results.ratio_alone(row.name, ours);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("**{ratio:.2}**"));
        let [alone, with] = [Figure::CpuAlone, Figure::Cpu].map(|figure| cell(results, row, ours, figure));
        line(&[format!("`{}`", row.name), row.title.to_owned(), alone, with, ratio])
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { BESIDE.to_owned() + &lines }
}

fn method(results: &Results) -> String {
    let lines: String = ROWS.iter().map(|row| command(row, results.seconds)).collect();
    format!("{METHOD}{lines}\nRaw values: [results.json](benchmarks/results.json).\n")
}

/// How a row can be run by hand.
fn command(row: &Row, seconds: f64) -> String {
    let perf = |args: &str| {
        let time = if is_timed(args) { format!(" -z {seconds}") } else { String::new() };
        format!("`warrenmq perf {args}{time}`")
    };
    let before = match row.work {
        Work::Declared(topology, _) => topology.about().to_owned(),
        Work::Configured { toml, .. } => format!("configuration: `{}`", toml.trim()),
        Work::Flooded { flood, .. } => format!("`warrenmq perf {flood}`, which goes on"),
        Work::Beside { .. } => format!("the same command; then {}", row.title),
        Work::Perf(_) | Work::Idle => String::new(),
    };
    let once = if row.others == Others::Once { ", on others than WarrenMQ once" } else { "" };
    let command = row.work.args().map_or_else(String::new, perf);
    line(&[format!("`{}`{once}", row.name), command, before])
}
