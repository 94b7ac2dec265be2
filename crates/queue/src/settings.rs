//! What a queue is declared with, and what policies make of it.
//!
//! Invariant: plain numbers and choices, read by the queue and never changed by it.

use crate::Millis;

/// What a queue is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its type (`x-queue-type`).
    pub kind: Kind,
    /// Priorities go from 0 to this; 0 is a plain queue (`x-max-priority`).
    pub max_priority: u8,
    /// Time to live of every message, in milliseconds (`x-message-ttl`).
    pub message_ttl: Option<Millis>,
    /// Most ready messages (`x-max-length`).
    pub max_length: Option<u64>,
    /// Most octets of the bodies of ready messages (`x-max-length-bytes`).
    pub max_length_bytes: Option<u64>,
    /// What happens beyond these.
    pub overflow: Overflow,
    /// Messages that leave unsettled are handed out as [`crate::Dead`] instead of being dropped.
    pub dead_letters: bool,
    /// These stay until it is said that others have them ([`crate::Queue::buried`]), and are handed out again while it is not
    /// (`x-dead-letter-strategy` `at-least-once`).
    pub keep_dead: bool,
    /// One consumer at a time gets messages (`x-single-active-consumer`).
    pub single_active: bool,
    /// Expired messages leave wherever they stand, not only at the head (`x-warren-expire-anywhere`).
    pub expire_anywhere: bool,
    /// How often a message may come back as a failure; `None` is for ever (`x-delivery-limit`).
    pub delivery_limit: Option<u32>,
    /// Messages that come back wait before they are ready again (`x-delayed-retry-type`).
    pub retry: Option<Retry>,
    /// What is done with is told in [`crate::Effects::gone`]: persistent messages here are meant to outlive a restart.
    pub recorded: bool,
}

/// The rules by which messages come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// To their original place.
    #[default]
    Classic,
    /// Before what is ready, in the order in which they came back; how often is counted. All messages outlive a restart.
    Quorum,
}

/// What a full queue does (`x-overflow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages of the lowest priority go.
    #[default]
    DropHead,
    /// It takes no more.
    RejectPublish,
    /// It takes no more, and dead-letters what it did not take.
    RejectPublishDlx,
}

/// How long messages wait that come back: `min` times the number of the attempt, and no longer than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which of them.
    pub when: RetryWhen,
    /// Milliseconds.
    pub min: Millis,
    /// Milliseconds; `None` is `min`, as in RabbitMQ.
    pub max: Option<Millis>,
}

/// Which messages wait when they come back (`x-delayed-retry-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryWhen {
    /// All of them.
    All,
    /// Those whose delivery failed: rejected, or their consumer has gone.
    Failed,
    /// Those that their consumer has given back.
    Returned,
}

impl Kind {
    /// What `x-queue-type` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Classic => "classic",
            Kind::Quorum => "quorum",
        }
    }
}

/// Priorities of a quorum queue go from 0 to this, and a message without one has [`QUORUM_PRIORITY`], as in RabbitMQ 4.3.
const QUORUM_PRIORITY_MAX: u8 = 31;
const QUORUM_PRIORITY: u8 = 4;

impl Settings {
    /// The priority that the queue gives to a message with this one.
    #[inline]
    pub(crate) fn level(&self, priority: Option<u8>) -> u8 {
        match self.kind {
            Kind::Classic => priority.unwrap_or(0).min(self.max_priority),
            Kind::Quorum => priority.unwrap_or(QUORUM_PRIORITY).min(QUORUM_PRIORITY_MAX),
        }
    }

    /// Whether all messages outlive a restart, persistent or not.
    pub fn keeps_all(&self) -> bool {
        self.kind == Kind::Quorum
    }

    /// Whether all messages have the same priority.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == Kind::Classic && self.max_priority == 0
    }

    /// Whether messages may be refused.
    pub fn may_reject(&self) -> bool {
        (self.max_length.is_some() || self.max_length_bytes.is_some()) && self.overflow != Overflow::DropHead
    }
}
