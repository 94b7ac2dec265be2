//! SIGTERM and SIGINT.
//!
//! Invariant: the first one stops the broker in order, one that comes later ends the process at once.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use warrenmq_server::Stop;

/// What clients read in connection.close, as with RabbitMQ.
const REASON: &str = "shutdown";

/// Exit code of a process that was not let finish its stop: 128 and the number of the signal, as shells have it.
const INTERRUPTED: i32 = 128;

/// Signals within this time are the same wish: many programs that start others signal the process and then its whole group.
const ECHO: Duration = Duration::from_secs(1);

/// Listens for signals from now on.
pub(super) fn listen(stop: Arc<Stop>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            if first.get_or_insert_with(Instant::now).elapsed() > ECHO {
                std::process::exit(INTERRUPTED + signal);
            }
            stop.request(REASON);
        }
    })?;
    Ok(())
}
