//! Policies as the simulation sets them, and which of them count for what.
//!
//! Invariant: written apart from the broker's own choice and merging, from what docs/policies.md says.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use warrenmq_broker::policy::{ApplyTo, Policy as Set, PolicyKind};

use crate::rules::{Overflow, Rules, Value};
use crate::topology::{Kind, Name, exchange_name, queue_name};

/// The name on the wire of the exchange with an alternate.
pub const DIRECT: &str = "direct";

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of the highest that match one counts.
    pub priority: i64,
    /// Queues that its pattern matches.
    pub queues: Vec<Name>,
    /// The kinds of things that it counts for.
    pub applies: ApplyTo,
    /// What it says of queues.
    pub rules: Rules,
    /// `alternate-exchange` for the direct exchange: a fanout.
    pub alternate: Option<usize>,
}

/// Names a policy: what kind it is of, and its number, which is its name.
pub type PolicyId = (PolicyKind, u32);

/// All that were set and not cleared.
#[derive(Clone, Debug, Default)]
pub struct Policies(BTreeMap<PolicyId, Policy>);

impl Policies {
    /// Sets one, or clears it.
    pub fn put(&mut self, id: PolicyId, policy: Option<Policy>) {
        match policy {
            Some(policy) => self.0.insert(id, policy),
            None => self.0.remove(&id),
        };
    }

    /// All of them.
    pub fn ids(&self) -> Vec<PolicyId> {
        self.0.keys().copied().collect()
    }

    /// All of one kind, as the broker is to have them.
    pub fn of(&self, kind: PolicyKind) -> impl Iterator<Item = Set> {
        self.0.iter().filter(move |((of, _), _)| *of == kind).map(|(id, policy)| policy.set(*id))
    }

    /// The policy of a kind that counts for a queue.
    pub fn for_queue(&self, wanted: PolicyKind, name: Name, kind: &Kind) -> Option<PolicyId> {
        let counts = |policy: &Policy| {
            let applies = match policy.applies {
                ApplyTo::All | ApplyTo::Queues => true,
                ApplyTo::ClassicQueues => !kind.quorum,
                ApplyTo::QuorumQueues => kind.quorum,
                ApplyTo::Exchanges | ApplyTo::Streams => false,
            };
            // What a type of queue does not know keeps the whole policy from it.
            let is_known = kind.quorum || policy.rules.delivery_limit.is_none();
            applies && is_known && policy.queues.contains(&name)
        };
        self.choose(wanted, counts)
    }

    /// What counts for a queue.
    pub fn rules(&self, name: Name, kind: &Kind) -> Rules {
        let of = |wanted| self.for_queue(wanted, name, kind).map(|id| self.0[&id].rules).unwrap_or_default();
        let policies = of(PolicyKind::User).bounded(of(PolicyKind::Operator));
        let mut rules = kind.own.under(policies, kind.quorum);
        if kind.quorum && rules.overflow == Some(Overflow::RejectDlx) {
            rules.overflow = Some(Overflow::DropHead);
        }
        rules
    }

    /// The alternate that the direct exchange has by them.
    pub fn alternate(&self) -> Option<usize> {
        let counts = |policy: &Policy| {
            policy.alternate.is_some() && matches!(policy.applies, ApplyTo::All | ApplyTo::Exchanges)
        };
        self.choose(PolicyKind::User, counts).and_then(|id| self.0[&id].alternate)
    }

    fn choose(&self, kind: PolicyKind, counts: impl Fn(&Policy) -> bool) -> Option<PolicyId> {
        let mut best: Option<(i64, PolicyId)> = None;
        for (id, policy) in self.0.iter().filter(|((of, _), policy)| *of == kind && counts(policy)) {
            let sooner = |(priority, other): (i64, PolicyId)| {
                priority > policy.priority || (priority == policy.priority && name(other) < name(*id))
            };
            if !best.is_some_and(sooner) {
                best = Some((policy.priority, *id));
            }
        }
        best.map(|(_, id)| id)
    }
}

impl Policy {
    /// What the broker is told.
    ///
    /// # Panics
    /// When the broker says that it is no policy.
    pub fn set(&self, id: PolicyId) -> Set {
        let mut names: Vec<String> = self.queues.iter().map(|name| queue_name(*name)).collect();
        let mut definition: Map<String, Json> = Map::new();
        for (key, value) in self.rules.entries() {
            let value = match value {
                Value::Number(number) => number.into(),
                Value::Text(text) => text.into(),
                Value::Queue(name) => queue_name(name).into(),
            };
            definition.insert(key.to_owned(), value);
        }
        if let Some(exchange) = self.alternate {
            names.push(DIRECT.to_owned());
            definition.insert("alternate-exchange".to_owned(), exchange_name(exchange).into());
        }
        let pattern = format!("^({})$", names.join("|"));
        Set::new(id.0, "/", &name(id), &pattern, self.applies, self.priority, definition)
            .expect("invariant: the simulation says nothing that is refused")
    }
}

/// Its name.
pub fn name((_, number): PolicyId) -> String {
    format!("p{number}")
}
