//! Owns the fingerprint of a whole set of definitions. Invariant: it depends on which entries are in the set and on
//! nothing else, least of all on the order of the changes that led there, so it can follow each change in constant
//! time and be computed afresh from what is read.

use std::fmt;

use sha2::{Digest, Sha256};

/// How many entries there are, and the sum of their digests modulo 2^128. A sum and not an exclusive or: with the
/// latter an entry counted twice would vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SetDigest {
    pub(crate) count: u64,
    pub(crate) sum: u128,
}

impl SetDigest {
    pub(crate) fn add(&mut self, entry: u128) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(entry);
    }

    /// Wraps rather than fails when the entry was never added: the next verification reports the difference.
    pub(crate) fn remove(&mut self, entry: u128) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(entry);
    }
}

impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys with digest {:032x}", self.count, self.sum)
    }
}

/// The first 16 bytes of SHA-256: long enough that no two entries or keys ever share one by accident, and made by an
/// algorithm that no release of a library will change.
pub(crate) fn digest(bytes: &[u8]) -> u128 {
    let full = Sha256::digest(bytes);
    full.iter().take(16).fold(0, |sum, &byte| (sum << 8) | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_written_to_disk_by_version_1() {
        // Published vectors of SHA-256: changing these means that no existing folder opens.
        assert_eq!(digest(b""), 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924);
        assert_eq!(digest(b"abc"), 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223);
    }

    #[test]
    fn order_does_not_matter_and_a_removal_undoes_an_addition() {
        let entries: Vec<u128> = (0..50u8).map(|number| digest(&[number])).collect();
        let mut forwards = SetDigest::default();
        entries.iter().for_each(|&entry| forwards.add(entry));
        let mut backwards = SetDigest::default();
        entries.iter().rev().for_each(|&entry| backwards.add(entry));
        assert_eq!(forwards, backwards);
        for &entry in &entries[10..] {
            forwards.remove(entry);
        }
        let mut few = SetDigest::default();
        entries[..10].iter().for_each(|&entry| few.add(entry));
        assert_eq!(forwards, few);
    }
}
