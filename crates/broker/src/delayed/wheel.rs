//! The turns of one exchange: which of its buckets are looked at, and what comes next.
//!
//! Invariants: a turn does a bounded amount of work, so that others get theirs; what is sorted in memory is bounded for each slot; a
//! message never leaves before it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::Position;

use super::Delayed;
use super::bucket::{Rest, Taken};
use super::buckets::Acting;
use super::grid::Stamp;
use crate::broker::Broker;
use crate::queue_cell::{QueueCell, Scratch};

/// Messages that one turn moves.
pub(super) const TURN_MESSAGES: usize = 2048;
/// Octets that one turn moves.
pub(super) const TURN_OCTETS: u64 = 512 * 1024;
/// When the disk is behind, the exchange looks again after so long.
const CONGESTED_MS: Millis = 5;
/// So many messages are sorted in memory before more are that were due before they were loaded.
const SORTED_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// What was taken out of buckets and waits for its moment, soonest first.
    pub(super) sorted: BinaryHeap<Reverse<Sorted>>,
}

#[derive(Debug)]
pub(super) struct Sorted {
    pub(super) taken: Taken,
    pub(super) cell: Arc<QueueCell>,
}

/// What one turn may still do.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) messages: usize,
    pub(super) octets: u64,
    /// There is more to do at once.
    pub(super) more: bool,
}

/// Messages of one bucket that are done with in this turn.
#[derive(Debug, Default)]
pub(super) struct Done(Vec<(Arc<QueueCell>, Vec<Position>)>);

impl Delayed {
    /// Does what is due at the time of the batch. The caller finishes the batch, then calls [`Delayed::end_turn`] with the answer.
    pub(crate) fn turn(&self, broker: &Broker, scratch: &mut Scratch) -> Option<Millis> {
        self.disarm();
        if self.node.storage().is_behind() {
            return Some(scratch.now + CONGESTED_MS);
        }
        let unix = self.node.epoch_ms() + scratch.now;
        let mut wheel = self.wheel.lock();
        let mut budget = Budget { messages: TURN_MESSAGES, octets: TURN_OCTETS, more: false };
        let Some((acting, mut next)) = self.acting(unix) else {
            wheel.sorted.clear();
            return None;
        };
        let mut done = Done::default();
        // What was due before the start leaves in the order of its time, so it waits for buckets that may hold earlier ones.
        let mut gate = u64::MAX;
        for acting in &acting {
            acting.begin();
            let (wake, moved) = self.look_at(acting, unix, &mut wheel, gate, &mut budget, (broker, scratch));
            // What was moved is in buckets that this turn does not see.
            if acting.slot.start <= self.node.started_ms() && (moved || acting.cell.stock().0 > 0) {
                gate = gate.min(acting.slot.start);
            }
            next = [next, wake].into_iter().flatten().min();
        }
        self.release(&mut wheel, unix.min(gate.saturating_sub(1)), &mut budget, &mut done, (broker, scratch));
        done.settle(scratch);
        for acting in &acting {
            let is_over = acting.slot.class.is_coarse() || acting.slot.end() <= unix;
            if is_over && acting.cell.held() == 0 {
                self.delete_empty(acting.slot, scratch);
            }
        }
        if gate == u64::MAX
            && let Some(Reverse(soonest)) = wheel.sorted.peek()
        {
            let due = soonest.taken.stamp.due();
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        if budget.more {
            return Some(scratch.now);
        }
        next.map(|at| at.saturating_sub(self.node.epoch_ms()))
    }

    /// After the batch of a turn.
    pub(crate) fn end_turn(&self, next: Option<Millis>) {
        self.forget();
        if let Some(at) = next {
            self.arm(at);
        }
    }

    /// One bucket. Says when it is to be looked at again, in Unix time, and whether messages moved to finer ones.
    fn look_at(
        &self,
        acting: &Acting,
        unix: u64,
        wheel: &mut Wheel,
        gate: u64,
        budget: &mut Budget,
        (broker, scratch): (&Broker, &mut Scratch),
    ) -> (Option<u64>, bool) {
        let slot = acting.slot;
        let (ready, taken, octets) = acting.cell.stock();
        let over = (unix < slot.end()).then_some(slot.end());
        if ready == 0 {
            return (over.filter(|_| !slot.class.is_coarse()), false);
        }
        let many = self.node.is_many(ready + taken, octets);
        match slot.class.finer() {
            Some(finer) if slot.class.is_coarse() || acting.parted || many => {
                if many {
                    self.part(slot);
                }
                self.cascade(&acting.cell, finer, budget, scratch);
                return (over, true);
            }
            // Too many for one hundredth: they go as they stand, once all of them are due.
            None if many && over.is_some() => {}
            None if many => {
                if slot.start < gate {
                    self.stream(&acting.cell, budget, (broker, scratch));
                }
            }
            // Those before it go first. What is at the gate calls for the next turn itself.
            _ if over.is_none() && wheel.sorted.len() >= SORTED_MAX => budget.more |= gate == u64::MAX,
            _ => sort(acting, wheel, budget, scratch),
        }
        (over, false)
    }

    /// Takes a message back that is to be gone. Says whether it was sorted.
    pub(super) fn unsort(&self, stamp: Stamp, scratch: &mut Scratch) -> bool {
        let mut wheel = self.wheel.lock();
        let Some(found) = wheel.sorted.iter().find(|Reverse(sorted)| sorted.taken.stamp == stamp) else {
            return false;
        };
        let (cell, position) = (Arc::clone(&found.0.cell), found.0.taken.position);
        wheel.sorted.retain(|Reverse(sorted)| sorted.taken.stamp != stamp);
        cell.strike(position, scratch)
    }

    /// Takes a message out of a bucket in which it was seen. Says whether it was still there.
    pub(super) fn strike(&self, cell: &QueueCell, position: Position, scratch: &mut Scratch) -> bool {
        // No turn is under way: what is not sorted is in the bucket, or in another one.
        let wheel = self.wheel.lock();
        let is_sorted = |Reverse(sorted): &Reverse<Sorted>| {
            sorted.taken.position == position && std::ptr::eq(&*sorted.cell, cell)
        };
        !wheel.sorted.iter().any(is_sorted) && cell.strike(position, scratch)
    }
}

/// Takes all of a bucket to be sorted.
fn sort(acting: &Acting, wheel: &mut Wheel, budget: &mut Budget, scratch: &mut Scratch) {
    let cell = &acting.cell;
    let rest = cell.take(TURN_MESSAGES, TURN_OCTETS, scratch, |taken| {
        wheel.sorted.push(Reverse(Sorted { taken, cell: Arc::clone(cell) }));
    });
    budget.more |= rest == Rest::More;
}

impl Budget {
    /// Whether nothing more may be done.
    pub(super) fn is_spent(&mut self) -> bool {
        let spent = self.messages == 0 || self.octets == 0;
        self.more |= spent;
        spent
    }

    pub(super) fn spend(&mut self, octets: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.octets = self.octets.saturating_sub(octets);
    }
}

impl Done {
    pub(super) fn note(&mut self, cell: &Arc<QueueCell>, position: Position) {
        match self.0.iter_mut().rev().find(|(other, _)| Arc::ptr_eq(other, cell)) {
            Some((_, positions)) => positions.push(position),
            None => self.0.push((Arc::clone(cell), vec![position])),
        }
    }

    pub(super) fn settle(self, scratch: &mut Scratch) {
        for (cell, mut positions) in self.0 {
            cell.settle_all(&mut positions, scratch);
        }
    }
}

impl PartialEq for Sorted {
    fn eq(&self, other: &Sorted) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Sorted {}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Sorted) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, other: &Sorted) -> std::cmp::Ordering {
        let key = |sorted: &Sorted| (sorted.taken.stamp, sorted.taken.position);
        key(self).cmp(&key(other))
    }
}
