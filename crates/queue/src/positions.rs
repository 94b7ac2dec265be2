//! A compact set of positions.
//!
//! Invariants: chunks are ordered by number and never empty; a chunk is one range or a bitmap of 4096 positions, so that a run
//! in a row costs a few octets and every second of a million costs an eighth of an octet each; `count` is the number of
//! positions in all chunks.

use std::collections::VecDeque;

use crate::Position;
use crate::chunk::{BITS, CHUNK, END, Set};
use crate::rare::Empty;

/// A set of positions; ranges are inclusive everywhere.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    chunks: VecDeque<Chunk>,
    count: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    number: u64,
    set: Set,
}

impl Empty for Positions {
    const EMPTY: &'static Positions = &Positions::new();
}

impl Positions {
    /// The empty set.
    pub const fn new() -> Positions {
        Positions { chunks: VecDeque::new(), count: 0 }
    }

    /// How many positions are in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lowest.
    pub fn first(&self) -> Option<Position> {
        let chunk = self.chunks.front()?;
        Some(chunk.base() + u64::from(chunk.set.first()))
    }

    /// The highest.
    pub fn last(&self) -> Option<Position> {
        let chunk = self.chunks.back()?;
        Some(chunk.base() + u64::from(chunk.set.last()))
    }

    /// Whether a position is in it.
    pub fn contains(&self, position: Position) -> bool {
        self.range_within(position, position).is_some()
    }

    /// Adds the positions from `first` to `last`; those that are there already stay.
    pub fn insert(&mut self, first: Position, last: Position) {
        debug_assert!(first <= last);
        let (from, to) = (first >> BITS, last >> BITS);
        if from == to {
            // Nearly always it goes to the end.
            match self.chunks.back_mut() {
                Some(back) if back.number == from => {
                    let (low, high) = within(from, first, last);
                    self.count += u64::from(back.set.insert(low, high));
                    return;
                }
                Some(back) if back.number > from => {}
                _ => {
                    let (low, high) = within(from, first, last);
                    self.count += last - first + 1;
                    return self.chunks.push_back(Chunk { number: from, set: Set::Range(low, high) });
                }
            }
        }
        self.insert_anywhere(first, last);
    }

    fn insert_anywhere(&mut self, first: Position, last: Position) {
        let (from, to) = (first >> BITS, last >> BITS);
        let at = self.search(from);
        if self.chunks.len() - at > 1 && to > from {
            // Not at the end: the chunks that are missing are put between the others in one go.
            self.make_room(at, from, to);
        }
        for (step, number) in (from..=to).enumerate() {
            let (low, high) = within(number, first, last);
            match self.chunks.get_mut(at + step) {
                Some(chunk) if chunk.number == number => {
                    self.count += u64::from(chunk.set.insert(low, high));
                }
                _ => {
                    self.chunks.insert(at + step, Chunk { number, set: Set::Range(low, high) });
                    self.count += u64::from(high - low) + 1;
                }
            }
        }
    }

    /// Takes out the positions from `first` to `last` that are there, and tells each range of them, ascending.
    #[inline]
    pub fn remove(&mut self, first: Position, last: Position, mut each: impl FnMut(Position, Position)) {
        // Nearly always it is in one chunk, which is the first.
        if let Some(front) = self.chunks.front_mut()
            && front.number == first >> BITS
            && front.number == last >> BITS
        {
            let (base, (low, high)) = (front.base(), within(front.number, first, last));
            let count = &mut self.count;
            let is_empty = front.set.remove(low, high, |a, b| {
                *count -= u64::from(b - a) + 1;
                each(base + u64::from(a), base + u64::from(b));
            });
            if is_empty {
                self.chunks.pop_front();
                self.give_back();
            }
        } else if self.count > 0 {
            self.remove_anywhere(first, last, each);
        }
    }

    /// Takes out those of the 64 positions from `base` on, a multiple of 64, that are meant by the bits of `mask`, the lowest bit
    /// for the lowest position; says which of them were there.
    pub fn remove_some(&mut self, base: Position, mask: u64) -> u64 {
        debug_assert!(base.is_multiple_of(64));
        let number = base >> BITS;
        let at = self.search(number);
        let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| chunk.number == number) else { return 0 };
        let removed = chunk.set.remove_word(((base & (CHUNK - 1)) / 64) as usize, mask);
        self.count -= u64::from(removed.count_ones());
        if chunk.set.is_spent() {
            self.chunks.remove(at);
            self.give_back();
        }
        removed
    }

    fn remove_anywhere(&mut self, first: Position, last: Position, mut each: impl FnMut(Position, Position)) {
        let (from, to) = (first >> BITS, last >> BITS);
        let mut at = self.search(from);
        let (mut empty_from, mut empty_to) = (usize::MAX, 0);
        let mut found: Option<(Position, Position)> = None;
        let mut removed = 0;
        while let Some(chunk) = self.chunks.get_mut(at)
            && chunk.number <= to
        {
            let (base, (low, high)) = (chunk.base(), within(chunk.number, first, last));
            let is_empty = chunk.set.remove(low, high, |a, b| {
                removed += u64::from(b - a) + 1;
                join(&mut found, (base + u64::from(a), base + u64::from(b)), &mut each);
            });
            if is_empty {
                empty_from = empty_from.min(at);
                empty_to = at + 1;
            }
            at += 1;
        }
        self.count -= removed;
        // Only the first and the last can have something left: what is empty stands in a row.
        match empty_to.saturating_sub(empty_from) {
            0 => {}
            1 => drop(self.chunks.remove(empty_from)),
            _ => drop(self.chunks.drain(empty_from..empty_to)),
        }
        self.give_back();
        if let Some((first, last)) = found {
            each(first, last);
        }
    }

    /// The lowest position that is not below `from`.
    pub fn first_from(&self, from: Position) -> Option<Position> {
        self.range_within(from, from | (CHUNK - 1)).map(|(first, _)| first).or_else(|| {
            let chunk = self.chunks.get(self.search((from >> BITS) + 1))?;
            Some(chunk.base() + u64::from(chunk.set.first()))
        })
    }

    /// The first range of positions in a row that begins at `from` or after it.
    pub fn next_range_from(&self, from: Position) -> Option<(Position, Position)> {
        self.range_within(from, Position::MAX)
    }

    /// The first range of positions in a row from `first` to `last`, cut off there.
    pub fn range_within(&self, first: Position, last: Position) -> Option<(Position, Position)> {
        if let Some(front) = self.chunks.front()
            && front.number == first >> BITS
            && front.number == last >> BITS
        {
            let (base, (low, high)) = (front.base(), within(front.number, first, last));
            return front.set.next(low, high).map(|(a, b)| (base + u64::from(a), base + u64::from(b)));
        }
        self.range_anywhere(first, last)
    }

    fn range_anywhere(&self, first: Position, last: Position) -> Option<(Position, Position)> {
        let mut found: Option<(Position, Position)> = None;
        for chunk in self.chunks.range(self.search(first >> BITS)..) {
            let base = chunk.base();
            if base > last {
                break;
            }
            if let Some((_, end)) = found
                && end + 1 < base
            {
                break;
            }
            let (low, high) = within(chunk.number, first, last);
            let Some((a, b)) = chunk.set.next(low, high) else {
                if found.is_some() {
                    break;
                }
                continue;
            };
            let (a, b) = (base + u64::from(a), base + u64::from(b));
            match &mut found {
                Some((_, end)) if *end + 1 == a => *end = b,
                Some(_) => break,
                None => found = Some((a, b)),
            }
            if b < base + u64::from(END) {
                break;
            }
        }
        found
    }

    /// All ranges of positions in a row, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (Position, Position)> + '_ {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (first, last) = self.next_range_from(next?)?;
            next = last.checked_add(1);
            Some((first, last))
        })
    }

    /// Empties it.
    pub fn clear(&mut self) {
        *self = Positions::default();
    }

    /// What was large once does not stay so.
    #[inline]
    fn give_back(&mut self) {
        if self.chunks.is_empty() && self.chunks.capacity() > 64 {
            self.chunks = VecDeque::new();
        }
    }

    /// Where the chunk of that number stands, or the first one after it.
    #[inline]
    fn search(&self, number: u64) -> usize {
        // The ends are nearly always what is looked for.
        match (self.chunks.front(), self.chunks.back()) {
            (Some(front), _) if front.number >= number => 0,
            (_, Some(back)) if back.number < number => self.chunks.len(),
            (_, Some(back)) if back.number == number => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.number < number),
        }
    }

    /// Puts full chunks where chunks between `from` and `to` are missing, and counts them; `at` is where the first belongs.
    fn make_room(&mut self, at: usize, from: u64, to: u64) {
        let mut old = self.chunks.split_off(at).into_iter().peekable();
        for number in from..=to {
            match old.next_if(|chunk| chunk.number == number) {
                Some(chunk) => self.chunks.push_back(chunk),
                // The one at `from` or `to` is inserted by the caller, cut as it has to be.
                None if number == from || number == to => {}
                None => {
                    self.chunks.push_back(Chunk { number, set: Set::Range(0, END) });
                    self.count += CHUNK;
                }
            }
        }
        self.chunks.extend(old);
    }
}

impl Chunk {
    fn base(&self) -> Position {
        self.number << BITS
    }
}

/// The part of a range that lies in a chunk it touches.
fn within(number: u64, first: Position, last: Position) -> (u16, u16) {
    let low = if number == first >> BITS { (first & (CHUNK - 1)) as u16 } else { 0 };
    let high = if number == last >> BITS { (last & (CHUNK - 1)) as u16 } else { END };
    (low, high)
}

/// Adds a range to the one before it if that ends where it begins; otherwise that one is told.
fn join(
    found: &mut Option<(Position, Position)>,
    next: (Position, Position),
    each: &mut impl FnMut(Position, Position),
) {
    match found {
        Some((_, last)) if *last + 1 == next.0 => *last = next.1,
        _ => {
            if let Some((first, last)) = found.replace(next) {
                each(first, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ranges_of(set: &BTreeSet<Position>) -> Vec<(Position, Position)> {
        let mut ranges: Vec<(Position, Position)> = Vec::new();
        for position in set {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *position => *last = *position,
                _ => ranges.push((*position, *position)),
            }
        }
        ranges
    }

    /// Against a plain set, with ranges that begin and end around the edges of chunks.
    #[test]
    fn it_is_a_set() {
        let edges = [0, 1, 2, 63, 64, 65, 100, 4094, 4095, 4096, 4097, 8191, 8192, 12_288, 16_384, 16_390];
        let mut seed = 1_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..300 {
            let (mut set, mut plain) = (Positions::new(), BTreeSet::new());
            for _ in 0..12 {
                let first = edges[random(edges.len())] + random(3) as u64;
                let last = match random(3) {
                    0 => first,
                    1 => first + random(130) as u64,
                    _ => first.max(edges[random(edges.len())]),
                };
                let kind = random(5);
                if kind < 2 {
                    set.insert(first, last);
                    plain.extend(first..=last);
                } else if kind == 2 {
                    let (base, mask) =
                        (first & !63, (1 << random(64)) | (1 << random(64)) | (1 << (last % 64)));
                    let meant =
                        |position: &Position| *position & !63 == base && mask >> (position % 64) & 1 == 1;
                    let expected =
                        plain.iter().copied().filter(meant).fold(0, |bits, at| bits | 1_u64 << (at % 64));
                    assert_eq!(set.remove_some(base, mask), expected);
                    plain.retain(|position| !meant(position));
                } else {
                    let mut told = Vec::new();
                    set.remove(first, last, |a, b| told.push((a, b)));
                    let removed: BTreeSet<Position> = plain.range(first..=last).copied().collect();
                    plain.retain(|position| !removed.contains(position));
                    assert_eq!(told, ranges_of(&removed));
                }
                assert_eq!(set.count(), plain.len() as u64);
                assert_eq!(set.is_empty(), plain.is_empty());
                assert_eq!((set.first(), set.last()), (plain.first().copied(), plain.last().copied()));
                assert_eq!(set.ranges().collect::<Vec<_>>(), ranges_of(&plain));
                let probe = edges[random(edges.len())] + random(3) as u64;
                assert_eq!(set.contains(probe), plain.contains(&probe));
                assert_eq!(set.first_from(probe), plain.range(probe..).next().copied());
                let cut: BTreeSet<Position> = plain.range(probe..=probe + 70).copied().collect();
                assert_eq!(set.range_within(probe, probe + 70), ranges_of(&cut).first().copied());
            }
        }
    }

    #[test]
    fn the_highest_positions_fit() {
        let mut set = Positions::new();
        set.insert(Position::MAX - 1, Position::MAX);
        assert_eq!(set.ranges().collect::<Vec<_>>(), [(Position::MAX - 1, Position::MAX)]);
        set.remove(0, Position::MAX, |_, _| {});
        assert!(set.is_empty());
    }
}
