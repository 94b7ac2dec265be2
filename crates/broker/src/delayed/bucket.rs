//! A queue as a bucket: what of it the exchange needs beyond what every queue can do.
//!
//! Invariant: what is taken stays the bucket's until it is done with, so that it comes back after a crash.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use warrenmq_protocol::Millis;
use warrenmq_queue::{Get, Look, Picks, Position, Run};

use super::Delayed;
use super::grid::Stamp;
use crate::queue_cell::{QueueCell, Scratch};

/// While its messages are taken, a bucket keeps what is read ahead.
const ACTING_SHARE: u64 = 512 * 1024;

/// What makes a queue a bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) owner: Weak<Delayed>,
    /// When its messages are looked at.
    pub(super) acts_at: Millis,
    /// They are.
    pub(super) acting: AtomicBool,
}

/// A message that was taken out of its bucket to be moved.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) stamp: Stamp,
    pub(super) position: Position,
    pub(super) run: Run,
    pub(super) offset: u32,
}

impl Taken {
    pub(super) fn octets(&self) -> u64 {
        let record = self.run.record(self.offset).0;
        (record.header.len() + record.body.len() + record.route.len()) as u64
    }
}

/// Why no more was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing is left.
    None,
    /// It has to be read from disk; whoever reads it has the exchange called.
    OnDisk,
    /// That was enough.
    More,
}

impl Bucket {
    /// The exchange is to look at a message that came, or was read.
    pub(crate) fn tell(&self, now: Millis) {
        if let Some(owner) = self.owner.upgrade() {
            // What comes within a millisecond is looked at together.
            owner.arm(self.acts_at.max(now + 1));
        }
    }

    /// What it may keep in memory, and what stays when it has more. A queue may keep `most` at present.
    pub(crate) fn share(&self, most: u64) -> (u64, u64) {
        if self.acting.load(Ordering::Relaxed) {
            return (most.min(ACTING_SHARE), most.min(ACTING_SHARE) / 2);
        }
        (self.owner.upgrade().map_or(0, |owner| owner.node.share().min(most)), 0)
    }
}

impl QueueCell {
    /// Takes messages until they are so many, or have so many octets.
    pub(super) fn take(
        &self,
        messages: usize,
        octets: u64,
        scratch: &mut Scratch,
        mut each: impl FnMut(Taken),
    ) -> Rest {
        let mut rest = Rest::More;
        self.with(u64::MAX, scratch, |queue, effects| {
            let (mut count, mut size) = (0, 0);
            while count < messages && size < octets {
                match queue.get(true, effects) {
                    Get::Empty => rest = Rest::None,
                    Get::Stalled => rest = Rest::OnDisk,
                    Get::Message(got) => {
                        let delivery = got.delivery;
                        let Picks::Range { offset, .. } = delivery.picks else { continue };
                        let stamp = Stamp(delivery.run.record(offset).0.due.unwrap_or(0));
                        let taken = Taken { stamp, position: delivery.first, run: delivery.run, offset };
                        (count, size) = (count + 1, size + taken.octets());
                        each(taken);
                        continue;
                    }
                }
                break;
            }
        });
        rest
    }

    /// What was taken from these positions is done with.
    pub(super) fn settle_all(&self, positions: &mut Vec<Position>, scratch: &mut Scratch) {
        positions.sort_unstable();
        self.with(u64::MAX, scratch, |queue, effects| {
            for range in positions.chunk_by(|a, b| a + 1 == *b) {
                if let (Some(first), Some(last)) = (range.first(), range.last()) {
                    queue.settle(*first, *last, effects);
                }
            }
        });
        positions.clear();
    }

    /// Messages that are not done with.
    pub(super) fn held(&self) -> u64 {
        self.peek(|queue| queue.ready() + queue.unacked())
    }

    /// Messages that were not taken, those that were, and the octets of the former.
    pub(super) fn stock(&self) -> (u64, u64, u64) {
        self.peek(|queue| (queue.ready(), queue.unacked(), queue.ready_size()))
    }

    /// The position of the next message.
    pub(super) fn end(&self) -> Position {
        self.peek(|queue| queue.end())
    }

    /// What stands at `from` or behind it.
    pub(super) fn look(&self, from: Position) -> Option<Look> {
        self.peek(|queue| queue.look(from))
    }

    /// Takes out one message for good. Says whether it was there.
    pub(super) fn strike(&self, position: Position, scratch: &mut Scratch) -> bool {
        let mut was_there = false;
        self.with(u64::MAX, scratch, |queue, effects| was_there = queue.strike(position, effects));
        was_there
    }

    /// Its first position is `floor`, and nothing in it expires.
    pub(super) fn begin_at(&self, floor: Position) {
        self.peek(|queue| queue.begin_at(floor));
    }
}
