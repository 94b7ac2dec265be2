//! What a queue keeps count of, over all its levels.
//!
//! Invariants: each number is the sum over the blocks of all levels ([`crate::Queue::check`] adds them up in tests); a place is
//! given back once, when the last block that needs it is gone.

use std::collections::BTreeMap;

use crate::Position;
use crate::delivery::Effects;
use crate::page::Place;
use crate::rare::Rare;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Messages ready for delivery.
    pub(crate) ready: u64,
    /// Octets of their records; estimated for blocks that are not in memory.
    pub(crate) ready_size: u64,
    /// Octets of bodies in memory.
    pub(crate) resident: u64,
    /// Those of them that are being written.
    pub(crate) leaving: u64,
    /// Blocks that are not in memory.
    pub(crate) stored: u64,
    /// What is done with is told.
    pub(crate) recorded: bool,
    /// Places that several blocks share, with the number of these blocks.
    pub(crate) shared: Rare<BTreeMap<Place, u32>>,
}

impl Ledger {
    /// A block does not need its place any more.
    pub(crate) fn release(&mut self, place: Place, effects: &mut Effects) {
        if !self.shared.is_empty()
            && let Some(blocks) = self.shared.get_mut(&place)
        {
            *blocks -= 1;
            if *blocks > 0 {
                return;
            }
            self.shared.remove(&place);
        }
        effects.freed.push(place);
    }

    /// Messages are done with for good; `persistent` says whether their block holds one that a restart would bring back.
    pub(crate) fn gone(&self, persistent: bool, first: Position, last: Position, effects: &mut Effects) {
        if !self.recorded || !persistent {
            return;
        }
        match effects.gone.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => effects.gone.push((first, last)),
        }
    }
}
