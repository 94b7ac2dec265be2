//! The read buffer of one connection, and the walk over it.
//!
//! Invariant: `start..end` is what was read and not yet used; what is left of an unfinished frame moves to the front
//! before each read, so a frame never needs more room than the whole buffer.

use std::io::{self, Read};

use warrenmq_wire::frame;

use super::walker::{Delivery, Item, WalkError, Walker};

/// Bytes from the broker.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    walker: Walker,
}

impl Inbox {
    /// `capacity` bounds both a read and a method or header frame.
    pub(crate) fn new(capacity: usize) -> Self {
        let walker = Walker::new(capacity.saturating_sub(frame::OVERHEAD));
        Self { bytes: vec![0; capacity].into(), start: 0, end: 0, walker }
    }

    /// Reads once; returns the number of octets, zero at the end of the stream.
    ///
    /// # Errors
    /// Those of the read, `WouldBlock` after its time limit.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.walker.moved();
        let count = source.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// The next delivery, if it is there as a whole; `None` means to ask [`Self::next`].
    #[inline(always)]
    pub(crate) fn next_whole(&mut self) -> Option<Delivery> {
        self.walker.next_whole(&self.bytes[..self.end], &mut self.start)
    }

    /// The next whole item, if it is there.
    ///
    /// # Errors
    /// [`WalkError`]; the stream is then beyond repair.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, WalkError> {
        self.walker.next(&self.bytes[..self.end], &mut self.start)
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::basic;

    use super::*;

    #[test]
    fn frames_across_reads_smaller_than_themselves() {
        let mut stream = Vec::new();
        for tag in 1..=50 {
            basic::put_ack(&mut stream, 1, tag, false);
        }
        let mut source = stream.as_slice();
        let mut inbox = Inbox::new(32);
        let mut tags = Vec::new();
        while inbox.fill(&mut source).unwrap() > 0 {
            while let Some(item) = inbox.next().unwrap() {
                let Item::Method([0, 60, 0, 80, args @ ..]) = item else {
                    panic!("not an ack: {item:?}");
                };
                tags.push(basic::parse_ack(args).unwrap().delivery_tag);
            }
        }
        assert!(tags.into_iter().eq(1..=50));
    }
}
