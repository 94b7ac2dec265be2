//! Declaring and deleting exchanges.
//!
//! Invariant: what is there is compared, never changed; a refusal has changed nothing.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_routing::{
    DELAYED_TYPE, DelayId, Exchange, ExchangeKind, Removed, check_exchange, history_length,
};
use warrenmq_store::{Change, CommitSeq};
use warrenmq_wire::method::FieldTable;

use super::bindings::is_durable;
use super::history::History;
use super::{Master, Picture, Vhost, policies};
use crate::changes::{self, Journalist};
use crate::delayed::Delayed;
use crate::refusal;

/// The type of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeType {
    Plain(ExchangeKind),
    /// It holds messages back; how it routes them then is said by an argument.
    Delayed,
}

impl ExchangeType {
    /// `None` for a type that is unknown here.
    pub(crate) fn from_name(name: &str) -> Option<ExchangeType> {
        if name == DELAYED_TYPE {
            return Some(ExchangeType::Delayed);
        }
        ExchangeKind::from_name(name).map(ExchangeType::Plain)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            ExchangeType::Plain(kind) => kind.name(),
            ExchangeType::Delayed => DELAYED_TYPE,
        }
    }
}

/// What exchange.declare asks for.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeDeclare {
    pub(crate) name: String,
    pub(crate) kind: ExchangeType,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: FieldTable,
}

/// The argument that names the alternate exchange; RabbitMQ spells it without `x-`.
pub(crate) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";
/// The argument that names the type by which a delayed message is routed in the end.
const DELAYED_TYPE_ARGUMENT: &str = "x-delayed-type";

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
        let alternate = alternate(&asked, &self.name)?
            .or_else(|| policies::alternate(&master.picture.policies, &asked.name));
        let kind = final_kind(&asked)?;
        check_exchange(kind, &asked.arguments).map_err(refusal::precondition)?;
        let delayed = match asked.kind {
            ExchangeType::Plain(_) => None,
            ExchangeType::Delayed => Some(DelayId(self.delays.next_number()?)),
        };
        let exchange = asked.into_exchange(kind, alternate, delayed);
        let mut changes = Vec::new();
        if exchange.durable {
            changes.push(checked(changes::put(&changes::exchange_record(&self.name, &exchange)))?);
        }
        self.add_exchange(&mut master, exchange);
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
        let seq = submit(journalist, changes)?;
        self.end_delays(&mut master, &before, &removed, seq);
        Ok(seq)
    }

    /// What waits at exchanges that are gone goes, too, once `after` is on disk.
    pub(super) fn end_delays(
        &self,
        master: &mut Master,
        before: &Picture,
        removed: &Removed,
        after: Option<CommitSeq>,
    ) {
        let gone = removed.exchanges.iter().filter_map(|name| before.topology.exchange(name)?.delayed);
        for id in gone {
            if let Some(delayed) = master.picture.delays.remove(&id) {
                delayed.close(after);
            }
        }
    }

    fn add_exchange(&self, master: &mut Master, exchange: Exchange) {
        if let Some(id) = exchange.delayed {
            let delayed = Delayed::new(id.0, &self.name, &exchange.name, exchange.durable, &self.delays);
            master.picture.delays.insert(id, delayed);
        }
        master.add_exchange(exchange);
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
        refusal::same(what, "type", atom(asked.kind.name()), atom(existing.type_name()))?;
        refusal::same(what, "durable", asked.durable, existing.durable)?;
        refusal::same(what, "auto_delete", asked.auto_delete, existing.auto_delete)?;
        refusal::same(what, "internal", asked.internal, existing.internal)?;
        refusal::same_argument(what, ALTERNATE_EXCHANGE, &asked.arguments, &existing.arguments)
    }

    /// Puts an exchange back that the store has kept under the number `stored`. Where it needs one and has none it gets one, and its
    /// record is returned.
    pub(crate) fn restore_exchange(
        &self,
        asked: ExchangeDeclare,
        stored: u64,
    ) -> Result<Option<Change>, Exception> {
        let mut master = self.master.lock();
        if master.picture.topology.exchange(&asked.name).is_some() {
            return Ok(None);
        }
        let own = alternate(&asked, &self.name).ok().flatten();
        let alternate = own.or_else(|| policies::alternate(&master.picture.policies, &asked.name));
        let kind = final_kind(&asked)?;
        let delayed = match (asked.kind, stored) {
            (ExchangeType::Plain(_), _) => None,
            (ExchangeType::Delayed, 0) => Some(DelayId(self.delays.next_number()?)),
            (ExchangeType::Delayed, stored) => Some(DelayId(stored)),
        };
        let exchange = asked.into_exchange(kind, alternate, delayed);
        let record = delayed.map(|_| changes::put(&changes::exchange_record(&self.name, &exchange)));
        self.add_exchange(&mut master, exchange);
        self.publish(&master);
        Ok(record)
    }
}

impl ExchangeDeclare {
    fn into_exchange(
        self,
        kind: ExchangeKind,
        alternate: Option<Arc<str>>,
        delayed: Option<DelayId>,
    ) -> Exchange {
        Exchange {
            name: self.name.as_str().into(),
            kind,
            durable: self.durable,
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: self.arguments,
            alternate,
            delayed,
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
fn atom(name: &str) -> String {
    if name.contains('-') { format!("'{name}'") } else { name.to_owned() }
}

/// How the exchange routes in the end, with the refusals of RabbitMQ's plugin.
fn final_kind(asked: &ExchangeDeclare) -> Result<ExchangeKind, Exception> {
    let ExchangeType::Plain(kind) = asked.kind else {
        let named = asked.arguments.inner().get(DELAYED_TYPE_ARGUMENT).and_then(refusal::string);
        let Some(named) = named else {
            let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
            return Err(refusal::precondition(text));
        };
        if named == DELAYED_TYPE {
            let text = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
            return Err(refusal::precondition(text));
        }
        return ExchangeKind::from_name(&named)
            .ok_or_else(|| refusal::precondition(format!("unknown exchange type '{named}'")));
    };
    Ok(kind)
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
