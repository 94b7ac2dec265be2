//! Batches that are under way: between what they do to queues and the journal record that says so.
//!
//! Invariant: after [`Sections::turn_over`], once [`Sections::has_passed`] says yes, every batch that had begun before has
//! ended, so whatever it did to queues stands in the journal. Entering costs two uncontended atomic additions and blocks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the batches of two sides; new ones enter the side of the present turn.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    turn: AtomicU64,
    inside: [AtomicU64; 2],
}

/// A batch that is under way; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    sections: Arc<Sections>,
    side: usize,
}

/// What to wait for; see [`Sections::has_passed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Sections {
    /// Begins a batch.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        loop {
            let turn = self.turn.load(Ordering::SeqCst);
            let side = side(turn);
            self.inside[side].fetch_add(1, Ordering::SeqCst);
            if self.turn.load(Ordering::SeqCst) == turn {
                return Inside { sections: Arc::clone(self), side };
            }
            // The turn changed in between: who waits for it may not have seen us.
            self.inside[side].fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Lets new batches enter the other side. The turn before must have passed; one thread does this.
    pub(crate) fn turn_over(&self) -> Turn {
        Turn(self.turn.fetch_add(1, Ordering::SeqCst))
    }

    /// Whether all batches that began before the turn have ended.
    pub(crate) fn has_passed(&self, turn: Turn) -> bool {
        self.inside[side(turn.0)].load(Ordering::SeqCst) == 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.sections.inside[self.side].fetch_sub(1, Ordering::SeqCst);
    }
}

fn side(turn: u64) -> usize {
    (turn & 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_passes_when_those_before_it_have_ended() {
        let sections = Arc::new(Sections::default());
        let early = sections.enter();
        let turn = sections.turn_over();
        let late = sections.enter();
        assert!(!sections.has_passed(turn));
        drop(early);
        assert!(sections.has_passed(turn), "those that began later do not matter");
        let next = sections.turn_over();
        assert!(!sections.has_passed(next));
        drop(late);
        assert!(sections.has_passed(next));
    }
}
