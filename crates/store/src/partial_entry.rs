//! Owns the joining of an entry's records. Invariant: an entry comes out only when every record came in its place
//! and the whole lies under the hash of its own key.

use crate::digest::digest;
use crate::record::{self, Entry};

/// The records of an entry that have been read so far.
pub(crate) struct PartialEntry {
    /// Of the definition's key, as its records' keys have it.
    pub(crate) hash: u128,
    /// How many there will be.
    pieces: usize,
    next: u8,
    bytes: Vec<u8>,
}

/// What one more record makes of a [`PartialEntry`].
pub(crate) enum Progress {
    /// Others have to follow.
    More(PartialEntry),
    /// It was the last one.
    Whole(Entry),
    /// It does not belong there.
    Wrong,
}

impl PartialEntry {
    /// Learns from the first body how many follow; it is not taken up yet.
    pub(crate) fn new(hash: u128, first: &[u8]) -> PartialEntry {
        PartialEntry { hash, pieces: record::piece_count(first).unwrap_or(0), next: 0, bytes: Vec::new() }
    }

    /// Takes up the record with this number.
    pub(crate) fn extend(mut self, number: u8, body: &[u8]) -> Progress {
        if number != self.next {
            return Progress::Wrong;
        }
        self.bytes.extend_from_slice(body);
        if usize::from(number) + 1 < self.pieces {
            self.next = number.wrapping_add(1);
            return Progress::More(self);
        }
        match Entry::from_bytes(self.bytes) {
            Some(entry) if digest(entry.key()) == self.hash => Progress::Whole(entry),
            _ => Progress::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds records by number, as a scan finds them; the entry's value when they make one.
    fn join(entry: &Entry, hash: u128, numbers: &[u8]) -> Option<Vec<u8>> {
        let pieces: Vec<_> = entry.pieces().collect();
        let mut partial = PartialEntry::new(hash, pieces[0]);
        for &number in numbers {
            match partial.extend(number, pieces[usize::from(number)]) {
                Progress::More(more) => partial = more,
                Progress::Whole(entry) => return Some(entry.value().to_vec()),
                Progress::Wrong => return None,
            }
        }
        None
    }

    #[test]
    fn only_all_records_in_their_order_make_an_entry() {
        let value = vec![3; 9_000];
        let entry = Entry::new(b"key", &value);
        let hash = digest(b"key");
        // (records found, whether they make the entry)
        let cases: &[(&[u8], bool)] =
            &[(&[0, 1, 2], true), (&[0, 1], false), (&[0, 2], false), (&[1], false), (&[0, 0, 1], false)];
        for (numbers, whole) in cases {
            assert_eq!(join(&entry, hash, numbers), whole.then(|| value.clone()), "{numbers:?}");
        }
        assert_eq!(join(&entry, digest(b"other"), &[0, 1, 2]), None, "under the hash of another key");
    }
}
