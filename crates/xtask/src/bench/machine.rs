//! What the figures depend on besides the brokers: the machine, its system, the day.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The machine and the time of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// Of the end of the last row, in UTC.
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    /// How many threads wanted to run, on the average of the minute before.
    pub(crate) load: String,
    /// What the data folders of the brokers are on.
    pub(crate) file_system: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: String, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let kilobytes = after(read("/proc/meminfo"), "MemTotal");
        let gigabytes = kilobytes.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
        let kernel = [read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")];
        Self {
            date: now(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: after(read("/proc/cpuinfo"), "model name"),
            memory: gigabytes.map_or_else(|| "unknown".into(), |count| format!("{:.1} GB", count / 1e6)),
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or("unknown").to_owned(),
            kernel: kernel.map(|part| part.trim().to_owned()).join(" "),
            file_system: file_system(&read("/proc/mounts"), &std::env::temp_dir()),
        }
    }
}

/// The time of the system's clock, in UTC and to the minute.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs())
}

/// Seconds since 1970 as a date and a time.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years begin with March, so that the day that comes and goes is their last; eras are of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest / 60 % 60)
}

/// The type of the file system of `folder`, by the table of mounts: the longest path that leads to it.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        folder.starts_with(path).then_some((path.len(), kind))
    });
    mounted.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let cases = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ];
        for (seconds, text) in cases {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")), "ext4");
        assert_eq!(file_system("", Path::new("/tmp")), "unknown");
    }
}
