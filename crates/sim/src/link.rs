//! One connection: the broker's end of it, the octets on their way, and the tap between.
//!
//! Invariant: the tap sees what the session says at the end of each call into it, before any other call; so the oracle's picture
//! is never behind the broker's, however slowly octets travel.

use std::collections::VecDeque;

use warrenmq_broker::Session;

use crate::frames::{Decoder, Heard};
use crate::op::Op;
use crate::oracle::{Oracle, Ruling};

/// Number of a connection, never used again.
pub type LinkId = u32;

/// Octets that the network holds for a client that does not read.
const ROOM_OCTETS: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Link {
    id: LinkId,
    session: Option<Session>,
    /// Written by the client, on the way.
    sent: Vec<u8>,
    /// What the session may read.
    arrived: Vec<u8>,
    /// New octets have arrived, or the session stopped although it had more.
    offer: bool,
    written: u64,
    used: u64,
    /// Operations by the place in the stream where they end.
    ops: VecDeque<(u64, Op)>,
    decoder: Decoder,
    /// Octets of what the session wants to transmit that were tapped already.
    tapped: usize,
    /// Tapped, and not read by the client.
    heard: VecDeque<Heard>,
    /// Octets that the session has got rid of and the client has not read.
    on_wire: usize,
    /// Octets that the client has read of what is not whole yet.
    read: usize,
}

impl Link {
    /// A connection that was just accepted.
    pub fn new(id: LinkId, session: Session) -> Link {
        Link {
            id,
            session: Some(session),
            sent: Vec::new(),
            arrived: Vec::new(),
            offer: false,
            written: 0,
            used: 0,
            ops: VecDeque::new(),
            decoder: Decoder::default(),
            tapped: 0,
            heard: VecDeque::new(),
            on_wire: 0,
            read: 0,
        }
    }

    /// Its number.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// The client writes octets of the handshake.
    pub fn write(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
        self.written += octets.len() as u64;
    }

    /// The client writes an operation.
    pub fn ask(&mut self, op: Op, write: impl FnOnce(&Op, &mut Vec<u8>)) {
        let before = self.sent.len();
        write(&op, &mut self.sent);
        self.written += (self.sent.len() - before) as u64;
        self.ops.push_back((self.written, op));
    }

    /// Octets that have not arrived.
    pub fn on_the_way(&self) -> usize {
        self.sent.len()
    }

    /// So many octets arrive.
    pub fn carry(&mut self, octets: usize) {
        self.arrived.extend(self.sent.drain(..octets.min(self.sent.len())));
        self.offer = true;
    }

    /// The client reads what has come; the next thing that is whole.
    pub fn read(&mut self) -> Option<Heard> {
        self.read += std::mem::take(&mut self.on_wire);
        let heard = self.heard.pop_front_if(|heard| heard.octets <= self.read)?;
        self.read -= heard.octets;
        Some(heard)
    }

    /// Whether there is something for the client to read.
    pub fn can_read(&self) -> bool {
        self.on_wire > 0 || self.heard.front().is_some_and(|heard| heard.octets <= self.read)
    }

    /// When the session wants to be told that time has passed.
    pub fn deadline(&self) -> Option<u64> {
        self.session.as_ref()?.timeout()
    }

    /// Whether the session has something to do.
    pub fn is_ready(&self, now: u64) -> bool {
        self.session.as_ref().is_some_and(|session| {
            session.inbox().is_notified()
                || (self.offer && session.wants_input())
                || session.has_pending()
                || (!session.transmit().is_empty() && self.on_wire < ROOM_OCTETS)
                || session.timeout().is_some_and(|at| now >= at)
                || session.is_finished()
        })
    }

    /// One turn, as the server's driver has it; `limit` is how much is encoded at a time. Says whether anything happened.
    ///
    /// # Errors
    /// What the oracle says.
    pub fn turn(
        &mut self,
        now: u64,
        limit: usize,
        spare: &mut Vec<u8>,
        oracle: &mut Oracle,
    ) -> Result<bool, String> {
        let Some(session) = &mut self.session else { return Ok(false) };
        session.lend(spare);
        let mut moved = session.inbox().is_notified();
        if moved {
            oracle.begin_call();
            session.handle_inbox(now);
            self.tap(limit, oracle)?;
        }
        moved |= self.time_passes(now, limit, oracle)?;
        moved |= self.take_input(now, limit, oracle)?;
        oracle.begin_call();
        moved |= self.tap(limit, oracle)?;
        moved |= self.transmit(now);
        if let Some(session) = &mut self.session {
            if session.is_finished() {
                self.session = None;
                return oracle.lost(self.id).map(|()| true);
            }
            session.reclaim(spare);
        }
        Ok(moved)
    }

    /// The connection breaks, or the broker dies: what was encoded and has not left is lost, but counts as said.
    ///
    /// # Errors
    /// What the oracle says.
    pub fn cut(&mut self, now: u64, oracle: &mut Oracle) -> Ruling {
        oracle.begin_call();
        self.look(oracle)?;
        if let Some(mut session) = self.session.take() {
            session.end(now);
        }
        oracle.lost(self.id)
    }

    fn time_passes(&mut self, now: u64, limit: usize, oracle: &mut Oracle) -> Result<bool, String> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if session.timeout().is_none_or(|at| now < at) {
            return Ok(false);
        }
        oracle.begin_call();
        if let Some(expired) = session.handle_timeout(now) {
            return Err(format!("connection {} has to end: {expired:?}", self.id));
        }
        self.tap(limit, oracle)?;
        Ok(true)
    }

    fn take_input(&mut self, now: u64, limit: usize, oracle: &mut Oracle) -> Result<bool, String> {
        let Some(session) = &mut self.session else { return Ok(false) };
        if !self.offer || !session.wants_input() || session.is_finished() {
            return Ok(false);
        }
        oracle.begin_call();
        let mut used = 0;
        if self.arrived.len() % 2 == 1 {
            // In two parts, as by a driver that knows of more input than it has read.
            session.expect_input(true);
            used = session.handle_input(now, &self.arrived[..self.arrived.len() / 2]);
            session.expect_input(false);
            // What it has encoded by now was said before the rest was carried out.
            self.count_used(used, oracle)?;
            self.look(oracle)?;
        }
        let Some(session) = &mut self.session else { return Ok(true) };
        let mut more = 0;
        if session.wants_input() && !session.is_finished() {
            more = session.handle_input(now, &self.arrived[used..]);
        } else {
            session.end_input(now);
        }
        self.arrived.drain(..used + more);
        self.offer = !self.arrived.is_empty() && !session.wants_input();
        self.count_used(more, oracle)?;
        self.tap(limit, oracle)?;
        Ok(true)
    }

    /// The session has used so many octets, and carried out the operations that end there.
    fn count_used(&mut self, octets: usize, oracle: &mut Oracle) -> Ruling {
        self.used += octets as u64;
        while let Some((_, op)) = self.ops.pop_front_if(|(end, _)| *end <= self.used) {
            oracle.carried_out(self.id, &op)?;
        }
        Ok(())
    }

    /// Lets the session encode, and looks at what it says.
    fn tap(&mut self, limit: usize, oracle: &mut Oracle) -> Result<bool, String> {
        let Some(session) = &mut self.session else { return Ok(false) };
        session.fill(limit);
        self.look(oracle)
    }

    fn look(&mut self, oracle: &mut Oracle) -> Result<bool, String> {
        let Some(session) = &self.session else { return Ok(false) };
        let octets = session.transmit();
        let Some(new) = octets.get(self.tapped..).filter(|new| !new.is_empty()) else { return Ok(false) };
        self.decoder.feed(new);
        self.tapped = octets.len();
        while let Some(heard) = self.decoder.hear()? {
            oracle.heard(self.id, &heard)?;
            self.heard.push_back(heard);
        }
        Ok(true)
    }

    fn transmit(&mut self, now: u64) -> bool {
        let Some(session) = &mut self.session else { return false };
        let octets = session.transmit().len().min(ROOM_OCTETS.saturating_sub(self.on_wire));
        if octets == 0 {
            return false;
        }
        session.sent(now, octets);
        self.tapped -= octets;
        self.on_wire += octets;
        true
    }
}
