//! A broker whose health is looked at after everything that was done to it.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};

use crate::{Client, binary};

/// How much more memory than at rest a broker may hold after something that leaves nothing behind.
const GROWTH_MAX: u64 = 64 << 20;
/// How long freed memory may take to go back to the system.
const RETURN_TIME_MAX: Duration = Duration::from_secs(10);

/// A running broker and what it looked like at rest.
#[derive(Debug)]
pub struct Watched {
    process: BrokerProcess,
    home: BrokerHome,
    resident_at_rest: u64,
}

impl Watched {
    /// Starts a broker with these lines of configuration.
    ///
    /// # Panics
    /// When it does not start, or does not serve a polite client.
    pub fn start(configuration: &str) -> Self {
        let home = BrokerHome::new().expect("a temporary folder can be made");
        Self::start_in(home, binary(), configuration)
    }

    /// The same for a broker that may have no more than `files` files and sockets open at once.
    ///
    /// # Panics
    /// When it does not start, or does not serve a polite client.
    pub fn start_with_open_files(files: u32, configuration: &str) -> Self {
        let home = BrokerHome::new().expect("a temporary folder can be made");
        let script = format!("#!/bin/sh\nulimit -n {files}\nexec '{}' \"$@\"\n", binary().display());
        let script = home.write_file("broker", &script).expect("a script can be written");
        fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("a script can be made to run");
        Self::start_in(home, &script, configuration)
    }

    fn start_in(home: BrokerHome, program: &Path, configuration: &str) -> Self {
        let file = home.write_file("warrenmq.toml", configuration).expect("a configuration can be written");
        let arguments = ["--config".as_ref(), file.as_os_str()];
        let process = BrokerProcess::start(program, &home, arguments).expect("the broker starts");
        let mut broker = Watched { process, home, resident_at_rest: u64::MAX / 2 };
        broker.check("its start");
        broker.resident_at_rest = broker.resident();
        broker
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Asks it to stop, and says how it ended.
    ///
    /// # Panics
    /// When it does not end within `time_max`.
    pub fn stop(self, time_max: Duration) -> ExitStatus {
        self.process.stop(time_max).unwrap_or_else(|error| panic!("{error}\n{}", self.home.log_tail()))
    }

    /// All that it has written to its standard output and error.
    pub fn log(&self) -> String {
        self.home.log()
    }

    /// Octets of memory that are resident now.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn resident(&self) -> u64 {
        self.process.resident().unwrap_or_else(|error| panic!("{error}\n{}", self.home.log_tail()))
    }

    /// Octets that are resident now beyond those at rest.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn growth(&self) -> u64 {
        self.resident().saturating_sub(self.resident_at_rest)
    }

    /// The process is alive, has not panicked in any thread, serves a new client, and its memory is back where it was.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn check(&mut self, after: &str) {
        self.check_serving(after);
        let deadline = Instant::now() + RETURN_TIME_MAX;
        while self.growth() > GROWTH_MAX {
            let (growth, rest) = (self.growth() >> 20, self.resident_at_rest >> 20);
            assert!(Instant::now() < deadline, "after {after}: {growth} MiB above the {rest} MiB at rest");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same without a look at the memory.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn check_serving(&mut self, after: &str) {
        let is_running = self.process.is_running().expect("the system knows its processes");
        assert!(is_running, "after {after}: the broker has ended\n{}", self.home.log_tail());
        let log = self.home.log();
        let panic = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panic, None, "after {after}:\n{}", self.home.log_tail());
        Client::open(self.address()).say(POLITE);
    }
}

/// A client that does what clients do, on channel 1.
const POLITE: &str = "\
C queue.declare 1 exclusive=true
S queue.declare-ok 1 queue=$q
C confirm.select 1
S confirm.select-ok 1
C basic.publish 1 routing-key=$q | delivery-mode=2 | body=\"still here\"
S confirmed 1 1..1
C basic.get 1 queue=$q no-ack=true
S basic.get-ok 1 delivery-tag=1 routing-key=$q | delivery-mode=2 | body=\"still here\"
C connection.close 0 200
S connection.close-ok 0";
