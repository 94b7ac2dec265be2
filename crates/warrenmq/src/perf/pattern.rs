//! Texts with a number in them: `perf-%d`, or `perf-%03d` for at least three digits.
//!
//! Invariant: a pattern has exactly one place for the number.

use std::str::FromStr;

/// A text with a place for a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    before: String,
    digits: usize,
    after: String,
}

impl Pattern {
    /// The text with `number` filled in.
    pub(crate) fn fill(&self, number: u32) -> String {
        format!("{}{number:0digits$}{}", self.before, self.after, digits = self.digits)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} has no %d, as in perf-%d or perf-%03d");
        let (before, rest) = text.split_once('%').ok_or_else(bad)?;
        let (digits, after) = rest.split_once('d').ok_or_else(bad)?;
        let digits = match digits.strip_prefix('0') {
            Some(digits) => digits.parse().ok().filter(|&digits| digits <= 10).ok_or_else(bad)?,
            None if digits.is_empty() => 0,
            None => return Err(bad()),
        };
        Ok(Self { before: before.into(), digits, after: after.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_in() {
        let cases = [("q%d", 7, "q7"), ("%d", 10, "10"), ("a%03db", 7, "a007b"), ("a.%d.%d", 1, "a.1.%d")];
        for (pattern, number, text) in cases {
            assert_eq!(Pattern::from_str(pattern).unwrap().fill(number), text, "{pattern}");
        }
        for pattern in ["", "q", "q%", "q%x", "q%3d", "q%099d", "50% off"] {
            assert!(Pattern::from_str(pattern).is_err(), "{pattern}");
        }
    }
}
