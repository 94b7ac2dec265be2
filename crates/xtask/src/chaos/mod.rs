//! The chaos run (`cargo xtask chaos`): real clients of several languages publish and consume through a proxy that treats their connections
//! badly, and in the end nothing that was confirmed is lost, nothing was invented, everybody gets through, and the broker has
//! nothing left of those who have gone. What clients do stands in `interop/chaos.md`.

mod client;
mod ledger;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use warrenmq_testkit::process::{self, BrokerHome, BrokerProcess, Profile};
use warrenmq_testkit::proxy::Proxy;
use warrenmq_testkit::usage::Usage;

use crate::endurance::census::Census;
use crate::endurance::sampler::{Sample, Sampler};
use crate::flat::{Allowance, Flatness};
use crate::tally::Tally;
use client::Client;
use ledger::{Account, Ledger};

/// The queues of all clients.
const DEFINITIONS: &str = r#"{
  "vhosts": [{ "name": "/" }],
  "queues": [
    { "name": "chaos", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {} },
    { "name": "chaos-quorum", "vhost": "/", "durable": true, "auto_delete": false, "arguments": { "x-queue-type": "quorum" } }
  ]
}"#;
const QUEUES: [&str; 2] = ["chaos", "chaos-quorum"];

/// How long the run of the gate puts up with.
const SECONDS_OF_GATE: f64 = 30.0;
/// The same mishaps each time.
const SEED_OF_GATE: u64 = 1;

/// How long a client may take to install what it needs.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(8 * 60);
/// In the calm: how long a publisher may take to get its last message through, consumers to take what is there, a client to end. Two
/// heartbeats of 3 s, a handshake that hangs for 10 s, and a busy machine.
const CALM_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the broker may keep a connection whose client is gone: a handshake has 10 s, a close 15 s.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(40);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A broker of which no socket comes or goes for so long has no client.
const REST_INTERVAL: Duration = Duration::from_secs(1);

/// Late samples of memory against early ones. Connections come and go, and messages of clients that are held up wait.
const MEMORY: Allowance = Allowance { part: 0.25, amount: 8.0 * 1024.0 * 1024.0 };
/// The same for descriptors: as many connections hang as were left alone within two heartbeats.
const DESCRIPTORS: Allowance = Allowance { part: 0.5, amount: 10.0 };
/// Files of the store that are open or not; sockets have no allowance.
const FILES_MAX: u64 = 4;

/// How long, and with which mishaps.
#[derive(Args)]
pub(crate) struct Selection {
    /// So many minutes of mishaps
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Which mishaps: the same seed gives the connection of a number the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this build of WarrenMQ instead of one of this checkout
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// The short form.
pub(crate) fn gate(root: &Path) -> Tally {
    let minutes = SECONDS_OF_GATE / 60.0;
    play(root, &Selection { minutes, seed: SEED_OF_GATE, binary: None })
}

/// Runs; true when all holds.
pub(crate) fn run(root: &Path, selection: &Selection) -> bool {
    let tally = play(root, selection);
    println!("{tally}");
    tally.failed == 0
}

fn play(root: &Path, selection: &Selection) -> Tally {
    match Scene::open(root, selection).and_then(|scene| scene.map(|scene| scene.play(selection)).transpose())
    {
        Ok(Some(violations)) => {
            violations.iter().for_each(|violation| println!("failed: {violation}"));
            Tally::of(violations.is_empty())
        }
        Ok(None) => Tally::skipped(),
        Err(error) => {
            println!("failed: {error}");
            Tally::of(false)
        }
    }
}

/// Broker, proxy and clients.
struct Scene {
    clients: Vec<Client>,
    ledger: Arc<Mutex<Ledger>>,
    proxy: Proxy,
    broker: BrokerProcess,
    home: BrokerHome,
    /// The broker before the first client.
    before: Usage,
    violations: Vec<String>,
}

impl Scene {
    /// Starts everything; `None` where no client can run.
    fn open(root: &Path, selection: &Selection) -> io::Result<Option<Scene>> {
        let binary = match &selection.binary {
            Some(binary) => binary.clone(),
            None => process::build(root, Profile::Release)?,
        };
        let home = BrokerHome::new()?;
        let definitions = home.write_file("definitions.json", DEFINITIONS)?;
        let arguments =
            ["--log".into(), "warn".into(), "--load-definitions".into(), definitions.into_os_string()];
        let broker = BrokerProcess::start(&binary, &home, arguments)?;
        Census::open(broker.address()).and_then(Census::close).map_err(io::Error::other)?;
        let before = at_rest(&broker)?;
        let proxy = Proxy::start(broker.address(), selection.seed)?;
        let ledger = Arc::default();
        let mut clients = Vec::new();
        for folder in client::folders(root)? {
            clients.push(Client::start(&folder, proxy.address(), &ledger)?);
        }
        let mut scene = Scene { clients, ledger, proxy, broker, home, before, violations: Vec::new() };
        // They are at work, or say that they cannot be.
        if !scene
            .everybody(INSTALL_TIME_MAX, "began", |account| account.is_skipped || account.has_published())?
        {
            return Err(io::Error::other(scene.violations.join("; ")));
        }
        let Scene { clients, ledger, .. } = &mut scene;
        clients
            .retain(|client| !lock(ledger).account(&client.name).is_some_and(|account| account.is_skipped));
        Ok(if scene.clients.is_empty() { None } else { Some(scene) })
    }

    /// Mishaps, calm, and the looks at what is left; says what must not be and is.
    fn play(mut self, selection: &Selection) -> io::Result<Vec<String>> {
        let sampler = Sampler::start(self.home.data_dir());
        sampler.watch(self.broker.pid());
        let end = Instant::now() + Duration::from_secs_f64(selection.minutes * 60.0);
        while Instant::now() < end && self.broker.is_running()? {
            thread::sleep(POLL_INTERVAL);
        }
        let samples = sampler.since(0.0);
        drop(sampler);
        self.check_happened();
        self.proxy.calm();
        self.finish()?;
        self.check_flat(&samples)?;
        println!("{}", lock(&self.ledger));
        self.violations.extend(lock(&self.ledger).violations());
        if self.home.log().contains("panicked") {
            self.violations.push("the broker has panicked".to_owned());
        }
        if !self.violations.is_empty() {
            println!("the broker's log ends with:\n{}", self.home.log_tail());
        }
        Ok(self.violations)
    }

    /// Publishers end, consumers take what is there, everybody leaves.
    fn finish(&mut self) -> io::Result<()> {
        let began = Instant::now();
        self.clients.iter_mut().for_each(|client| client.tell("finish"));
        self.everybody(CALM_TIME_MAX, "got its last message through", |account| account.attempted.is_some())?;
        let ledger = Arc::clone(&self.ledger);
        // What is missing after that time is a violation of its own.
        let _ = wait(CALM_TIME_MAX, || Ok(lock(&ledger).missing().is_empty()));
        let mut census = Census::open(self.broker.address()).map_err(io::Error::other)?;
        for queue in QUEUES {
            // The last acknowledgements may be on their way.
            if wait(CALM_TIME_MAX, || Ok(census.ready(queue).map_err(io::Error::other)? == 0)).is_err() {
                self.violations.push(format!("{queue} is not empty"));
            }
        }
        census.close().map_err(io::Error::other)?;
        self.clients.iter_mut().for_each(|client| client.tell("end"));
        self.everybody(CALM_TIME_MAX, "left in order", |account| account.has_ended)?;
        for client in &mut self.clients {
            if wait(CALM_TIME_MAX, || Ok(client.ended().is_some())).is_err() || client.ended() != Some(true) {
                self.violations.push(format!("{} has not ended well", client.name));
            }
        }
        println!("everybody was through {:.1} s after the last mishap", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits until something holds of every client, and notes of whom it does not.
    fn everybody(
        &mut self,
        time_max: Duration,
        what: &str,
        holds: impl Fn(&Account) -> bool,
    ) -> io::Result<bool> {
        let names: Vec<_> = self.clients.iter().map(|client| client.name.clone()).collect();
        let ledger = Arc::clone(&self.ledger);
        let late = || {
            let ledger = lock(&ledger);
            names.iter().filter(|name| !ledger.account(name).is_some_and(&holds)).cloned().collect::<Vec<_>>()
        };
        let mut is_alive = || self.clients.iter_mut().all(|client| client.ended() != Some(false));
        let _ = wait(time_max, || Ok(late().is_empty() || !is_alive()));
        let late = late();
        let complaints = late.iter().map(|name| format!("{name} has not {what} in {time_max:?}"));
        self.violations.extend(complaints);
        Ok(late.is_empty())
    }

    /// A run without mishaps shows nothing.
    fn check_happened(&mut self) {
        let happened = self.proxy.happened();
        println!("{} connections: {happened:?}", self.proxy.accepted());
        let never = happened.iter().filter(|(_, count)| *count == 0);
        self.violations.extend(never.map(|(name, _)| format!("no connection had the mishap `{name}`")));
    }

    /// The broker has nothing left of those who have gone, and took no more in the end than in the beginning.
    fn check_flat(&mut self, samples: &[Sample]) -> io::Result<()> {
        let began = Instant::now();
        let connections = |usage: &Usage| usage.sockets.saturating_sub(self.before.sockets);
        let mut after = Usage::of(self.broker.pid())?;
        let all_gone = wait(LEAVE_TIME_MAX, || {
            after = Usage::of(self.broker.pid())?;
            Ok(connections(&after) == 0 && self.proxy.open() == 0)
        });
        println!("before {:?}\nafter  {after:?}, {:.1} s later", self.before, began.elapsed().as_secs_f64());
        if all_gone.is_err() {
            let (left, open) = (connections(&after), self.proxy.open());
            self.violations
                .push(format!("{left} connections of the broker and {open} of the proxy are left"));
        }
        if after.descriptors > self.before.descriptors + FILES_MAX {
            self.violations.push(format!(
                "{} descriptors at the end, {} before",
                after.descriptors, self.before.descriptors
            ));
        }
        let values =
            |value: fn(&Sample) -> u64| samples.iter().map(|sample| value(sample) as f64).collect::<Vec<_>>();
        let looks = [
            ("memory", values(|sample| sample.resident), MEMORY),
            ("descriptors", values(|sample| sample.descriptors), DESCRIPTORS),
        ];
        for (what, values, allowance) in looks {
            let Some(flatness) = Flatness::of_thirds(&values, allowance) else { continue };
            println!("{what}: {flatness:?}");
            if !flatness.is_kept() {
                self.violations.push(format!("{what} is not flat: {flatness:?}"));
            }
        }
        Ok(())
    }
}

/// The broker when its sockets have come to rest: what it has without a client.
fn at_rest(broker: &BrokerProcess) -> io::Result<Usage> {
    let mut last = Usage::of(broker.pid())?;
    loop {
        thread::sleep(REST_INTERVAL);
        let now = Usage::of(broker.pid())?;
        if now.sockets == last.sockets {
            return Ok(now);
        }
        last = now;
    }
}

/// Looks again and again until something is so.
fn wait(time_max: Duration, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + time_max;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("not within {time_max:?}")));
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
