//! Comparing short runs of octets without a call.
//!
//! Invariant: says the same as `==`.

/// Whether two slices are equal. Routes and frame heads are short: words compared in place cost less than a call to memcmp.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        // The last word may overlap the one before: no octets are left over.
        (Some(x), Some(y)) => {
            let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            words.fold(differ(x, y), |found, (x, y)| found | differ(x, y)) == 0
        }
        _ => a.iter().zip(b).all(|(x, y)| x == y),
    }
}

#[inline]
fn differ(a: &[u8; 8], b: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn every_length_and_every_place_of_a_difference() {
        for length in 0..40 {
            let a: Vec<u8> = (0..length).collect();
            assert!(same(&a, &a.clone()), "{length} octets");
            assert!(!same(&a, &[&a[..], &[0]].concat()), "{length} octets");
            for at in 0..a.len() {
                let mut b = a.clone();
                b[at] ^= 0x40;
                assert!(!same(&a, &b), "octet {at} of {length}");
            }
        }
    }
}
