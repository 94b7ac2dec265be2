//! What a power cut leaves of that which was written and not made durable.

use crate::random::Random;

/// Which unsynced changes (sectors, lengths, names) are there after a crash. Operations are those that
/// [`SimDisk::operations`](super::SimDisk::operations) counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// None.
    LosesAll,
    /// All: the system had just written everything back.
    KeepsAll,
    /// Each one by itself in so many of 1000 cases: torn within a write, and later writes without earlier ones.
    Keeps {
        /// Of 1000.
        permille: u64,
    },
    /// Those of operations before this one, and this one torn: writes happened in order.
    TornAt {
        /// Its number.
        operation: u64,
    },
    /// Those of all operations but this one, which is torn or lost: a write that was overtaken.
    Without {
        /// Its number.
        operation: u64,
    },
}

impl Crash {
    /// One of the kinds, drawn so that each is common; `pending` are the operations with unsynced changes.
    pub(super) fn drawn(random: &mut Random, pending: &[u64]) -> Crash {
        let operation = random.pick(pending).copied().unwrap_or(0);
        match random.below(8) {
            0 => Crash::LosesAll,
            1 => Crash::KeepsAll,
            2 | 3 => Crash::TornAt { operation },
            4 | 5 => Crash::Without { operation },
            _ => Crash::Keeps { permille: *random.pick(&[20, 200, 500, 800, 980]).unwrap_or(&500) },
        }
    }
}

/// Decides over each unsynced change of one crash.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) crash: Crash,
    pub(super) random: Random,
    /// Whether blocks that were allocated and never written show what the disk held before.
    pub(super) garbage: bool,
}

impl Fate {
    pub(super) fn keeps(&mut self, change: u64) -> bool {
        match self.crash {
            Crash::LosesAll => false,
            Crash::KeepsAll => true,
            Crash::Keeps { permille } => self.random.chance(permille),
            Crash::TornAt { operation } if change == operation => self.random.chance(500),
            Crash::TornAt { operation } => change < operation,
            Crash::Without { operation } => change != operation || self.random.chance(300),
        }
    }
}
