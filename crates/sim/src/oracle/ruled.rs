//! What policies and time make of queues.
//!
//! Invariant: what counts for a queue is looked up when it is declared and when policies change, as docs/policies.md says that it
//! has its effect; what may have gone by the rules before may have gone for good.

use warrenmq_broker::policy::PolicyKind;

use super::Oracle;
use super::copy::{Entry, Place, Queue, QueueId};
use crate::policy::{Policy, PolicyId};
use crate::topology::Name;

impl Oracle {
    /// A policy is set, or cleared.
    pub fn policy(&mut self, id: PolicyId, policy: Option<Policy>) {
        self.begin_call();
        self.policies.put(id, policy);
        for name in self.existing() {
            let Some(queue) = self.names[name] else { continue };
            let rules = self.policies.rules(name, &self.queues[queue].kind);
            if rules == self.queues[queue].rules {
                continue;
            }
            self.doubt_by_rules(queue);
            let known = &mut self.queues[queue];
            if known.rules.expires != rules.expires {
                known.used = self.now;
            }
            if known.rules.max_octets.is_none() {
                known.weighed = self.call;
            }
            known.keeps_dead &= rules.may_keep();
            (known.rules, known.ruled) = (rules, self.call);
        }
    }

    /// The policies that are set.
    pub fn policies(&self) -> Vec<PolicyId> {
        self.policies.ids()
    }

    /// The policies of a kind as the broker is to have them, by name.
    pub fn policies_of(&self, kind: PolicyKind) -> Vec<warrenmq_broker::policy::Policy> {
        self.policies.of(kind).collect()
    }

    /// The user policy and the operator policy that are to count for a queue.
    pub fn policies_for(&self, name: Name) -> [Option<PolicyId>; 2] {
        let kind = &self.topology.queues[name];
        [PolicyKind::User, PolicyKind::Operator].map(|wanted| self.policies.for_queue(wanted, name, kind))
    }

    /// A queue of this name is declared.
    pub(super) fn declare(&mut self, name: Name) {
        if let Some(queue) = self.names[name] {
            self.queues[queue].used = self.now;
            return;
        }
        self.names[name] = Some(self.queues.len());
        let kind = self.topology.queues[name];
        self.queues.push(Queue {
            name,
            kind,
            rules: self.policies.rules(name, &kind),
            ruled: self.call,
            weighed: self.call,
            used: self.now,
            deleted: false,
            copies: Vec::new(),
            was_read: false,
            keeps_dead: self.policies.rules(name, &kind).may_keep(),
            slipped: 0,
            active: None,
        });
    }

    /// The rules of a queue are about to change: what may have gone may have gone, or died.
    fn doubt_by_rules(&mut self, queue: QueueId) {
        for id in self.queues[queue].copies.clone() {
            if self.copies[id].place == Place::Ready && self.may_have_left(id) {
                let dies = self.queues[queue].rules.dead_letters.is_some();
                let copy = &mut self.copies[id];
                copy.may_be_dead |= dies;
                copy.may_be_gone |= !dies;
            }
        }
    }

    /// Whether a copy that is here, as far as is known, may have gone unseen or may have been refused.
    pub(super) fn may_have_left(&self, id: super::copy::CopyId) -> bool {
        let refused =
            self.copies[id].entry == Entry::Open && self.queues[self.copies[id].queue].rules.buries_refused();
        refused || self.may_go(id)
    }

    /// The broker has done what was due: queues that nobody uses have expired.
    pub fn timers_ran(&mut self) {
        for name in self.existing() {
            let Some(queue) = self.names[name] else { continue };
            let Queue { rules, used, .. } = self.queues[queue];
            let is_due = rules.expires.is_some_and(|expires| used + expires <= self.now);
            if is_due && !self.consumers.values().any(|consumer| consumer.queue == queue) {
                self.delete(queue);
            }
        }
    }

    /// A queue goes, with its bindings.
    pub(super) fn delete(&mut self, queue: QueueId) {
        let name = self.queues[queue].name;
        self.names[name] = None;
        self.queues[queue].deleted = true;
        self.purge(queue);
        self.doubt_letters(queue);
        self.unbind_all(name);
    }
}
