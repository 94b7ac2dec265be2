//! Turns what is durable into changes for the definitions store.
//!
//! Invariant: a binding is stored exactly when both its ends are durable, as in RabbitMQ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warrenmq_routing::{Binding, Destination, Exchange};
use warrenmq_store::{Change, CommitSeq, DefinitionError, DefinitionWriter};

use crate::definitions::{self, DestinationType, Key, Record};
use crate::queue_cell::QueueInfo;

/// The way to the disk for definitions.
#[derive(Clone)]
pub(crate) struct Journalist {
    writer: Arc<DefinitionWriter>,
    /// Number of the last changes that were handed over.
    latest: Arc<AtomicU64>,
}

impl std::fmt::Debug for Journalist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journalist").finish_non_exhaustive()
    }
}

impl Journalist {
    pub(crate) fn new(writer: Arc<DefinitionWriter>) -> Journalist {
        Journalist { writer, latest: Arc::default() }
    }

    /// Hands changes over, in order; they are on disk when [`Journalist::durable`] has reached the number. `None`: nothing
    /// to write.
    pub(crate) fn submit(&self, changes: Vec<Change>) -> Result<Option<CommitSeq>, DefinitionError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let seq = self.writer.submit(changes)?;
        self.latest.fetch_max(seq.0, Ordering::AcqRel);
        Ok(Some(seq))
    }

    /// What the answer about something that is there already has to wait for: whoever made it may still be waiting. `None`:
    /// everything is on disk.
    pub(crate) fn unsettled(&self) -> Option<CommitSeq> {
        let latest = CommitSeq(self.latest.load(Ordering::Acquire));
        (self.durable() < latest).then_some(latest)
    }

    pub(crate) fn durable(&self) -> CommitSeq {
        self.writer.durable()
    }

    /// Blocks until everything that was handed over is on disk.
    pub(crate) fn settle(&self) -> Result<(), DefinitionError> {
        self.writer.wait(CommitSeq(self.latest.load(Ordering::Acquire)))
    }

    pub(crate) fn close(&self) -> Result<(), DefinitionError> {
        self.writer.close()
    }
}

pub(crate) fn put(record: &Record) -> Change {
    Change::Put { key: record.key().encode(), value: record.encode_value() }
}

pub(crate) fn delete(key: &Key) -> Change {
    Change::Delete { key: key.encode() }
}

pub(crate) fn queue_record(info: &QueueInfo) -> Record {
    Record::Queue(definitions::Queue {
        name: info.name.to_string(),
        vhost: info.vhost.to_string(),
        durable: info.durable,
        auto_delete: info.auto_delete,
        arguments: info.arguments.clone(),
        id: info.store_id,
    })
}

pub(crate) fn exchange_record(vhost: &str, exchange: &Exchange) -> Record {
    Record::Exchange(definitions::Exchange {
        name: exchange.name.to_string(),
        vhost: vhost.to_owned(),
        kind: exchange.type_name().to_owned(),
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        internal: exchange.internal,
        arguments: exchange.arguments.clone(),
        number: exchange.delayed.map_or(0, |id| id.0),
    })
}

pub(crate) fn binding_record(vhost: &str, binding: &Binding) -> Record {
    let (destination, destination_type) = match &binding.destination {
        Destination::Queue(name) => (name, DestinationType::Queue),
        Destination::Exchange(name) => (name, DestinationType::Exchange),
    };
    Record::Binding(definitions::Binding {
        source: binding.source.to_string(),
        vhost: vhost.to_owned(),
        destination: destination.to_string(),
        destination_type,
        routing_key: String::from_utf8_lossy(&binding.routing_key).into_owned(),
        arguments: binding.arguments.clone(),
    })
}
