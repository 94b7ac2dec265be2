//! What a queue hands out: records of one run for one consumer, and the buffer that gathers such effects.
//!
//! Invariant: a delivery names each message by offset in its run and by position in its queue, so that the receiver can
//! encode it without looking at the queue and settle it without keeping the run.

use crate::consumers::ConsumerSlot;
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
}

/// Messages on their way to the dead-letter exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// The messages.
    pub delivery: Delivery,
    /// Why they left.
    pub reason: Reason,
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
}

impl Reason {
    /// The name in `x-death`.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
            Reason::Maxlen => "maxlen",
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
        self.deliveries.is_empty() && self.hungry.is_empty() && self.dead.is_empty()
    }
}

/// Messages of one run that are neighbours in the queue too.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) run: Run,
    pub(crate) first: Position,
    pub(crate) offset: u32,
    pub(crate) count: u32,
    /// Octets of its records.
    pub(crate) size: u32,
    pub(crate) redelivered: bool,
    /// When they were published to this queue.
    pub(crate) arrived: Millis,
}

impl Span {
    pub(crate) fn of_run(run: Run, first: Position, arrived: Millis) -> Span {
        let (count, size) = (run.count(), run.len() as u32);
        Span { run, first, offset: 0, count, size, redelivered: false, arrived }
    }

    /// When the first message expires, with the queue's time to live.
    pub(crate) fn expires(&self, queue_ttl: Option<Millis>) -> Option<Millis> {
        let own = self.run.ttl_at(self.offset);
        let ttl = match (own, queue_ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        ttl.map(|ttl| self.arrived.saturating_add(ttl))
    }

    pub(crate) fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }

    /// Takes the first `count` messages off; `count` is less than what the span holds.
    pub(crate) fn take_front(&mut self, count: u32) -> Span {
        debug_assert!(count > 0 && count < self.count);
        let cut = self.run.skip(self.offset, count);
        let size = cut - self.offset;
        let front = Span { run: self.run.clone(), count, size, ..*self };
        self.first += u64::from(count);
        self.offset = cut;
        self.count -= count;
        self.size -= size;
        front
    }

    pub(crate) fn into_delivery(self) -> Delivery {
        Delivery {
            run: self.run,
            first: self.first,
            picks: Picks::Range { offset: self.offset, count: self.count },
            redelivered: self.redelivered,
        }
    }

    /// The spans that a delivery was made of. When they arrived is not known any more: they are `arrived` now.
    pub(crate) fn from_delivery(delivery: Delivery, arrived: Millis, mut each: impl FnMut(Span)) {
        let Delivery { run, first, picks, redelivered } = delivery;
        match picks {
            Picks::Range { offset, count } => {
                let size = run.skip(offset, count) - offset;
                each(Span { run, first, offset, count, size, redelivered, arrived });
            }
            Picks::List(list) => {
                for pick in list {
                    let size = run.size_at(pick.offset);
                    let first = first + u64::from(pick.index);
                    each(Span {
                        run: run.clone(),
                        first,
                        offset: pick.offset,
                        count: 1,
                        size,
                        redelivered,
                        arrived,
                    });
                }
            }
        }
    }
}
