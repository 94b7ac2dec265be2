//! What a client hears: the frames of a stream that comes in pieces.
//!
//! Invariant: how the stream is cut makes no difference.

use warrenmq_wire::{basic, frame};

/// Octets of a frame head, class and method id, and what of the arguments is looked at.
const HEAD_OCTETS: usize = 7;

/// What came since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// Ids of methods that are not on the path of a message, class and method.
    pub(crate) cold: Vec<(u16, u16)>,
    /// Deliveries.
    pub(crate) delivered: u64,
    /// Confirms: the highest delivery tag.
    pub(crate) confirmed: u64,
    /// A frame that is not whole yet, of a body only its head.
    partial: Vec<u8>,
    /// Octets of a body frame that are still to come and not looked at.
    skip: usize,
}

impl Ear {
    pub(crate) fn hear(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(octets.len());
                self.skip -= skipped;
                octets = &octets[skipped..];
                continue;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.partial.len()).min(octets.len());
            self.partial.extend_from_slice(&octets[..taken]);
            octets = &octets[taken..];
            if self.partial.len() < self.wanted() {
                continue;
            }
            if self.partial[0] == frame::METHOD {
                self.method();
            } else {
                self.skip = self.payload_octets() + 1;
            }
            self.partial.clear();
        }
    }

    /// Octets of the frame that have to be there before it can be looked at.
    fn wanted(&self) -> usize {
        let is_method = self.partial.first() == Some(&frame::METHOD);
        if self.partial.len() < HEAD_OCTETS || !is_method {
            return HEAD_OCTETS;
        }
        HEAD_OCTETS + self.payload_octets() + 1
    }

    fn payload_octets(&self) -> usize {
        self.partial[3..HEAD_OCTETS].iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet))
    }

    fn method(&mut self) {
        let number = |at: usize| u16::from_be_bytes([self.partial[at], self.partial[at + 1]]);
        match (number(HEAD_OCTETS), number(HEAD_OCTETS + 2)) {
            (basic::CLASS, basic::DELIVER) => self.delivered += 1,
            (basic::CLASS, basic::ACK) => {
                self.confirmed =
                    self.partial[11..19].iter().fold(0, |sum, &octet| sum << 8 | u64::from(octet));
            }
            ids => self.cold.push(ids),
        }
    }
}
