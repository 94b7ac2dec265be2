//! What a scenario of operations has found: its phases and the memory and disk it took; for people or as one JSON object.
//!
//! Invariant: latencies are in microseconds, rates in operations a second, memory and disk in octets; a figure that was not
//! measured is absent (`null`), never zero.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{
    error::PerfError,
    process::Process,
    report::{Latency, count, mebibytes, micros},
};

/// The summary of a run. Its JSON form is documented in `docs/perf.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: &'static str,
    /// The options that matter for the figures.
    pub(crate) run: Map<String, Value>,
    pub(crate) phases: Vec<Phase>,
    /// The broker's size at moments of the run, in their order; empty without `--broker-pid` and `--data-dir`.
    pub(crate) sizes: Vec<Size>,
    /// What the memory was taken for.
    pub(crate) each: Option<Each>,
}

/// One kind of operation from its first to its last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) operations: u64,
    pub(crate) elapsed_s: f64,
    pub(crate) rate: f64,
    /// From the sending of a method to the reading of its answer, by step of the operation.
    #[serde(serialize_with = "as_map")]
    pub(crate) latency_us: Vec<(&'static str, Latency)>,
    /// CPU time of the broker.
    pub(crate) cpu_us_per_operation: Option<f64>,
    /// CPU time of the broker over elapsed time.
    pub(crate) cores: Option<f64>,
    /// CPU time of this process, which is no part of the broker's.
    pub(crate) generator_cpu_us_per_operation: Option<f64>,
}

/// How big the broker is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    pub(crate) at: &'static str,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) disk_bytes: Option<u64>,
}

/// The difference that things of one kind have made to the memory of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Each {
    pub(crate) of: &'static str,
    pub(crate) count: u64,
    /// Resident octets of each; below zero when the broker has become smaller.
    pub(crate) rss_bytes: f64,
}

impl Summary {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self { scenario, run: Map::new(), phases: Vec::new(), sizes: Vec::new(), each: None }
    }

    /// Notes an option.
    pub(crate) fn option(&mut self, name: &str, value: impl Into<Value>) {
        self.run.insert(name.into(), value.into());
    }

    /// Looks at the memory of the broker `pid`, if there is one to look at.
    ///
    /// # Errors
    /// When there is no such process.
    pub(crate) fn look(&mut self, at: &'static str, pid: Option<u32>) -> Result<(), PerfError> {
        if let Some(pid) = pid {
            let memory = Process::new(pid).memory().map_err(|source| PerfError::Process { pid, source })?;
            self.sizes.push(Size { at, rss_bytes: Some(memory.resident), disk_bytes: None });
        }
        Ok(())
    }

    /// Says that `count` things have come to be between the first look and the last.
    pub(crate) fn share(&mut self, of: &'static str, count: u64) {
        let rss = |size: Option<&Size>| size.and_then(|size| size.rss_bytes);
        if let (Some(before), Some(full)) = (rss(self.sizes.first()), rss(self.sizes.last()))
            && count > 0
        {
            self.each = Some(Each { of, count, rss_bytes: (full as f64 - before as f64) / count as f64 });
        }
    }
}

impl Display for Summary {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "summary of {}", self.scenario)?;
        for (name, value) in &self.run {
            write!(out, ", {name} {value}")?;
        }
        for phase in &self.phases {
            write!(out, "\n{phase}")?;
        }
        if !self.sizes.is_empty() {
            let sizes: Vec<_> = self.sizes.iter().map(Size::to_string).collect();
            write!(out, "\n  broker: {}", sizes.join("; "))?;
        }
        if let Some(Each { of, rss_bytes, .. }) = self.each {
            write!(out, "\n  {} octets of RSS a {of}", count(rss_bytes))?;
        }
        Ok(())
    }
}

impl Display for Phase {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, operations, elapsed_s, rate, .. } = self;
        write!(out, "  {name:<14} {operations} in {elapsed_s:.3} s, {} a second", count(*rate))?;
        if let Some(cores) = self.cores {
            write!(out, ", broker {} us CPU each ({cores:.2} cores)", micros(self.cpu_us_per_operation))?;
        }
        write!(out, ", generator {} us", micros(self.generator_cpu_us_per_operation))?;
        for (step, latency) in &self.latency_us {
            write!(out, "\n    {step} latency in us: {latency}")?;
        }
        Ok(())
    }
}

impl Display for Size {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.at)?;
        if let Some(rss) = self.rss_bytes {
            write!(out, " RSS {:.1} MiB", mebibytes(rss))?;
        }
        if let Some(disk) = self.disk_bytes {
            write!(out, " disk {:.1} MiB", mebibytes(disk))?;
        }
        Ok(())
    }
}

fn as_map<S: Serializer>(latencies: &[(&'static str, Latency)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(latencies.iter().map(|(step, latency)| (step, latency)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_each() {
        let size = |rss_bytes| Size { at: "", rss_bytes, disk_bytes: None };
        // Sizes, count, octets of each.
        let cases = [
            (vec![], 5, None),
            (vec![size(Some(1_000)), size(Some(9_000)), size(Some(6_000))], 5, Some(1_000.0)),
            (vec![size(Some(1_000)), size(Some(500))], 5, Some(-100.0)),
            (vec![size(Some(1_000)), size(None)], 5, None),
            (vec![size(Some(1_000)), size(Some(9_000))], 0, None),
        ];
        for (sizes, count, expected) in cases {
            let mut summary = Summary { sizes, ..Summary::new("test") };
            summary.share("thing", count);
            assert_eq!(summary.each.map(|each| each.rss_bytes), expected, "{summary}");
        }
    }
}
