//! The single active consumer of a queue: who gets messages, and who is next.
//!
//! Invariants: while there are consumers one of them is active; the next one is that of the highest priority, and of these the
//! one that came first (`rabbit_queue_consumers:get_consumer/1`). Whoever is active stays it until it leaves; only where
//! consumers take over (quorum queues, `rabbit_fifo:activate_next_consumer/2`) one of a higher priority ends that: then nobody gets
//! anything until nothing is out.

use crate::consumers::ConsumerSlot;

/// Who is active and who waits.
#[derive(Debug)]
pub(crate) struct SingleActive {
    active: Seat,
    /// In the order in which they came.
    waiting: Vec<Seat>,
    /// Higher priorities take over.
    takes_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    slot: ConsumerSlot,
    priority: i32,
}

impl SingleActive {
    /// The first consumer.
    pub(crate) fn new(slot: ConsumerSlot, priority: i32, takes_over: bool) -> SingleActive {
        SingleActive { active: Seat { slot, priority }, waiting: Vec::new(), takes_over }
    }

    /// Another consumer.
    pub(crate) fn join(&mut self, slot: ConsumerSlot, priority: i32) {
        self.waiting.push(Seat { slot, priority });
    }

    /// A consumer leaves. If that changes who is served, that one is returned. The last one must not leave: then all of this goes.
    pub(crate) fn leave(&mut self, slot: ConsumerSlot) -> Option<ConsumerSlot> {
        if self.active.slot == slot {
            self.active = self.waiting.remove(self.next()?);
            return Some(self.active.slot);
        }
        let yielded = self.yields();
        self.waiting.retain(|seat| seat.slot != slot);
        (yielded && !self.yields()).then_some(self.active.slot)
    }

    /// Whether a consumer may get messages.
    pub(crate) fn serves(&self, slot: ConsumerSlot) -> bool {
        self.active.slot == slot && !self.yields()
    }

    /// The one that is active, served or not.
    pub(crate) fn active(&self) -> ConsumerSlot {
        self.active.slot
    }

    /// Whether the active one has to go as soon as nothing is out.
    pub(crate) fn yields(&self) -> bool {
        self.takes_over && self.waiting.iter().any(|seat| seat.priority > self.active.priority)
    }

    /// The next one takes over; returns it.
    pub(crate) fn take_over(&mut self) -> ConsumerSlot {
        if let Some(next) = self.next() {
            let next = self.waiting.remove(next);
            self.waiting.push(std::mem::replace(&mut self.active, next));
        }
        self.active.slot
    }

    fn next(&self) -> Option<usize> {
        let highest = self.waiting.iter().map(|seat| seat.priority).max()?;
        self.waiting.iter().position(|seat| seat.priority == highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConsumerSlot = ConsumerSlot(0);
    const B: ConsumerSlot = ConsumerSlot(1);
    const C: ConsumerSlot = ConsumerSlot(2);

    #[test]
    fn the_next_is_the_highest_and_then_the_first() {
        let mut single = SingleActive::new(A, 0, false);
        single.join(B, 0);
        single.join(C, 5);
        assert!(single.serves(A) && !single.serves(C));
        assert_eq!(single.leave(A), Some(C));
        single.join(A, 0);
        assert_eq!(single.leave(C), Some(B));
        assert_eq!(single.leave(A), None);
        assert!(single.serves(B));
    }

    #[test]
    fn a_higher_one_takes_over_when_nothing_is_out() {
        let mut single = SingleActive::new(A, 0, true);
        single.join(B, 1);
        assert!(single.yields() && !single.serves(A) && !single.serves(B));
        assert_eq!(single.leave(B), Some(A));
        single.join(C, 1);
        assert_eq!(single.take_over(), C);
        assert!(single.serves(C) && !single.yields());
        assert_eq!(single.leave(C), Some(A));
    }
}
