//! Declaring and deleting exchanges.
//!
//! Invariant: what is there is compared, never changed; a refusal has changed nothing.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_routing::{Exchange, ExchangeKind, Removed, check_exchange, history_length};
use warrenmq_store::{Change, CommitSeq};
use warrenmq_wire::method::FieldTable;

use super::bindings::is_durable;
use super::history::History;
use super::{Master, Picture, Vhost};
use crate::changes::{self, Journalist};
use crate::refusal;

/// What exchange.declare asks for.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeDeclare {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: FieldTable,
}

/// The argument that names the alternate exchange; RabbitMQ spells it without `x-`.
pub(crate) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

impl Vhost {
    /// Creates the exchange, or compares it with the one that is there.
    pub(crate) fn declare_exchange(
        &self,
        asked: ExchangeDeclare,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        if let Some(existing) = master.picture.topology.exchange(&asked.name) {
            self.same_exchange(existing, &asked)?;
            return Ok(asked.durable.then(|| journalist.unsettled()).flatten());
        }
        let alternate = alternate(&asked, &self.name)?;
        check_exchange(asked.kind, &asked.arguments).map_err(refusal::precondition)?;
        let exchange = Exchange {
            name: asked.name.as_str().into(),
            kind: asked.kind,
            durable: asked.durable,
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments,
            alternate,
        };
        let mut changes = Vec::new();
        if exchange.durable {
            changes.push(checked(changes::put(&changes::exchange_record(&self.name, &exchange)))?);
        }
        master.add_exchange(exchange);
        self.publish(&master);
        submit(journalist, changes)
    }

    /// Deletes the exchange and what hung on it; one that is not there is no error.
    pub(crate) fn delete_exchange(
        &self,
        name: &str,
        if_unused: bool,
        journalist: &Journalist,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        if if_unused && master.picture.topology.exchange_in_use(name) {
            return Err(refusal::precondition(format!("{} in use", refusal::exchange(name, &self.name))));
        }
        let before = master.picture.clone();
        let Some(removed) = master.picture.topology.delete_exchange(name) else {
            return Ok(journalist.unsettled());
        };
        let changes = self.forgotten(&before, &removed);
        master.forget_histories(&removed);
        self.publish(&master);
        submit(journalist, changes)
    }

    /// Deletions for everything durable that a removal took with it. `before` still knows it.
    pub(super) fn forgotten(&self, before: &Picture, removed: &Removed) -> Vec<Change> {
        let mut changes = Vec::new();
        for binding in removed.bindings.iter().filter(|binding| is_durable(before, binding)) {
            changes.push(changes::delete(&changes::binding_record(&self.name, binding).key()));
        }
        for name in &removed.exchanges {
            if let Some(exchange) = before.topology.exchange(name)
                && exchange.durable
            {
                changes.push(changes::delete(&changes::exchange_record(&self.name, exchange).key()));
            }
        }
        changes
    }

    fn same_exchange(&self, existing: &Exchange, asked: &ExchangeDeclare) -> Result<(), Exception> {
        let what = refusal::exchange(&asked.name, &self.name);
        refusal::same(what, "type", atom(asked.kind), atom(existing.kind))?;
        refusal::same(what, "durable", asked.durable, existing.durable)?;
        refusal::same(what, "auto_delete", asked.auto_delete, existing.auto_delete)?;
        refusal::same(what, "internal", asked.internal, existing.internal)?;
        refusal::same_argument(what, ALTERNATE_EXCHANGE, &asked.arguments, &existing.arguments)
    }

    /// Puts an exchange back that the store has kept.
    pub(crate) fn restore_exchange(&self, exchange: Exchange) {
        let mut master = self.master.lock();
        if master.picture.topology.exchange(&exchange.name).is_none() {
            master.add_exchange(exchange);
            self.publish(&master);
        }
    }
}

impl Master {
    fn add_exchange(&mut self, exchange: Exchange) {
        if exchange.kind == ExchangeKind::RecentHistory {
            // Only an exchange that was stored by another version can have a length that is refused.
            let length = history_length(&exchange.arguments).unwrap_or_default();
            self.picture.histories.insert(Arc::clone(&exchange.name), Arc::new(History::new(length)));
        }
        self.picture.topology.declare_exchange(exchange);
    }

    /// What an exchange has kept goes with it.
    pub(super) fn forget_histories(&mut self, removed: &Removed) {
        for name in &removed.exchanges {
            self.picture.histories.remove(name);
        }
    }
}

/// A type as RabbitMQ's text shows it: an atom, which Erlang quotes if there is a dash in it.
fn atom(kind: ExchangeKind) -> String {
    let name = kind.name();
    if name.contains('-') { format!("'{name}'") } else { name.to_owned() }
}

pub(super) fn submit(journalist: &Journalist, changes: Vec<Change>) -> Result<Option<CommitSeq>, Exception> {
    journalist.submit(changes).map_err(|error| {
        let text = format!("definitions cannot be stored: {error}");
        Exception::new(warrenmq_wire::reply::ReplyCode::InternalError, text)
    })
}

/// Refuses what is too large for the definitions store before anything has changed.
pub(super) fn checked(change: Change) -> Result<Change, Exception> {
    match change.check() {
        Ok(()) => Ok(change),
        Err(error) => Err(refusal::precondition(error.to_string())),
    }
}

fn alternate(asked: &ExchangeDeclare, vhost: &str) -> Result<Option<Arc<str>>, Exception> {
    let Some(value) = asked.arguments.inner().get(ALTERNATE_EXCHANGE) else { return Ok(None) };
    match refusal::string(value) {
        Some(name) => Ok(Some(name.into())),
        None => Err(refusal::precondition(format!(
            "invalid type '{}' for arg '{ALTERNATE_EXCHANGE}' in {}",
            refusal::type_name(value),
            refusal::exchange(&asked.name, vhost)
        ))),
    }
}
