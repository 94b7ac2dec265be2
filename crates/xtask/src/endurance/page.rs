//! The page and its charts, made of nothing but the results.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use warrenmq_plot::{Axis, Panel, Scale, Series, curves};

use super::load::{BURST_INTERVAL, BURSTS, FLOWS};
use super::plan::Turn;
use super::results::{Cycle, Results};
use super::sampler::{INTERVAL, Sample};
use super::verdict::{FIGURES, MIB, complaints, verdicts};

const HEAD: &str = "# The long run

Written by `cargo xtask endurance`: one broker under mixed load, ended and started again in order and without, with its memory,
descriptors, disk space and CPU time looked at all the time. What is asked is whether anything grows that ought not to.

";

const CYCLE: &str = "
## What is run

A run is made of equal cycles. In each of them

1. **up**: everything below runs, and two backlogs grow, one of persistent messages with confirms and one of transient ones. In
   cycles with a *turn* the broker is ended near the end of this phase, in the midst of everything, by SIGTERM or by SIGKILL, and started again
   on the same folder; the clients of the phase end with it. Then the persistent backlog has to have every message that was
   confirmed, and the transient one none; without a turn both have all;
2. **down**: everything below runs, and the backlogs are drained;
3. **tail**: nobody publishes; what was delayed still comes and is consumed, and what is left in queues too. Then all queues but `short`
   have to be empty;
4. **rest**: nobody is connected. The figures *at rest* are medians over the second half of this phase.

The cycles make three parts of equally many. In the first and in the last the broker is killed in the first cycle and then
lives until the end of the part, so that these parts are alike; in the middle it is ended in every cycle, by SIGTERM and SIGKILL in
turn. A run of `warrenmq perf` that fails while the broker is not being ended is a failure of the run: one that was refused something, got
messages out of order, or hung.

";

const NOTES: &str = "
- Connections of a burst are closed in order; then either side lets the other close its socket first, for a second. So
  descriptors jump by 300 for a moment.
- Bodies of fewer than 16 octets carry no number, and their order is not checked.
- The durable queues, the exchange that delays and its binding are in `crates/xtask/src/endurance/definitions.json`.
";

const RULE: &str = "
## What *flat* means

Medians of early looks are compared with medians of late ones, of the same phase and after the same kind of restart. The late one
must not be above the early one by more than a part and an amount of it. A rule that cannot fail says nothing: tests of the rule give it memory that
grows by two mebibytes in each cycle, or by half a mebibyte for good in each cycle, and it has to find both
(`crates/xtask/src/endurance/verdict.rs`).

| figure | late ≤ |
|---|---|
";

/// Writes `folder/endurance.md` and the charts in `folder/endurance`.
///
/// # Errors
/// Those of writing files.
pub(crate) fn write(results: &Results, folder: &Path) -> io::Result<()> {
    let charts = folder.join("endurance");
    fs::create_dir_all(&charts)?;
    let title = format!("{}, {:.0} minutes", results.version, results.minutes);
    let draw =
        |name: &str, panels: &[Panel]| curves(&charts.join(name), &title, panels).map_err(io::Error::other);
    draw("samples.svg", &sample_panels(&results.samples))?;
    draw("rests.svg", &rest_panels(results))?;
    let page = HEAD.to_owned()
        + &about(results)
        + &outcome(results)
        + CYCLE
        + &load()
        + RULE
        + &rules()
        + &cycles(results);
    fs::write(folder.join("endurance.md"), page)
}

fn about(results: &Results) -> String {
    let machine = &results.machine;
    let total = |value: fn(&Cycle) -> u64| thousands(results.cycles.iter().map(value).sum());
    let turns = |turn| results.cycles.iter().filter(|cycle| cycle.turn == turn).count();
    format!(
        "| | |\n|---|---|\n| broker | {} |\n| machine | {} cores of {}, {} of memory, data folder on {}, {} |\n\
         | load of the machine | {} in the minute before |\n| end | {} |\n\
         | length | {:.1} minutes, {} cycles |\n| restarts | {} by SIGTERM, {} by SIGKILL |\n\
         | messages | {} published, {} consumed, by runs that ended in order |\n\
         | bursts of churn | {} |\n| samples | {}, one each {} s |\n",
        results.version,
        machine.cores,
        machine.processor,
        machine.memory,
        machine.file_system,
        machine.kernel,
        machine.load,
        machine.date,
        results.minutes,
        results.cycles.len(),
        turns(Turn::Stop),
        turns(Turn::Kill),
        total(|cycle| cycle.work.published),
        total(|cycle| cycle.work.consumed),
        total(|cycle| cycle.work.bursts),
        results.samples.len(),
        INTERVAL.as_secs(),
    )
}

fn outcome(results: &Results) -> String {
    let complaints = complaints(results);
    let mut text = "\n## What came of it\n\n".to_owned();
    if complaints.is_empty() {
        text += "Nothing failed, and all is flat.\n";
    }
    complaints.iter().for_each(|complaint| text += &format!("- **{complaint}**\n"));
    text += "\n| figure | compared | early | late | allowed | |\n|---|---|--:|--:|--:|---|\n";
    for verdict in verdicts(results) {
        let flatness = verdict.flatness;
        let mark = if flatness.is_kept() { "flat" } else { "**not flat**" };
        let digits = if verdict.unit == "cores" { 4 } else { 1 };
        let [early, late, bound] =
            [flatness.early, flatness.late, flatness.bound].map(|value| format!("{value:.digits$}"));
        let unit = if verdict.unit.is_empty() { String::new() } else { format!(", {}", verdict.unit) };
        let _ = writeln!(
            text,
            "| {}{unit} | {} | {early} | {late} | {bound} | {mark} |",
            verdict.figure, verdict.compared
        );
    }
    text + "\n![Memory, descriptors, disk and CPU over the whole run](endurance/samples.svg)\n\n\
            ![The same at rest, cycle by cycle](endurance/rests.svg)\n"
}

fn load() -> String {
    let mut text = "| | phases | |\n|---|---|---|\n".to_owned();
    for flow in &FLOWS {
        let _ = writeln!(text, "| {} | {} | `warrenmq perf {}` |", flow.name, flow.when(), flow.args());
    }
    let seconds = BURST_INTERVAL.as_secs();
    let _ = write!(
        text,
        "\n`{{delay}}` is half a tail; `{{backlog}}` as many messages as the rate gives in three fifths of *up*. Beside these, in *up* \
         and *down*, one burst each {seconds} s, in turn:\n\n"
    );
    BURSTS.iter().for_each(|burst| text += &format!("- `warrenmq perf {burst}`\n"));
    text + NOTES
}

fn rules() -> String {
    let mut text = String::new();
    for figure in &FIGURES {
        let (part, amount) = (figure.allowance.part, figure.allowance.amount);
        let _ = writeln!(text, "| {} | early × {:.2} + {amount} {} |", figure.name, 1.0 + part, figure.unit);
    }
    text + "| CPU at rest | 0.02 cores in every rest |\n"
}

fn cycles(results: &Results) -> String {
    let mut text = "\n## Every cycle\n\n\
        | | end, min | turn | answers after, s | published | consumed | bursts | CPU, s | memory at rest, MiB | descriptors | disk, MiB |\n\
        |--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (index, cycle) in results.cycles.iter().enumerate() {
        let start = cycle.start_s.map_or_else(String::new, |seconds| format!("{seconds:.2}"));
        let _ = writeln!(
            text,
            "| {} | {:.1} | {} | {start} | {} | {} | {} | {:.1} | {:.1} | {:.0} | {:.1} |",
            index + 1,
            cycle.end_s / 60.0,
            name(cycle.turn),
            thousands(cycle.work.published),
            thousands(cycle.work.consumed),
            cycle.work.bursts,
            cycle.cpu_s,
            cycle.rest.resident / MIB,
            cycle.rest.descriptors,
            cycle.rest.disk / MIB,
        );
    }
    text + "\nMessages of runs that the end of the broker has cut short are not counted. All values: [results.json](endurance/results.json).\n"
}

fn sample_panels(samples: &[Sample]) -> Vec<Panel> {
    let panel = |title: &str, label: &str, value: fn(&Sample) -> f64| {
        let points = samples.iter().map(|sample| (sample.seconds / 60.0, value(sample))).collect();
        over_minutes(title, label, vec![Series { name: "broker".to_owned(), points }])
    };
    vec![
        panel("resident memory", "MiB", |sample| sample.resident as f64 / MIB),
        panel("descriptors", "", |sample| sample.descriptors as f64),
        panel("data folder", "MiB", |sample| sample.disk as f64 / MIB),
        panel("CPU", "cores", |sample| sample.cores),
    ]
}

fn rest_panels(results: &Results) -> Vec<Panel> {
    let part = (results.planned / 3).max(1);
    let parts = || results.cycles.chunks(part).zip(["first life", "restarts", "last life"]);
    let panel = |title: &str, label: &str, value: fn(&Cycle) -> f64| {
        let series = parts().map(|(cycles, name)| Series {
            name: name.to_owned(),
            points: cycles.iter().map(|cycle| (cycle.end_s / 60.0, value(cycle))).collect(),
        });
        over_minutes(title, label, series.collect())
    };
    vec![
        panel("memory at rest", "MiB", |cycle| cycle.rest.resident / MIB),
        panel("descriptors at rest", "", |cycle| cycle.rest.descriptors),
        panel("data folder at rest", "MiB", |cycle| cycle.rest.disk / MIB),
        panel("CPU time of a cycle", "seconds", |cycle| cycle.cpu_s),
    ]
}

fn over_minutes(title: &str, label: &str, series: Vec<Series>) -> Panel {
    Panel {
        title: title.to_owned(),
        x: Axis::new("minutes", Scale::Linear),
        y: Axis::new(label, Scale::Linear),
        series,
    }
}

fn name(turn: Turn) -> &'static str {
    match turn {
        Turn::None => "",
        Turn::Stop => "SIGTERM",
        Turn::Kill => "SIGKILL",
    }
}

/// With a comma after each three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endurance::crew::Work;
    use crate::endurance::results::Rest;

    #[test]
    fn a_page_has_all_that_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let rest = Rest { resident: 30.0 * MIB, descriptors: 21.0, disk: 8.0 * MIB, cores: 0.001 };
        let work = Work { published: 1_234_567, consumed: 999, bursts: 12 };
        let cycle = Cycle { end_s: 90.0, turn: Turn::Stop, start_s: Some(0.25), work, cpu_s: 3.0, rest };
        let sample = Sample { seconds: 2.0, resident: 1 << 25, descriptors: 30, disk: 1 << 23, cores: 0.5 };
        let results = Results {
            planned: 6,
            cycles: vec![cycle],
            samples: vec![sample],
            failures: vec!["cycle 1: it said no".to_owned()],
            ..Results::default()
        };
        write(&results, folder.path()).unwrap();
        let page = fs::read_to_string(folder.path().join("endurance.md")).unwrap();
        let row = "| 1 | 1.5 | SIGTERM | 0.25 | 1,234,567 | 999 | 12 | 3.0 | 30.0 | 21 | 8.0 |";
        for text in [row, "**cycle 1: it said no**", "**1 of 6 cycles**", "x-delay={delay}", "CPU at rest"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        for name in ["samples.svg", "rests.svg"] {
            assert!(fs::read_to_string(folder.path().join("endurance").join(name)).unwrap().contains("<svg"));
        }
    }
}
