//! The limits of a vhost, and the type of its queues that do not say it.
//!
//! Invariant: what the definition says is what was handed to the store; it is changed under the lock of the master copy.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_store::CommitSeq;
use warrenmq_wire::method::{AMQPValue, FieldTable, LongString, ShortString};

use super::exchanges::{checked, submit};
use super::queue_type::{QUEUE_TYPE, QueueType, is_named};
use super::{Master, Vhost};
use crate::changes::{self, Journalist};
use crate::count::Place;
use crate::definitions::{self, Record};
use crate::policy::limit;
use crate::refusal;

impl Vhost {
    /// Its description, tags, default queue type and limits.
    pub(crate) fn definition(&self) -> Arc<definitions::Vhost> {
        self.definition.load_full()
    }

    /// Changes its definition.
    pub(crate) fn define(
        &self,
        journalist: &Journalist,
        change: impl FnOnce(&mut definitions::Vhost),
    ) -> Result<Option<CommitSeq>, Exception> {
        // The lock orders changes; what it protects stays as it is.
        let _master = self.master.lock();
        let mut definition = definitions::Vhost::clone(&self.definition.load());
        change(&mut definition);
        if definition == **self.definition.load() {
            return Ok(journalist.unsettled());
        }
        let record = checked(changes::put(&Record::Vhost(definition.clone())))?;
        self.definition.store(Arc::new(definition));
        submit(journalist, vec![record])
    }

    /// Takes a place for a connection.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(&self) -> Result<Place, u64> {
        let limit = limit(&self.definition.load().limits, "max-connections");
        self.connections.enter(limit).ok_or_else(|| limit.unwrap_or_default())
    }

    /// Refuses one queue more than the limit.
    pub(super) fn check_queue_limit(&self, master: &Master, name: &str) -> Result<(), Exception> {
        match limit(&self.definition.load().limits, "max-queues") {
            Some(limit) if master.picture.queues.len() as u64 >= limit => {
                Err(refusal::precondition(format!(
                    "cannot declare queue '{name}': queue limit in vhost '{}' ({limit}) is reached",
                    self.name
                )))
            }
            _ => Ok(()),
        }
    }

    /// The arguments of a queue that is being declared, with the default type of the vhost if they name none. Where the queue
    /// cannot be of that type, it is classic (`rabbit_amqqueue:augment_declare_args/5`).
    pub(crate) fn with_default_type(
        &self,
        mut arguments: FieldTable,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
    ) -> FieldTable {
        let definition = self.definition.load();
        let default = definition.default_queue_type.as_deref().unwrap_or(&self.node_queue_type);
        let fits = durable && !exclusive && !auto_delete;
        // Classic is what a queue is anyway.
        if fits && default != "classic" && !is_named(&arguments) && QueueType::exists(default) {
            name_type(&mut arguments, default);
        }
        arguments
    }

    /// The arguments of a durable queue that is there, for whoever declares it again: one that is classic because nobody said its
    /// type says so, if without it would become another.
    pub(crate) fn with_own_type(&self, arguments: FieldTable, auto_delete: bool) -> FieldTable {
        let mut again = self.with_default_type(arguments.clone(), true, false, auto_delete);
        if again != arguments {
            name_type(&mut again, "classic");
        }
        again
    }
}

fn name_type(arguments: &mut FieldTable, name: &str) {
    if let Ok(key) = ShortString::try_new(QUEUE_TYPE) {
        arguments.insert(key, AMQPValue::LongString(LongString::from(name)));
    }
}
