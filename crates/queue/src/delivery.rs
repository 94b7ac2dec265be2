//! What a queue hands out: records of one run for one consumer, and the buffer that gathers such effects.
//!
//! Invariant: a delivery names each message by offset in its run and by position in its queue, so that the receiver can
//! encode it without looking at the queue and settle it without keeping the run.

use crate::consumers::ConsumerSlot;
use crate::page::{PageId, Place};
use crate::redelivered::Attempts;
use crate::run::Run;
use crate::{Millis, Position};

/// One record picked out of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Where the record starts in the run.
    pub offset: u32,
    /// Distance of its position from [`Delivery::first`].
    pub index: u32,
}

/// Which records of the run are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picks {
    /// `count` records in a row, the first at `offset`.
    Range {
        /// Start of the first record.
        offset: u32,
        /// Number of records, at least 1.
        count: u32,
    },
    /// Single records, in ascending order: what round robin leaves for one of several consumers.
    List(Box<[Pick]>),
}

/// Messages of one run on their way to one consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The run that holds the messages.
    pub run: Run,
    /// Position of the first record of a range, and the base of [`Pick::index`].
    pub first: Position,
    /// Which of its records.
    pub picks: Picks,
    /// Whether they were delivered before.
    pub redelivered: bool,
    /// How often they came back, in a queue that counts it.
    pub attempts: u32,
}

impl Delivery {
    /// Number of messages.
    pub fn count(&self) -> u32 {
        match &self.picks {
            Picks::Range { count, .. } => *count,
            Picks::List(list) => list.len() as u32,
        }
    }
}

/// What a command caused, gathered in a buffer that the caller keeps and reuses.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages to send, in order.
    pub deliveries: Vec<(ConsumerSlot, Delivery)>,
    /// Consumers that pull (see [`crate::Credit::Pull`]) and for which there is something now. Each is told once, until it
    /// pulls again.
    pub hungry: Vec<ConsumerSlot>,
    /// Messages that left without being settled, of a queue that dead-letters.
    pub dead: Vec<Dead>,
    /// Of a recorded queue: ranges of messages that are done with for good and that a restart would bring back if it did not know.
    /// Dead letters are not among them: who receives them reports them. A range may name transient messages too.
    pub gone: Vec<(Position, Position)>,
    /// Of a recorded queue that counts how often messages come back: those that just did.
    pub attempts: Vec<Attempted>,
    /// Stored blocks whose bodies are needed now or soon; each is asked for once.
    pub loads: Vec<(PageId, Place)>,
    /// Places that nothing needs any more, each once.
    pub freed: Vec<Place>,
}

/// Messages on their way to the dead-letter exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The messages.
    pub delivery: Delivery,
    /// Why they left.
    pub reason: Reason,
    /// They stay in the queue until they are [`crate::Queue::buried`].
    pub kept: bool,
}

/// Why messages left, with RabbitMQ's names (<https://www.rabbitmq.com/docs/dlx>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A consumer rejected them without requeueing.
    Rejected,
    /// Their time to live was over.
    Expired,
    /// The queue was full.
    Maxlen,
    /// They came back too often.
    DeliveryLimit,
}

/// How messages come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// As if they had never left: nobody saw them.
    Unsent,
    /// Their consumer gives them back.
    Returned,
    /// Their consumer has failed with them, or has gone.
    Failed,
}

/// Messages that came back, with what a restart has to know of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// Position of the first.
    pub first: Position,
    /// Position of the last.
    pub last: Position,
    /// How often they came back.
    pub attempts: Attempts,
    /// When they are ready again, if they have to wait.
    pub due: Option<Millis>,
}

impl Reason {
    /// The name in `x-death`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
            Reason::Maxlen => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
        }
    }
}

impl Effects {
    /// An empty buffer.
    pub fn new() -> Effects {
        Effects::default()
    }

    /// Whether nothing was caused.
    pub fn is_empty(&self) -> bool {
        let Effects { deliveries, hungry, dead, gone, attempts, loads, freed } = self;
        deliveries.is_empty()
            && hungry.is_empty()
            && dead.is_empty()
            && gone.is_empty()
            && attempts.is_empty()
            && loads.is_empty()
            && freed.is_empty()
    }
}
