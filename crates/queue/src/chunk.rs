//! Positions of one chunk: a range, or a bitmap where it has holes.
//!
//! Invariant: a range is never empty; a bitmap counts its bits, and is a range again once it is full.

/// Positions of one chunk.
pub(crate) const CHUNK: u64 = 1 << BITS;
pub(crate) const BITS: u32 = 12;
/// The last position within a chunk.
pub(crate) const END: u16 = (CHUNK - 1) as u16;
const WORDS: usize = (CHUNK / 64) as usize;

#[derive(Clone, Debug)]
pub(crate) enum Set {
    /// First and last, within the chunk.
    Range(u16, u16),
    Bits(Box<Bits>),
}

#[derive(Clone, Debug)]
pub(crate) struct Bits {
    count: u16,
    words: [u64; WORDS],
}

impl Set {
    pub(crate) fn first(&self) -> u16 {
        match self {
            Set::Range(first, _) => *first,
            Set::Bits(bits) => bits.next(0).unwrap_or(END),
        }
    }

    pub(crate) fn last(&self) -> u16 {
        match self {
            Set::Range(_, last) => *last,
            Set::Bits(bits) => {
                let word = bits.words.iter().rposition(|word| *word != 0).unwrap_or(0);
                (word * 64) as u16 + 63 - bits.words[word].leading_zeros() as u16
            }
        }
    }

    /// Says how many are new.
    pub(crate) fn insert(&mut self, low: u16, high: u16) -> u16 {
        match self {
            Set::Range(first, last) if low <= *last + 1 && high + 1 >= *first => {
                let before = *last - *first;
                (*first, *last) = ((*first).min(low), (*last).max(high));
                *last - *first - before
            }
            Set::Range(first, last) => {
                let mut bits = Box::new(Bits { count: 0, words: [0; WORDS] });
                bits.insert(*first, *last);
                let new = bits.insert(low, high);
                *self = Set::Bits(bits);
                new
            }
            Set::Bits(bits) => {
                let new = bits.insert(low, high);
                if u64::from(bits.count) == CHUNK {
                    *self = Set::Range(0, END);
                }
                new
            }
        }
    }

    /// Says whether nothing is left; the set must not be used then.
    pub(crate) fn remove(&mut self, low: u16, high: u16, mut each: impl FnMut(u16, u16)) -> bool {
        match self {
            Set::Range(first, last) => {
                let (a, b) = ((*first).max(low), (*last).min(high));
                if a > b {
                    return false;
                }
                each(a, b);
                match (a == *first, b == *last) {
                    (true, true) => return true,
                    (true, false) => *first = b + 1,
                    (false, true) => *last = a - 1,
                    (false, false) => {
                        let mut bits = Box::new(Bits { count: 0, words: [0; WORDS] });
                        bits.insert(*first, a - 1);
                        bits.insert(b + 1, *last);
                        *self = Set::Bits(bits);
                    }
                }
                false
            }
            Set::Bits(bits) => {
                bits.remove(low, high, each);
                bits.count == 0
            }
        }
    }

    /// Takes out those of a word of 64 positions that are meant by the bits of `mask`; says which of them were there. Nothing may
    /// be left: [`Set::is_spent`] says so, and the set must not be used then.
    pub(crate) fn remove_word(&mut self, word: usize, mask: u64) -> u64 {
        if let Set::Range(first, last) = *self {
            let (from, to) = (usize::from(first / 64), usize::from(last / 64));
            if word < from || word > to || mask == 0 {
                return 0;
            }
            let mut bits = Box::new(Bits { count: 0, words: [0; WORDS] });
            bits.insert(first, last);
            *self = Set::Bits(bits);
        }
        let Set::Bits(bits) = self else { return 0 };
        let Some(held) = bits.words.get_mut(word) else { return 0 };
        let removed = *held & mask;
        *held &= !mask;
        bits.count -= removed.count_ones() as u16;
        removed
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Set::Bits(bits) if bits.count == 0)
    }

    /// The first range in a row from `low` to `high`.
    pub(crate) fn next(&self, low: u16, high: u16) -> Option<(u16, u16)> {
        match self {
            Set::Range(first, last) => {
                let (a, b) = ((*first).max(low), (*last).min(high));
                (a <= b).then_some((a, b))
            }
            Set::Bits(bits) => {
                let a = bits.next(low).filter(|a| *a <= high)?;
                Some((a, bits.end_of(a).min(high)))
            }
        }
    }
}

impl Bits {
    fn insert(&mut self, low: u16, high: u16) -> u16 {
        let before = self.count;
        for (word, mask) in masks(low, high) {
            self.count += (mask & !self.words[word]).count_ones() as u16;
            self.words[word] |= mask;
        }
        self.count - before
    }

    fn remove(&mut self, low: u16, high: u16, mut each: impl FnMut(u16, u16)) {
        let mut from = low;
        while let Some(a) = self.next(from)
            && a <= high
        {
            let b = self.end_of(a).min(high);
            for (word, mask) in masks(a, b) {
                self.words[word] &= !mask;
            }
            self.count -= b - a + 1;
            each(a, b);
            if b >= high {
                break;
            }
            from = b + 1;
        }
    }

    /// The first that is set, from `from` on.
    fn next(&self, from: u16) -> Option<u16> {
        let mut at = usize::from(from / 64);
        let mut word = self.words[at] & (u64::MAX << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        Some((at * 64) as u16 + word.trailing_zeros() as u16)
    }

    /// The last of those in a row that begin at `from`.
    fn end_of(&self, from: u16) -> u16 {
        let mut at = usize::from(from / 64);
        let mut clear = !self.words[at] & (u64::MAX << (from % 64));
        while clear == 0 {
            at += 1;
            match self.words.get(at) {
                Some(word) => clear = !word,
                None => return END,
            }
        }
        (at * 64) as u16 + clear.trailing_zeros() as u16 - 1
    }
}

/// The words from `low` to `high`, each with the bits that are meant.
fn masks(low: u16, high: u16) -> impl Iterator<Item = (usize, u64)> {
    let (from, to) = (usize::from(low / 64), usize::from(high / 64));
    (from..=to).map(move |word| {
        let mut mask = u64::MAX;
        if word == from {
            mask &= u64::MAX << (low % 64);
        }
        if word == to {
            mask &= u64::MAX >> (63 - high % 64);
        }
        (word, mask)
    })
}
