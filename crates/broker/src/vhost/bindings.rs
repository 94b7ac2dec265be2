//! Binding and unbinding queues and exchanges.
//!
//! Invariant: both ends exist as long as the binding does.

use warrenmq_protocol::Exception;
use warrenmq_routing::{Binding, Destination};
use warrenmq_store::CommitSeq;

use super::exchanges::{checked, submit};
use super::{Asker, Master, Picture, Vhost};
use crate::changes::{self, Journalist};
use crate::refusal;

impl Vhost {
    /// Adds a binding; one that is there already is no error.
    pub(crate) fn bind(
        &self,
        binding: Binding,
        asker: Asker,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        self.check_ends(&master, &binding, asker)?;
        let mut changes = Vec::new();
        if is_durable(&master.picture, &binding) {
            changes.push(checked(changes::put(&changes::binding_record(&self.name, &binding)))?);
        }
        if !master.picture.topology.bind(binding) {
            return Ok(if changes.is_empty() { None } else { journalist.unsettled() });
        }
        self.publish(&master);
        submit(journalist, changes)
    }

    /// Removes a binding; one that is not there is no error (RabbitMQ since 3.2).
    pub(crate) fn unbind(
        &self,
        binding: &Binding,
        asker: Asker,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        if let Destination::Queue(name) = &binding.destination
            && let Some(cell) = master.picture.queues.get(name)
        {
            cell.check_access(asker.connection)?;
        }
        let durable = is_durable(&master.picture, binding);
        let before = master.picture.clone();
        let (existed, removed) = master.picture.topology.unbind(binding);
        if !existed {
            return Ok(journalist.unsettled());
        }
        let mut changes = self.forgotten(&before, &removed);
        if durable {
            changes.push(changes::delete(&changes::binding_record(&self.name, binding).key()));
        }
        self.publish(&master);
        submit(journalist, changes)
    }

    /// Puts a binding back that the store has kept.
    pub(crate) fn restore_binding(&self, binding: Binding) -> Result<(), Exception> {
        let mut master = self.master.lock();
        self.check_ends(&master, &binding, Asker { connection: 0 })?;
        master.picture.topology.bind(binding);
        self.publish(&master);
        Ok(())
    }

    /// Both ends have to exist; the source is named first when both are missing.
    fn check_ends(&self, master: &Master, binding: &Binding, asker: Asker) -> Result<(), Exception> {
        let topology = &master.picture.topology;
        if topology.exchange(&binding.source).is_none() {
            return Err(refusal::not_found(refusal::exchange(&binding.source, &self.name)));
        }
        match &binding.destination {
            Destination::Exchange(name) if topology.exchange(name).is_none() => {
                Err(refusal::not_found(refusal::exchange(name, &self.name)))
            }
            Destination::Exchange(_) => Ok(()),
            Destination::Queue(name) => match master.picture.queues.get(name) {
                Some(cell) => cell.check_access(asker.connection),
                None => Err(refusal::not_found(refusal::queue(name, &self.name))),
            },
        }
    }
}

/// Both ends are durable, so the binding is stored.
pub(crate) fn is_durable(picture: &Picture, binding: &Binding) -> bool {
    let durable_exchange =
        |name: &str| picture.topology.exchange(name).is_some_and(|exchange| exchange.durable);
    let destination = match &binding.destination {
        Destination::Exchange(name) => durable_exchange(name),
        Destination::Queue(name) => picture.queue(name).is_some_and(|cell| cell.info.durable),
    };
    destination && durable_exchange(&binding.source)
}
