//! What a run has found: the live line, and the summary for people or as one JSON object.
//!
//! Invariant: latencies are in microseconds, rates in messages a second, memory in octets; a figure that was not
//! measured is absent (`null`), never zero.

use std::fmt::{self, Display, Formatter};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::ThroughputArgs;

/// The summary of a run. Its JSON form is documented in `docs/perf.md`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) run: Settings,
    /// Length of the measured window.
    pub(crate) elapsed_s: f64,
    pub(crate) published: Flow,
    pub(crate) consumed: Flow,
    /// Absent without `--confirm`.
    pub(crate) confirmed: Option<Flow>,
    pub(crate) nacked: u64,
    /// Confirms of messages that were not outstanding: a fault of the broker.
    pub(crate) unexpected_confirms: u64,
    pub(crate) returned: u64,
    pub(crate) redelivered: u64,
    /// Consumed messages that an earlier run had left; they are in no latency and no order check.
    pub(crate) stale: u64,
    pub(crate) order_violations: u64,
    pub(crate) consumer_latency_us: Option<Latency>,
    pub(crate) confirm_latency_us: Option<Latency>,
    pub(crate) broker: Option<Broker>,
    /// How long after its time each message was written; absent without a rate.
    pub(crate) lateness_us: Option<Latency>,
    /// CPU time of the generator's own threads, which is no part of the broker's.
    pub(crate) generator: Generator,
    /// What happened between two live lines, in order.
    pub(crate) intervals: Vec<Interval>,
    /// Latencies in full, in nanoseconds and by name, for charts.
    #[serde(skip)]
    pub(crate) distributions: Vec<(&'static str, Histogram<u64>)>,
}

/// What was run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Settings {
    pub(crate) broker: String,
    pub(crate) producers: u16,
    pub(crate) consumers: u16,
    pub(crate) queues: usize,
    /// Keys that each producer publishes to in turn.
    pub(crate) routing_keys: usize,
    /// Sets of properties and headers, in turn.
    pub(crate) header_sets: u32,
    pub(crate) size: u32,
    pub(crate) persistent: bool,
    pub(crate) mandatory: bool,
    pub(crate) rate: Option<u64>,
    pub(crate) confirm: Option<u64>,
    pub(crate) acks: String,
    pub(crate) qos: Option<u16>,
}

/// Messages in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Flow {
    pub(crate) messages: u64,
    pub(crate) rate: f64,
}

/// Percentiles of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) samples: u64,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// The broker's process during the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Broker {
    pub(crate) pid: u32,
    pub(crate) cpu_s: f64,
    /// For each message delivered, or published when there are no consumers; absent when there were no messages.
    pub(crate) cpu_us_per_message: Option<f64>,
    /// CPU time over elapsed time.
    pub(crate) cores: f64,
    /// At the end of the window.
    pub(crate) rss_bytes: u64,
    /// Largest seen during the window, once for each live line.
    pub(crate) rss_max_bytes: u64,
    /// Largest since the process started.
    pub(crate) rss_peak_bytes: u64,
}

/// The generator's own cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Generator {
    pub(crate) producer_cpu_us_per_message: Option<f64>,
    pub(crate) consumer_cpu_us_per_message: Option<f64>,
}

/// What happened between two live lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// Its end, since the start of the run.
    pub(crate) time_s: f64,
    /// Messages a second, as the next two.
    pub(crate) published: f64,
    pub(crate) consumed: f64,
    pub(crate) confirmed: Option<f64>,
    pub(crate) consumer_latency_us: Option<Latency>,
    pub(crate) confirm_latency_us: Option<Latency>,
}

impl Settings {
    pub(crate) fn new(args: &ThroughputArgs) -> Self {
        Self {
            broker: args.common.broker(),
            producers: args.producers,
            consumers: args.consumers,
            queues: args.queue_names().len(),
            routing_keys: args.keys_in_turn(),
            header_sets: args.message.header_sets,
            size: args.size,
            persistent: args.persistent(),
            mandatory: args.mandatory(),
            rate: args.rate,
            confirm: args.confirm,
            acks: if args.eager_acks { format!("{}, eager", args.acks()) } else { args.acks().to_string() },
            qos: args.qos,
        }
    }
}

impl Flow {
    pub(crate) fn new(messages: u64, seconds: f64) -> Self {
        Self { messages, rate: rate(messages, seconds) }
    }
}

impl Latency {
    /// Of a histogram in nanoseconds; `None` when it is empty.
    pub(crate) fn new(histogram: &Histogram<u64>) -> Option<Self> {
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| micros(histogram.value_at_quantile(quantile).min(histogram.max()));
        (!histogram.is_empty()).then(|| Self {
            samples: histogram.len(),
            min: micros(histogram.min()),
            p50: at(0.50),
            p75: at(0.75),
            p90: at(0.90),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(histogram.max()),
        })
    }
}

/// Messages a second; zero in no time.
pub(crate) fn rate(messages: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { messages as f64 / seconds } else { 0.0 }
}

/// Microseconds for each message.
pub(crate) fn micros_each(cpu_ns: u64, messages: u64) -> Option<f64> {
    (messages > 0).then(|| cpu_ns as f64 / 1e3 / messages as f64)
}

impl Display for Interval {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "time {:.3} s, sent {} msg/s, received {} msg/s",
            self.time_s,
            count(self.published),
            count(self.consumed)
        )?;
        if let Some(confirmed) = self.confirmed {
            write!(out, ", confirmed {} msg/s", count(confirmed))?;
        }
        let latencies = [("consumer", &self.consumer_latency_us), ("confirm", &self.confirm_latency_us)];
        for (name, latency) in latencies {
            if let Some(Latency { min, p50, p75, p95, p99, .. }) = latency {
                write!(
                    out,
                    ", min/median/75th/95th/99th {name} latency {min:.0}/{p50:.0}/{p75:.0}/{p95:.0}/{p99:.0} us"
                )?;
            }
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "summary of {:.3} s", self.elapsed_s)?;
        let flows = [
            ("published", Some(self.published)),
            ("consumed", Some(self.consumed)),
            ("confirmed", self.confirmed),
        ];
        for (name, flow) in flows {
            if let Some(Flow { messages, rate }) = flow {
                let megabytes = rate * f64::from(self.run.size) / 1e6;
                writeln!(
                    out,
                    "  {name:<11} {messages} messages, {} msg/s, {megabytes:.1} MB/s",
                    count(rate)
                )?;
            }
        }
        let latencies = [
            ("consumer latency", &self.consumer_latency_us),
            ("confirm latency", &self.confirm_latency_us),
            ("written after its time", &self.lateness_us),
        ];
        for (name, latency) in latencies {
            if let Some(latency) = latency {
                writeln!(out, "  {name} in us: {latency}")?;
            }
        }
        let counts = [
            ("out of order", self.order_violations),
            ("redelivered", self.redelivered),
            ("stale", self.stale),
            ("returned", self.returned),
            ("nacked", self.nacked),
            ("unexpected confirms", self.unexpected_confirms),
        ];
        let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "  {}", counts.join(", "))?;
        if let Some(broker) = &self.broker {
            writeln!(out, "  broker: {broker}")?;
        }
        write!(
            out,
            "  generator: {} us CPU a message published, {} consumed",
            micros(self.generator.producer_cpu_us_per_message),
            micros(self.generator.consumer_cpu_us_per_message)
        )
    }
}

impl Display for Latency {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "min {:.1}, median {:.1}, 75th {:.1}, 90th {:.1}, 95th {:.1}, 99th {:.1}, 99.9th {:.1}, max {:.1} ({} samples)",
            self.min, self.p50, self.p75, self.p90, self.p95, self.p99, self.p999, self.max, self.samples
        )
    }
}

impl Display for Broker {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} us CPU a message ({:.2} cores), RSS {:.1} MiB (most {:.1}, since its start {:.1})",
            micros(self.cpu_us_per_message),
            self.cores,
            mebibytes(self.rss_bytes),
            mebibytes(self.rss_max_bytes),
            mebibytes(self.rss_peak_bytes)
        )
    }
}

/// For people.
pub(crate) fn mebibytes(octets: u64) -> f64 {
    octets as f64 / (1 << 20) as f64
}

/// Microseconds, if they were measured.
pub(crate) fn micros(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

/// A whole number with its thousands apart.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_apart() {
        for (value, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1_000.0, "1,000"),
            (12_345_678.0, "12,345,678"),
            (100_000.0, "100,000"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = super::super::tally::histogram();
        assert_eq!(Latency::new(&histogram), None);
        for micros in 1..=1000 {
            histogram.saturating_record(micros * 1000);
        }
        let latency = Latency::new(&histogram).unwrap();
        assert_eq!(latency.samples, 1000);
        for (found, exact) in
            [(latency.min, 1.0), (latency.p50, 500.0), (latency.p99, 990.0), (latency.max, 1000.0)]
        {
            assert!((found / exact - 1.0).abs() < 0.01, "{found} instead of {exact}");
        }
    }

    #[test]
    fn nothing_in_no_time() {
        assert_eq!(rate(10, 0.0), 0.0);
        assert_eq!(rate(10, 2.0), 5.0);
        assert_eq!(micros_each(1_000, 0), None);
        assert_eq!(micros_each(3_000, 2), Some(1.5));
    }
}
