//! What a scenario of operations has found: its phases and the memory and disk it took; for people or as one JSON object.
//!
//! Invariant: latencies are in microseconds, rates in operations a second, memory and disk in octets; a figure that was not
//! measured is absent (`null`), never zero.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use warrenmq_plot::{Axis, Panel, Scale};

use super::{
    error::PerfError,
    plot,
    process::Process,
    report::{Latency, count, mebibytes, micros},
};

/// The unit in which Linux counts the space of a file.
const BLOCK_BYTES: u64 = 512;

/// The summary of a run. Its JSON form is documented in `docs/perf.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: &'static str,
    /// The options that matter for the figures.
    pub(crate) run: Map<String, Value>,
    pub(crate) phases: Vec<Phase>,
    /// From the beginning of the restart until AMQP answered.
    pub(crate) restart_s: Option<f64>,
    /// Messages that the broker has confirmed and does not have any more.
    pub(crate) lost: Option<u64>,
    pub(crate) out_of_order: Option<u64>,
    /// The broker's size at moments of the run, in their order; empty without `--broker-pid` and `--data-dir`.
    pub(crate) sizes: Vec<Size>,
    /// What the memory was taken for.
    pub(crate) each: Option<Each>,
    /// The broker's process.
    #[serde(skip)]
    pub(crate) pid: Option<u32>,
    /// The broker's data folder.
    #[serde(skip)]
    pub(crate) data_dir: Option<PathBuf>,
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
    /// What happened between two live lines, in order.
    pub(crate) intervals: Vec<Interval>,
    /// Latencies in full, in nanoseconds and by step, for charts.
    #[serde(skip)]
    pub(crate) distributions: Vec<(&'static str, Histogram<u64>)>,
}

/// What happened between two live lines of a phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// Its end, since the start of the phase.
    pub(crate) time_s: f64,
    pub(crate) rate: f64,
    #[serde(serialize_with = "as_map")]
    pub(crate) latency_us: Vec<(&'static str, Latency)>,
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
    pub(crate) fn new(scenario: &'static str, pid: Option<u32>) -> Self {
        Self {
            scenario,
            run: Map::new(),
            phases: Vec::new(),
            restart_s: None,
            lost: None,
            out_of_order: None,
            sizes: Vec::new(),
            each: None,
            pid,
            data_dir: None,
        }
    }

    /// Whether the broker has kept its promises.
    pub(crate) fn is_sound(&self) -> bool {
        self.lost.unwrap_or_default() == 0 && self.out_of_order.unwrap_or_default() == 0
    }

    /// Notes an option.
    pub(crate) fn option(&mut self, name: &str, value: impl Into<Value>) {
        self.run.insert(name.into(), value.into());
    }

    /// Looks at the memory of the broker and at its data folder, as far as they are known.
    ///
    /// # Errors
    /// When there is no such process or folder.
    pub(crate) fn look(&mut self, at: &'static str) -> Result<(), PerfError> {
        let rss = |pid| match Process::new(pid).memory() {
            Ok(memory) => Ok(memory.resident),
            Err(source) => Err(PerfError::Process { pid, source }),
        };
        let disk = |path: &PathBuf| {
            disk_bytes(path).map_err(|source| PerfError::Folder { path: path.clone(), source })
        };
        let size = Size {
            at,
            rss_bytes: self.pid.map(rss).transpose()?,
            disk_bytes: self.data_dir.as_ref().map(disk).transpose()?,
        };
        if (size.rss_bytes, size.disk_bytes) != (None, None) {
            self.sizes.push(size);
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

    /// The chart of the run.
    pub(crate) fn panels(&self) -> Vec<Panel> {
        let distributions = self.phases.iter().flat_map(|phase| &phase.distributions);
        let distributions: Vec<_> = distributions.map(|(step, all)| (*step, all)).collect();
        let rates = self.phases.iter().map(|phase| {
            let points = phase.intervals.iter().map(|interval| (interval.time_s, interval.rate));
            (phase.name, points.collect())
        });
        let steps = self.phases.iter().flat_map(|phase| {
            let steps = phase.latency_us.iter().map(|(step, _)| *step);
            steps.flat_map(|step| phase.latency_over_time(step))
        });
        vec![
            plot::by_percentile("latency", &distributions),
            plot::by_time("rate", Axis::new("operations a second", Scale::Linear), rates),
            plot::by_time("latency over time", Axis::new("us", Scale::Log), steps),
        ]
    }
}

impl Phase {
    /// The curves of one step.
    fn latency_over_time(&self, step: &'static str) -> [(String, Vec<(f64, f64)>); 2] {
        let curve = |value: fn(&Latency) -> f64| {
            let points = self.intervals.iter().filter_map(|interval| {
                let (_, latency) = interval.latency_us.iter().find(|(name, _)| *name == step)?;
                Some((interval.time_s, value(latency)))
            });
            points.collect()
        };
        [
            (format!("{step} 50 %"), curve(|latency| latency.p50)),
            (format!("{step} 99 %"), curve(|latency| latency.p99)),
        ]
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
        if let Some(restart_s) = self.restart_s {
            write!(out, "\n  restart        {restart_s:.3} s until AMQP answered")?;
        }
        for (name, messages) in [("lost", self.lost), ("out of order", self.out_of_order)] {
            if let Some(messages) = messages {
                write!(out, "\n  {name:<14} {messages}")?;
            }
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

/// Disk space of all files in the folder. A file that goes away meanwhile takes none.
fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path).and_then(|metadata| match metadata.is_dir() {
            true => disk_bytes(&path),
            false => Ok(metadata.blocks() * BLOCK_BYTES),
        });
        match found {
            Ok(octets) => sum += octets,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

fn as_map<S: Serializer>(latencies: &[(&'static str, Latency)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(latencies.iter().map(|(step, latency)| (step, latency)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_space_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(disk_bytes(folder.path()).unwrap(), 0);
        fs::create_dir(folder.path().join("inner")).unwrap();
        for name in ["a", "inner/b"] {
            fs::write(folder.path().join(name), vec![1; 100_000]).unwrap();
        }
        let octets = disk_bytes(folder.path()).unwrap();
        assert!((200_000..300_000).contains(&octets), "{octets}");
        assert!(disk_bytes(&folder.path().join("nothing")).is_err());
    }

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
            let mut summary = Summary { sizes, ..Summary::new("test", None) };
            summary.share("thing", count);
            assert_eq!(summary.each.map(|each| each.rss_bytes), expected, "{summary}");
        }
    }
}
