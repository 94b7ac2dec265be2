//! A binding: from an exchange to a queue or another exchange. Its identity is source, destination, routing
//! key and arguments together, as in RabbitMQ; the types of the arguments count, their order does not.

use crate::exchange::Name;
use std::cmp::Ordering;
use std::sync::Arc;
use warrenmq_wire::method::FieldTable;
use warrenmq_wire::table;

/// A queue, as the owner of the picture numbers it. Routes list queues in the order of these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The queue with this name.
    Queue(Name),
    /// The exchange with this name.
    Exchange(Name),
}

/// A binding as a client made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The exchange whose messages it takes.
    pub source: Name,
    /// Where it leads them.
    pub destination: Destination,
    /// The binding key: any octets, at most [`Self::KEY_OCTETS_MAX`] of them.
    pub routing_key: Arc<[u8]>,
    /// The arguments of queue.bind or exchange.bind; a headers exchange routes by them.
    pub arguments: FieldTable,
}

impl Binding {
    /// The most octets in a binding key; on the wire it is a short string.
    pub const KEY_OCTETS_MAX: usize = 255;
}

/// What an exchange's index holds of a binding's destination: enough to route without another look-up.
/// Queues come before exchanges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Queue(QueueId),
    Exchange(Name),
}

/// A binding in the picture, shared by the sets of its source and of its destination.
///
/// They are ordered by source, destination, key and arguments, so that in the set of a source the bindings
/// of one destination lie together, those of one destination and key lie together, and those that lead to
/// exchanges come last.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) binding: Binding,
    pub(crate) target: Target,
    /// The arguments in wire form, which `amq-protocol` writes with sorted keys; empty if there are none.
    pub(crate) arguments: Arc<[u8]>,
}

impl Bound {
    pub(crate) fn new(binding: Binding, target: Target) -> Self {
        let arguments = encode(&binding.arguments);
        Self { binding, target, arguments }
    }

    /// The smallest possible binding of this source, destination and key.
    pub(crate) fn first_with_key(&self, routing_key: Arc<[u8]>) -> Self {
        let binding = Binding { routing_key, arguments: FieldTable::default(), ..self.binding.clone() };
        Self { binding, target: self.target.clone(), arguments: Arc::default() }
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.binding, &other.binding);
        (&a.source, &a.destination, &a.routing_key, &self.arguments).cmp(&(
            &b.source,
            &b.destination,
            &b.routing_key,
            &other.arguments,
        ))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

fn encode(arguments: &FieldTable) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    if !arguments.inner().is_empty() && table::put(&mut bytes, arguments).is_err() {
        // Only a table that could never have been received cannot be written; it asks for nothing.
        bytes.clear();
    }
    bytes.into()
}
