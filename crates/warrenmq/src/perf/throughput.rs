//! One run of `perf throughput` or `perf latency`: sets it up, watches it, ends it, sums it up.
//!
//! Invariant: the measured window begins before the first producer's first message and ends before any worker is
//! told to stop; connecting, declaring and closing are outside of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    args::ThroughputArgs,
    clock,
    connection::Connection,
    consumer::Consumer,
    error::PerfError,
    producer::Producer,
    report::{Flow, Generator, Interval, Latency, Report, Settings, micros_each, rate},
    side::Side,
    topology,
    watched::Watched,
};

/// How often the end of a run is looked for.
const WATCH_NS: u64 = 10_000_000;
/// After the last publish: when this long nothing more has come, the rest is not coming.
const QUIET_NS: u64 = 1_000_000_000;

/// A run that is on.
#[derive(Debug)]
struct Run<'a> {
    args: &'a ThroughputArgs,
    producers: Side,
    consumers: Side,
    stop: Arc<AtomicBool>,
    start_ns: u64,
    broker: Option<Watched>,
    /// What was said so far.
    intervals: Vec<Interval>,
}

/// Counts of all workers at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    at_ns: u64,
    published: u64,
    consumed: u64,
    confirmed: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The time was up: the window ends there.
    Time,
    /// All messages were published or consumed: the window of either side ends with its last.
    Count,
}

/// Runs what `args` ask for; `live` gets a line for each interval.
///
/// # Errors
/// [`PerfError`]; the run is then over.
pub(crate) fn run(args: &ThroughputArgs, mut live: impl FnMut(&Interval)) -> Result<Report, PerfError> {
    let mut setup = Connection::open(&args.common.uri, "perf setup", args.framemax)?;
    topology::declare(&mut setup, args)?;
    setup.close();
    let stop = Arc::new(AtomicBool::new(false));
    let mut run = Run {
        args,
        producers: Side::new(),
        consumers: Side::new(),
        stop: Arc::clone(&stop),
        start_ns: 0,
        broker: None,
        intervals: Vec::new(),
    };
    let result = run.start().and_then(|()| run.watch(&mut live)).and_then(|end| run.sum_up(end));
    stop.store(true, Relaxed);
    let joined = run.consumers.join().and(run.producers.join());
    let mut report = result?;
    joined?;
    run.complete(&mut report);
    Ok(report)
}

impl Run<'_> {
    fn start(&mut self) -> Result<(), PerfError> {
        let consumers = (0..self.args.consumers).map(|number| Consumer::open(self.args, number, &self.stop));
        let consumers: Vec<_> = consumers.collect::<Result<_, _>>()?;
        let producers = (0..self.args.producers).map(|number| Producer::open(self.args, number, &self.stop));
        let producers: Vec<_> = producers.collect::<Result<_, _>>()?;
        self.broker = self.args.common.broker_pid.map(Watched::new).transpose()?;
        self.start_ns = clock::now_ns();
        // Without producers here nobody can tell old messages from new ones.
        let since_ns = if producers.is_empty() { 0 } else { self.start_ns };
        for consumer in consumers {
            let tally = Arc::clone(&consumer.tally);
            self.consumers.spawn("perf consumer", &tally, &self.stop, move || consumer.run(since_ns))?;
        }
        let start_ns = self.start_ns;
        for producer in producers {
            let tally = Arc::clone(&producer.tally);
            self.producers.spawn("perf producer", &tally, &self.stop, move || producer.run(start_ns))?;
        }
        Ok(())
    }

    /// Waits for the end.
    fn watch(&mut self, live: &mut impl FnMut(&Interval)) -> Result<End, PerfError> {
        let end_ns =
            self.args.time_limit().map_or(u64::MAX, |time| self.start_ns.saturating_add(clock::nanos(time)));
        let interval_ns = clock::nanos(self.args.common.interval);
        let mut line_ns = self.start_ns.saturating_add(interval_ns);
        let mut last = Counts { at_ns: self.start_ns, ..Counts::default() };
        loop {
            let now = clock::now_ns();
            let next = now.saturating_add(WATCH_NS).min(line_ns).min(end_ns);
            thread::sleep(Duration::from_nanos(next.saturating_sub(now)));
            let now = clock::now_ns();
            self.producers.check()?;
            self.consumers.check()?;
            if now >= line_ns {
                line_ns = line_ns.saturating_add(interval_ns);
                let counts = self.counts();
                let interval = self.interval(last, counts);
                live(&interval);
                self.intervals.push(interval);
                last = counts;
                self.broker.as_mut().map(Watched::look).transpose()?;
            }
            if now >= end_ns {
                return Ok(End::Time);
            }
            if self.is_complete(now) {
                return Ok(End::Count);
            }
        }
    }

    /// Whether all that was to be published and consumed has been.
    fn is_complete(&self, now_ns: u64) -> bool {
        let published = self.args.pmessages.is_some() && self.producers.all_done();
        let consumed = self.args.cmessages.is_some() && self.args.consumers > 0 && self.consumers.all_done();
        if consumed && (published || self.args.pmessages.is_none() || self.args.producers == 0) {
            return true;
        }
        if !published || self.args.producers == 0 {
            return false;
        }
        let counts = self.counts();
        let expected = topology::copies(self.args).map(|copies| copies.saturating_mul(counts.published));
        let last_ns = self.consumers.last_ns().max(self.producers.last_ns()).unwrap_or(self.start_ns);
        self.args.consumers == 0
            || expected.is_some_and(|expected| {
                counts.consumed - self.consumers.sum(|tally| &tally.stale) >= expected
            })
            || now_ns.saturating_sub(last_ns) >= QUIET_NS
    }

    fn counts(&self) -> Counts {
        Counts {
            published: self.producers.sum(|tally| &tally.messages),
            consumed: self.consumers.sum(|tally| &tally.messages),
            confirmed: self.producers.sum(|tally| &tally.confirmed),
            at_ns: clock::now_ns(),
        }
    }

    fn interval(&mut self, last: Counts, counts: Counts) -> Interval {
        let seconds = clock::seconds(counts.at_ns - last.at_ns);
        Interval {
            time_s: clock::seconds(counts.at_ns - self.start_ns),
            published: rate(counts.published - last.published, seconds),
            consumed: rate(counts.consumed - last.consumed, seconds),
            confirmed: self.args.confirm.map(|_| rate(counts.confirmed - last.confirmed, seconds)),
            consumer_latency_us: Latency::new(&self.consumers.take_latency()),
            confirm_latency_us: Latency::new(&self.producers.take_latency()),
        }
    }

    /// The figures of the window, which ends here.
    fn sum_up(&mut self, end: End) -> Result<Report, PerfError> {
        let counts = self.counts();
        let until = |last_ns: Option<u64>| match (end, last_ns) {
            (End::Count, Some(last_ns)) => last_ns.min(counts.at_ns),
            _ => counts.at_ns,
        };
        let since_start = |ns: u64| clock::seconds(ns.saturating_sub(self.start_ns));
        let producing_s = since_start(until(self.producers.last_ns().filter(|_| self.producers.all_done())));
        let consuming_s = since_start(until(self.consumers.last_ns()));
        let elapsed_s = producing_s.max(consuming_s);
        let messages = if self.args.consumers > 0 { counts.consumed } else { counts.published };
        Ok(Report {
            run: Settings::new(self.args),
            elapsed_s,
            published: Flow::new(counts.published, producing_s),
            consumed: Flow::new(counts.consumed, consuming_s),
            confirmed: self.args.confirm.map(|_| Flow::new(counts.confirmed, producing_s)),
            broker: self.broker.as_mut().map(|broker| broker.sum_up(messages, elapsed_s)).transpose()?,
            ..Report::default()
        })
    }

    /// Adds what is only known when all workers have ended.
    fn complete(&mut self, report: &mut Report) {
        report.nacked = self.producers.sum(|tally| &tally.nacked);
        report.unexpected_confirms = self.producers.sum(|tally| &tally.unexpected);
        report.returned = self.producers.sum(|tally| &tally.returned);
        report.redelivered = self.consumers.sum(|tally| &tally.redelivered);
        report.stale = self.consumers.sum(|tally| &tally.stale);
        report.order_violations = self.consumers.sum(|tally| &tally.violations);
        report.intervals = std::mem::take(&mut self.intervals);
        let consumer = self.consumers.latency().clone();
        let confirm = self.producers.latency().clone();
        let lateness = self.producers.lateness();
        report.consumer_latency_us = Latency::new(&consumer);
        report.confirm_latency_us = Latency::new(&confirm);
        report.lateness_us = Latency::new(&lateness);
        report.distributions =
            vec![("consumer", consumer), ("confirm", confirm), ("written after its time", lateness)];
        let each =
            |side: &Side| micros_each(side.sum(|tally| &tally.cpu_ns), side.sum(|tally| &tally.messages));
        report.generator = Generator {
            producer_cpu_us_per_message: each(&self.producers),
            consumer_cpu_us_per_message: each(&self.consumers),
        };
    }
}
