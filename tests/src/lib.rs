//! Black-box tests: they know the `warrenmq` binary, its command line and its sockets, and nothing of its code. Here is what
//! they share: the binary, built once for each test program, brokers started from it, and clients that need not be polite.

mod client;
pub mod frames;
mod link;
mod messages;
mod random;
mod watched;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_testkit::process::{self, BrokerHome, BrokerProcess, Profile};

pub use client::Client;
pub use link::{Delivery, End, Event, Link, Way};
pub use messages::{publish_numbered, take_numbered};
pub use random::Random;
pub use watched::Watched;

/// The binary, built with debug assertions by the first test that asks for it.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        process::build(folder, Profile::Dev).expect("the binary `warrenmq` can be built")
    });
    &BINARY
}

/// A broker with an empty data folder on a free port.
///
/// # Panics
/// When it does not start.
pub fn start_broker() -> (BrokerProcess, BrokerHome) {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let broker = restart_broker(&home);
    (broker, home)
}

/// A broker on what another one has left in `home`.
///
/// # Panics
/// When it does not start.
pub fn restart_broker(home: &BrokerHome) -> BrokerProcess {
    BrokerProcess::start(binary(), home, [""; 0]).expect("the broker starts")
}

/// The folder of the transcripts.
pub fn transcripts_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// The folder of the sample configuration and definitions.
pub fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// Looks again and again until something is so.
///
/// # Panics
/// When it is not so within 10 s.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        thread::sleep(Duration::from_millis(20));
    }
}
