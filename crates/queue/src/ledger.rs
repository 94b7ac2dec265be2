//! What a queue keeps count of, over all its levels.
//!
//! Invariants: each number is the sum over the blocks of all levels ([`crate::Queue::check`] adds them up in tests); a place is
//! given back once, when the last block that needs it is gone.

use std::collections::BTreeMap;

use crate::Position;
use crate::delivery::Effects;
use crate::page::Place;
use crate::rare::Rare;
use crate::settings::Settings;

/// What messages weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The octets of their records.
    #[default]
    Records,
    /// The octets of their bodies, and one more each, so that nothing weighs nothing: what a limit in octets counts.
    Bodies,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Messages ready for delivery.
    pub(crate) ready: u64,
    /// What they weigh; estimated for blocks that are not in memory.
    pub(crate) ready_size: u64,
    /// What counts as weight.
    pub(crate) weight: Weight,
    /// Octets of bodies in memory.
    pub(crate) resident: u64,
    /// Those of them that are being written.
    pub(crate) leaving: u64,
    /// Blocks that are not in memory.
    pub(crate) stored: u64,
    /// What is done with is told.
    pub(crate) recorded: bool,
    /// All messages are taken for persistent.
    pub(crate) keeps_all: bool,
    /// Places that several blocks share, with the number of these blocks.
    pub(crate) shared: Rare<BTreeMap<Place, u32>>,
}

impl Weight {
    /// What counts in a queue with these settings.
    pub(crate) fn of(settings: &Settings) -> Weight {
        if settings.max_length_bytes.is_some() { Weight::Bodies } else { Weight::Records }
    }
}

impl Ledger {
    pub(crate) fn new(settings: &Settings) -> Ledger {
        let (recorded, keeps_all) = (settings.recorded, settings.keeps_all());
        Ledger { recorded, keeps_all, weight: Weight::of(settings), ..Ledger::default() }
    }

    /// Octets of the bodies of ready messages, where these are what counts.
    pub(crate) fn ready_bodies(&self) -> u64 {
        self.ready_size - self.ready
    }

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
