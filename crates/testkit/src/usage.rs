//! What a process takes of its machine at one moment, read from `/proc`, and what a folder takes of the disk.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

/// `USER_HZ`: Linux reports CPU time in hundredths of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// What a process has, and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Octets of resident memory.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Those of them that are sockets: listeners and connections.
    pub sockets: u64,
    /// CPU time since it was started, user and system.
    pub cpu: Duration,
}

impl Usage {
    /// That of the process `pid`, now.
    ///
    /// # Errors
    /// When it has ended, belongs to somebody else, or on a system without Linux's `/proc`.
    pub fn of(pid: u32) -> io::Result<Usage> {
        let folder = Path::new("/proc").join(pid.to_string());
        let (descriptors, sockets) = descriptors(&folder.join("fd"))?;
        Ok(Usage {
            resident: resident(&fs::read_to_string(folder.join("status"))?)?,
            descriptors,
            sockets,
            cpu: cpu(&fs::read_to_string(folder.join("stat"))?)?,
        })
    }
}

/// Octets that the files in `folder`, and in its folders, take of the disk: blocks that are allocated, as `du` counts them. Files
/// that come and go meanwhile are counted or not.
pub fn disk_octets(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_octets(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// All descriptors and those that are sockets. One may be closed between the listing and the look at it.
fn descriptors(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut all, mut sockets) = (0, 0);
    for entry in fs::read_dir(folder)? {
        if let Ok(target) = fs::read_link(entry?.path()) {
            all += 1;
            sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
        }
    }
    Ok((all, sockets))
}

fn resident(status: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    // A process that has ended, and is not waited for yet, has no such line.
    kilobytes.map(|count| count * 1024).ok_or_else(|| unreadable("status"))
}

/// `utime + stime`, the 14th and 15th field; the second is a name that may hold spaces and parentheses.
fn cpu(stat: &str) -> io::Result<Duration> {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = behind_name.split_whitespace().skip(11).map(str::parse::<u32>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(TICK * (user + system)),
        _ => Err(unreadable("stat")),
    }
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc/PID/{file} does not say it: the process has ended"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn formats() {
        assert_eq!(cpu("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0").unwrap(), Duration::from_secs(3));
        assert!(cpu("7 (a").is_err());
        assert_eq!(resident("VmHWM:\t   12 kB\nVmRSS:\t    8 kB\n").unwrap(), 8192);
        assert!(resident("State:\tZ (zombie)\n").is_err());
    }

    #[test]
    fn this_process() {
        let folder = tempfile::tempdir().unwrap();
        let before = Usage::of(std::process::id()).unwrap();
        let listeners: Vec<_> = (0..50).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let after = Usage::of(std::process::id()).unwrap();
        // Other tests of this program open and close files meanwhile, but not so many.
        assert!(after.sockets >= before.sockets + 40, "{before:?} {after:?}");
        assert!(after.descriptors >= before.descriptors + 40, "{before:?} {after:?}");
        assert!(after.resident > 0 && after.cpu >= before.cpu);
        drop(listeners);
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        let octets = disk_octets(folder.path());
        assert!((100_000..200_000).contains(&octets), "{octets}");
        assert_eq!(disk_octets(&folder.path().join("none")), 0);
    }
}
