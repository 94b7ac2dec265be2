//! A transcript whose lines are not known beforehand: a test says some, looks at something else, and goes on on the same
//! connections.

use super::peer::Peer;
use super::run::Run;
use super::value::Value;
use super::{Mismatch, Options};

/// Connections and what names are bound to, from one [`Conversation::say`] to the next. Dropping it closes the sockets without
/// a word.
pub struct Conversation {
    run: Run<'static>,
}

impl Conversation {
    /// Nothing said yet. `connect` makes the connection with a number when a line first uses it.
    pub fn new(options: Options, connect: impl FnMut(u32) -> Box<dyn Peer> + 'static) -> Self {
        Conversation { run: Run::new(options, Box::new(connect)) }
    }

    /// Runs lines of a transcript. What the server sends beyond them waits for the next ones.
    ///
    /// # Errors
    /// The first line that is not met or cannot be read; the lines after it are not run.
    pub fn say(&mut self, lines: &str) -> Result<(), Mismatch> {
        self.run.lines(lines).map(drop)
    }

    /// The number that `$name` is bound to; `None` when it is bound to something else or not at all.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.run.value_bound_to(name) {
            Ok(Value::Number(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").finish_non_exhaustive()
    }
}
