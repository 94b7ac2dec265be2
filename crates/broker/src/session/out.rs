//! What waits to be written to the client.
//!
//! Invariant: octets leave in the order in which they were put; nothing after a barrier leaves before what it waits for is on
//! disk, so a declare-ok and a commit-ok are promises.

use std::collections::VecDeque;

use crate::storage::Point;

#[derive(Debug, Default)]
pub(super) struct Out {
    octets: Vec<u8>,
    /// Octets at the front that were written already.
    written: usize,
    /// Position in `octets` that may not be passed, and what it waits for.
    barriers: VecDeque<(usize, Point)>,
}

impl Out {
    /// Where to append.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Octets that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.written
    }

    /// Everything appended from now on waits for `point`.
    pub(super) fn hold(&mut self, point: Point) {
        self.barriers.push_back((self.octets.len(), point));
    }

    /// Whether something waits for the disk.
    pub(super) fn is_held(&self) -> bool {
        !self.barriers.is_empty()
    }

    /// What has to be on disk before anything more leaves.
    pub(super) fn waits_for(&self) -> Option<Point> {
        self.barriers.front().map(|(_, point)| *point)
    }

    /// Lets go of what waited for what is durable now.
    pub(super) fn release(&mut self, durable: Point) {
        while self.barriers.front().is_some_and(|(_, point)| point.is_in(durable)) {
            self.barriers.pop_front();
        }
    }

    /// What may be written now.
    pub(super) fn transmit(&self) -> &[u8] {
        let end = self.barriers.front().map_or(self.octets.len(), |(at, _)| *at);
        self.octets.get(self.written..end).unwrap_or_default()
    }

    /// `count` octets were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.octets.len() && self.barriers.is_empty() {
            self.octets.clear();
            self.written = 0;
        } else if self.written > 64 * 1024 && self.written > self.octets.len() / 2 {
            self.octets.drain(..self.written);
            for (at, _) in &mut self.barriers {
                *at -= self.written;
            }
            self.written = 0;
        }
    }

    /// Uses the memory of `spare` while nothing waits, so that idle connections own no buffer.
    pub(super) fn lend(&mut self, spare: &mut Vec<u8>) {
        if self.octets.capacity() == 0 {
            std::mem::swap(&mut self.octets, spare);
        }
    }

    /// Gives the memory back if nothing waits; otherwise `spare` keeps what it has.
    pub(super) fn reclaim(&mut self, spare: &mut Vec<u8>) {
        if self.octets.is_empty() && self.barriers.is_empty() {
            if spare.capacity() == 0 {
                std::mem::swap(&mut self.octets, spare);
            } else {
                self.octets = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warrenmq_store::{CommitSeq, Lsn};

    fn point(seq: u64, lsn: u64) -> Point {
        Point { seq: CommitSeq(seq), lsn: Lsn(lsn) }
    }

    #[test]
    fn nothing_passes_a_barrier() {
        let mut out = Out::default();
        out.buffer().extend_from_slice(b"before");
        out.hold(point(7, 3));
        out.buffer().extend_from_slice(b"after");
        assert_eq!(out.transmit(), b"before");
        out.advance(6);
        assert_eq!(out.transmit(), b"");
        out.release(point(6, 3));
        out.release(point(8, 2));
        assert!(out.is_held());
        out.release(point(7, 3));
        assert_eq!(out.transmit(), b"after");
        out.advance(5);
        assert_eq!(out.len(), 0);
    }
}
