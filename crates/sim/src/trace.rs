//! What has happened in a run, for people. Invariant: costs nothing while nobody wants it; a run that fails is made again with it.

use std::collections::VecDeque;

/// The last lines.
#[derive(Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    keep: usize,
}

impl Trace {
    /// Keeps so many lines.
    pub fn keeping(keep: usize) -> Trace {
        Trace { lines: VecDeque::new(), keep }
    }

    /// Something happens.
    pub fn add(&mut self, line: impl FnOnce() -> String) {
        if self.keep > 0 {
            if self.lines.len() == self.keep {
                self.lines.pop_front();
            }
            self.lines.push_back(line());
        }
    }

    /// All of them, one below the other.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}
