//! Damage as something that is found, not as an error that ends the search. Invariant: it names a place that an operator can look
//! at.

use std::fmt;

/// A place in a file that does not hold what was written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the data folder.
    pub path: String,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}: {}", self.path, self.offset, self.what)
    }
}
