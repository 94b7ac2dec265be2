//! The watch over the free space of the data folder: it sets and clears the broker's alarm.
//!
//! Invariant: the less is left above the limit, the sooner it looks again. What the system does not tell changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use warrenmq_broker::{Alarms, Broker};
use warrenmq_store::{Disk, FolderDisk};

/// Between two looks while much is free (as RabbitMQ), and while little is left.
const PAUSE_MAX: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// While the alarm is set: publishers wait for the next look.
const PAUSE_LOW: Duration = Duration::from_secs(1);
/// Octets that nobody fills in a millisecond: 1 GB/s.
const FILLED_PER_MS: u64 = 1_000_000;

/// The thread that looks.
#[derive(Debug)]
pub(super) struct DiskWatch {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// What one look leaves for the next.
#[derive(Debug)]
struct Watch {
    limit: u64,
    low: bool,
    /// The system did not tell, last time.
    blind: bool,
}

impl DiskWatch {
    /// Looks once, then starts the thread. `limit` is in octets.
    pub(super) fn start(broker: Arc<Broker>, folder: &Path, limit: u64) -> io::Result<DiskWatch> {
        let disk = FolderDisk::new(folder);
        let mut watch = Watch::new(limit);
        let mut pause = watch.look(disk.free_octets(), broker.alarms());
        let (stop, stopped) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("disk watch".to_owned()).spawn(move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = watch.look(disk.free_octets(), broker.alarms());
            }
        })?;
        Ok(DiskWatch { stop, thread })
    }

    /// Ends the thread.
    pub(super) fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the watch over the free disk space has failed");
        }
    }
}

impl Watch {
    fn new(limit: u64) -> Watch {
        Watch { limit, low: false, blind: false }
    }

    /// Sets or clears the alarm when the free space has crossed the limit; says when to look again.
    fn look(&mut self, free: io::Result<u64>, alarms: &Alarms) -> Duration {
        let free = match free {
            Ok(free) => free,
            Err(error) => {
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!("the free disk space is not known, the alarm stays as it is: {error}");
                }
                return if self.low { PAUSE_LOW } else { PAUSE_MAX };
            }
        };
        self.blind = false;
        let limit = self.limit;
        let low = free < limit;
        match (std::mem::replace(&mut self.low, low), low) {
            (false, true) => {
                tracing::info!("Free disk space is insufficient. Free bytes: {free}. Limit: {limit}");
                alarms.set_disk();
            }
            (true, false) => {
                tracing::info!("Free disk space is sufficient. Free bytes: {free}. Limit: {limit}");
                alarms.clear_disk();
            }
            _ => {}
        }
        if low {
            return PAUSE_LOW;
        }
        Duration::from_millis((free - limit) / FILLED_PER_MS).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    #[test]
    fn the_alarm_follows_the_free_space() {
        let alarms = Alarms::default();
        let mut watch = Watch::new(50 * MB);
        // Free, whether the alarm is set then, and the pause in milliseconds.
        let cases = [
            (Some(100_000 * MB), false, 10_000),
            (Some(10_050 * MB), false, 10_000),
            (Some(5_050 * MB), false, 5_000),
            (Some(1_050 * MB), false, 1_000),
            (Some(61 * MB), false, 11),
            (Some(60 * MB), false, 10),
            (Some(50 * MB), false, 10),
            (None, false, 10_000),
            (Some(50 * MB - 1), true, 1_000),
            (None, true, 1_000),
            (Some(0), true, 1_000),
            (Some(50 * MB), false, 10),
            (Some(u64::MAX), false, 10_000),
        ];
        for (free, low, pause) in cases {
            let told = free.ok_or_else(|| io::Error::other("not told"));
            assert_eq!(watch.look(told, &alarms), Duration::from_millis(pause), "{free:?}");
            assert_eq!(alarms.is_set(), low, "{free:?}");
        }
    }

    #[test]
    fn without_a_limit_there_is_no_alarm() {
        let alarms = Alarms::default();
        Watch::new(0).look(Ok(0), &alarms);
        assert!(!alarms.is_set());
    }
}
