//! Where a publish entry lies. Invariant: small, since there is one for each of a journal's records.

use std::ops::Deref;

use super::Lsn;

/// Messages that the journal holds.
#[derive(Debug, Clone)]
pub struct Published {
    /// The record they are in.
    pub lsn: Lsn,
    /// Each queue that they came to, with the position of the first.
    pub queues: PublishedQueues,
    /// When they came, in ms since 1970.
    pub arrived: u64,
    /// How many they are.
    pub count: u32,
    /// Octets of them.
    pub(super) octets: u32,
    /// Where they begin, counted through all files as if they were one.
    pub(super) at: u64,
}

/// Queues and first positions; a slice that needs no allocation for one of them.
#[derive(Debug, Clone)]
pub enum PublishedQueues {
    /// The usual case.
    One([(u64, u64); 1]),
    /// A message that was routed to several queues.
    Many(Box<[(u64, u64)]>),
}

impl PublishedQueues {
    pub(super) fn new(mut queues: impl ExactSizeIterator<Item = (u64, u64)>) -> PublishedQueues {
        match (queues.len(), queues.next()) {
            (1, Some(one)) => PublishedQueues::One([one]),
            (_, first) => PublishedQueues::Many(first.into_iter().chain(queues).collect()),
        }
    }
}

impl Deref for PublishedQueues {
    type Target = [(u64, u64)];

    fn deref(&self) -> &[(u64, u64)] {
        match self {
            PublishedQueues::One(one) => one,
            PublishedQueues::Many(many) => many,
        }
    }
}
