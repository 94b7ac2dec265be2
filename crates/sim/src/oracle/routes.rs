//! Bindings, and where they lead a message.
//!
//! Invariant: each exchange is visited once, and each queue gets a message once, however many ways lead there.

use super::Oracle;
use super::channel::Asked;
use crate::message::Message;
use crate::op::{Special, To};
use crate::topology::Name;
use crate::way::{Gate, Way};

/// Where a message goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// All of these queues get it.
    pub(super) queues: Vec<Name>,
    /// One of these does, too.
    pub(super) one_of: Vec<Name>,
    /// What decides which one.
    pub(super) looked_at: String,
    /// It passes the exchange that keeps the last messages.
    pub(super) is_kept: bool,
}

impl Oracle {
    /// Where a message goes.
    pub(super) fn route(&self, message: &Message, to: To) -> Route {
        let (names, start) = match to {
            To::Queue(name) => ([Some(name), message.cc, message.bcc].into_iter().flatten().collect(), None),
            To::Delaying(name) => (vec![name], None),
            To::Direct(name) if self.direct.contains(&name) => (vec![name], None),
            To::Direct(_) => {
                let alternate = self.topology.alternate.or_else(|| self.policies.alternate());
                (Vec::new(), alternate.map(Gate::Exchange))
            }
            To::Reply(_) => (Vec::new(), None),
            To::Exchange(exchange) => (Vec::new(), Some(Gate::Exchange(exchange))),
            To::Remembering => (Vec::new(), Some(Gate::Special(Special::Remembering))),
            To::Choosing(_) => (Vec::new(), Some(Gate::Special(Special::Choosing))),
            To::Leading(_) => (Vec::new(), Some(Gate::Special(Special::Leading))),
        };
        let mut route = Route { queues: names, ..Route::default() };
        for gate in self.visited(start) {
            match gate {
                Gate::Special(Special::Choosing) => {
                    let (_, key) = to.route(&[]);
                    route.one_of = self.topology.chosen();
                    route.looked_at =
                        self.topology.chooses.map_or(String::new(), |by| by.looks_at(message, &key));
                }
                gate => {
                    route.is_kept |= gate == Gate::Special(Special::Remembering);
                    route.queues.extend(self.bound(gate));
                }
            }
        }
        route.queues.sort_unstable();
        route.queues.dedup();
        route.queues.retain(|name| self.names[*name].is_some());
        route
    }

    /// All exchanges that a message passes which comes to this one.
    fn visited(&self, start: Option<Gate>) -> Vec<Gate> {
        let mut visited: Vec<Gate> = start.into_iter().collect();
        let mut next = 0;
        while let Some(gate) = visited.get(next).copied() {
            next += 1;
            for Way { to, .. } in self.ways.iter().filter(|way| way.from == gate) {
                if !visited.contains(to) {
                    visited.push(*to);
                }
            }
        }
        visited
    }

    fn bound(&self, gate: Gate) -> &[Name] {
        match gate {
            Gate::Exchange(exchange) => &self.exchanges[exchange],
            Gate::Special(Special::Direct) => &self.direct,
            Gate::Special(Special::Remembering) => &self.remembering,
            Gate::Special(Special::Leading) => &self.leading,
            Gate::Special(_) => &[],
        }
    }

    fn bound_mut(&mut self, gate: Gate) -> Option<&mut Vec<Name>> {
        match gate {
            Gate::Exchange(exchange) => Some(&mut self.exchanges[exchange]),
            Gate::Special(Special::Direct) => Some(&mut self.direct),
            Gate::Special(Special::Remembering) => Some(&mut self.remembering),
            Gate::Special(Special::Leading) => Some(&mut self.leading),
            // These keep their bindings.
            Gate::Special(_) => None,
        }
    }

    /// A queue is bound to an exchange.
    pub(super) fn bind(&mut self, gate: Gate, name: Name) -> Asked {
        let Some(queue) = self.names[name] else { return Asked::Missing };
        match self.bound_mut(gate) {
            Some(bound) if !bound.contains(&name) => bound.push(name),
            _ => return Asked::Anything,
        }
        if gate == Gate::Special(Special::Remembering) {
            for message in self.history.clone() {
                self.enter(message, queue);
            }
        }
        Asked::Anything
    }

    /// It is bound to it no more.
    pub(super) fn unbind(&mut self, gate: Gate, name: Name) {
        if let Some(bound) = self.bound_mut(gate) {
            bound.retain(|other| *other != name);
        }
    }

    /// All bindings of a queue go.
    pub(super) fn unbind_all(&mut self, name: Name) {
        let special = [&mut self.direct, &mut self.remembering, &mut self.leading];
        self.exchanges.iter_mut().chain(special).for_each(|bound| bound.retain(|other| *other != name));
    }

    /// An exchange leads to another one, or does so no more.
    pub(super) fn lead(&mut self, way: Way, leads: bool) {
        self.ways.retain(|other| *other != way);
        self.ways.extend(leads.then_some(way));
    }

    /// The exchange that keeps the last messages keeps this one.
    pub(super) fn remember(&mut self, message: &Message) {
        let Some(length) = self.topology.history.filter(|_| !message.no_store) else { return };
        self.history.push_back(message.id);
        while self.history.len() as u64 > length {
            self.history.pop_front();
        }
    }
}
