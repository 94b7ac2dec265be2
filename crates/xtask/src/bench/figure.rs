//! Figures: what is read from a report of `warrenmq perf`, how it is called, and how it is written.

use serde_json::Value;

/// One kind of number about a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU microseconds of the broker for each message.
    Cpu,
    /// The same before what it is measured beside was there.
    CpuAlone,
    /// Messages a second that were consumed.
    Rate,
    /// Median latency in microseconds.
    P50,
    /// 99th percentile of the latency in microseconds.
    P99,
    /// How late the generator itself was, 99th percentile in microseconds.
    Lateness,
    /// Operations a second: connections opened, bindings made, …
    Operations,
    /// Resident octets of a broker that was just started.
    Idle,
    /// Resident octets for each connection or queue.
    Each,
    /// Most resident octets seen while it worked.
    Peak,
}

impl Figure {
    /// All of them.
    pub(crate) const ALL: [Figure; 10] = [
        Figure::Cpu,
        Figure::CpuAlone,
        Figure::Rate,
        Figure::P50,
        Figure::P99,
        Figure::Lateness,
        Figure::Operations,
        Figure::Idle,
        Figure::Each,
        Figure::Peak,
    ];

    /// Its name among the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Figure::Cpu => "cpu_us_per_message",
            Figure::CpuAlone => "cpu_us_per_message_alone",
            Figure::Rate => "messages_per_second",
            Figure::P50 => "p50_us",
            Figure::P99 => "p99_us",
            Figure::Lateness => "generator_lateness_p99_us",
            Figure::Operations => "operations_per_second",
            Figure::Idle => "idle_bytes",
            Figure::Each => "bytes_each",
            Figure::Peak => "peak_bytes",
        }
    }

    /// What a table or an axis says above it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Figure::Cpu | Figure::CpuAlone => "CPU time for each message, us",
            Figure::Rate => "messages a second",
            Figure::P50 => "median latency, us",
            Figure::P99 => "99th percentile of the latency, us",
            Figure::Lateness => "lateness of the generator, 99th percentile, us",
            Figure::Operations => "operations a second",
            Figure::Idle => "resident memory after the start",
            Figure::Each => "resident memory for each",
            Figure::Peak => "resident memory at its most",
        }
    }

    /// Whether less of it is better.
    pub(crate) fn less_is_better(self) -> bool {
        !matches!(self, Figure::Rate | Figure::Operations)
    }

    /// The value with its unit, short enough for a table.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Figure::Cpu | Figure::CpuAlone => significant(value),
            Figure::Rate | Figure::Operations => thousands(value),
            Figure::P50 | Figure::P99 | Figure::Lateness => format!("{value:.0}"),
            Figure::Idle | Figure::Each | Figure::Peak => octets(value),
        }
    }

    /// The same with what it counts, for a line of progress.
    pub(crate) fn text_with_unit(self, value: f64) -> String {
        let text = self.text(value);
        match self {
            Figure::Cpu => format!("{text} us"),
            Figure::CpuAlone => format!("{text} us alone"),
            Figure::Rate | Figure::Operations => format!("{text}/s"),
            Figure::P50 => format!("p50 {text} us"),
            Figure::P99 => format!("p99 {text} us"),
            Figure::Lateness => format!("generator {text} us late"),
            Figure::Idle => format!("{text} idle"),
            Figure::Each => format!("{text} each"),
            Figure::Peak => format!("at most {text}"),
        }
    }

    /// Its value in a report of `warrenmq perf`, in the first place that has one.
    pub(crate) fn find(self, report: &Value) -> Option<f64> {
        let places: &[&str] = match self {
            Figure::Cpu => &["/broker/cpu_us_per_message"],
            Figure::Rate => &["/consumed/rate"],
            Figure::P50 => &["/latency_us/p50", "/consumer_latency_us/p50"],
            Figure::P99 => &["/latency_us/p99", "/consumer_latency_us/p99"],
            Figure::Lateness => &["/lateness_us/p99"],
            Figure::Operations => &["/phases/0/rate"],
            Figure::Each => &["/each/rss_bytes"],
            Figure::Peak => &["/broker/rss_max_bytes"],
            Figure::CpuAlone | Figure::Idle => &[],
        };
        places.iter().find_map(|place| report.pointer(place)?.as_f64())
    }
}

/// A number with three digits that count.
pub(crate) fn significant(value: f64) -> String {
    let magnitude = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let digits = usize::try_from(2 - magnitude).unwrap_or(0);
    format!("{value:.digits$}")
}

/// A whole number with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn octets(value: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.into_iter().find(|(size, _)| value >= *size);
    unit.map_or_else(
        || format!("{value:.0} B"),
        |(size, name)| format!("{} {name}", significant(value / size)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_text() {
        let cases = [
            (Figure::Cpu, 0.088_12, "0.0881"),
            (Figure::Cpu, 558.4, "558"),
            (Figure::Cpu, 0.0, "0.00"),
            (Figure::Rate, 14_585_000.4, "14,585,000"),
            (Figure::Operations, 700.0, "700"),
            (Figure::P99, 89.6, "90"),
            (Figure::Idle, 7_950_000.0, "7.95 MB"),
            (Figure::Each, 2_300.0, "2.30 kB"),
            (Figure::Each, 870.0, "870 B"),
        ];
        for (figure, value, text) in cases {
            assert_eq!(figure.text(value), text);
        }
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = Figure::ALL.iter().map(|figure| figure.key()).collect();
        assert_eq!(keys.len(), Figure::ALL.len());
    }

    #[test]
    fn a_report_has_figures() {
        let report = serde_json::json!({
            "consumed": { "rate": 5.0 }, "consumer_latency_us": { "p50": 1.5, "p99": null }, "broker": null
        });
        let found = Figure::ALL.map(|figure| figure.find(&report));
        let expected = [None, None, Some(5.0), Some(1.5), None, None, None, None, None, None];
        assert_eq!(found, expected);
    }
}
