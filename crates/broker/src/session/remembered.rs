//! What a connection has found out, by octets of what it publishes: its routes, the fronts of its messages.
//!
//! Invariant: what is remembered is bounded by [`ENTRIES_MAX`] and [`OCTETS_MAX`]; beyond that everything is forgotten at once, so
//! that keys without number cost one resolution each and no more.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use warrenmq_wire::same;

/// Most entries.
const ENTRIES_MAX: usize = 4096;
/// Most octets of them.
const OCTETS_MAX: usize = 128 * 1024;

#[derive(Debug)]
pub(super) struct Remembered<V> {
    list: Vec<Entry<V>>,
    /// Those of all entries, back to back.
    octets: Vec<u8>,
    /// Open addressing, at most half full, a power of two long; empty until the first entry.
    table: Vec<Place>,
    /// What was found last.
    last: usize,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    start: u32,
    len: u32,
    value: V,
}

/// A place in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Upper bits of the hash: most others are told apart without a look at their octets.
    tag: u16,
    /// Index in the list plus one; 0 is free.
    entry: u16,
}

impl<V> Default for Remembered<V> {
    fn default() -> Remembered<V> {
        let (list, octets, table) = (Vec::new(), Vec::new(), Vec::new());
        Remembered { list, octets, table, last: 0, hasher: FixedState::default() }
    }
}

impl<V: Copy> Remembered<V> {
    /// The value of these octets. What was found last costs one comparison, and so does what was first remembered after it:
    /// publishers often take turns between the same keys.
    #[inline]
    pub(super) fn find(&mut self, octets: &[u8]) -> Option<V> {
        self.get(self.last, octets).or_else(|| self.find_another(octets))
    }

    /// The same where it is not likely what was found last.
    #[inline]
    pub(super) fn find_another(&mut self, octets: &[u8]) -> Option<V> {
        let next = if self.last + 1 < self.list.len() { self.last + 1 } else { 0 };
        if let Some(value) = self.get(next, octets) {
            self.last = next;
            return Some(value);
        }
        self.find_in_table(octets)
    }

    /// Whether these are the octets that were found last.
    pub(super) fn is_last(&self, octets: &[u8]) -> bool {
        self.get(self.last, octets).is_some()
    }

    /// Remembers octets that are not there, as the last that were found.
    pub(super) fn remember(&mut self, octets: &[u8], value: V) {
        if self.list.len() >= ENTRIES_MAX || self.octets.len() + octets.len() > OCTETS_MAX {
            self.forget();
        }
        if 2 * self.list.len() >= self.table.len() {
            self.grow();
        }
        let start = self.octets.len() as u32;
        self.octets.extend_from_slice(octets);
        self.last = self.list.len();
        self.list.push(Entry { start, len: octets.len() as u32, value });
        self.enter(octets, self.list.len());
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    fn forget(&mut self) {
        self.list.clear();
        self.octets.clear();
        self.table.fill(Place::default());
        self.last = 0;
    }

    #[inline]
    fn get(&self, index: usize, octets: &[u8]) -> Option<V> {
        let entry = self.list.get(index)?;
        if entry.len as usize != octets.len() {
            return None;
        }
        let own = self.octets.get(entry.start as usize..)?.get(..octets.len())?;
        same(own, octets).then_some(entry.value)
    }

    fn find_in_table(&mut self, octets: &[u8]) -> Option<V> {
        let hash = self.hasher.hash_one(octets);
        let (tag, mut at) = (tag(hash), hash as usize);
        loop {
            let place = *self.table.get(at & (self.table.len().wrapping_sub(1)))?;
            let index = usize::from(place.entry).checked_sub(1)?;
            if place.tag == tag
                && let Some(value) = self.get(index, octets)
            {
                self.last = index;
                return Some(value);
            }
            at += 1;
        }
    }

    /// Enters what has this number, counted from 1, into the first free place.
    fn enter(&mut self, octets: &[u8], number: usize) {
        let hash = self.hasher.hash_one(octets);
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at].entry != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = Place { tag: tag(hash), entry: number as u16 };
    }

    fn grow(&mut self) {
        let size = (2 * self.table.len()).max(16);
        self.table.clear();
        self.table.resize(size, Place::default());
        let octets = std::mem::take(&mut self.octets);
        for index in 0..self.list.len() {
            let Entry { start, len, .. } = self.list[index];
            self.enter(&octets[start as usize..][..len as usize], index + 1);
        }
        self.octets = octets;
    }
}

fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(number: usize) -> Vec<u8> {
        let key = format!("key-{number}");
        [&[0, key.len() as u8], key.as_bytes()].concat()
    }

    /// In any order, also beyond what is remembered at once.
    #[test]
    fn it_finds_what_was_remembered() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find(&wire(0)), None);
        for number in 0..3 * ENTRIES_MAX {
            remembered.remember(&wire(number), number);
            assert!(remembered.list.len() <= ENTRIES_MAX && remembered.octets.len() <= OCTETS_MAX);
            assert_eq!(remembered.find(&wire(number)), Some(number));
            assert_eq!(remembered.find(&wire(number + 1)), None);
        }
        let first = 3 * ENTRIES_MAX - remembered.list.len();
        let step = 7;
        for at in 0..step * remembered.list.len() {
            let number = first + at * step % remembered.list.len();
            assert_eq!(remembered.find(&wire(number)), Some(number));
        }
        remembered.forget();
        assert_eq!(remembered.find(&wire(first)), None);
    }

    #[test]
    fn a_few_take_little() {
        let mut remembered = Remembered::default();
        for number in 0..8 {
            remembered.remember(&wire(number), ());
        }
        assert_eq!(remembered.table.len(), 16);
        let long = vec![b'x'; 512];
        (0..2000).for_each(|_| remembered.remember(&long, ()));
        assert!(remembered.octets.len() <= OCTETS_MAX);
    }
}
