//! The broker's process during a run: its CPU time since the start, its memory at each look.

use super::{
    error::PerfError,
    process::{CpuTime, Memory, Process},
    report::{Broker, micros_each},
};

/// A process under observation.
#[derive(Debug)]
pub(crate) struct Watched {
    pid: u32,
    process: Process,
    before: CpuTime,
    rss_max_bytes: u64,
}

impl Watched {
    /// Starts watching.
    ///
    /// # Errors
    /// When there is no such process.
    pub(crate) fn new(pid: u32) -> Result<Self, PerfError> {
        let process = Process::new(pid);
        let before = process.cpu_time().map_err(|source| PerfError::Process { pid, source })?;
        Ok(Self { pid, process, before, rss_max_bytes: 0 })
    }

    /// Looks at the memory.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn look(&mut self) -> Result<Memory, PerfError> {
        let memory = self.process.memory().map_err(|source| PerfError::Process { pid: self.pid, source })?;
        self.rss_max_bytes = self.rss_max_bytes.max(memory.resident);
        Ok(memory)
    }

    /// What it has used for `messages` in `seconds`.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn sum_up(&mut self, messages: u64, seconds: f64) -> Result<Broker, PerfError> {
        let now = self.process.cpu_time().map_err(|source| PerfError::Process { pid: self.pid, source })?;
        let cpu_ns = now.since(&self.before);
        let memory = self.look()?;
        let cpu_s = super::clock::seconds(cpu_ns);
        Ok(Broker {
            pid: self.pid,
            cpu_s,
            cpu_us_per_message: micros_each(cpu_ns, messages),
            cores: if seconds > 0.0 { cpu_s / seconds } else { 0.0 },
            rss_bytes: memory.resident,
            rss_max_bytes: self.rss_max_bytes,
            rss_peak_bytes: memory.peak,
        })
    }
}
