//! How many checks have passed, failed and been skipped, and how such counts are read from the output of others.

use std::fmt;
use std::ops::AddAssign;

/// Counts of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// One check that holds or does not.
    pub(crate) fn of(passed: bool) -> Self {
        Tally { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// One check that could not be made; the line that says why belongs to the caller.
    pub(crate) fn skipped() -> Self {
        Tally { skipped: 1, ..Tally::default() }
    }

    /// The counts of a `test result:` line of Rust's test harness; ignored tests count as skipped.
    pub(crate) fn of_test_result(line: &str) -> Option<Self> {
        let counts = line.trim().strip_prefix("test result: ")?;
        let (_, counts) = counts.split_once(". ")?;
        Some(Tally {
            passed: count_before(counts, "passed")?,
            failed: count_before(counts, "failed")?,
            skipped: count_before(counts, "ignored")?,
        })
    }

    /// The counts of the last line of an interop suite: `interop/<folder>: N passed, N failed, N skipped`.
    pub(crate) fn of_interop_result(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("interop/")?.split_once(": ")?;
        Some(Tally {
            passed: count_before(counts, "passed")?,
            failed: count_before(counts, "failed")?,
            skipped: count_before(counts, "skipped")?,
        })
    }

    /// The same counts, with a failure when the program that reported them ended badly without naming one.
    pub(crate) fn with_exit(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

/// The number that stands before `word`.
fn count_before(counts: &str, word: &str) -> Option<u64> {
    let mut last = "";
    for part in counts.split([' ', ';', ',']).filter(|part| !part.is_empty()) {
        if part == word {
            return last.parse().ok();
        }
        last = part;
    }
    None
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn results_are_read_from_the_lines_of_others() {
        let rust = [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.10s",
                Some(tally(12, 0, 3)),
            ),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured", Some(tally(1, 2, 0))),
            ("test tally ... ok", None),
            ("test result: ok. many passed", None),
        ];
        for (line, expected) in rust {
            assert_eq!(Tally::of_test_result(line), expected, "{line}");
        }
        let interop = [
            ("interop/python: 40 passed, 1 failed, 2 skipped", Some(tally(40, 1, 2))),
            ("interop/go: 0 passed, 0 failed, 1 skipped (no go here)", Some(tally(0, 0, 1))),
            ("40 passed, 1 failed", None),
            ("interop/c: done", None),
        ];
        for (line, expected) in interop {
            assert_eq!(Tally::of_interop_result(line), expected, "{line}");
        }
    }

    #[test]
    fn a_bad_exit_is_a_failure() {
        assert_eq!(tally(5, 0, 0).with_exit(false), tally(5, 1, 0));
        assert_eq!(tally(5, 2, 0).with_exit(false), tally(5, 2, 0));
        assert_eq!(tally(5, 0, 0).with_exit(true), tally(5, 0, 0));
    }

    #[test]
    fn the_last_line_of_the_gate() {
        assert_eq!(tally(3, 0, 1).to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
