//! Numbers for exchanges that choose by chance.
//!
//! Invariant: a sequence is seeded from the broker's names, so a simulation can repeat it; drawing a number takes no lock.

use crate::names::Names;

/// A sequence of numbers (splitmix64). Nobody's secret hangs on it.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(names: &Names) -> Chance {
        Chance(u64::from_ne_bytes(names.octets()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}
