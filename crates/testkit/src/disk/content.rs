//! The content of one file: what is durable, and each sector and length written since, in order.
//!
//! Invariant: reading shows the newest of every sector; a crash may show, for every sector by itself, any of the states
//! that it had since the last sync that succeeded.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::crash::Fate;

/// What is written whole or not at all.
pub(super) const SECTOR: usize = 512;

/// The octets of one sector.
pub(super) type Sector = Arc<[u8; SECTOR]>;

static ZEROS: LazyLock<Sector> = LazyLock::new(|| Arc::new([0; SECTOR]));

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    durable: BTreeMap<u64, Sector>,
    durable_octets: u64,
    /// States since the last sync, oldest first, each with the operation that made it.
    unsynced: BTreeMap<u64, Vec<(u64, Sector)>>,
    unsynced_octets: Vec<(u64, u64)>,
    /// What a failed sync has given up: read from memory until the next crash, never written again by itself.
    given_up: BTreeMap<u64, Sector>,
    octets: u64,
    /// Below this offset, what was never written reads as zeros whatever the disk held.
    preallocated: u64,
}

impl Content {
    /// A new file with room for `preallocated` octets, made by `operation`.
    pub(super) fn new(preallocated: u64, operation: u64) -> Content {
        let unsynced_octets = if preallocated > 0 { vec![(operation, preallocated)] } else { Vec::new() };
        Content { preallocated, octets: preallocated, unsynced_octets, ..Content::default() }
    }

    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Reads from `offset` on; less than asked for at the end.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let count = self.octets.saturating_sub(offset).min(into.len() as u64) as usize;
        for (number, from, part) in pieces(offset, count) {
            into[part.clone()].copy_from_slice(&self.sector(number)[from..from + part.len()]);
        }
        count
    }

    /// Writes at `offset`, on behalf of `operation`.
    pub(super) fn write(&mut self, offset: u64, octets: &[u8], operation: u64) {
        for (number, from, part) in pieces(offset, octets.len()) {
            let mut sector = **self.sector(number);
            sector[from..from + part.len()].copy_from_slice(&octets[part]);
            self.put(number, Arc::new(sector), operation);
        }
        let end = offset + octets.len() as u64;
        if !octets.is_empty() && end > self.octets {
            self.octets = end;
            self.unsynced_octets.push((operation, end));
        }
    }

    /// Cuts or extends it, on behalf of `operation`.
    pub(super) fn set_octets(&mut self, octets: u64, operation: u64) {
        let first = octets / SECTOR as u64;
        let layers =
            [&self.durable, &self.given_up].map(|layer| layer.range(first..).map(|(number, _)| *number));
        let mut behind: Vec<u64> = layers.into_iter().flatten().collect();
        behind.extend(self.unsynced.range(first..).map(|(number, _)| *number));
        behind.sort_unstable();
        behind.dedup();
        for number in behind {
            let kept = octets.saturating_sub(number * SECTOR as u64) as usize;
            let sector = cut(self.sector(number), kept);
            self.put(number, sector, operation);
        }
        self.octets = octets;
        self.preallocated = self.preallocated.min(octets);
        self.unsynced_octets.push((operation, octets));
    }

    /// Everything as it is now is durable, but what an earlier sync has given up.
    pub(super) fn sync(&mut self) {
        for (number, states) in std::mem::take(&mut self.unsynced) {
            self.durable.extend(states.into_iter().last().map(|(_, sector)| (number, sector)));
        }
        self.durable_octets = self.octets;
        self.unsynced_octets.clear();
    }

    /// A sync that failed: pages count as clean and are not on disk.
    pub(super) fn give_up(&mut self) {
        for (number, states) in std::mem::take(&mut self.unsynced) {
            self.given_up.extend(states.into_iter().last().map(|(_, sector)| (number, sector)));
        }
        self.unsynced_octets.clear();
    }

    /// Changes one bit in every state of its sector, on disk and in memory.
    pub(super) fn flip(&mut self, offset: u64) {
        let (number, octet, bit) = (offset / SECTOR as u64, offset as usize % SECTOR, 1 << (offset % 8));
        self.durable.entry(number).or_insert_with(|| Arc::clone(&ZEROS));
        let unsynced = self.unsynced.get_mut(&number).into_iter().flatten().map(|(_, sector)| sector);
        let others = self.durable.get_mut(&number).into_iter().chain(self.given_up.get_mut(&number));
        for sector in unsynced.chain(others) {
            Arc::make_mut(sector)[octet] ^= bit;
        }
    }

    /// The operations whose changes are not durable.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> {
        let sectors = self.unsynced.values().flatten().map(|(operation, _)| *operation);
        sectors.chain(self.unsynced_octets.iter().map(|(operation, _)| *operation))
    }

    /// What is there after a crash, durable from then on. `old` are sectors that the disk held before.
    pub(super) fn after(&self, fate: &mut Fate, old: &[Sector]) -> Content {
        let lengths = self.unsynced_octets.iter();
        let octets = lengths.rfold(None, |kept, (operation, octets)| {
            kept.or_else(|| fate.keeps(*operation).then_some(*octets))
        });
        let octets = octets.unwrap_or(self.durable_octets);
        let mut durable = self.durable.clone();
        for (number, states) in &self.unsynced {
            let kept = states.iter().rev().find(|(operation, _)| fate.keeps(*operation));
            let new_block = number * SECTOR as u64 >= self.durable_octets.max(self.preallocated);
            match kept {
                Some((_, sector)) => {
                    durable.insert(*number, Arc::clone(sector));
                }
                None if fate.garbage && new_block && fate.random.chance(500) => {
                    durable.extend(fate.random.pick(old).map(|sector| (*number, Arc::clone(sector))));
                }
                None => {}
            }
        }
        let (last, kept) = (octets / SECTOR as u64, octets as usize % SECTOR);
        durable.split_off(&(last + 1));
        if let Some(sector) = durable.get_mut(&last) {
            *sector = cut(sector, kept);
        }
        let preallocated = self.preallocated.min(octets);
        Content { durable, durable_octets: octets, octets, preallocated, ..Content::default() }
    }

    /// Its first sectors, as what the disk held before when its blocks are used again.
    pub(super) fn remains(&self) -> impl Iterator<Item = Sector> {
        self.durable.values().take(REMAINS_MAX).cloned()
    }

    fn sector(&self, number: u64) -> &Sector {
        let newest = self.unsynced.get(&number).and_then(|states| states.last()).map(|(_, sector)| sector);
        newest.or_else(|| self.given_up.get(&number)).or_else(|| self.durable.get(&number)).unwrap_or(&ZEROS)
    }

    fn put(&mut self, number: u64, sector: Sector, operation: u64) {
        // What is written again is dirty again, whatever became of it before.
        self.given_up.remove(&number);
        self.unsynced.entry(number).or_default().push((operation, sector));
    }
}

/// Sectors of one file that may show up in another.
const REMAINS_MAX: usize = 32;

/// A sector with zeros after its first `kept` octets.
fn cut(sector: &Sector, kept: usize) -> Sector {
    let mut octets = **sector;
    octets[kept.min(SECTOR)..].fill(0);
    Arc::new(octets)
}

/// Sector numbers under `count` octets at `offset`, each with where it begins in the sector and its part of the octets.
fn pieces(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == count {
            return None;
        }
        let at = offset + done as u64;
        let from = (at % SECTOR as u64) as usize;
        let part = done..count.min(done + SECTOR - from);
        done = part.end;
        Some((at / SECTOR as u64, from, part))
    })
}
