//! What the operations of one phase have come to so far: their number, their latencies, the time and CPU they took.
//!
//! Invariant: time and CPU are counted between [`Meter::resume`] and [`Meter::pause`] only, so that two meters can share a run
//! whose phases alternate.

use std::fmt::{self, Display, Formatter};

use hdrhistogram::Histogram;

use super::{
    clock,
    common::CommonArgs,
    error::PerfError,
    process::{CpuTime, Process, thread_cpu_ns},
    report::{Latency, count, micros_each, rate},
    summary::{Interval, Phase},
    tally::histogram,
};

/// The figures of one phase.
#[derive(Debug)]
pub(crate) struct Meter {
    common: CommonArgs,
    name: &'static str,
    steps: Vec<Step>,
    operations: u64,
    /// Time counted before the last [`Self::resume`].
    elapsed_ns: u64,
    broker: Option<Broker>,
    own_cpu_ns: u64,
    running: Option<Running>,
    interval_ns: u64,
    /// Time counted and operations at the last live line.
    last: (u64, u64),
    intervals: Vec<Interval>,
}

/// One method of the operation.
#[derive(Debug)]
struct Step {
    name: &'static str,
    all: Histogram<u64>,
    /// Since the last live line.
    fresh: Histogram<u64>,
}

/// The broker's process.
#[derive(Debug)]
struct Broker {
    pid: u32,
    cpu_ns: u64,
}

/// Readings at the last [`Meter::resume`].
#[derive(Debug)]
struct Running {
    since_ns: u64,
    broker: Option<CpuTime>,
    own_cpu_ns: u64,
}

impl Meter {
    /// For a phase whose operations consist of `steps`.
    pub(crate) fn new(common: &CommonArgs, name: &'static str, steps: &[&'static str]) -> Self {
        let step = |&name: &&'static str| Step { name, all: histogram(), fresh: histogram() };
        Self {
            common: common.clone(),
            name,
            steps: steps.iter().map(step).collect(),
            operations: 0,
            elapsed_ns: 0,
            broker: common.broker_pid.map(|pid| Broker { pid, cpu_ns: 0 }),
            own_cpu_ns: 0,
            running: None,
            interval_ns: clock::nanos(common.interval),
            last: (0, 0),
            intervals: Vec::new(),
        }
    }

    /// Begins to count time.
    ///
    /// # Errors
    /// When the broker's process is gone.
    pub(crate) fn resume(&mut self) -> Result<(), PerfError> {
        let broker = self.broker.as_ref().map(|broker| cpu_time(broker.pid)).transpose()?;
        self.running = Some(Running { broker, own_cpu_ns: thread_cpu_ns(), since_ns: clock::now_ns() });
        Ok(())
    }

    /// Stops counting time.
    ///
    /// # Errors
    /// When the broker's process is gone.
    pub(crate) fn pause(&mut self) -> Result<(), PerfError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        self.elapsed_ns += clock::now_ns().saturating_sub(running.since_ns);
        self.own_cpu_ns += thread_cpu_ns().saturating_sub(running.own_cpu_ns);
        if let (Some(broker), Some(before)) = (&mut self.broker, &running.broker) {
            broker.cpu_ns += cpu_time(broker.pid)?.since(before);
        }
        Ok(())
    }

    /// An answer has come to a method sent at `sent_ns`; `ends` when it was the last of its operation.
    pub(crate) fn answer(&mut self, step: usize, sent_ns: u64, now_ns: u64, ends: bool) {
        if let Some(step) = self.steps.get_mut(step) {
            step.fresh.saturating_record(now_ns.saturating_sub(sent_ns));
        }
        self.operations += u64::from(ends);
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Prints the live line when it is time; to be called at least once for each interval.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        let running_ns = self.running.as_ref().map_or(0, |running| now_ns.saturating_sub(running.since_ns));
        let time_ns = self.elapsed_ns + running_ns;
        if time_ns.saturating_sub(self.last.0) < self.interval_ns {
            return;
        }
        let interval = self.end_interval(time_ns);
        self.common.live(Line { phase: self.name, operations: self.operations, interval: &interval });
        self.intervals.push(interval);
    }

    /// The figures.
    ///
    /// # Errors
    /// When the broker's process is gone.
    pub(crate) fn finish(mut self) -> Result<Phase, PerfError> {
        self.pause()?;
        let rest_ns = self.elapsed_ns.saturating_sub(self.last.0);
        let rest = self.end_interval(self.elapsed_ns);
        // A short one would show in a chart as a rate that a few operations make.
        if self.intervals.is_empty() || rest_ns > self.interval_ns / 2 {
            self.intervals.push(rest);
        }
        let elapsed_s = clock::seconds(self.elapsed_ns);
        let cpu_ns = self.broker.as_ref().map(|broker| broker.cpu_ns);
        let latencies = self.steps.iter().filter_map(|step| Some((step.name, Latency::new(&step.all)?)));
        Ok(Phase {
            name: self.name,
            operations: self.operations,
            elapsed_s,
            rate: rate(self.operations, elapsed_s),
            latency_us: latencies.collect(),
            cpu_us_per_operation: cpu_ns.and_then(|cpu_ns| micros_each(cpu_ns, self.operations)),
            cores: cpu_ns.filter(|_| elapsed_s > 0.0).map(|cpu_ns| clock::seconds(cpu_ns) / elapsed_s),
            generator_cpu_us_per_operation: micros_each(self.own_cpu_ns, self.operations),
            intervals: self.intervals,
            distributions: self.steps.into_iter().map(|step| (step.name, step.all)).collect(),
        })
    }

    /// What has happened since the last interval ended.
    fn end_interval(&mut self, time_ns: u64) -> Interval {
        let (last_ns, last_operations) = self.last;
        self.last = (time_ns, self.operations);
        let mut latency_us = Vec::new();
        for step in &mut self.steps {
            latency_us.extend(Latency::new(&step.fresh).map(|latency| (step.name, latency)));
            step.all += &step.fresh;
            step.fresh.reset();
        }
        let seconds = clock::seconds(time_ns.saturating_sub(last_ns));
        let rate = rate(self.operations - last_operations, seconds);
        Interval { time_s: clock::seconds(time_ns), rate, latency_us }
    }
}

/// What a live line shows.
struct Line<'a> {
    phase: &'static str,
    /// Since the beginning.
    operations: u64,
    interval: &'a Interval,
}

impl Display for Line<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { phase, operations, interval: Interval { time_s, rate, latency_us } } = self;
        write!(out, "time {time_s:.3} s, {phase} {} a second, {operations} in all", count(*rate))?;
        for (step, Latency { min, p50, p75, p95, p99, .. }) in latency_us {
            write!(
                out,
                ", min/median/75th/95th/99th {step} latency {min:.0}/{p50:.0}/{p75:.0}/{p95:.0}/{p99:.0} us"
            )?;
        }
        Ok(())
    }
}

fn cpu_time(pid: u32) -> Result<CpuTime, PerfError> {
    Process::new(pid).cpu_time().map_err(|source| PerfError::Process { pid, source })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonArgs,
    }

    /// A meter with intervals of one second that began to count at the time it comes with.
    fn meter() -> (Meter, u64) {
        let mut meter = Meter::new(&Cli::parse_from(["perf"]).common, "open+close", &["open", "close"]);
        meter.resume().unwrap();
        let since_ns = meter.running.as_ref().unwrap().since_ns;
        (meter, since_ns)
    }

    #[test]
    fn intervals_have_what_happened_in_them() {
        let (mut meter, start) = meter();
        let second = 1_000_000_000;
        // Answers (step, latency, whether it ends an operation), time of the tick in seconds; intervals so far, rate of the last.
        type Case<'a> = (&'a [(usize, u64, bool)], u64, usize, f64);
        let cases: [Case; 4] = [
            (&[(0, 5_000, false), (1, 7_000, true)], 0, 0, 0.0),
            (&[(0, 5_000, false), (1, 9_000, true)], 1, 1, 2.0),
            (&[(0, 5_000, false)], 2, 2, 0.0),
            (&[(1, 5_000, true), (7, 1, true)], 4, 3, 1.0),
        ];
        for (answers, seconds, intervals, rate) in cases {
            for &(step, latency, ends) in answers {
                meter.answer(step, start, start + latency, ends);
            }
            meter.tick(start + seconds * second);
            assert_eq!(meter.intervals.len(), intervals, "{seconds} s");
            assert_eq!(meter.intervals.last().map_or(0.0, |interval| interval.rate), rate, "{seconds} s");
        }
        let samples = |interval: &Interval| {
            interval.latency_us.iter().map(|(step, latency)| (*step, latency.samples)).collect::<Vec<_>>()
        };
        let found: Vec<_> = meter.intervals.iter().map(samples).collect();
        assert_eq!(found, [vec![("open", 2), ("close", 2)], vec![("open", 1)], vec![("close", 1)]]);
    }

    #[test]
    fn a_phase_has_everything_and_pauses_do_not_count() {
        let (mut meter, start) = meter();
        meter.pause().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        meter.resume().unwrap();
        meter.answer(0, start, start + 1_000, false);
        meter.answer(1, start, start + 3_000, true);
        meter.pause().unwrap();
        assert!(meter.elapsed_ns + 20_000_000 <= clock::now_ns() - start, "the pause is not in it");
        let phase = meter.finish().unwrap();
        assert_eq!((phase.operations, phase.intervals.len()), (1, 1), "a first interval may be short");
        let latencies: Vec<_> = phase.latency_us.iter().map(|(step, latency)| (*step, latency.max)).collect();
        assert_eq!(latencies.iter().map(|(step, _)| *step).collect::<Vec<_>>(), ["open", "close"]);
        assert!((latencies[1].1 / 3.0 - 1.0).abs() < 0.01, "{latencies:?}");
        assert_eq!((phase.cpu_us_per_operation, phase.cores), (None, None), "no process was named");
    }
}
