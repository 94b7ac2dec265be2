//! Policies of a vhost: setting and clearing them, and what they make of its queues and exchanges.
//!
//! Invariant: every queue and exchange follows the policies of the picture that it is in. A change reaches the queues before
//! the picture shows it; both happen under the lock of the master copy.

use std::sync::Arc;

use serde_json::Value;
use warrenmq_protocol::Exception;
use warrenmq_store::CommitSeq;

use super::exchanges::{ALTERNATE_EXCHANGE, checked, submit};
use super::queue_type::type_name;
use super::queues::QueueDeclare;
use super::traits::traits;
use super::{Master, Picture, Vhost};
use crate::changes::{self, Journalist};
use crate::definitions::{Key, Record};
use crate::lock::Guard;
use crate::policy::{Applied, Object, Policies, Policy, PolicyKind, effective_arguments};
use crate::queue_cell::{QueueCell, Scratch, Traits};

impl Picture {
    /// The policies that count for a queue; `None`: there is no such queue.
    pub(crate) fn queue_policy(&self, name: &str) -> Option<Applied> {
        self.queue(name).map(|cell| self.policies.applied(as_object(cell)))
    }

    /// The policies that count for an exchange; `None`: there is no such exchange.
    pub(crate) fn exchange_policy(&self, name: &str) -> Option<Applied> {
        self.topology.exchange(name).map(|_| self.policies.applied(Object::Exchange(name)))
    }

    /// All policies of one kind, by name.
    pub(crate) fn policies(&self, kind: PolicyKind) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.list(kind)
    }
}

impl Vhost {
    /// Sets a policy. What it changes for queues is in `scratch` then.
    pub(crate) fn set_policy(
        &self,
        kind: PolicyKind,
        policy: Policy,
        journalist: &Journalist,
        window: u64,
        scratch: &mut Scratch,
    ) -> Result<Option<CommitSeq>, Exception> {
        let mut master = self.master.lock();
        let change = checked(changes::put(&Record::Policy(kind, policy.clone())))?;
        let mut policies = Policies::clone(&master.picture.policies);
        if !policies.set(kind, Arc::new(policy)) {
            return Ok(journalist.unsettled());
        }
        self.change_policies(&mut master, policies, window, scratch);
        submit(journalist, vec![change])
    }

    /// Removes a policy. `None`: there is none of that name.
    pub(crate) fn clear_policy(
        &self,
        kind: PolicyKind,
        name: &str,
        journalist: &Journalist,
        window: u64,
        scratch: &mut Scratch,
    ) -> Result<Option<Option<CommitSeq>>, Exception> {
        let mut master = self.master.lock();
        let mut policies = Policies::clone(&master.picture.policies);
        if !policies.clear(kind, name) {
            return Ok(None);
        }
        self.change_policies(&mut master, policies, window, scratch);
        let key = Key::Policy { kind, vhost: &self.name, name };
        submit(journalist, vec![changes::delete(&key)]).map(Some)
    }

    /// Puts a policy back that the store has kept, before exchanges and queues come.
    pub(crate) fn restore_policy(&self, kind: PolicyKind, policy: Policy) {
        let mut master = self.master.lock();
        let mut policies = Policies::clone(&master.picture.policies);
        policies.set(kind, Arc::new(policy));
        self.change_policies(&mut master, policies, 0, &mut Scratch::default());
    }

    /// What the arguments of a queue are under `policies`.
    pub(super) fn traits(&self, asked: &QueueDeclare, policies: &Policies) -> Result<Traits, Exception> {
        let plain = traits(asked, &self.name)?;
        let queue_type = type_name(&asked.arguments);
        let applied = policies.applied(Object::Queue { name: &asked.name, queue_type });
        if applied.is_empty() {
            return Ok(plain);
        }
        let arguments = effective_arguments(queue_type, &asked.arguments, &applied.definition());
        let under = traits(&QueueDeclare { arguments, ..asked.clone() }, &self.name);
        Ok(under.unwrap_or_else(|exception| {
            // Values of policies were checked; the queue works on without them.
            tracing::error!("a policy of queue '{}' has no effect: {}", asked.name, exception.explanation);
            plain
        }))
    }

    fn change_policies(
        &self,
        master: &mut Guard<'_, Master>,
        policies: Policies,
        window: u64,
        scratch: &mut Scratch,
    ) {
        let before = std::mem::replace(&mut master.picture.policies, Arc::new(policies));
        let after = Arc::clone(&master.picture.policies);
        for cell in master.picture.queues.values() {
            let object = as_object(cell);
            if before.applied(object) != after.applied(object)
                && let Ok(traits) = self.traits(&as_declared(cell), &after)
            {
                cell.configure(traits, window, scratch);
            }
        }
        let mut changed = Vec::new();
        for exchange in master.picture.topology.exchanges() {
            let own = exchange.arguments.contains_key(ALTERNATE_EXCHANGE);
            let alternate = alternate(&after, &exchange.name);
            if !own && alternate != exchange.alternate {
                changed.push((Arc::clone(&exchange.name), alternate));
            }
        }
        for (name, alternate) in changed {
            master.picture.topology.set_alternate(&name, alternate);
        }
        self.publish(master);
    }
}

/// The alternate exchange that policies give an exchange without one. The default exchange never has one.
pub(super) fn alternate(policies: &Policies, name: &str) -> Option<Arc<str>> {
    if name.is_empty() {
        return None;
    }
    let definition = policies.applied(Object::Exchange(name)).definition();
    definition.get(ALTERNATE_EXCHANGE).and_then(Value::as_str).map(Arc::from)
}

fn as_object(cell: &QueueCell) -> Object<'_> {
    Object::Queue { name: &cell.info.name, queue_type: type_name(&cell.info.arguments) }
}

fn as_declared(cell: &QueueCell) -> QueueDeclare {
    QueueDeclare {
        name: cell.info.name.to_string(),
        durable: cell.info.durable,
        exclusive: cell.info.owner.is_some(),
        auto_delete: cell.info.auto_delete,
        arguments: cell.info.arguments.clone(),
    }
}
