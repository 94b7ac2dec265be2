//! The index of an `x-consistent-hash` exchange: one destination for each value of what it hashes, and shares by weight.
//!
//! Each destination draws a number for the value, and the smallest wins (weighted rendezvous hashing). Invariants: the choice
//! depends on the value and on the set of destinations and weights, not on the order in which they were bound, so it is the same
//! after a restart; a destination that comes takes its share from all others, one that goes leaves it to all others, and nothing
//! else moves. RabbitMQ numbers buckets in the order of binding instead, and shifts them when a binding goes.

use crate::binding::{Binding, Bound, Destination, Target};
use crate::hash;
use crate::message::Message;
use crate::set::Set;
use crate::term::term;
use crate::value::form;
use std::sync::Arc;
use warrenmq_wire::method::{AMQPValue, FieldTable};

/// The largest weight (RabbitMQ 4.2.9).
pub(crate) const WEIGHT_MAX: u32 = 10_000;

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";

/// What of a message is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum HashOn {
    #[default]
    Key,
    Header(Box<[u8]>),
    MessageId,
    CorrelationId,
    Timestamp,
}

impl HashOn {
    /// Reads the arguments of the exchange; an error is RabbitMQ's text.
    pub(crate) fn read(arguments: &FieldTable) -> Result<Self, String> {
        let text = |key: &str| match arguments.inner().get(key) {
            None => Ok(None),
            Some(AMQPValue::LongString(text)) => Ok(Some(text.as_bytes())),
            Some(other) => Err(format!("invalid type '{}' for arg '{key}'", term(other).0)),
        };
        match (text(HASH_HEADER)?, text(HASH_PROPERTY)?) {
            (None, None) => Ok(Self::Key),
            (Some(header), None) => Ok(Self::Header(header.into())),
            (None, Some(b"message_id")) => Ok(Self::MessageId),
            (None, Some(b"correlation_id")) => Ok(Self::CorrelationId),
            (None, Some(b"timestamp")) => Ok(Self::Timestamp),
            (None, Some(other)) => Err(format!("Unsupported property: {}", String::from_utf8_lossy(other))),
            (Some(_), Some(_)) => Err("hash-header and hash-property are mutually exclusive".to_owned()),
        }
    }

    /// A message that lacks what is hashed has a value of its own, so all such messages go the same way.
    fn value(&self, message: &Message<'_>) -> u64 {
        let properties = message.properties;
        match self {
            Self::Key => message.keys.first().map(|key| hash::octets(key)),
            Self::Header(name) => {
                // Of a key that comes twice the last value counts.
                let entries = message.headers.into_iter().flat_map(|headers| headers.entries());
                let found = entries.filter(|(key, _)| *key == &**name).last();
                found.map(|(_, value)| hash::octets(&form(value)))
            }
            Self::MessageId => properties.and_then(|p| p.message_id()).map(hash::octets),
            Self::CorrelationId => properties.and_then(|p| p.correlation_id()).map(hash::octets),
            Self::Timestamp => {
                properties.and_then(|p| p.timestamp()).map(|time| hash::octets(&time.to_be_bytes()))
            }
        }
        .unwrap_or_default()
    }
}

/// The weight that a binding key asks for; an error is RabbitMQ's text.
pub(crate) fn weight(key: &[u8]) -> Result<u32, String> {
    let not_a_number = || format!("The binding key must be an integer: {}", crate::term::binary(key));
    let (negative, digits) = match key {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(not_a_number());
    }
    let number = digits
        .iter()
        .fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
    match number {
        0 => Err("The binding key must be greater than 0".to_owned()),
        _ if negative => Err("The binding key must be greater than 0".to_owned()),
        1..=WEIGHT_MAX => Ok(number),
        _ => Err(format!("The binding key must not exceed {WEIGHT_MAX}")),
    }
}

/// The destinations of an exchange, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConsistentHash {
    pub(crate) on: HashOn,
    members: Set<Member>,
}

/// A destination. Those of one weight lie together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    weight: u32,
    /// Of its name.
    hash: u64,
    target: Target,
}

impl Member {
    /// A binding whose key is no weight makes none.
    fn of(bound: &Bound) -> Option<Self> {
        let Binding { destination, routing_key, .. } = &bound.binding;
        let hash = match destination {
            Destination::Queue(name) => hash::octets(name.as_bytes()),
            Destination::Exchange(name) => hash::mix(!hash::octets(name.as_bytes())),
        };
        Some(Self { weight: weight(routing_key).ok()?, hash, target: bound.target.clone() })
    }
}

impl ConsistentHash {
    pub(crate) fn new(on: HashOn) -> Self {
        Self { on, members: Set::default() }
    }

    /// Adds a binding; `others` are those that were there. Of the bindings to one destination the first in the order of their keys
    /// gives the weight, as in RabbitMQ after a restart.
    pub(crate) fn insert(&mut self, bound: &Arc<Bound>, others: &Set<Arc<Bound>>) {
        let other = first(bound, others);
        if other.is_some_and(|other| other < bound) {
            return;
        }
        if let Some(other) = other.and_then(|other| Member::of(other)) {
            self.members.remove(&other);
        }
        self.members_add(bound);
    }

    /// Takes out a binding; `others` are those that stay.
    pub(crate) fn remove(&mut self, bound: &Arc<Bound>, others: &Set<Arc<Bound>>) {
        let other = first(bound, others);
        if other.is_some_and(|other| other < bound) {
            return;
        }
        if let Some(member) = Member::of(bound) {
            self.members.remove(&member);
        }
        if let Some(other) = other {
            self.members_add(other);
        }
    }

    fn members_add(&mut self, bound: &Bound) {
        if let Some(member) = Member::of(bound) {
            self.members.insert(member);
        }
    }

    /// Where the message goes; nowhere only if nothing is bound.
    pub(crate) fn matches(&self, message: &Message<'_>) -> Option<&Target> {
        let value = self.on.value(message);
        let mut members = self.members.iter().peekable();
        let mut winner: Option<(f64, &Target)> = None;
        while let Some(first) = members.next() {
            // Of equal weights the largest draw wins, so most members cost no logarithm.
            let draw = |member: &Member| hash::mix(value ^ member.hash);
            let mut best = (draw(first), first);
            while let Some(member) = members.next_if(|member| member.weight == first.weight) {
                let number = draw(member);
                if number > best.0 {
                    best = (number, member);
                }
            }
            let (number, member) = best;
            // In (0, 1]; its negative logarithm is exponentially distributed, and divided by the weight the smallest of
            // several belongs to each with the probability of its share.
            let fraction = ((number >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            let score = -fraction.ln() / f64::from(member.weight);
            if winner.is_none_or(|(best, _)| score < best) {
                winner = Some((score, &member.target));
            }
        }
        winner.map(|(_, target)| target)
    }
}

/// The first of the bindings that lead where `bound` does.
fn first<'a>(bound: &Bound, others: &'a Set<Arc<Bound>>) -> Option<&'a Arc<Bound>> {
    let first = others.at_or_after(&Arc::new(bound.first_with_key(Arc::default())))?;
    (first.binding.destination == bound.binding.destination).then_some(first)
}
