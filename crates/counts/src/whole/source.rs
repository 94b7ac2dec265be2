//! What a client sends: prebuilt octets, over and over.
//!
//! Invariant: between two fills whole messages were sent.

use std::io::{self, Read};

/// A ring of messages, of which so many may be sent as its owner says.
pub(crate) struct Source {
    ring: Vec<u8>,
    /// Where each message begins, and where the last one ends.
    starts: Vec<usize>,
    /// The next octet.
    at: usize,
    /// The octets that may still be sent.
    left: usize,
    /// The next message that no leave was given for.
    next: usize,
}

impl Source {
    /// Messages to be sent in turn.
    pub(crate) fn new(messages: &[Vec<u8>]) -> Source {
        let mut starts = vec![0];
        for message in messages {
            starts.push(starts[starts.len() - 1] + message.len());
        }
        Source { ring: messages.concat(), starts, at: 0, left: 0, next: 0 }
    }

    /// Lets `count` more messages go.
    pub(crate) fn permit(&mut self, count: u64) {
        for _ in 0..count {
            self.left += self.starts[self.next + 1] - self.starts[self.next];
            self.next = (self.next + 1) % (self.starts.len() - 1);
        }
    }
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.left);
        let mut filled = 0;
        while filled < count {
            let piece = (count - filled).min(self.ring.len() - self.at);
            into[filled..filled + piece].copy_from_slice(&self.ring[self.at..self.at + piece]);
            filled += piece;
            self.at = (self.at + piece) % self.ring.len();
        }
        self.left -= count;
        Ok(count)
    }
}
