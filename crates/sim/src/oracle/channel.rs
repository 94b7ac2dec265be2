//! What is known about channels and their consumers.

use std::collections::{BTreeMap, VecDeque};

use super::copy::{CopyId, Moment, QueueId};
use super::routes::Route;
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::{Number, To, Verdict};

/// An open channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Channel {
    pub(super) mode: Mode,
    pub(super) prefetch: u16,
    /// What all consumers share.
    pub(super) shared: Option<u16>,
    /// Deliveries that are not settled, by tag.
    pub(super) holds: BTreeMap<u64, Hold>,
    pub(super) last_tag: u64,
    /// The call that was not answered.
    pub(super) asked: Option<Asked>,
    /// The last order that a get brought, by queue and level.
    pub(super) got: BTreeMap<(QueueId, u8), u64>,
}

/// What a channel has promised.
#[derive(Clone, Debug, Default)]
pub(super) enum Mode {
    /// Nothing.
    #[default]
    Plain,
    /// Confirms.
    Confirm { published: u64, waiting: VecDeque<Unconfirmed> },
    /// A transaction.
    Tx(Transaction),
}

/// A publish that waits for its confirm.
#[derive(Clone, Debug)]
pub(super) struct Unconfirmed {
    pub(super) number: u64,
    pub(super) call: u64,
    pub(super) copies: Vec<CopyId>,
    /// Its confirm says that the journal has come so far.
    pub(super) journalled: bool,
}

/// What waits for a commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    pub(super) publishes: Vec<Publication>,
    pub(super) settles: Vec<(u64, Hold, Verdict)>,
}

/// A message that is published, and where that leads.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) message: MessageId,
    pub(super) to: To,
    /// Where it was routed to.
    pub(super) route: Route,
    /// It is a reply to this requester, who was there.
    pub(super) requester: Option<usize>,
}

/// A delivery that is not settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) copy: CopyId,
    pub(super) consumer: Option<u32>,
    /// Between these times it has left the broker, in unix milliseconds: what is encoded may be seen later.
    pub(super) left: (u64, u64),
    /// The timeout of its consumer.
    pub(super) timeout: Option<u64>,
}

/// A call and what its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Any answer will do.
    Anything,
    /// 404: the queue is not there.
    Missing,
    /// The head of the queue, or that it is empty.
    Get { queue: QueueId, no_ack: bool, since: Moment },
    /// A number of ready messages of the queue between these.
    Count { queue: QueueId, low: u64, high: u64 },
    /// commit-ok.
    Commit(usize),
}

/// A consumer that is there.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) link: LinkId,
    pub(super) channel: Number,
    pub(super) queue: QueueId,
    pub(super) no_ack: bool,
    pub(super) prefetch: u16,
    /// `x-consumer-timeout`.
    pub(super) timeout: Option<u64>,
    /// `x-priority`.
    pub(super) priority: i64,
    /// It is the so-manieth consumer of all.
    pub(super) seat: u64,
    pub(super) since: Moment,
    /// The last order that it got, by level.
    pub(super) last: BTreeMap<u8, u64>,
    /// The call since whose end it has had room for one more message, for certain.
    pub(super) room: Option<u64>,
}

impl Channel {
    /// Deliveries that are out, for the broker: what a transaction has settled is until its commit.
    pub(super) fn out(&self) -> impl Iterator<Item = &Hold> {
        let settled: &[_] = match &self.mode {
            Mode::Tx(transaction) => &transaction.settles,
            _ => &[],
        };
        self.holds.values().chain(settled.iter().map(|(_, hold, _)| hold))
    }

    pub(super) fn gets_from(&self, from: QueueId) -> bool {
        matches!(self.asked, Some(Asked::Get { queue, .. }) if queue == from)
    }
}
