//! The broker of a run, and its clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use warrenmq_broker::{Broker, Commits, Limits, Options, Session};
use warrenmq_store::MemoryDefinitions;

/// Unix time at the start of a run, milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A broker that can be started again.
#[derive(Debug)]
pub struct Node {
    broker: Arc<Broker>,
    failures: Arc<AtomicUsize>,
    /// Milliseconds since the start of the run.
    now: u64,
    /// The same when this broker was started.
    started: u64,
}

impl Node {
    /// The first start.
    ///
    /// # Errors
    /// What the broker says.
    pub fn start() -> Result<Node, String> {
        let definitions = MemoryDefinitions::new();
        let failures = Arc::new(AtomicUsize::new(0));
        let broker = open(&definitions, &failures, 0)?;
        Ok(Node { broker, failures, now: 0, started: 0 })
    }

    /// Milliseconds since the broker was started.
    pub fn now(&self) -> u64 {
        self.now - self.started
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
        self.broker.connect(SocketAddr::from(([127, 0, 0, 1], 40_000)), self.now())
    }

    /// When the broker's own timers are due.
    pub fn next_timer(&self) -> Option<u64> {
        self.broker.next_timer(Waker::noop())
    }

    /// Does what is due.
    pub fn handle_timers(&self) {
        self.broker.handle_timers(self.now());
    }

    /// Whether the broker has said that it cannot go on.
    pub fn has_failed(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }
}

fn open(
    definitions: &MemoryDefinitions,
    failures: &Arc<AtomicUsize>,
    started: u64,
) -> Result<Arc<Broker>, String> {
    let count = Arc::clone(failures);
    let on_failure = Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let store = Box::new(definitions.clone());
    Broker::open(options(started), store, Commits::Inline, on_failure).map_err(|error| error.to_string())
}

fn options(started: u64) -> Options {
    Options {
        limits: limits(),
        loopback_users: vec!["guest".to_owned()],
        default_user: "guest".to_owned(),
        default_pass: "guest".to_owned(),
        default_vhost: "/".to_owned(),
        cluster_name: "sim".to_owned(),
        product: "RabbitMQ".to_owned(),
        version: "3.13.7".to_owned(),
        seed: [7; 32],
        epoch_ms: EPOCH_MS + started,
    }
}

/// So small that a short run meets every one of them.
fn limits() -> Limits {
    Limits {
        outbox_octets_max: 8 * 1024,
        consumer_window_octets: 2 * 1024,
        queue_window_octets: 8 * 1024,
        read_buffer_octets: 2 * 1024,
        write_buffer_octets: 1024,
        ..Limits::default()
    }
}
