//! The routes that a connection publishes to: from exchange and key in wire form, perhaps followed by headers, to what is known of them.
//!
//! Invariant: what is remembered is bounded by [`ROUTES_MAX`] and [`OCTETS_MAX`]; beyond that everything is forgotten at once, so
//! that keys without number cost one resolution each and no more.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use warrenmq_wire::same;

use super::lanes::LaneId;

/// Most remembered routes.
const ROUTES_MAX: usize = 4096;
/// Most octets of remembered routes.
const OCTETS_MAX: usize = 128 * 1024;

/// What is known of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Lane(LaneId),
    /// Exchange and permission are fine, but it depends on the headers of a message where it goes.
    ByHeaders,
    /// The same, and nothing can be remembered: each message has to be routed by itself.
    Each,
}

#[derive(Debug, Default)]
pub(super) struct Routes {
    list: Vec<Route>,
    /// Their wire forms, back to back.
    octets: Vec<u8>,
    /// Open addressing, at most half full, a power of two long; empty until the first route.
    table: Vec<Entry>,
    /// The route of the last publish.
    last: usize,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    start: u32,
    len: u16,
    known: Known,
}

/// A place in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Upper bits of the hash: most others are told apart without a look at their octets.
    tag: u16,
    /// Index in the list plus one; 0 is free.
    route: u16,
}

impl Routes {
    /// Finds a remembered route. The one that was used last costs one comparison, and so does the one that was first used
    /// after it: publishers often take turns between the same keys.
    #[inline]
    pub(super) fn find(&mut self, wire: &[u8]) -> Option<Known> {
        if let Some(known) = self.get(self.last, wire) {
            return Some(known);
        }
        let next = if self.last + 1 < self.list.len() { self.last + 1 } else { 0 };
        if let Some(known) = self.get(next, wire) {
            self.last = next;
            return Some(known);
        }
        self.find_in_table(wire)
    }

    /// Remembers a route that is not there.
    pub(super) fn remember(&mut self, wire: &[u8], known: Known) {
        if self.list.len() >= ROUTES_MAX || self.octets.len() + wire.len() > OCTETS_MAX {
            self.forget();
        }
        if 2 * self.list.len() >= self.table.len() {
            self.grow();
        }
        let start = self.octets.len() as u32;
        self.octets.extend_from_slice(wire);
        self.last = self.list.len();
        self.list.push(Route { start, len: wire.len() as u16, known });
        self.enter(wire, self.list.len());
    }

    fn forget(&mut self) {
        self.list.clear();
        self.octets.clear();
        self.table.fill(Entry::default());
        self.last = 0;
    }

    #[inline]
    fn get(&self, index: usize, wire: &[u8]) -> Option<Known> {
        let route = self.list.get(index)?;
        if usize::from(route.len) != wire.len() {
            return None;
        }
        let octets = self.octets.get(route.start as usize..)?.get(..wire.len())?;
        same(octets, wire).then_some(route.known)
    }

    fn find_in_table(&mut self, wire: &[u8]) -> Option<Known> {
        let hash = self.hasher.hash_one(wire);
        let (tag, mut at) = (tag(hash), hash as usize);
        loop {
            let entry = *self.table.get(at & (self.table.len().wrapping_sub(1)))?;
            let index = usize::from(entry.route).checked_sub(1)?;
            if entry.tag == tag
                && let Some(known) = self.get(index, wire)
            {
                self.last = index;
                return Some(known);
            }
            at += 1;
        }
    }

    /// Enters the route with this number, counted from 1, into the first free place.
    fn enter(&mut self, wire: &[u8], number: usize) {
        let hash = self.hasher.hash_one(wire);
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while self.table[at].route != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = Entry { tag: tag(hash), route: number as u16 };
    }

    fn grow(&mut self) {
        let size = (2 * self.table.len()).max(16);
        self.table.clear();
        self.table.resize(size, Entry::default());
        let octets = std::mem::take(&mut self.octets);
        for index in 0..self.list.len() {
            let Route { start, len, .. } = self.list[index];
            self.enter(&octets[start as usize..][..usize::from(len)], index + 1);
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
        let mut routes = Routes::default();
        assert_eq!(routes.find(&wire(0)), None);
        for number in 0..3 * ROUTES_MAX {
            routes.remember(&wire(number), Known::Lane(number as LaneId));
            assert!(routes.list.len() <= ROUTES_MAX && routes.octets.len() <= OCTETS_MAX);
            assert_eq!(routes.find(&wire(number)), Some(Known::Lane(number as LaneId)));
            assert_eq!(routes.find(&wire(number + 1)), None);
        }
        let first = 3 * ROUTES_MAX - routes.list.len();
        let step = 7;
        for at in 0..step * routes.list.len() {
            let number = first + at * step % routes.list.len();
            assert_eq!(routes.find(&wire(number)), Some(Known::Lane(number as LaneId)));
        }
        routes.forget();
        assert_eq!(routes.find(&wire(first)), None);
    }

    #[test]
    fn a_few_routes_take_little() {
        let mut routes = Routes::default();
        for number in 0..8 {
            routes.remember(&wire(number), Known::ByHeaders);
        }
        assert_eq!(routes.table.len(), 16);
        let long = vec![b'x'; 512];
        (0..2000).for_each(|_| routes.remember(&long, Known::ByHeaders));
        assert!(routes.octets.len() <= OCTETS_MAX);
    }
}
