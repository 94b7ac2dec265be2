//! A broker without threads, clock and disk.

use std::net::SocketAddr;
use std::sync::Arc;

use warrenmq_broker::{Broker, Commits, Durability, Limits, Options, Session, Worker};
use warrenmq_store::MemoryDefinitions;

use crate::null_disk::NullDisk;

/// The time of everything: it does not pass.
pub(crate) const NOW: u64 = 1_000;

/// The broker.
pub(crate) struct Node {
    broker: Arc<Broker>,
}

impl Node {
    pub(crate) fn open() -> Node {
        let store = Box::new(MemoryDefinitions::new());
        let broker = Broker::open(
            options(),
            store,
            Arc::new(NullDisk),
            Commits::Stepped,
            Arc::new(|error| panic!("{error:?}")),
        );
        Node { broker: broker.expect("an empty disk is whole") }
    }

    pub(crate) fn connect(&self) -> Session {
        self.broker.connect(SocketAddr::from(([127, 0, 0, 1], 40_000)), NOW)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.broker.limits()
    }

    /// Lets the storage do all it has to.
    pub(crate) fn store(&self) {
        for worker in [Worker::Commit, Worker::Write, Worker::Read] {
            while self.broker.step(worker, NOW) {}
        }
    }
}

fn options() -> Options {
    Options {
        limits: Limits::default(),
        loopback_users: vec!["guest".to_owned()],
        default_user: "guest".to_owned(),
        default_pass: "guest".to_owned(),
        default_vhost: "/".to_owned(),
        cluster_name: "counts".to_owned(),
        product: "RabbitMQ".to_owned(),
        version: "3.13.7".to_owned(),
        seed: [7; 32],
        epoch_ms: 1_700_000_000_000,
        now: NOW,
        durability: Durability::Fsync,
        default_queue_type: "classic".to_owned(),
    }
}
