//! The picture of one vhost: its exchanges, the names of its queues, and the bindings between them.
//!
//! Invariants: a binding is in the set of its source and in the set of its destination, or in neither; both
//! ends of every binding exist; the index of an exchange leads where its bindings lead.

use crate::Map;
use crate::binding::{Binding, Bound, Destination, QueueId, Target};
use crate::exchange::{Exchange, Name};
use crate::index::Index;
use crate::set::Set;
use std::sync::Arc;

/// The exchanges and bindings of one vhost. Cloning costs a few reference counts.
///
/// Methods that look things up leave what a name may mean to the caller: that clients may not touch the
/// default exchange, or delete the predeclared ones, is not known here.
#[derive(Debug, Clone)]
pub struct Topology {
    exchanges: Map<Name, Arc<ExchangeEntry>>,
    queues: Map<Name, QueueEntry>,
}

/// What went with something else that was removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Removed {
    /// Bindings of which one end is gone. A binding that was itself to be removed is not listed.
    pub bindings: Vec<Binding>,
    /// Exchanges that are gone, each with all its bindings: the one that was to be deleted first, then those
    /// that were deleted because they are auto-delete and lost their last binding as a source.
    pub exchanges: Vec<Name>,
}

/// An exchange and its bindings.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeEntry {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) index: Index,
    /// Bindings with this exchange as source; those to exchanges come last.
    pub(crate) from: Set<Arc<Bound>>,
    /// Bindings with this exchange as destination.
    to: Set<Arc<Bound>>,
}

#[derive(Debug, Clone)]
struct QueueEntry {
    id: QueueId,
    /// Bindings to this queue.
    to: Set<Arc<Bound>>,
}

impl Default for Topology {
    fn default() -> Self {
        Self::new()
    }
}

impl Topology {
    /// A vhost with its predeclared exchanges: the default one, `amq.direct`, `amq.fanout`, `amq.topic`,
    /// `amq.headers`, `amq.match` and `amq.rabbitmq.trace`.
    pub fn new() -> Self {
        let mut topology = Self { exchanges: Map::default(), queues: Map::default() };
        Exchange::predeclared().for_each(|exchange| topology.declare_exchange(exchange));
        topology
    }

    /// The exchange with this name.
    pub fn exchange(&self, name: &str) -> Option<&Arc<Exchange>> {
        self.exchange_entry(name).map(|entry| &entry.exchange)
    }

    /// All exchanges, sorted by name; costs the sorting.
    pub fn exchanges(&self) -> impl Iterator<Item = &Arc<Exchange>> {
        self.sorted_exchanges().map(|entry| &entry.exchange)
    }

    /// Whether it has bindings as a source, so that a delete with if-unused has to be refused.
    pub fn exchange_in_use(&self, name: &str) -> bool {
        self.exchange_entry(name).is_some_and(|entry| !entry.from.is_empty())
    }

    /// The queue with this name.
    pub fn queue(&self, name: &str) -> Option<QueueId> {
        self.queues.get(name).map(|entry| entry.id)
    }

    /// Whether this very binding is there. The default exchange's bindings to every queue are not bindings in
    /// this sense.
    pub fn binding_exists(&self, binding: &Binding) -> bool {
        self.find(binding).is_some()
    }

    /// All bindings, sorted by source, destination, key and arguments; without the default exchange's. Costs
    /// the sorting of the exchanges.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.sorted_exchanges().flat_map(|entry| entry.from.iter()).map(|bound| &bound.binding)
    }

    /// The bindings with this source, sorted by destination, key and arguments.
    pub fn bindings_from(&self, exchange: &str) -> impl Iterator<Item = &Binding> {
        let entry = self.exchange_entry(exchange);
        entry.into_iter().flat_map(|entry| entry.from.iter()).map(|bound| &bound.binding)
    }

    /// The bindings with this destination, sorted by source, key and arguments; without the default
    /// exchange's.
    pub fn bindings_to(&self, destination: &Destination) -> impl Iterator<Item = &Binding> {
        let to = match destination {
            Destination::Queue(name) => self.queues.get(name).map(|entry| &entry.to),
            Destination::Exchange(name) => self.exchange_entry(name).map(|entry| &entry.to),
        };
        to.into_iter().flat_map(Set::iter).map(|bound| &bound.binding)
    }

    /// Adds an exchange. The caller has seen that there is none with this name.
    pub fn declare_exchange(&mut self, exchange: Exchange) {
        debug_assert!(!self.exchanges.contains_key(&exchange.name), "a name is declared once");
        let name = Arc::clone(&exchange.name);
        let index = Index::new(&exchange);
        let (from, to) = (Set::default(), Set::default());
        self.exchanges
            .insert(name, Arc::new(ExchangeEntry { exchange: Arc::new(exchange), index, from, to }));
    }

    /// Changes where messages go for which an exchange finds no destination. Without such an exchange nothing happens.
    pub fn set_alternate(&mut self, name: &str, alternate: Option<Name>) {
        if let Some(entry) = self.exchanges.get_mut(name) {
            let entry = Arc::make_mut(entry);
            entry.exchange = Arc::new(Exchange { alternate, ..Exchange::clone(&entry.exchange) });
        }
    }

    /// Removes an exchange with the bindings from and to it; auto-delete exchanges that thereby lose their
    /// last binding as a source go too, and so on. `None` if there is no such exchange.
    pub fn delete_exchange(&mut self, name: &str) -> Option<Removed> {
        let mut removed = Removed::default();
        let sources = self.take_exchange(name, &mut removed)?;
        self.auto_delete(sources, &mut removed);
        Some(removed)
    }

    /// Adds a queue. The caller has seen that there is none with this name.
    pub fn add_queue(&mut self, name: Name, id: QueueId) {
        debug_assert!(!self.queues.contains_key(&name), "a name is declared once");
        self.queues.insert(name, QueueEntry { id, to: Set::default() });
    }

    /// Removes a queue with the bindings to it, and the auto-delete exchanges that thereby lose their last
    /// binding, as [`Self::delete_exchange`] does. `None` if there is no such queue.
    pub fn remove_queue(&mut self, name: &str) -> Option<Removed> {
        let entry = self.queues.remove(name)?;
        let mut removed = Removed::default();
        let sources = self.detach_from_sources(&entry.to, &mut removed);
        self.auto_delete(sources, &mut removed);
        Some(removed)
    }

    /// Adds a binding; false when it was there already. The caller has checked that both ends exist and that
    /// the key is not longer than [`Binding::KEY_OCTETS_MAX`]; if not, the answer is false too.
    pub fn bind(&mut self, binding: Binding) -> bool {
        if binding.routing_key.len() > Binding::KEY_OCTETS_MAX {
            // The trie of a topic exchange is as deep as a key has words.
            return false;
        }
        let Some(target) = self.target(&binding.destination) else { return false };
        let Some(source) = self.exchanges.get_mut(&*binding.source) else { return false };
        let binding = Binding { source: Arc::clone(&source.exchange.name), ..binding };
        let bound = Arc::new(Bound::new(binding, target));
        if source.from.contains(&bound) {
            return false;
        }
        let source = Arc::make_mut(source);
        source.index.insert(&bound, &source.from);
        source.from.insert(Arc::clone(&bound));
        if let Some(to) = self.to_mut(&bound.binding.destination) {
            to.insert(bound);
        }
        true
    }

    /// Removes a binding. Says whether it was there, and what went because its source is an auto-delete
    /// exchange and this was its last binding. Removing what is not there never deletes an exchange.
    pub fn unbind(&mut self, binding: &Binding) -> (bool, Removed) {
        let mut removed = Removed::default();
        let Some(bound) = self.find(binding) else { return (false, removed) };
        self.detach_from_source(&bound);
        if let Some(to) = self.to_mut(&binding.destination) {
            to.remove(&bound);
        }
        self.auto_delete(vec![Arc::clone(&bound.binding.source)], &mut removed);
        (true, removed)
    }

    pub(crate) fn exchange_entry(&self, name: &str) -> Option<&ExchangeEntry> {
        self.exchanges.get(name).map(Arc::as_ref)
    }

    fn sorted_exchanges(&self) -> impl Iterator<Item = &ExchangeEntry> {
        let mut entries: Vec<_> = self.exchanges.values().map(Arc::as_ref).collect();
        entries.sort_unstable_by(|a, b| a.exchange.name.cmp(&b.exchange.name));
        entries.into_iter()
    }

    fn target(&self, destination: &Destination) -> Option<Target> {
        match destination {
            Destination::Queue(name) => self.queue(name).map(Target::Queue),
            Destination::Exchange(name) => {
                self.exchange(name).map(|exchange| Target::Exchange(Arc::clone(&exchange.name)))
            }
        }
    }

    fn find(&self, binding: &Binding) -> Option<Arc<Bound>> {
        let target = self.target(&binding.destination)?;
        let probe = Arc::new(Bound::new(binding.clone(), target));
        let found = self.exchange_entry(&binding.source)?.from.at_or_after(&probe)?;
        (*found == probe).then(|| Arc::clone(found))
    }

    fn to_mut(&mut self, destination: &Destination) -> Option<&mut Set<Arc<Bound>>> {
        match destination {
            Destination::Queue(name) => self.queues.get_mut(name).map(|entry| &mut entry.to),
            Destination::Exchange(name) => {
                self.exchanges.get_mut(name).map(|entry| &mut Arc::make_mut(entry).to)
            }
        }
    }

    /// Removes an exchange and its bindings; returns the exchanges that had bindings to it.
    fn take_exchange(&mut self, name: &str, removed: &mut Removed) -> Option<Vec<Name>> {
        let entry = self.exchanges.remove(name)?;
        for bound in entry.from.iter() {
            removed.bindings.push(bound.binding.clone());
            if let Some(to) = self.to_mut(&bound.binding.destination) {
                to.remove(bound);
            }
        }
        removed.exchanges.push(Arc::clone(&entry.exchange.name));
        Some(self.detach_from_sources(&entry.to, removed))
    }

    /// Takes bindings whose destination is gone from their sources; returns these. A source that is gone
    /// too has reported the binding itself.
    fn detach_from_sources(&mut self, bindings: &Set<Arc<Bound>>, removed: &mut Removed) -> Vec<Name> {
        let mut sources: Vec<Name> = Vec::new();
        for bound in bindings.iter() {
            if self.detach_from_source(bound) {
                removed.bindings.push(bound.binding.clone());
                // Bindings of one source lie together.
                if sources.last() != Some(&bound.binding.source) {
                    sources.push(Arc::clone(&bound.binding.source));
                }
            }
        }
        sources
    }

    fn detach_from_source(&mut self, bound: &Arc<Bound>) -> bool {
        let Some(source) = self.exchanges.get_mut(&bound.binding.source) else { return false };
        let source = Arc::make_mut(source);
        source.from.remove(bound);
        source.index.remove(bound, &source.from);
        true
    }

    /// Deletes those of `candidates` that are auto-delete and have no binding left as a source, and so on.
    fn auto_delete(&mut self, mut candidates: Vec<Name>, removed: &mut Removed) {
        while let Some(name) = candidates.pop() {
            let entry = self.exchange_entry(&name);
            if entry.is_some_and(|entry| entry.exchange.auto_delete && entry.from.is_empty())
                && let Some(sources) = self.take_exchange(&name, removed)
            {
                candidates.extend(sources);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ExchangeKind;
    use warrenmq_wire::method::FieldTable;

    #[test]
    fn predeclared_exchanges() {
        let topology = Topology::new();
        let seen: Vec<_> =
            topology.exchanges().map(|e| (&*e.name, e.kind.name(), e.durable, e.internal)).collect();
        let expected = [
            ("", "direct", true, false),
            ("amq.direct", "direct", true, false),
            ("amq.fanout", "fanout", true, false),
            ("amq.headers", "headers", true, false),
            ("amq.match", "headers", true, false),
            ("amq.rabbitmq.trace", "topic", true, true),
            ("amq.topic", "topic", true, false),
        ];
        assert_eq!(seen, expected);
    }

    /// Exchange bindings `ab` lead from a to b. All but z are auto-delete; q is a queue. What goes with what is
    /// removed, as RabbitMQ answered.
    #[test]
    fn auto_delete() {
        type Removal = fn(&mut Topology) -> Removed;
        type Names = &'static [&'static str];
        let queue: Removal = |topology| topology.remove_queue("q").expect("it is there");
        let exchange: Removal = |topology| topology.delete_exchange("z").expect("it is there");
        let unbind_last: Removal = |topology| {
            let binding = topology.bindings_to(&end("z")).next().expect("it is there").clone();
            topology.unbind(&binding).1
        };
        let unbind_nothing: Removal = |topology| topology.unbind(&binding("z", "a")).1;
        let cases: [(Names, Removal, Names, Names); 11] = [
            (&["aq"], queue, &["aq"], &["a"]),
            (&["aq", "bq"], queue, &["aq", "bq"], &["b", "a"]),
            (&["aq", "az"], queue, &["aq"], &[]),
            (&["za"], unbind_nothing, &[], &[]),
            (&["az"], unbind_nothing, &[], &[]),
            (&["az"], unbind_last, &[], &["a"]),
            (&["az"], exchange, &["az"], &["z", "a"]),
            (&["za"], exchange, &["za"], &["z"]),
            (&["zz"], exchange, &["zz"], &["z"]),
            (&["ab", "bc", "cz", "zq"], unbind_last, &["bc", "ab"], &["c", "b", "a"]),
            (&["ab", "ba", "bz"], unbind_last, &[], &[]),
        ];
        for (bindings, removal, with, gone) in cases {
            let mut topology = Topology::new();
            topology.add_queue("q".into(), QueueId(1));
            for name in ["a", "b", "c", "z"] {
                topology.declare_exchange(Exchange {
                    name: name.into(),
                    kind: ExchangeKind::Fanout,
                    durable: false,
                    auto_delete: name != "z",
                    internal: false,
                    arguments: FieldTable::default(),
                    alternate: None,
                    delayed: None,
                });
            }
            for ends in bindings {
                let (source, destination) = ends.split_at(1);
                assert!(topology.bind(binding(source, destination)));
            }
            let removed = removal(&mut topology);
            let names: Vec<_> = removed.exchanges.iter().map(|name| &**name).collect();
            assert_eq!(names, gone, "{bindings:?}");
            let expected: Vec<_> = with.iter().map(|ends| binding(&ends[..1], &ends[1..])).collect();
            assert_eq!(removed.bindings, expected, "{bindings:?}");
        }
    }

    #[test]
    fn a_key_that_no_frame_can_hold_is_not_bound() {
        let mut topology = Topology::new();
        for (octets, expected) in [(255, true), (256, false)] {
            let binding =
                Binding { routing_key: vec![b'.'; octets].into(), ..binding("amq.topic", "amq.fanout") };
            assert_eq!(topology.bind(binding), expected);
        }
    }

    fn end(name: &str) -> Destination {
        match name {
            "q" => Destination::Queue(name.into()),
            _ => Destination::Exchange(name.into()),
        }
    }

    fn binding(source: &str, destination: &str) -> Binding {
        Binding {
            source: source.into(),
            destination: end(destination),
            routing_key: Arc::default(),
            arguments: FieldTable::default(),
        }
    }
}
