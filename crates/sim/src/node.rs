//! The broker of a run, its disk and its clock.
//!
//! Invariant: definitions are durable at once and outlive every crash; of messages there is what the disk has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use warrenmq_broker::definitions::{GlobalParameter, Parameter};
use warrenmq_broker::policy::{Policy, PolicyKind};
use warrenmq_broker::{Broker, Commits, Durability, Limits, Options, ParameterError, Session, Worker};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::{Crash, SimDisk};

use crate::settings::{Change, Settings, USER};

/// Unix time at the start of a run, milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// The user with one tag more, and with its password.
const IMPERSONATOR: &[u8] = br#"{"users": [{"name": "guest", "tags": ["administrator", "impersonator"],
    "hashing_algorithm": "rabbit_password_hashing_sha256", "password_hash": "c2FsdDRwMuw4kgNZhm0cEYx1m4NAR6BCdplxDdFbnDjbRIKq"}]}"#;
/// Whose parameters are set: nobody here looks at them.
const COMPONENT: &str = "shovel";
/// What the first start is told to make names from.
const FIRST_SEED: u8 = 7;

/// How a broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Power fails; what was not synced is left to chance, drawn from this seed.
    PowerCut(u64),
    /// Power fails, with this for what was not synced.
    Cut(Crash),
    /// The process is killed: what was written is there.
    Kill,
    /// It is stopped, and then power fails.
    Stop,
}

/// A broker that can be started again.
#[derive(Debug)]
pub struct Node {
    broker: Arc<Broker>,
    /// What the present broker has below it.
    pub disk: SimDisk,
    definitions: MemoryDefinitions,
    limits: Limits,
    failed: Arc<AtomicBool>,
    /// Each start is told another one, so that no name is made up twice.
    seed: u8,
    /// Milliseconds since the start of the run.
    now: u64,
}

impl Node {
    /// The first start.
    ///
    /// # Errors
    /// What the broker says.
    pub fn start(limits: Limits) -> Result<Node, String> {
        let (definitions, disk) = (MemoryDefinitions::new(), SimDisk::new());
        let failed = Arc::new(AtomicBool::new(false));
        let broker = open(&definitions, &disk, &limits, &failed, (FIRST_SEED, 0))?;
        Ok(Node { broker, disk, definitions, limits, failed, seed: FIRST_SEED, now: 0 })
    }

    /// Milliseconds since the start of the run: the broker's time.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Unix time, milliseconds.
    pub fn unix(&self) -> u64 {
        EPOCH_MS + self.now
    }

    /// Time passes.
    pub fn advance(&mut self, milliseconds: u64) {
        self.now += milliseconds;
    }

    /// Takes a connection.
    pub fn connect(&self) -> Session {
        self.broker.connect(SocketAddr::from(([127, 0, 0, 1], 40_000)), self.now)
    }

    /// When the broker's own timers are due.
    pub fn next_timer(&self) -> Option<u64> {
        self.broker.next_timer(Waker::noop())
    }

    /// Does what is due.
    pub fn handle_timers(&self) {
        self.broker.handle_timers(self.now);
    }

    /// Sets a policy.
    ///
    /// # Errors
    /// What the broker says.
    pub fn set_policy(&self, kind: PolicyKind, policy: Policy) -> Result<(), ParameterError> {
        self.broker.set_policy(kind, policy, self.now)
    }

    /// Clears a policy.
    ///
    /// # Errors
    /// What the broker says.
    pub fn clear_policy(&self, kind: PolicyKind, name: &str) -> Result<(), ParameterError> {
        self.broker.clear_policy(kind, "/", name, self.now)
    }

    /// All policies of a kind.
    pub fn policies(&self, kind: PolicyKind) -> Vec<Arc<Policy>> {
        self.broker.policies(kind, Some("/"))
    }

    /// The names of the user policy and the operator policy that count for a queue; `None` if it is not there.
    pub fn queue_policy(&self, queue: &str) -> Option<[Option<String>; 2]> {
        let applied = self.broker.queue_policy("/", queue)?;
        let name = |policy: Option<Arc<Policy>>| policy.map(|policy| policy.name.clone());
        Some([name(applied.policy), name(applied.operator_policy)])
    }

    /// Sets what an operator sets, or clears it.
    ///
    /// # Errors
    /// What the broker says.
    pub fn set(&self, change: &Change) -> Result<(), ParameterError> {
        let broker = &self.broker;
        match change.clone() {
            Change::Vhost(Some(limits)) => broker.set_vhost_limits("/", limits),
            Change::Vhost(None) => broker.clear_vhost_limits("/"),
            Change::User(Some(limits)) => broker.set_user_limits(USER, limits),
            Change::User(None) => broker.clear_user_limits(USER, None),
            Change::Parameter(name, Some(value)) => {
                let (component, vhost) = (COMPONENT.to_owned(), "/".to_owned());
                broker.set_parameter(Parameter { component, vhost, name, value }, self.now)
            }
            Change::Parameter(name, None) => broker.clear_parameter("/", COMPONENT, &name, self.now),
            Change::Global(name, Some(value)) => broker.set_global_parameter(GlobalParameter { name, value }),
            Change::Global(name, None) => broker.clear_global_parameter(&name),
        }
    }

    /// All of that as it is.
    ///
    /// # Errors
    /// What the broker says.
    pub fn settings(&self) -> Result<Settings, ParameterError> {
        let parameters = self.broker.parameters(Some("/")).into_iter();
        let globals = self.broker.global_parameters().into_iter();
        Ok(Settings {
            vhost: self.broker.vhost_limits("/")?,
            user: self.broker.user_limits(USER)?,
            parameters: parameters
                .filter(|parameter| parameter.component == COMPONENT)
                .map(|parameter| (parameter.name, parameter.value))
                .collect(),
            // The broker has some of its own.
            globals: globals
                .filter(|parameter| parameter.name.starts_with('s'))
                .map(|parameter| (parameter.name, parameter.value))
                .collect(),
        })
    }

    /// The user may publish in the name of others from now on.
    ///
    /// # Errors
    /// What the broker says.
    pub fn let_impersonate(&self) -> Result<(), String> {
        let loaded = self.broker.load_definitions(IMPERSONATOR, self.now);
        loaded.map(|_| ()).map_err(|error| error.to_string())
    }

    /// The type of queues that are declared without one.
    ///
    /// # Errors
    /// What the broker says.
    pub fn set_default_queue_type(&self, name: &str) -> Result<(), ParameterError> {
        self.broker.set_default_queue_type("/", Some(name))
    }

    /// One step of the storage; says whether there may be more to do.
    pub fn step(&self, worker: Worker) -> bool {
        self.broker.step(worker, self.now)
    }

    /// Whether the broker has said that it cannot go on.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The broker ends, and this is its disk from now on. It must be told before its sessions go: what they do then does not
    /// reach the disk.
    ///
    /// # Errors
    /// When a stop fails on a disk that does not.
    pub fn end(&mut self, end: End) -> Result<(), String> {
        self.disk = match end {
            End::PowerCut(seed) => self.disk.crash(seed),
            End::Cut(crash) => self.disk.crash_with(crash, 1),
            End::Kill => self.disk.crash_process(),
            End::Stop => {
                self.broker.close().map_err(|error| format!("the broker does not stop: {error}"))?;
                self.disk.crash_with(Crash::LosesAll, 1)
            }
        };
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    /// What the broker says; then it may be tried again, on what is left of the disk.
    pub fn restart(&mut self) -> Result<(), String> {
        self.failed = Arc::new(AtomicBool::new(false));
        self.seed = self.seed.wrapping_add(1);
        let begin = (self.seed, self.now);
        self.broker = open(&self.definitions, &self.disk, &self.limits, &self.failed, begin)?;
        Ok(())
    }
}

fn open(
    definitions: &MemoryDefinitions,
    disk: &SimDisk,
    limits: &Limits,
    failed: &Arc<AtomicBool>,
    (seed, now): (u8, u64),
) -> Result<Arc<Broker>, String> {
    let failed = Arc::clone(failed);
    let on_failure = Arc::new(move |_| failed.store(true, Ordering::Relaxed));
    let store = Box::new(definitions.clone());
    Broker::open(options(limits, seed, now), store, Arc::new(disk.clone()), Commits::Stepped, on_failure)
        .map_err(|error| error.to_string())
}

fn options(limits: &Limits, seed: u8, now: u64) -> Options {
    Options {
        limits: limits.clone(),
        loopback_users: vec!["guest".to_owned()],
        default_user: "guest".to_owned(),
        default_pass: "guest".to_owned(),
        default_vhost: "/".to_owned(),
        cluster_name: "sim".to_owned(),
        product: "RabbitMQ".to_owned(),
        version: "3.13.7".to_owned(),
        seed: [seed; 32],
        epoch_ms: EPOCH_MS,
        now,
        durability: Durability::Fsync,
        default_queue_type: "classic".to_owned(),
    }
}
