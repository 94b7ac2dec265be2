//! Binding and unbinding queues and exchanges.
//!
//! Invariant: both ends exist as long as the binding does.

use warrenmq_protocol::Exception;
use warrenmq_routing::{Binding, Destination, Exchange, ExchangeKind, check_binding};
use warrenmq_store::CommitSeq;

use super::exchanges::{checked, submit};
use super::queue_type::QueueType;
use super::{Asker, Master, Picture, Vhost};
use crate::changes::{self, Journalist};
use crate::queue_cell::QueueCell;
use crate::refusal;

impl Vhost {
    /// Adds a binding; one that is there already is no error. Says whether it is new.
    pub(crate) fn bind(
        &self,
        binding: Binding,
        asker: Asker,
        journalist: &Journalist,
    ) -> Result<(bool, Option<CommitSeq>), Exception> {
        let mut master = self.master.lock();
        self.check_ends(&master, &binding, Some(asker))?;
        let mut changes = Vec::new();
        if is_durable(&master.picture, &binding) {
            changes.push(checked(changes::put(&changes::binding_record(&self.name, &binding)))?);
        }
        if !master.picture.topology.bind(binding) {
            return Ok((false, if changes.is_empty() { None } else { journalist.unsettled() }));
        }
        self.publish(&master);
        Ok((true, submit(journalist, changes)?))
    }

    /// Removes a binding; one that is not there is no error (RabbitMQ since 3.2).
    pub(crate) fn unbind(
        &self,
        binding: &Binding,
        asker: Asker,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        let durable = is_durable(&master.picture, binding);
        let before = master.picture.clone();
        let (existed, removed) = master.picture.topology.unbind(binding);
        if !existed {
            return Ok(journalist.unsettled());
        }
        // Whose queue it is matters only where there is something to unbind, as in RabbitMQ.
        if let Destination::Queue(name) = &binding.destination
            && let Some(Err(refused)) =
                before.queues.get(name).map(|cell| cell.check_access(asker.connection))
        {
            master.picture = before;
            return Err(refused);
        }
        let mut changes = self.forgotten(&before, &removed);
        if durable {
            changes.push(changes::delete(&changes::binding_record(&self.name, binding).key()));
        }
        master.forget_histories(&removed);
        self.publish(&master);
        let seq = submit(journalist, changes)?;
        self.end_delays(&mut master, &before, &removed, seq);
        Ok(seq)
    }

    /// Puts a binding back that the store has kept.
    pub(crate) fn restore_binding(&self, binding: Binding) -> Result<(), Exception> {
        let mut master = self.master.lock();
        self.check_ends(&master, &binding, None)?;
        master.picture.topology.bind(binding);
        self.publish(&master);
        Ok(())
    }

    /// Both ends have to exist; the source is named first when both are missing. Then the exchange has to want the binding, and the
    /// queue has to be open to the asker; with none that is known already.
    fn check_ends(&self, master: &Master, binding: &Binding, asker: Option<Asker>) -> Result<(), Exception> {
        let topology = &master.picture.topology;
        let Some(source) = topology.exchange(&binding.source) else {
            return Err(refusal::not_found(refusal::exchange(&binding.source, &self.name)));
        };
        let cell = match &binding.destination {
            Destination::Exchange(name) if topology.exchange(name).is_none() => {
                return Err(refusal::not_found(refusal::exchange(name, &self.name)));
            }
            Destination::Exchange(_) => None,
            Destination::Queue(name) => match master.picture.queues.get(name) {
                None => return Err(refusal::not_found(refusal::queue(name, &self.name))),
                found => found,
            },
        };
        let Some(asker) = asker else { return Ok(()) };
        check_binding(source, binding).map_err(refusal::precondition)?;
        cell.map_or(Ok(()), |cell| {
            check_queue(source, cell)?;
            cell.check_access(asker.connection)
        })
    }
}

/// `x-local-random` leads to classic queues alone.
fn check_queue(source: &Exchange, queue: &QueueCell) -> Result<(), Exception> {
    let kind = QueueType::of(&queue.info.arguments, queue.named())?;
    if source.kind != ExchangeKind::LocalRandom || kind == QueueType::Classic {
        return Ok(());
    }
    let text = format!("Queue type {} not valid for this exchange type", kind.module());
    Err(refusal::precondition(text))
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
