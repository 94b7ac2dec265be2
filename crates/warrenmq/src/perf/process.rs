//! CPU time and memory of a process, read from `/proc`.
//!
//! Two clocks are read. `schedstat` of every thread counts nanoseconds but forgets threads that have ended; `stat` of
//! the process remembers them but counts hundredths of a second. Their difference tells which one to believe.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use rustix::time::{ClockId, clock_gettime};

use super::clock;

/// `USER_HZ`: Linux reports `utime` and `stime` in hundredths of a second on every architecture we run on.
const NANOS_PER_TICK: u64 = 10_000_000;

/// CPU time that a process had used at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuTime {
    by_thread: BTreeMap<u32, u64>,
    by_ticks_ns: u64,
}

/// Resident memory of a process, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Now.
    pub(crate) resident: u64,
    /// Most since the process started.
    pub(crate) peak: u64,
}

/// The process `pid`.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    folder: PathBuf,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { folder: format!("/proc/{pid}").into() }
    }

    /// CPU time used so far.
    ///
    /// # Errors
    /// When the process is gone or belongs to a system without `/proc`.
    pub(crate) fn cpu_time(&self) -> io::Result<CpuTime> {
        let by_ticks_ns = ticks(&fs::read_to_string(self.folder.join("stat"))?)? * NANOS_PER_TICK;
        let mut by_thread = BTreeMap::new();
        for entry in fs::read_dir(self.folder.join("task"))? {
            let folder = entry?.path();
            let thread = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A thread may end between the listing and the reading.
            if let (Some(thread), Ok(text)) = (thread, fs::read_to_string(folder.join("schedstat"))) {
                by_thread.insert(thread, on_cpu_ns(&text)?);
            }
        }
        Ok(CpuTime { by_thread, by_ticks_ns })
    }

    /// Memory in use.
    ///
    /// # Errors
    /// As [`Self::cpu_time`].
    pub(crate) fn memory(&self) -> io::Result<Memory> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        Ok(Memory { resident: kilobytes(&status, "VmRSS:")?, peak: kilobytes(&status, "VmHWM:")? })
    }
}

impl CpuTime {
    /// Nanoseconds used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        let used =
            |(thread, &now): (&u32, &u64)| now.saturating_sub(*earlier.by_thread.get(thread).unwrap_or(&0));
        let by_thread: u64 = self.by_thread.iter().map(used).sum();
        // Each reading of the ticks is short by less than one tick; more than that is the time of ended threads.
        let by_ticks = self.by_ticks_ns.saturating_sub(earlier.by_ticks_ns);
        by_thread.max(by_ticks.saturating_sub(NANOS_PER_TICK))
    }
}

/// CPU time of the calling thread so far in nanoseconds. Unlike `schedstat` it is up to date.
pub(crate) fn thread_cpu_ns() -> u64 {
    clock::ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// The first number of `schedstat`.
fn on_cpu_ns(schedstat: &str) -> io::Result<u64> {
    schedstat
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| unreadable("schedstat"))
}

/// `utime + stime`, the 14th and 15th field of `stat`; the second is a name that may hold spaces and parentheses.
fn ticks(stat: &str) -> io::Result<u64> {
    let (_, behind_name) = stat.rsplit_once(')').ok_or_else(|| unreadable("stat"))?;
    let mut times = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(user + system),
        _ => Err(unreadable("stat")),
    }
}

fn kilobytes(status: &str, field: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number =
        line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse::<u64>().ok());
    number.map(|kilobytes| kilobytes * 1024).ok_or_else(|| unreadable("status"))
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/PID/{file} is not in the known format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(by_thread: &[(u32, u64)], by_ticks_ns: u64) -> CpuTime {
        CpuTime { by_thread: by_thread.iter().copied().collect(), by_ticks_ns }
    }

    #[test]
    fn since_an_earlier_moment() {
        let tick = NANOS_PER_TICK;
        let cases = [
            (cpu(&[(1, 100)], 0), cpu(&[(1, 350)], 0), 250),
            // A thread that started in between counts whole.
            (cpu(&[(1, 100)], 0), cpu(&[(1, 100), (2, 40)], 0), 40),
            // One that ended is only in the ticks.
            (cpu(&[(1, 0), (2, tick)], tick), cpu(&[(1, tick)], 9 * tick), 7 * tick),
            // Within a tick the threads are believed.
            (cpu(&[(1, 0)], tick), cpu(&[(1, 3 * tick)], 5 * tick), 3 * tick),
        ];
        for (earlier, later, used) in cases {
            assert_eq!(later.since(&earlier), used, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn formats() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(ticks(stat).unwrap(), 300);
        assert!(ticks("7 (a").is_err());
        assert_eq!(on_cpu_ns("123 456 7\n").unwrap(), 123);
        assert_eq!(kilobytes("VmHWM:\t   12 kB\nVmRSS:\t    8 kB\n", "VmRSS:").unwrap(), 8192);
    }

    #[test]
    fn this_process() {
        let process = Process::new(std::process::id());
        let earlier = process.cpu_time().unwrap();
        let mut sum = 0u64;
        while thread_cpu_ns() == 0 || process.cpu_time().unwrap().since(&earlier) == 0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let memory = process.memory().unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
    }
}
