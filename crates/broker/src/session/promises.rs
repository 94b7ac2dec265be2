//! Confirms that wait for the disk, in the order in which they are to be sent.
//!
//! Invariant: confirms of a channel never overtake each other: one that has nothing to wait for stands behind those that have.

use std::collections::VecDeque;

use crate::storage::Point;

/// The answer to all publishes of a channel up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// What has to be durable before.
    pub(super) point: Point,
    pub(super) channel: u16,
    /// Number of the publish.
    pub(super) tag: u64,
    /// A queue has refused this one publish: it is nacked.
    pub(super) refused: bool,
}

#[derive(Debug, Default)]
pub(super) struct Promises {
    list: VecDeque<Promise>,
}

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn push(&mut self, promise: Promise) {
        self.list.push_back(promise);
    }

    /// What the first one waits for.
    pub(super) fn waits_for(&self) -> Option<Point> {
        self.list.front().map(|promise| promise.point)
    }

    /// The first one, if what it waits for is durable. Of several of a channel in a row that are, the last one stands for all.
    pub(super) fn pop(&mut self, durable: Point) -> Option<Promise> {
        let mut promise = self.list.pop_front_if(|promise| promise.point.is_in(durable))?;
        while !promise.refused
            && let Some(next) = self.list.pop_front_if(|next| {
                next.channel == promise.channel && !next.refused && next.point.is_in(durable)
            })
        {
            promise = next;
        }
        Some(promise)
    }

    /// Whether a channel has promises.
    pub(super) fn has(&self, channel: u16) -> bool {
        self.list.iter().any(|promise| promise.channel == channel)
    }

    /// A channel is gone; its number may come again.
    pub(super) fn forget(&mut self, channel: u16) {
        self.list.retain(|promise| promise.channel != channel);
    }

    /// The connection is over.
    pub(super) fn clear(&mut self) {
        self.list = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warrenmq_store::{CommitSeq, Lsn};

    fn promise(lsn: u64, channel: u16, tag: u64, refused: bool) -> Promise {
        Promise { point: Point { seq: CommitSeq(0), lsn: Lsn(lsn) }, channel, tag, refused }
    }

    #[test]
    fn what_is_durable_leaves_in_order_and_together() {
        let mut promises = Promises::default();
        for (lsn, channel, tag, refused) in
            [(1, 1, 4, false), (2, 1, 6, false), (2, 2, 1, false), (0, 1, 7, true), (3, 1, 9, false)]
        {
            promises.push(promise(lsn, channel, tag, refused));
        }
        let durable = |lsn| Point { seq: CommitSeq(0), lsn: Lsn(lsn) };
        assert_eq!(promises.pop(durable(0)), None);
        assert_eq!(promises.pop(durable(2)).map(|p| (p.channel, p.tag)), Some((1, 6)));
        assert_eq!(promises.pop(durable(2)).map(|p| (p.channel, p.tag)), Some((2, 1)));
        assert_eq!(promises.pop(durable(2)).map(|p| (p.tag, p.refused)), Some((7, true)));
        assert_eq!(promises.pop(durable(2)), None);
        assert!(promises.has(1) && !promises.has(2));
        promises.forget(1);
        assert!(promises.is_empty());
    }
}
