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

/// Where dead letters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grave {
    /// To the queue of this name, by the default exchange.
    One(Name),
    /// To these queues, by an exchange. They may be full.
    Both(Name, Name),
}

/// The exchange that leads to both queues.
pub const DYING: &str = "dying";

/// What waits when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryWhen {
    /// Everything.
    All,
    /// What was rejected, or whose channel has ended.
    Failed,
    /// What was given back.
    Returned,
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
    /// Where dead letters go.
    pub dead_letters: Option<Grave>,
    /// `dead-letter-strategy` is `at-least-once`.
    pub at_least_once: bool,
    /// `expires`, milliseconds.
    pub expires: Option<u64>,
    /// `consumer-timeout`, milliseconds.
    pub consumer_timeout: Option<u64>,
    /// `delivery-limit`.
    pub delivery_limit: Option<u64>,
    /// `delayed-retry-type`. Whoever says it says the shortest wait, too.
    pub retry: Option<RetryWhen>,
    /// `delayed-retry-min`, milliseconds.
    pub retry_min: Option<u64>,
    /// `delayed-retry-max`, milliseconds.
    pub retry_max: Option<u64>,
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

impl Grave {
    /// The names of its queues.
    pub fn queues(self) -> Vec<Name> {
        match self {
            Grave::One(name) => vec![name],
            Grave::Both(one, other) => vec![one, other],
        }
    }
}

impl RetryWhen {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            RetryWhen::All => "all",
            RetryWhen::Failed => "failed",
            RetryWhen::Returned => "returned",
        }
    }
}

impl Rules {
    /// Keys and values, as policies have them.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let number = |number: Option<u64>| number.map(Value::Number);
        let (exchange, key) = match self.dead_letters {
            None => (None, None),
            Some(Grave::One(name)) => (Some(Value::Text("")), Some(Value::Queue(name))),
            Some(Grave::Both(..)) => (Some(Value::Text(DYING)), None),
        };
        let strategy = self.at_least_once.then_some(Value::Text("at-least-once"));
        let entries = [
            ("message-ttl", number(self.ttl)),
            ("max-length", number(self.max_length)),
            ("max-length-bytes", number(self.max_octets)),
            ("overflow", self.overflow.map(|overflow| Value::Text(overflow.name()))),
            ("dead-letter-exchange", exchange),
            ("dead-letter-routing-key", key),
            ("dead-letter-strategy", strategy),
            ("expires", number(self.expires)),
            ("consumer-timeout", number(self.consumer_timeout)),
            ("delivery-limit", number(self.delivery_limit)),
            ("delayed-retry-type", self.retry.map(|when| Value::Text(when.name()))),
            ("delayed-retry-min", number(self.retry_min)),
            ("delayed-retry-max", number(self.retry_max)),
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
        let overflow = if quorum {
            // Quorum queues cannot bury what they refuse, and take that word of a policy for the default.
            let asked = policy.overflow.or(self.overflow);
            asked.map(|overflow| if overflow == Overflow::RejectDlx { Overflow::DropHead } else { overflow })
        } else {
            self.overflow.or(policy.overflow)
        };
        let dead_letters = self.dead_letters.or(policy.dead_letters);
        let retry = policy.retry.or(self.retry);
        Rules { overflow, dead_letters, retry, ..self }.smaller(policy)
    }

    /// What counts where a user policy and an operator policy say something.
    #[must_use]
    pub fn bounded(self, operator: Rules) -> Rules {
        let retry_min = self.retry_min.max(operator.retry_min);
        let (overflow, retry) = (operator.overflow.or(self.overflow), operator.retry.or(self.retry));
        Rules { overflow, retry, retry_min, ..self.smaller(operator) }
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
            retry_min: min(self.retry_min, other.retry_min),
            retry_max: min(self.retry_max, other.retry_max),
            ..self
        }
    }

    /// How long a message waits that comes back, as a failure or not, after so many failures.
    pub fn retry_delay(&self, is_failure: bool, failures: u64) -> Option<u64> {
        let waits = match self.retry? {
            RetryWhen::All => true,
            RetryWhen::Failed => is_failure,
            RetryWhen::Returned => !is_failure,
        };
        let min = self.retry_min?;
        waits.then(|| (min * failures.max(1)).min(self.retry_max.unwrap_or(min)))
    }

    /// Whether a full queue takes no more.
    pub fn rejects(&self) -> bool {
        self.is_limited() && matches!(self.overflow, Some(Overflow::Reject | Overflow::RejectDlx))
    }

    /// Whether what it does not take is a dead letter.
    pub fn buries_refused(&self) -> bool {
        self.rejects() && self.overflow == Some(Overflow::RejectDlx) && self.dead_letters.is_some()
    }

    /// Whether its dead letters may have to stay until others take them.
    pub fn may_keep(&self) -> bool {
        let may_be_refused = matches!(self.dead_letters, Some(Grave::Both(..)));
        self.at_least_once && may_be_refused && self.overflow == Some(Overflow::Reject)
    }

    /// Whether it loses messages when it is full.
    pub fn drops(&self) -> bool {
        self.is_limited() && !self.rejects()
    }

    fn is_limited(&self) -> bool {
        self.max_length.is_some() || self.max_octets.is_some()
    }
}
