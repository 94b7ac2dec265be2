//! An exchange: what a client declared, and the exchanges that every vhost has from its start.

use std::sync::Arc;
use warrenmq_wire::method::FieldTable;

/// The name of an exchange or a queue, shared by all who mention it.
pub type Name = Arc<str>;

/// How an exchange compares a message with its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExchangeKind {
    /// The routing key equals the binding key.
    Direct,
    /// Every binding matches.
    Fanout,
    /// The binding key is a pattern of words separated by dots.
    Topic,
    /// The binding arguments are compared with the headers.
    Headers,
    /// A hash of the key, of a header or of a property decides for one destination; binding keys are weights.
    ConsistentHash,
    /// A hash of the key, modulo the number of bindings, decides for one.
    ModulusHash,
    /// Chance decides for one binding.
    Random,
    /// The same, for classic queues of this node alone.
    LocalRandom,
    /// Every binding matches; who is bound later gets the last messages, too.
    RecentHistory,
}

impl ExchangeKind {
    /// All kinds, in the order of the variants.
    pub const ALL: [Self; 9] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::RecentHistory,
    ];

    /// The kind with this `type` of exchange.declare, or `None` for a type that is unknown here.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The `type` of exchange.declare.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::RecentHistory => "x-recent-history",
        }
    }
}

/// The `type` of an exchange that holds messages back for a time before it routes them as its kind does.
pub const DELAYED_TYPE: &str = "x-delayed-message";

/// Names what an exchange holds back. Means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DelayId(pub u64);

/// An exchange as it was declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Its name; empty for the default exchange.
    pub name: Name,
    /// How it compares messages with its bindings.
    pub kind: ExchangeKind,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it goes when it loses its last binding as a source. One that never had a binding stays.
    pub auto_delete: bool,
    /// Whether clients may not publish to it; bindings and alternates still lead to it.
    pub internal: bool,
    /// The arguments of exchange.declare.
    pub arguments: FieldTable,
    /// Where messages go for which it finds no destination; that exchange need not exist.
    pub alternate: Option<Name>,
    /// It is of the type [`DELAYED_TYPE`], and holds messages back under this number.
    pub delayed: Option<DelayId>,
}

impl Exchange {
    /// The `type` of its exchange.declare.
    pub fn type_name(&self) -> &'static str {
        if self.delayed.is_some() { DELAYED_TYPE } else { self.kind.name() }
    }

    /// The default exchange and the `amq.` ones that a vhost has from its start (`rabbit_vhost`).
    pub(crate) fn predeclared() -> impl Iterator<Item = Self> {
        [
            ("", ExchangeKind::Direct, false),
            ("amq.direct", ExchangeKind::Direct, false),
            ("amq.fanout", ExchangeKind::Fanout, false),
            ("amq.topic", ExchangeKind::Topic, false),
            ("amq.headers", ExchangeKind::Headers, false),
            ("amq.match", ExchangeKind::Headers, false),
            ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
        ]
        .into_iter()
        .map(|(name, kind, internal)| Self {
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal,
            arguments: FieldTable::default(),
            alternate: None,
            delayed: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_protocol() {
        for kind in ExchangeKind::ALL {
            assert_eq!(ExchangeKind::from_name(kind.name()), Some(kind));
        }
        for name in ["", "Direct", "x-delayed-message", "match"] {
            assert_eq!(ExchangeKind::from_name(name), None);
        }
    }
}
