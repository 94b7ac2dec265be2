//! `perf backlog`: publish into a queue that nobody reads, measure what that takes, restart the broker, drain the queue.
//!
//! Invariant: the queue is this run's own and is deleted at the end, unless `--keep` is given; what is drained is what the broker
//! says is there, so a message that it has lost is seen as one that is missing and is not waited for.

use std::{
    io::{self, ErrorKind, Read},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Parser};
use rustix::io::ioctl_fionbio;
use warrenmq_wire::method::{FieldTable, Method, queue};

use super::{delete_now, set_up, summary};
use crate::perf::{
    args::ThroughputArgs,
    clock::{self, now_ns},
    common::{CommonArgs, parse_seconds},
    connection::{CHANNEL, Connection, unexpected},
    error::PerfError,
    process::Process,
    report::{self, Flow, Latency, Report},
    summary::{Interval, Phase, Summary},
    throughput, topology,
};

/// Between two attempts to reach a broker that starts, and two looks at a queue that still takes in.
const PAUSE: Duration = Duration::from_millis(10);
/// A queue whose length has not changed for so long has got all it will get.
const SETTLED: Duration = Duration::from_secs(1);
/// Allocators give memory back with a delay.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Arguments of `warrenmq perf backlog`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BacklogArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,

    /// Producers.
    #[arg(short = 'x', long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    producers: u16,
    /// Messages that each producer publishes.
    #[arg(short = 'C', long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..), help_heading = "Run")]
    pmessages: u64,
    /// Octets of a message body.
    #[arg(short = 's', long, default_value_t = 16, value_name = "OCTETS", help_heading = "Messages")]
    size: u32,
    /// Message flags; persistent also makes the queue durable.
    #[arg(short = 'f', long, value_name = "FLAG", help_heading = "Messages", value_parser = ["persistent"])]
    flag: Option<String>,
    /// Publisher confirms, with at most N messages of a producer unconfirmed; 0 for none.
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1000, help_heading = "Messages")]
    confirm: u64,
    /// Acknowledge every N messages with one basic.ack; without it and --qos the drain is without acknowledgements.
    #[arg(short = 'A', long, value_name = "N", help_heading = "Consuming",
          value_parser = clap::value_parser!(u64).range(1..))]
    multi_ack_every: Option<u64>,
    /// Prefetch count of the drain.
    #[arg(short = 'q', long, value_name = "N", help_heading = "Consuming",
          value_parser = clap::value_parser!(u16).range(1..))]
    qos: Option<u16>,
    /// Queue name.
    #[arg(short = 'u', long, default_value = "perf-backlog", value_name = "NAME", help_heading = "Topology")]
    queue: String,
    /// Queue arguments as KEY=VALUE,...; a value that is a number or true/false is sent as one.
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "",
        hide_default_value = true,
        help_heading = "Topology"
    )]
    queue_args: String,
    /// Leave the queue there with its messages: no drain.
    #[arg(long, help_heading = "Run")]
    keep: bool,
    /// Shell command that restarts the broker; a number on its standard output is the new process id.
    #[arg(long, value_name = "COMMAND", help_heading = "Run")]
    restart_command: Option<String>,
    /// Longest time from the end of the restart command until the broker can be used.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = parse_seconds,
          help_heading = "Run")]
    restart_time: Duration,
    /// The broker's data folder, on this machine: reports the disk space that its files take.
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    data_dir: Option<PathBuf>,
}

/// The traffic of one phase, put together as if it were typed.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: ThroughputArgs,
}

/// Publishes, restarts if asked to, drains.
///
/// # Errors
/// What the broker says against it, and a restart that does not come to an end.
pub(super) fn run(args: &BacklogArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("backlog", &args.common);
    args.note(&mut summary);
    let mut common = args.common.clone();
    let publishing = args.publishing()?;
    let mut setup = set_up(&common)?;
    topology::declare(&mut setup, &publishing)?;
    let there = length(&mut setup, &args.queue)?;
    if there > 0 {
        return Err(PerfError::Options(format!("queue {} has {there} messages already", args.queue)));
    }
    summary.look("before")?;
    let report = throughput::run(&publishing, |line| common.live(line))?;
    summary.phases.push(published(&report));
    let full = settled_length(&mut setup, &args.queue, report.published.messages)?;
    summary.look("full")?;
    summary.share("message", full);
    if let Some(command) = &args.restart_command {
        setup.close();
        let began_ns = now_ns();
        common.broker_pid = restart(command, common.broker_pid)?;
        setup = reach(&common, args.restart_time)?;
        summary.restart_s = Some(clock::seconds(now_ns() - began_ns));
        summary.pid = common.broker_pid;
        summary.look("restarted")?;
        // A queue that is not durable is gone.
        topology::declare(&mut setup, &publishing)?;
    }
    let left = length(&mut setup, &args.queue)?;
    if args.confirm > 0 && (args.flag.is_some() || args.restart_command.is_none()) {
        summary.lost = Some(report.published.messages.saturating_sub(left));
    }
    if !args.keep {
        args.drain(&common, left, &mut summary)?;
        delete_now(&mut setup, &args.queue)?;
        if summary.pid.is_some() {
            thread::sleep(GIVE_BACK);
        }
        summary.look("after")?;
    }
    setup.close();
    Ok(summary)
}

impl BacklogArgs {
    fn note(&self, summary: &mut Summary) {
        summary.data_dir.clone_from(&self.data_dir);
        summary.option("producers", self.producers);
        summary.option("size", self.size);
        summary.option("persistent", self.flag.is_some());
        summary.option("confirm", self.confirm);
    }

    /// Consumes `left` messages.
    fn drain(&self, common: &CommonArgs, left: u64, summary: &mut Summary) -> Result<(), PerfError> {
        if left == 0 {
            return Ok(());
        }
        let report = throughput::run(&self.draining(common, left)?, |line| common.live(line))?;
        summary.phases.push(drained(&report));
        summary.out_of_order = Some(report.order_violations);
        summary.look("drained")
    }

    fn publishing(&self) -> Result<ThroughputArgs, PerfError> {
        let mut words = self.words();
        words.extend(["-y".into(), "0".into(), "-x".into(), self.producers.to_string()]);
        words.extend(["-C".into(), self.pmessages.to_string()]);
        words.extend(["-s".into(), self.size.to_string()]);
        if self.confirm > 0 {
            words.extend(["-c".into(), self.confirm.to_string()]);
        }
        traffic(&words, &self.common)
    }

    fn draining(&self, common: &CommonArgs, messages: u64) -> Result<ThroughputArgs, PerfError> {
        let mut words = self.words();
        words.extend(["-p", "-x", "0", "-y", "1"].map(String::from));
        words.extend(["-D".into(), messages.to_string()]);
        if let Some(every) = self.multi_ack_every {
            words.extend(["-A".into(), every.to_string()]);
        }
        if let Some(prefetch) = self.qos {
            words.extend(["-q".into(), prefetch.to_string()]);
        }
        traffic(&words, common)
    }

    /// What publishing and draining have in common.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<_> =
            ["perf", "--auto-delete", "false", "-u", &self.queue].map(String::from).into();
        words.push(format!("--queue-args={}", self.queue_args));
        if let Some(flag) = &self.flag {
            words.extend(["-f".into(), flag.clone()]);
        }
        words
    }
}

/// The options of a run of `throughput`, of the broker that `common` names.
fn traffic(words: &[String], common: &CommonArgs) -> Result<ThroughputArgs, PerfError> {
    let line = Line::try_parse_from(words).map_err(|error| PerfError::Options(error.to_string()))?;
    let args = ThroughputArgs { common: common.clone(), ..line.args };
    args.check().map_err(PerfError::Options)?;
    Ok(args)
}

/// Messages in the queue that are ready for consumers.
fn length(setup: &mut Connection, queue: &str) -> Result<u64, PerfError> {
    let passive = queue::Declare {
        queue: queue.into(),
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::default(),
    };
    match setup.call(CHANNEL, &Method::Queue(queue::AMQPMethod::Declare(passive)))? {
        Method::Queue(queue::AMQPMethod::DeclareOk(ok)) => Ok(ok.message_count.into()),
        other => Err(unexpected("queue.declare", &other)),
    }
}

/// The same, when all `expected` have arrived or no more do: without confirms some are still on their way.
fn settled_length(setup: &mut Connection, queue: &str, expected: u64) -> Result<u64, PerfError> {
    let mut last = length(setup, queue)?;
    let mut since = Instant::now();
    while last < expected && since.elapsed() < SETTLED {
        thread::sleep(PAUSE);
        let now = length(setup, queue)?;
        if now != last {
            since = Instant::now();
        }
        last = now;
    }
    Ok(last)
}

/// Runs the command to its end; the process id of the new broker, if it is known.
fn restart(command: &str, pid: Option<u32>) -> Result<Option<u32>, PerfError> {
    let failed = |source: io::Error| PerfError::Restart(source.to_string());
    let mut shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut output = shell.stdout.take();
    let mut text = Vec::new();
    // Not to the end of the stream: a broker that the command has started may hold it open.
    let status = loop {
        let status = shell.try_wait().map_err(failed)?;
        if let Some(output) = &mut output {
            ioctl_fionbio(&*output, true).map_err(|error| failed(error.into()))?;
            match output.read_to_end(&mut text) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failed(error)),
                _ => {}
            }
        }
        match status {
            Some(status) => break status,
            None => thread::sleep(PAUSE),
        }
    };
    if !status.success() {
        return Err(PerfError::Restart(status.to_string()));
    }
    let printed = String::from_utf8_lossy(&text).split_whitespace().rev().find_map(|word| word.parse().ok());
    Ok(printed.or_else(|| pid.filter(|&pid| Process::new(pid).memory().is_ok())))
}

/// Connects as soon as the broker lets it.
fn reach(common: &CommonArgs, time_max: Duration) -> Result<Connection, PerfError> {
    let until = Instant::now() + time_max;
    loop {
        match set_up(common) {
            Err(_) if Instant::now() < until => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn published(report: &Report) -> Phase {
    let confirm =
        |latency: Option<Latency>| latency.map(|latency| ("confirm", latency)).into_iter().collect();
    let interval = |interval: &report::Interval| Interval {
        time_s: interval.time_s,
        rate: interval.published,
        latency_us: confirm(interval.confirm_latency_us),
    };
    Phase {
        latency_us: confirm(report.confirm_latency_us),
        generator_cpu_us_per_operation: report.generator.producer_cpu_us_per_message,
        intervals: report.intervals.iter().map(interval).collect(),
        distributions: report.distributions.iter().filter(|(name, _)| *name == "confirm").cloned().collect(),
        ..phase("publish", report.published, report)
    }
}

/// Without latencies: they say how long ago the messages were published.
fn drained(report: &Report) -> Phase {
    let interval = |interval: &report::Interval| Interval {
        time_s: interval.time_s,
        rate: interval.consumed,
        latency_us: Vec::new(),
    };
    Phase {
        generator_cpu_us_per_operation: report.generator.consumer_cpu_us_per_message,
        intervals: report.intervals.iter().map(interval).collect(),
        ..phase("drain", report.consumed, report)
    }
}

fn phase(name: &'static str, flow: Flow, report: &Report) -> Phase {
    Phase {
        name,
        operations: flow.messages,
        elapsed_s: report.elapsed_s,
        rate: flow.rate,
        latency_us: Vec::new(),
        cpu_us_per_operation: report.broker.and_then(|broker| broker.cpu_us_per_message),
        cores: report.broker.map(|broker| broker.cores),
        generator_cpu_us_per_operation: None,
        intervals: Vec::new(),
        distributions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf::args::Acks;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: BacklogArgs,
    }

    fn parse(line: &str) -> BacklogArgs {
        Cli::parse_from(["perf"].into_iter().chain(line.split_whitespace())).args
    }

    #[test]
    fn traffic_of_both_phases() {
        // Line, persistent, confirm window, acks, arguments of the queue.
        let cases = [
            ("", false, Some(1000), Acks::Auto, 0),
            ("-f persistent -c 0 -q 50", true, None, Acks::Every(1), 0),
            (
                "-A 10 -q 100 --queue-args x-max-length=5,x-queue-mode=lazy",
                false,
                Some(1000),
                Acks::Every(10),
                2,
            ),
        ];
        for (line, persistent, confirm, acks, arguments) in cases {
            let args = parse(line);
            let publishing = args.publishing().unwrap();
            assert_eq!((publishing.persistent(), publishing.confirm), (persistent, confirm), "{line}");
            assert_eq!((publishing.producers, publishing.consumers), (1, 0), "{line}");
            assert_eq!(publishing.pmessages, Some(1_000_000), "{line}");
            assert_eq!(publishing.queue_args.inner().len(), arguments, "{line}");
            assert!(!publishing.auto_delete, "{line}");
            let draining = args.draining(&args.common, 77).unwrap();
            assert_eq!((draining.producers, draining.consumers), (0, 1), "{line}");
            assert_eq!((draining.cmessages, draining.acks()), (Some(77), acks), "{line}");
            assert!(draining.predeclared, "{line}");
        }
        assert!(parse("-A 100 -q 10").draining(&parse("").common, 1).is_err(), "never reached");
        assert!(parse("--queue-args nonsense").publishing().is_err());
    }

    #[test]
    fn the_new_process_is_the_number_that_the_command_prints() {
        let own = std::process::id();
        let cases = [
            ("echo started 17", Some(5), Some(17)),
            ("echo", Some(own), Some(own)),
            ("true", Some(u32::MAX), None),
            ("(sleep 2; echo 3) & echo 9", None, Some(9)),
        ];
        for (command, before, after) in cases {
            assert_eq!(restart(command, before).unwrap(), after, "{command}");
        }
        assert!(restart("exit 3", None).unwrap_err().to_string().contains('3'));
    }
}
