//! Hashes by which exchanges choose a destination. They are the same in every process and every release: a message with the
//! same key goes to the same queue after a restart.

/// A hash of octets: FNV-1a, then mixed so that all its bits depend on all octets.
pub(crate) fn octets(octets: &[u8]) -> u64 {
    mix(octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

/// Spreads what differs in few bits over all bits (the last step of splitmix64); no two numbers become one.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The number below `below` in whose share of all hashes this one lies.
pub(crate) fn below(hash: u64, below: usize) -> usize {
    ((u128::from(hash) * below as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of these moves messages of every broker that is brought up to date.
    #[test]
    fn values_stay() {
        assert_eq!(octets(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(octets(b"key"), 0x487e_b6f7_e0ea_7e7c);
        assert_eq!([0, u64::MAX / 2, u64::MAX].map(|hash| below(hash, 10)), [0, 4, 9]);
    }
}
