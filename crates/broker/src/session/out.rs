//! What waits to be written to the client.
//!
//! Invariants: octets leave in the order in which they were put; nothing after a barrier leaves before what it waits for is on
//! disk, so a declare-ok and a commit-ok are promises. Large bodies are not copied: they are written from where they lie. Such
//! a body stands between octets of its own frame, so never at the end, nor at the same place as a barrier or another one.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use warrenmq_queue::{Record, Run};
use warrenmq_wire::basic;

use crate::storage::Point;

/// Bodies of fewer octets are copied: one more piece in a write costs about as much as this copy.
const BORROWED_OCTETS_MIN: usize = 32 * 1024;
/// Written octets at the front that are kept before the others move there.
const WRITTEN_OCTETS_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Out {
    octets: Vec<u8>,
    /// Octets at the front that were written already.
    written: usize,
    /// Position in `octets` that may not be passed, and what it waits for.
    barriers: VecDeque<(usize, Point)>,
    /// What stands between octets, before the one at this position.
    borrowed: VecDeque<(usize, Bytes)>,
    /// Octets in `borrowed`.
    borrowed_octets: usize,
}

impl Out {
    /// Where to append.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Appends header and body of a record of `run`, in frames with at most `payload_max` octets of the body each.
    #[inline]
    pub(super) fn put_content(&mut self, number: u16, run: &Run, record: &Record<'_>, payload_max: usize) {
        if Out::borrows(record.body) {
            self.borrow_content(number, run, record, payload_max);
        } else {
            basic::put_content(&mut self.octets, number, record.header, record.body, payload_max);
        }
    }

    /// Whether such a body is written from where it lies.
    #[inline]
    pub(super) fn borrows(body: &[u8]) -> bool {
        body.len() >= BORROWED_OCTETS_MIN
    }

    fn borrow_content(&mut self, number: u16, run: &Run, record: &Record<'_>, payload_max: usize) {
        let Out { octets, borrowed, borrowed_octets, .. } = self;
        basic::put_content_around(octets, number, record.header, record.body, payload_max, |octets, part| {
            borrowed.push_back((octets.len(), run.bytes().slice_ref(part)));
            *borrowed_octets += part.len();
        });
    }

    /// Octets that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.written + self.borrowed_octets
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

    /// What may be written now, up to the next place where something borrowed begins or ends; empty only if nothing may be written.
    pub(super) fn transmit(&self) -> &[u8] {
        match self.borrowed.front() {
            None => self.between(self.written, self.end()),
            Some((at, part)) if *at == self.written => part,
            Some((at, _)) => self.between(self.written, self.end().min(*at)),
        }
    }

    /// Whether more than [`Out::transmit`] may be written now.
    pub(super) fn is_in_pieces(&self) -> bool {
        !self.borrowed.is_empty()
    }

    /// All that may be written now, as far as there are `pieces` for it; returns how many it took.
    pub(super) fn transmit_pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>]) -> usize {
        let (mut from, end, mut count) = (self.written, self.end(), 0);
        let mut put = |octets: &'a [u8]| {
            if let Some(piece) = pieces.get_mut(count).filter(|_| !octets.is_empty()) {
                *piece = IoSlice::new(octets);
                count += 1;
            }
        };
        for (at, part) in self.borrowed.iter().take_while(|(at, _)| *at < end) {
            put(self.between(from, *at));
            put(part);
            from = *at;
        }
        put(self.between(from, end));
        count
    }

    /// `count` octets were written.
    pub(super) fn advance(&mut self, count: usize) {
        let count = if self.borrowed.is_empty() { count } else { self.advance_borrowed(count) };
        self.written += count;
        if self.written == self.octets.len() && self.barriers.is_empty() {
            self.octets.clear();
            self.written = 0;
        } else if self.written > WRITTEN_OCTETS_MAX && self.written > self.octets.len() / 2 {
            self.octets.drain(..self.written);
            for (at, _) in &mut self.barriers {
                *at -= self.written;
            }
            for (at, _) in &mut self.borrowed {
                *at -= self.written;
            }
            self.written = 0;
        }
    }

    /// Goes over what was borrowed; returns how many octets behind that were written too.
    fn advance_borrowed(&mut self, mut count: usize) -> usize {
        while let Some((at, part)) = self.borrowed.front_mut() {
            let before = *at - self.written;
            if count < before {
                break;
            }
            self.written = *at;
            count -= before;
            if count < part.len() {
                part.advance(count);
                self.borrowed_octets -= count;
                return 0;
            }
            count -= part.len();
            self.borrowed_octets -= part.len();
            self.borrowed.pop_front();
        }
        count
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

    /// Where the first barrier stands.
    fn end(&self) -> usize {
        self.barriers.front().map_or(self.octets.len(), |(at, _)| *at)
    }

    fn between(&self, from: usize, to: usize) -> &[u8] {
        self.octets.get(from..to).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use warrenmq_queue::RunBuilder;
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

    fn run(body: &[u8]) -> Run {
        let mut builder = RunBuilder::new();
        let (route, header) = (&b"\0\x01q"[..], &b"header"[..]);
        let (persistent, priority, ttl, dead) = (false, None, None, false);
        builder.push(&Record {
            route,
            hidden: b"",
            header,
            body,
            persistent,
            priority,
            ttl,
            dead,
            due: None,
        });
        builder.finish().expect("a record")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Contents that are copied and such that are not, barriers, and writes of any size: what leaves is what was put.
        #[test]
        fn octets_leave_in_order(
            steps in prop::collection::vec((0..5u8, any::<u16>(), prop::bool::ANY), 1..60),
            pieces_max in 1..6usize,
        ) {
            let (mut out, mut put, mut gone, mut held) = (Out::default(), Vec::new(), 0, VecDeque::new());
            for (step, (kind, size, large)) in steps.into_iter().enumerate() {
                match kind {
                    0 => {
                        let octets = vec![step as u8; usize::from(size % 300)];
                        out.buffer().extend_from_slice(&octets);
                        put.extend_from_slice(&octets);
                    }
                    1 => {
                        let extra = if large { BORROWED_OCTETS_MIN } else { 0 };
                        let run = run(&vec![step as u8; extra + usize::from(size)]);
                        let (record, _) = run.record(0);
                        let payload_max = 4088 + usize::from(size);
                        out.put_content(1, &run, &record, payload_max);
                        basic::put_content(&mut put, 1, record.header, record.body, payload_max);
                    }
                    2 if large => {
                        out.hold(point(step as u64, 0));
                        held.push_back((put.len(), point(step as u64, 0)));
                    }
                    2 => {
                        if let Some((_, point)) = held.pop_front() {
                            out.release(point);
                        }
                    }
                    _ => {
                        let free = held.front().map_or(put.len(), |(at, _)| *at);
                        let mut pieces = [IoSlice::new(&[]); 5];
                        let pieces_max = if large { pieces_max } else { 5 }.min(5);
                        let count = out.transmit_pieces(&mut pieces[..pieces_max]);
                        let octets: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.iter().copied()).collect();
                        prop_assert!(put[gone..free].starts_with(&octets));
                        prop_assert!(octets.starts_with(out.transmit()));
                        prop_assert_eq!(out.transmit().is_empty(), gone == free);
                        prop_assert!(out.is_in_pieces() || octets.len() == free - gone);
                        let written = if large { octets.len() } else { octets.len().min(usize::from(size)) };
                        out.advance(written);
                        gone += written;
                    }
                }
                prop_assert_eq!(out.len(), put.len() - gone);
            }
        }
    }
}
