//! Bindings from exchange to exchange.
//!
//! Invariant: only a fanout leads to other exchanges, so a message goes every way that there is.

use crate::frames::Arguments;
use crate::op::Special;
use crate::topology::{Name, Topology, exchange_name};

/// An exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// One of those of [`Topology::exchanges`].
    Exchange(usize),
    /// One that there is once.
    Special(Special),
}

/// From one exchange to another, or to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The source.
    pub from: Gate,
    /// The destination.
    pub to: Gate,
}

impl Gate {
    /// The name on the wire.
    pub fn name(self) -> String {
        match self {
            Gate::Exchange(exchange) => exchange_name(exchange),
            Gate::Special(special) => special.name().to_owned(),
        }
    }

    /// The key with which a queue is bound to it.
    pub fn binding_key(self, topology: &Topology, name: Name) -> String {
        match self {
            Gate::Exchange(_) => String::new(),
            Gate::Special(special) => special.binding_key(topology, name),
        }
    }
}

impl Way {
    /// The arguments of its bind, and of its unbind.
    pub fn arguments(self) -> Arguments {
        let names = Arguments::new().short(0).shortstr(&self.to.name()).shortstr(&self.from.name());
        names.shortstr("").octet(0).longstr(&[])
    }
}

impl Topology {
    /// Whether a queue may be bound to the exchange that keeps the last messages: one that it leads to by others, too, would get them twice.
    pub fn may_remember(&self, name: Name) -> bool {
        !self.leads || !self.exchanges.iter().any(|bound| bound.contains(&name))
    }

    /// All ways that there may be.
    pub fn ways(&self) -> Vec<Way> {
        if !self.leads {
            return Vec::new();
        }
        let leading = || [Gate::Special(Special::Leading)].into_iter();
        let exchanges = 0..self.exchanges.len();
        let fanouts = exchanges.clone().filter(|exchange| self.exchange_type(*exchange) == "fanout");
        let choosing = self.chooses.map(|_| Gate::Special(Special::Choosing));
        let remembering = self.history.map(|_| Gate::Special(Special::Remembering));
        let to: Vec<Gate> =
            leading().chain(exchanges.map(Gate::Exchange)).chain(choosing).chain(remembering).collect();
        let from = leading().chain(fanouts.map(Gate::Exchange));
        from.flat_map(|from| to.iter().map(move |to| Way { from, to: *to })).collect()
    }
}
