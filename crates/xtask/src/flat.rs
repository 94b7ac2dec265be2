//! When a figure that is looked at again and again is *flat*: late looks, by their median, are above early ones by no more than a part
//! and an amount that are said beforehand. A figure that falls is flat.

use serde::{Deserialize, Serialize};

/// How much more late looks may show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Allowance {
    /// This part of the early ones …
    pub(crate) part: f64,
    /// … and this much more.
    pub(crate) amount: f64,
}

/// A comparison of early looks with late ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flatness {
    /// Median of the early ones.
    pub(crate) early: f64,
    /// Median of the late ones.
    pub(crate) late: f64,
    /// What the late one may be.
    pub(crate) bound: f64,
}

impl Flatness {
    /// Compares; `None` when there is nothing to compare.
    pub(crate) fn of(early: &[f64], late: &[f64], allowance: Allowance) -> Option<Flatness> {
        let (early, late) = (median(early)?, median(late)?);
        Some(Flatness { early, late, bound: early * (1.0 + allowance.part) + allowance.amount })
    }

    /// Compares the first third of a series with its last.
    pub(crate) fn of_thirds(looks: &[f64], allowance: Allowance) -> Option<Flatness> {
        let third = looks.len() / 3;
        Self::of(&looks[..third], &looks[looks.len() - third..], allowance)
    }

    /// Whether the figure is flat.
    pub(crate) fn is_kept(&self) -> bool {
        self.late <= self.bound
    }
}

/// The one in the middle, or the mean of the two there.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance { part: 0.1, amount: 2.0 };

    /// Looks at something that grows by `leak` each time, and goes up and down by up to three as well.
    fn looks(leak: f64) -> Vec<f64> {
        (0..30).map(|look| 40.0 + f64::from(look) * leak + f64::from(look * 7 % 4)).collect()
    }

    #[test]
    fn a_leak_is_seen_and_noise_is_not() {
        let cases = [(0.0, true), (-0.5, true), (0.1, true), (0.4, false), (2.0, false)];
        for (leak, kept) in cases {
            let flatness = Flatness::of_thirds(&looks(leak), ALLOWANCE).unwrap();
            assert_eq!(flatness.is_kept(), kept, "{leak}: {flatness:?}");
        }
    }

    #[test]
    fn one_look_that_is_far_off_decides_nothing() {
        let mut looks = looks(0.0);
        looks[29] = 1000.0;
        assert!(Flatness::of_thirds(&looks, ALLOWANCE).unwrap().is_kept());
        looks[22..].fill(50.0);
        let flatness = Flatness::of_thirds(&looks, ALLOWANCE).unwrap();
        assert!(!flatness.is_kept(), "{flatness:?}");
    }

    #[test]
    fn nothing_to_compare() {
        assert_eq!(Flatness::of(&[], &[1.0], ALLOWANCE), None);
        assert_eq!(Flatness::of_thirds(&[1.0, 2.0], ALLOWANCE), None);
        assert_eq!(median(&[4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }
}
