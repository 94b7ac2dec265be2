//! Ready messages go to consumers.
//!
//! Invariant: what stands first goes first; where it is on disk everything waits for it, also what a lower priority has in memory.

use crate::consumers::ConsumerSlot;
use crate::delivery::{Delivery, Effects, Pick, Picks};
use crate::level::{Head, Slice};
use crate::queue::Queue;

/// What is first in line for a consumer.
pub(crate) enum Next {
    Empty,
    Stalled,
    /// In this level; all of the slice is redelivered, or nothing of it.
    Here(usize, Slice),
}

impl Queue {
    /// Hands ready messages to consumers that may receive: all to the only one, one by one in turn to several.
    pub fn hand_out(&mut self, effects: &mut Effects) {
        let mut flows = self.consumers.count() > 0;
        if flows {
            self.consumers.sweep();
            if self.consumers.yields() && self.unacked() == 0 {
                self.consumers.take_over();
            }
        }
        while flows && self.ledger.ready > 0 && self.consumers.any_in_turn() {
            flows = if self.consumers.one_in_turn() {
                self.serve_only(effects)
            } else {
                self.serve_round(effects)
            };
        }
        if self.ledger.ready > 0 && self.consumers.any_pulling() && self.first_is_here() {
            self.consumers.tell(&mut effects.hungry);
        }
        if !self.returns.is_none() && !self.returns.is_idle() {
            // What came back may be too much, now that consumers had their chance.
            self.drop_overflow(effects);
        }
        if self.ledger.stored > 0 {
            self.read_ahead(effects);
        }
    }

    /// What a consumer would get now. Where the first message has to be loaded it is asked for.
    #[inline]
    pub(crate) fn next(&mut self, effects: &mut Effects) -> Next {
        if self.expirable {
            // The one behind the first may have expired already.
            self.drop_expired(effects);
        }
        if !self.returns.is_none()
            && let Some(next) = self.next_returned(effects)
        {
            return next;
        }
        let Queue { levels, ledger, redelivered, .. } = self;
        let Some(at) = levels.iter().rposition(|level| !level.ready.is_empty()) else { return Next::Empty };
        match levels[at].head(ledger) {
            None => Next::Empty,
            Some(Head::Stored(block)) => {
                self.want(at, block, effects);
                Next::Stalled
            }
            Some(Head::Here(mut slice)) => {
                let last = redelivered.of(slice.first, slice.last()).2;
                slice.count = if self.expirable { 1 } else { (last - slice.first + 1) as u32 };
                Next::Here(at, slice)
            }
        }
    }

    /// Whether what stands first is in memory.
    fn first_is_here(&mut self) -> bool {
        if !self.returns.is_none()
            && let Some((_, head)) = self.first_returned()
        {
            return matches!(head, Head::Here(_));
        }
        let Queue { levels, ledger, .. } = self;
        let first = levels.iter_mut().rev().find(|level| !level.ready.is_empty());
        first.is_some_and(|level| matches!(level.head(ledger), Some(Head::Here(_))))
    }

    pub(crate) fn hand_over(
        &mut self,
        slot: ConsumerSlot,
        level: usize,
        slice: &Slice,
        effects: &mut Effects,
    ) {
        let level = &mut self.levels[level];
        let end = level.end_of(slice);
        let active =
            self.consumers.get_mut(slot).expect("invariant: only consumers of this queue are served");
        active.charge(slice.count, end - slice.offset);
        effects.deliveries.push((slot, level.delivery(slice, &self.redelivered)));
        level.take(slice, end, &mut self.ledger);
        self.note_taken(slice);
    }

    /// Says whether it goes on.
    fn serve_only(&mut self, effects: &mut Effects) -> bool {
        let Some(slot) = self.consumers.next() else { return false };
        let allowance = self.consumers.get_mut(slot).map_or(0, |c| c.allowance());
        let Next::Here(level, mut slice) = self.next(effects) else { return false };
        slice.count = slice.count.min(allowance);
        self.hand_over(slot, level, &slice, effects);
        self.consumers.advance();
        true
    }

    /// One slice, message by message, to the consumers in turn. Says whether it goes on.
    fn serve_round(&mut self, effects: &mut Effects) -> bool {
        let Next::Here(at, mut slice) = self.next(effects) else { return false };
        if slice.count == 1 {
            let Some(slot) = self.consumers.next() else { return false };
            self.hand_over(slot, at, &slice, effects);
            self.consumers.advance();
            return true;
        }
        let run = self.levels[at].piece(&slice).run.clone();
        let (redelivered, attempts, _) = self.redelivered.of(slice.first, slice.first);
        let mut offset = slice.offset;
        let mut index = 0;
        let Queue { consumers, round, .. } = self;
        consumers.deal(slice.count, |slot| {
            let size = run.size_at(offset);
            picks_of(round, slot).push(Pick { offset, index });
            offset += size;
            index += 1;
            size
        });
        // When everybody is full the rest stays where it is.
        slice.count = index;
        if index > 0 {
            self.levels[at].take(&slice, offset, &mut self.ledger);
            self.note_taken(&slice);
        }
        for (slot, picks) in &mut self.round {
            if !picks.is_empty() {
                let list = Picks::List(picks.as_slice().into());
                picks.clear();
                let delivery =
                    Delivery { run: run.clone(), first: slice.first, picks: list, redelivered, attempts };
                effects.deliveries.push((*slot, delivery));
            }
        }
        true
    }
}

/// The picks of one consumer in this round.
fn picks_of(round: &mut Vec<(ConsumerSlot, Vec<Pick>)>, slot: ConsumerSlot) -> &mut Vec<Pick> {
    let at = slot.0 as usize;
    while round.len() <= at {
        round.push((ConsumerSlot(round.len() as u32), Vec::new()));
    }
    &mut round[at].1
}
