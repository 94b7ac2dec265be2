//! One row on one broker: what is started and in which order, and which figures come of it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::child::{self, Background};
use super::contender::{Contender, Ready};
use super::figure::Figure;
use super::results::Round;
use super::rows::{Filler, Row, Work};
use super::topology::Declarer;

/// How long a run may take beyond what it measures: what was sent has to be worked off, many things have to be declared.
const TIME_EXTRA_MAX: Duration = Duration::from_secs(120);
/// How long a broker that was just started is given to settle.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// How long a flood runs before something is measured beside it.
const FLOOD_LEAD: Duration = Duration::from_millis(500);

/// How rows are measured.
#[derive(Debug)]
pub(crate) struct Meter {
    /// The binary whose `perf` is the generator.
    pub(crate) generator: PathBuf,
    /// Seconds of each run that is measured by time.
    pub(crate) seconds: f64,
    /// Set when the user wants an end.
    pub(crate) stopped: Arc<AtomicBool>,
}

impl Meter {
    /// Measures a row.
    ///
    /// # Errors
    /// What went wrong.
    pub(crate) fn measure(&self, row: &Row, contender: &mut Contender) -> Result<Round, String> {
        let toml = if let Work::Configured { toml, .. } = row.work { Some(toml) } else { None };
        let ready = contender.ready(toml).map_err(|error| error.to_string())?;
        match row.work {
            Work::Idle => idle(&ready),
            Work::Perf(args) | Work::Configured { args, .. } => Ok(figures(&self.perf(args, &ready)?)),
            Work::Declared(topology, args) => {
                let mut declarer = Declarer::open(&ready)?;
                declarer.declare(topology)?;
                Ok(figures(&self.perf(args, &ready)?))
            }
            Work::Flooded { flood, args } => {
                let mut command = self.command(flood, &ready);
                command.args(["-z", "3600"]);
                let _flood = Background::start(&mut command).map_err(|error| error.to_string())?;
                thread::sleep(FLOOD_LEAD);
                let mut round = figures(&self.perf(args, &ready)?);
                // The broker's time is the flood's.
                round.figures.remove(Figure::Cpu.key());
                Ok(round)
            }
            Work::Beside { filler, args } => self.beside(filler, args, &ready),
        }
    }

    fn beside(&self, filler: Filler, args: &str, ready: &Ready<'_>) -> Result<Round, String> {
        let alone = self.perf(args, ready)?;
        let mut declarer = Declarer::open(ready)?;
        match filler {
            Filler::Queues(count) => declarer.queues(count)?,
            Filler::Bindings(count) => declarer.bindings(count)?,
            Filler::Connections(count) => declarer.connections(count)?,
            Filler::Backlog(count) => self.publish("bench-backlog", count, ready)?,
            Filler::IdleBacklog(count) => self.publish("bench-idle-backlog", count, ready)?,
        }
        let beside = self.perf(args, ready)?;
        let mut round = figures(&beside);
        for (figure, report) in [(Figure::CpuAlone, &alone), (Figure::Cpu, &beside)] {
            let value = cpu_both_ways(report).ok_or("the report has no CPU time")?;
            round.set(figure, value);
        }
        Ok(round)
    }

    /// Leaves messages in a queue.
    fn publish(&self, queue: &str, count: u32, ready: &Ready<'_>) -> Result<(), String> {
        let args = format!("throughput -s 16 -y 0 -C {count} -u {queue} --auto-delete false");
        self.run(&mut self.command(&args, ready)).map(drop)
    }

    /// One run of the generator.
    fn perf(&self, args: &str, ready: &Ready<'_>) -> Result<Value, String> {
        let mut command = self.command(args, ready);
        if is_timed(args) {
            command.args(["-z", &self.seconds.to_string()]);
        }
        self.run(&mut command)
    }

    fn command(&self, args: &str, ready: &Ready<'_>) -> Command {
        let mut command = Command::new(&self.generator);
        command.arg("perf").args(args.split_whitespace()).args(["-H", &ready.uri, "--json"]);
        if let Some(pid) = ready.pid {
            command.args(["--broker-pid", &pid.to_string()]);
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<Value, String> {
        let time_max = Duration::from_secs_f64(self.seconds) + TIME_EXTRA_MAX;
        child::report(command, time_max, &self.stopped)
    }
}

/// Whether a run with these arguments is measured by time, not by count.
pub(crate) fn is_timed(args: &str) -> bool {
    !args.split_whitespace().next().is_some_and(|scenario| scenario.ends_with("-count"))
}

fn idle(ready: &Ready<'_>) -> Result<Round, String> {
    thread::sleep(SETTLE_TIME);
    let mut round = Round::default();
    round.set(Figure::Idle, ready.resident().ok_or("its memory cannot be read")?);
    Ok(round)
}

/// All figures that a report has.
fn figures(report: &Value) -> Round {
    let mut round = Round::default();
    for figure in Figure::ALL {
        if let Some(value) = figure.find(report) {
            round.set(figure, value);
        }
    }
    round
}

/// CPU microseconds for each message that went in and out, halves counted where only one of them happened: with a backlog
/// the two need not be equally many.
fn cpu_both_ways(report: &Value) -> Option<f64> {
    let number = |place: &str| report.pointer(place)?.as_f64();
    let messages = f64::midpoint(number("/published/messages")?, number("/consumed/messages")?);
    Some(number("/broker/cpu_s")? * 1e6 / messages).filter(|cpu| cpu.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::ROWS;

    #[test]
    fn what_is_measured_by_count() {
        let counted: Vec<_> = ROWS
            .iter()
            .filter(|row| row.work.args().is_some_and(|args| !is_timed(args)))
            .map(|row| row.name)
            .collect();
        assert_eq!(counted, ["connections", "queues"]);
    }

    #[test]
    fn messages_in_and_out() {
        let report = |published: u64, consumed: u64| {
            serde_json::json!({
                "broker": { "cpu_s": 1.0 }, "published": { "messages": published }, "consumed": { "messages": consumed }
            })
        };
        assert_eq!(cpu_both_ways(&report(1_000_000, 3_000_000)), Some(0.5));
        assert_eq!(cpu_both_ways(&report(0, 0)), None);
        assert_eq!(cpu_both_ways(&serde_json::json!({ "broker": null })), None);
    }
}
