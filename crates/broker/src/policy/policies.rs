//! Owns the policies of one vhost, and the choice of those that count for a queue or an exchange.
//!
//! Invariant: at most one user policy and one operator policy count for a thing: of those that match and apply the one with the
//! highest priority, and among equals the first by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::merge::merge;
use super::policy::{Policy, PolicyKind};

/// All policies of a vhost, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    user: BTreeMap<String, Arc<Policy>>,
    operator: BTreeMap<String, Arc<Policy>>,
}

/// What policies count for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object<'a> {
    Exchange(&'a str),
    Queue {
        name: &'a str,
        /// `classic`, `quorum` or another.
        queue_type: &'a str,
    },
}

/// The policies that count for one queue or exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The user policy.
    pub policy: Option<Arc<Policy>>,
    /// The operator policy.
    pub operator_policy: Option<Arc<Policy>>,
}

/// Keys with which a policy does not count for queues of a type at all (`unsupported_policies` of RabbitMQ's queue types).
const NOT_FOR_CLASSIC: [&str; 8] = [
    "max-age",
    "stream-max-segment-size-bytes",
    "initial-cluster-size",
    "delivery-limit",
    "dead-letter-strategy",
    "max-in-memory-length",
    "max-in-memory-bytes",
    "target-group-size",
];
const NOT_FOR_QUORUM: [&str; 10] = [
    "queue-mode",
    "ha-mode",
    "ha-params",
    "ha-sync-mode",
    "ha-promote-on-shutdown",
    "ha-promote-on-failure",
    "queue-master-locator",
    "max-age",
    "stream-max-segment-size-bytes",
    "initial-cluster-size",
];

impl Policies {
    /// Sets a policy; says whether that changes something.
    pub(crate) fn set(&mut self, kind: PolicyKind, policy: Arc<Policy>) -> bool {
        let before = self.of_mut(kind).insert(policy.name.clone(), Arc::clone(&policy));
        before != Some(policy)
    }

    /// Removes a policy; says whether it was there.
    pub(crate) fn clear(&mut self, kind: PolicyKind, name: &str) -> bool {
        self.of_mut(kind).remove(name).is_some()
    }

    /// All of one kind, by name.
    pub(crate) fn list(&self, kind: PolicyKind) -> impl Iterator<Item = &Arc<Policy>> {
        self.of(kind).values()
    }

    /// What counts for a queue or an exchange.
    pub(crate) fn applied(&self, object: Object<'_>) -> Applied {
        Applied { policy: choose(&self.user, object), operator_policy: choose(&self.operator, object) }
    }

    fn of(&self, kind: PolicyKind) -> &BTreeMap<String, Arc<Policy>> {
        match kind {
            PolicyKind::User => &self.user,
            PolicyKind::Operator => &self.operator,
        }
    }

    fn of_mut(&mut self, kind: PolicyKind) -> &mut BTreeMap<String, Arc<Policy>> {
        match kind {
            PolicyKind::User => &mut self.user,
            PolicyKind::Operator => &mut self.operator,
        }
    }
}

impl Applied {
    /// What they say together.
    pub fn definition(&self) -> Map<String, Value> {
        let of = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.definition.clone());
        merge(of(&self.policy).as_ref(), of(&self.operator_policy).as_ref())
    }

    /// Nothing counts.
    pub fn is_empty(&self) -> bool {
        self.policy.is_none() && self.operator_policy.is_none()
    }
}

fn choose(policies: &BTreeMap<String, Arc<Policy>>, object: Object<'_>) -> Option<Arc<Policy>> {
    let mut best: Option<&Arc<Policy>> = None;
    for policy in policies.values() {
        if best.is_none_or(|best| best.priority < policy.priority) && counts(policy, object) {
            best = Some(policy);
        }
    }
    best.cloned()
}

fn counts(policy: &Policy, object: Object<'_>) -> bool {
    let (name, applies) = match object {
        Object::Exchange(name) => (name, policy.apply_to.has_exchanges()),
        Object::Queue { name, queue_type } => {
            let unsupported: &[&str] = match queue_type {
                "classic" => &NOT_FOR_CLASSIC,
                "quorum" => &NOT_FOR_QUORUM,
                _ => &[],
            };
            let supported = !unsupported.iter().any(|key| policy.definition.contains_key(*key));
            (name, supported && policy.apply_to.has_queues(queue_type))
        }
    };
    applies && policy.pattern.matches(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::ApplyTo;

    fn policy(name: &str, pattern: &str, apply_to: ApplyTo, priority: i64, definition: Value) -> Arc<Policy> {
        let Value::Object(definition) = definition else { panic!("not an object") };
        let kind = PolicyKind::User;
        Arc::new(Policy::new(kind, "/", name, pattern, apply_to, priority, definition).unwrap())
    }

    fn name(policy: Option<Arc<Policy>>) -> String {
        policy.map(|policy| policy.name.clone()).unwrap_or_default()
    }

    #[test]
    fn the_highest_priority_that_matches_counts() {
        let ttl = || json!({"message-ttl": 1});
        let mut policies = Policies::default();
        for policy in [
            policy("all", "", ApplyTo::All, -1, ttl()),
            policy("any", "", ApplyTo::All, 0, ttl()),
            policy("a", "^a", ApplyTo::Queues, 5, ttl()),
            policy("a-again", "^a", ApplyTo::Queues, 5, ttl()),
            policy("ab", "b", ApplyTo::ClassicQueues, 7, ttl()),
            policy("limit", "^q", ApplyTo::Queues, 9, json!({"delivery-limit": 3})),
            policy("lazy", "^q", ApplyTo::Queues, 8, json!({"queue-mode": "lazy"})),
            policy("x", "^x", ApplyTo::Exchanges, 1, json!({"alternate-exchange": "y"})),
            policy("quorum", "^c", ApplyTo::QuorumQueues, 1, ttl()),
            policy("stream", "^c", ApplyTo::Streams, 2, ttl()),
        ] {
            assert!(policies.set(PolicyKind::User, Arc::clone(&policy)));
            assert!(!policies.set(PolicyKind::User, policy), "it says the same");
        }
        let queue = |name, queue_type| Object::Queue { name, queue_type };
        let cases = [
            (queue("z", "classic"), "any"),
            (queue("a1", "classic"), "a"),
            (queue("ab", "classic"), "ab"),
            (queue("ab", "quorum"), "a"),
            // A key that a type does not have keeps the whole policy from its queues.
            (queue("q", "classic"), "lazy"),
            (queue("q", "quorum"), "limit"),
            (queue("c", "classic"), "any"),
            (queue("c", "quorum"), "quorum"),
            (queue("c", "stream"), "stream"),
            (Object::Exchange("x1"), "x"),
            (Object::Exchange("a1"), "any"),
        ];
        for (object, expected) in cases {
            let Applied { policy, operator_policy } = policies.applied(object);
            assert_eq!((name(policy).as_str(), operator_policy), (expected, None), "{object:?}");
        }
        assert!(policies.clear(PolicyKind::User, "any") && !policies.clear(PolicyKind::User, "any"));
        assert_eq!(name(policies.applied(queue("z", "classic")).policy), "all");
        assert!(policies.clear(PolicyKind::User, "all"));
        assert!(policies.applied(queue("z", "classic")).is_empty());
    }

    #[test]
    fn one_of_each_kind_counts() {
        let mut policies = Policies::default();
        policies.set(PolicyKind::User, policy("u", "q", ApplyTo::All, 0, json!({"max-length": 5})));
        policies.set(PolicyKind::Operator, policy("o", "q", ApplyTo::All, 0, json!({"max-length": 3})));
        let applied = policies.applied(Object::Queue { name: "q", queue_type: "classic" });
        assert_eq!(Value::Object(applied.definition()), json!({"max-length": 3}));
        assert_eq!((name(applied.policy), name(applied.operator_policy)), ("u".to_owned(), "o".to_owned()));
        let names = |kind| policies.list(kind).map(|policy| policy.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(PolicyKind::User), names(PolicyKind::Operator)),
            (vec!["u".into()], vec!["o".into()])
        );
    }
}
