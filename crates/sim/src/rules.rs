//! What a queue does with its messages, by its arguments and by policies.
//!
//! Invariant: every rule here can be said by an argument and by a policy; what cannot change while a queue lives is in
//! [`crate::topology::Kind`].

use crate::frames::Table;
use crate::topology::{Name, queue_name};

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its oldest messages go.
    DropHead,
    /// It takes no more.
    Reject,
    /// It takes no more, and what it does not take is a dead letter.
    RejectDlx,
}

/// What somebody says about a queue; `None` is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `message-ttl`, milliseconds.
    pub ttl: Option<u64>,
    /// `max-length`.
    pub max_length: Option<u64>,
    /// `max-length-bytes`.
    pub max_octets: Option<u64>,
    /// `overflow`.
    pub overflow: Option<Overflow>,
    /// Dead letters go to the queue of this name.
    pub dead_letters: Option<Name>,
    /// `expires`, milliseconds.
    pub expires: Option<u64>,
    /// `consumer-timeout`, milliseconds.
    pub consumer_timeout: Option<u64>,
    /// `delivery-limit`.
    pub delivery_limit: Option<u64>,
}

/// A value of a policy or of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A text.
    Text(&'static str),
    /// The name of a queue.
    Queue(Name),
}

impl Overflow {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Overflow::DropHead => "drop-head",
            Overflow::Reject => "reject-publish",
            Overflow::RejectDlx => "reject-publish-dlx",
        }
    }
}

impl Rules {
    /// Keys and values, as policies have them.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let number = |number: Option<u64>| number.map(Value::Number);
        let exchange = self.dead_letters.map(|_| Value::Text(""));
        let entries = [
            ("message-ttl", number(self.ttl)),
            ("max-length", number(self.max_length)),
            ("max-length-bytes", number(self.max_octets)),
            ("overflow", self.overflow.map(|overflow| Value::Text(overflow.name()))),
            ("dead-letter-exchange", exchange),
            ("dead-letter-routing-key", self.dead_letters.map(Value::Queue)),
            ("expires", number(self.expires)),
            ("consumer-timeout", number(self.consumer_timeout)),
            ("delivery-limit", number(self.delivery_limit)),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }

    /// The arguments of a declare that say the same.
    pub fn put_arguments(&self, mut table: Table) -> Table {
        for (key, value) in self.entries() {
            let key = format!("x-{key}");
            table = match value {
                Value::Number(number) => table.number(&key, number),
                Value::Text(text) => table.text(&key, text),
                Value::Queue(name) => table.text(&key, &queue_name(name)),
            };
        }
        table
    }

    /// What counts where an argument and a policy say something.
    #[must_use]
    pub fn under(self, policy: Rules, quorum: bool) -> Rules {
        let overflow =
            if quorum { policy.overflow.or(self.overflow) } else { self.overflow.or(policy.overflow) };
        let merged = Rules { overflow, dead_letters: self.dead_letters.or(policy.dead_letters), ..self };
        merged.smaller(policy)
    }

    /// What counts where a user policy and an operator policy say something.
    #[must_use]
    pub fn bounded(self, operator: Rules) -> Rules {
        Rules { overflow: operator.overflow.or(self.overflow), ..self }.smaller(operator)
    }

    /// Of each number the smaller one.
    fn smaller(self, other: Rules) -> Rules {
        let min = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Rules {
            ttl: min(self.ttl, other.ttl),
            max_length: min(self.max_length, other.max_length),
            max_octets: min(self.max_octets, other.max_octets),
            expires: min(self.expires, other.expires),
            consumer_timeout: min(self.consumer_timeout, other.consumer_timeout),
            delivery_limit: min(self.delivery_limit, other.delivery_limit),
            ..self
        }
    }

    /// Whether a full queue takes no more.
    pub fn rejects(&self) -> bool {
        self.is_limited() && matches!(self.overflow, Some(Overflow::Reject | Overflow::RejectDlx))
    }

    /// Whether what it does not take is a dead letter.
    pub fn buries_refused(&self) -> bool {
        self.rejects() && self.overflow == Some(Overflow::RejectDlx) && self.dead_letters.is_some()
    }

    /// Whether it loses messages when it is full.
    pub fn drops(&self) -> bool {
        self.is_limited() && !self.rejects()
    }

    fn is_limited(&self) -> bool {
        self.max_length.is_some() || self.max_octets.is_some()
    }
}
