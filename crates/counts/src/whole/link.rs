//! The broker's end of one connection: a session, and around it what the server's driver does with its buffers.
//!
//! Invariant: reads are as large as those of the driver, and it does with what is left of them what the driver does: a change
//! there (`server/driver.rs`) is followed here. What the kernel does is beside the count, what tokio does is not there at all.

use std::io::{IoSlice, Read};

use warrenmq_broker::Session;

use super::node::{NOW, Node};
use crate::meter::beside_the_count;

const READS_PER_TURN: usize = 2;
const DIRECT_READS_PER_READ: usize = 4;
const WRITES_PER_TURN: usize = 16;
const PIECES_PER_WRITE: usize = 64;
const SMALL_REST_OCTETS: usize = 4096;

/// The connection.
pub(crate) struct Link {
    session: Session,
    read_octets: usize,
    write_octets: usize,
    rest: Vec<u8>,
    stopped_early: bool,
    /// What belongs to the thread in the server.
    read_buffer: Vec<u8>,
    write_buffer: Vec<u8>,
}

impl Link {
    pub(crate) fn new(node: &Node) -> Link {
        let limits = node.limits();
        Link {
            session: node.connect(),
            read_octets: limits.read_buffer_octets,
            write_octets: limits.write_buffer_octets,
            rest: Vec::new(),
            stopped_early: false,
            read_buffer: vec![0; limits.read_buffer_octets],
            write_buffer: Vec::new(),
        }
    }

    /// A turn: takes from `source` what the client has sent, hands to `sink` what it gets. Says whether anything moved.
    pub(crate) fn turn(&mut self, source: &mut impl Read, sink: &mut impl FnMut(&[u8])) -> bool {
        let mut write = std::mem::take(&mut self.write_buffer);
        self.session.lend(&mut write);
        let mut moved = self.session.inbox().is_notified();
        if moved {
            self.session.handle_inbox(NOW);
        }
        let mut left = READS_PER_TURN * DIRECT_READS_PER_READ;
        while left > 0 {
            let is_direct = self.session.direct().is_some();
            if !self.read(source) {
                self.session.end_input(NOW);
                break;
            }
            moved = true;
            left = left.saturating_sub(if is_direct { 1 } else { DIRECT_READS_PER_READ });
        }
        assert!(self.session.timeout().is_none_or(|at| NOW < at), "no time has passed");
        for _ in 0..WRITES_PER_TURN {
            self.session.fill(self.write_octets);
            if self.session.transmit().is_empty() {
                break;
            }
            let count = self.write(sink);
            self.session.sent(NOW, count);
            moved = true;
        }
        self.session.reclaim(&mut write);
        self.write_buffer = write;
        moved
    }

    fn write(&self, sink: &mut impl FnMut(&[u8])) -> usize {
        if !self.session.is_in_pieces() {
            let octets = self.session.transmit();
            beside_the_count(|| sink(octets));
            return octets.len();
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let count = self.session.transmit_pieces(&mut pieces);
        let pieces = &pieces[..count];
        beside_the_count(|| pieces.iter().for_each(|piece| sink(piece)));
        pieces.iter().map(|piece| piece.len()).sum()
    }

    fn read(&mut self, source: &mut impl Read) -> bool {
        assert!(!self.session.is_finished(), "the broker has closed the connection");
        if !self.session.wants_input() {
            return false;
        }
        if self.stopped_early {
            let rest = std::mem::take(&mut self.rest);
            self.session.expect_input(false);
            let used = self.session.handle_input(NOW, &rest);
            self.keep(rest, used);
            return true;
        }
        if let Some(any) = self.read_direct(source) {
            return any;
        }
        let front = if self.rest.len() <= SMALL_REST_OCTETS { self.rest.len() } else { 0 };
        if self.read_buffer.len() < front + self.read_octets {
            self.read_buffer.resize(front + self.read_octets, 0);
        }
        let (head, tail) = self.read_buffer.split_at_mut(front);
        let into = &mut tail[..self.read_octets];
        let count = beside_the_count(|| source.read(into).expect("a source in memory"));
        if count == 0 {
            return false;
        }
        self.session.expect_input(count == self.read_octets);
        if front == self.rest.len() {
            head.copy_from_slice(&self.rest);
            if self.rest.capacity() > SMALL_REST_OCTETS {
                self.rest = Vec::new();
            }
            self.rest.clear();
            let input = &self.read_buffer[..front + count];
            let used = self.session.handle_input(NOW, input);
            self.rest.extend_from_slice(&input[used..]);
            self.stopped_early = !self.rest.is_empty() && !self.session.wants_input();
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(&tail[..count]);
            let used = self.session.handle_input(NOW, &rest);
            self.keep(rest, used);
        }
        true
    }

    fn read_direct(&mut self, source: &mut impl Read) -> Option<bool> {
        let (body, room) = self.session.direct()?;
        let room = room.min(self.read_octets);
        let count = beside_the_count(|| {
            let before = body.len();
            body.resize(before + room, 0);
            let count = source.read(&mut body[before..]).expect("a source in memory");
            body.truncate(before + count);
            count
        });
        if count > 0 {
            let next = self.session.took_direct();
            self.session.expect_input(count == room);
            let used = self.session.handle_input(NOW, &next);
            self.keep(next.to_vec(), used);
        }
        Some(count > 0)
    }

    fn keep(&mut self, mut rest: Vec<u8>, used: usize) {
        rest.drain(..used);
        if rest.is_empty() && rest.capacity() > SMALL_REST_OCTETS {
            rest = Vec::new();
        }
        self.rest = rest;
        self.stopped_early = !self.rest.is_empty() && !self.session.wants_input();
    }
}
