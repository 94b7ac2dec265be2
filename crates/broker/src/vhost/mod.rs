//! A virtual host: its exchanges, bindings and queues, as a master copy under a lock and as a picture for readers.
//!
//! Invariants: whoever routes reads one immutable [`Picture`] and takes no lock; every change makes a new picture and a
//! new generation; changes reach the definitions store in the order in which they were made, because they are submitted under
//! the same lock.

mod arguments;
mod bindings;
mod exchanges;
mod history;
mod limits;
mod parameters;
mod policies;
mod queue_type;
mod queues;
mod traits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use warrenmq_routing::{DelayId, QueueId, Topology};
use warrenmq_store::CommitSeq;

use crate::changes::Journalist;
use crate::count::Count;
use crate::definitions;
use crate::delayed::{Delayed, Delays};
use crate::lock::{Guard, Rank, Ranked};
use crate::policy::Policies;
use crate::queue_cell::{ConnectionId, QueueCell};
use crate::queue_ids::QueueIds;
use crate::storage::Storage;
use crate::timers::Timers;

pub(crate) use bindings::is_durable;
pub(crate) use exchanges::{ExchangeDeclare, ExchangeType};
use history::History;
pub(crate) use history::keep;
pub(crate) use queue_type::QueueType;
pub(crate) use queues::{Deletion, QueueDeclare, check_conditions};

/// What routing needs to know, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) topology: Topology,
    queues: imbl::HashMap<Arc<str>, Arc<QueueCell>>,
    cells: imbl::HashMap<QueueId, Arc<QueueCell>>,
    /// Of the exchanges that keep one.
    histories: imbl::HashMap<Arc<str>, Arc<History>>,
    delays: imbl::HashMap<DelayId, Arc<Delayed>>,
    policies: Arc<Policies>,
}

/// A virtual host.
#[derive(Debug)]
pub(crate) struct Vhost {
    pub(crate) name: Arc<str>,
    /// Its description, tags, default queue type and limits; changed under the lock of the master copy.
    definition: ArcSwap<definitions::Vhost>,
    /// The type of queues that do not say it, where the vhost does not either.
    node_queue_type: Box<str>,
    /// Connections that are open in it.
    connections: Count,
    master: Ranked<Master>,
    picture: ArcSwap<Picture>,
    generation: AtomicU64,
    timers: Arc<Timers>,
    ids: Arc<QueueIds>,
    storage: Arc<Storage>,
    delays: Arc<Delays>,
}

#[derive(Debug)]
struct Master {
    picture: Picture,
    next_queue: u64,
    /// By component and name.
    parameters: BTreeMap<(String, String), serde_json::Value>,
}

impl Picture {
    pub(crate) fn queue(&self, name: &str) -> Option<&Arc<QueueCell>> {
        self.queues.get(name)
    }

    pub(crate) fn cell(&self, id: QueueId) -> Option<&Arc<QueueCell>> {
        self.cells.get(&id)
    }

    pub(crate) fn history(&self, exchange: &str) -> Option<&Arc<History>> {
        self.histories.get(exchange)
    }

    /// Whether some exchange keeps what it gets.
    pub(crate) fn keeps_histories(&self) -> bool {
        !self.histories.is_empty()
    }

    /// What holds messages back for an exchange.
    pub(crate) fn delayed(&self, id: DelayId) -> Option<&Arc<Delayed>> {
        self.delays.get(&id)
    }

    pub(crate) fn queues(&self) -> impl Iterator<Item = &Arc<QueueCell>> {
        self.queues.values()
    }
}

impl Vhost {
    pub(crate) fn new(
        definition: definitions::Vhost,
        timers: &Arc<Timers>,
        ids: &Arc<QueueIds>,
        storage: &Arc<Storage>,
        delays: &Arc<Delays>,
        node_queue_type: &str,
    ) -> Vhost {
        let picture = Picture {
            topology: Topology::new(),
            queues: imbl::HashMap::new(),
            cells: imbl::HashMap::new(),
            histories: imbl::HashMap::new(),
            delays: imbl::HashMap::new(),
            policies: Arc::default(),
        };
        let master = Master { picture: picture.clone(), next_queue: 1, parameters: BTreeMap::new() };
        Vhost {
            name: definition.name.as_str().into(),
            definition: ArcSwap::from_pointee(definition),
            node_queue_type: node_queue_type.into(),
            connections: Count::default(),
            picture: ArcSwap::from_pointee(picture),
            master: Ranked::new(Rank::Definitions, master),
            generation: AtomicU64::new(1),
            timers: Arc::clone(timers),
            ids: Arc::clone(ids),
            storage: Arc::clone(storage),
            delays: Arc::clone(delays),
        }
    }

    /// Changes whenever the picture does.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The present picture.
    pub(crate) fn picture(&self) -> Arc<Picture> {
        self.picture.load_full()
    }

    /// What the answer has to wait for that something is not there: whoever deleted it may still be waiting.
    pub(crate) fn unsettled(&self, journalist: &Journalist) -> Option<CommitSeq> {
        // A deletion that has left the picture is handed over before the lock is free.
        let _master = self.master.lock();
        journalist.unsettled()
    }

    /// Publishes what was changed in the master copy.
    fn publish(&self, master: &Guard<'_, Master>) {
        self.picture.store(Arc::new(master.picture.clone()));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// Who asks: decides about exclusive queues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) connection: ConnectionId,
}
