//! What the broker asks of the machine it runs on.
//!
//! Invariant: nothing here can keep it from starting, but for a machine without randomness.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};

/// Allows this process as many open files, and so connections, as the system lets it. The limit that programs start with is
/// 1024 on most systems, for the sake of programs that use `select`.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// The name of this host.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Threads for connections: as many as can run at once.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Unix time in milliseconds; 0 for a machine whose clock stands before 1970.
pub(crate) fn unix_time_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Random octets, from which made-up names and salts come.
///
/// # Errors
/// When the system has none to give.
pub(super) fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    // Up to 256 octets come whole once there are any.
    getrandom(&mut seed, GetRandomFlags::empty())?;
    Ok(seed)
}
