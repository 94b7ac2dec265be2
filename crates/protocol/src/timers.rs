//! The deadlines of one connection: handshake, heartbeats, closing.
//!
//! Invariant: at most one of handshake, closing and silence is armed; heartbeats run beside them once tuned.

use crate::Millis;

/// Why the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// The handshake took too long.
    Handshake,
    /// Nothing came for two heartbeat intervals.
    Heartbeat,
    /// The peer did not answer connection.close, or the silence after a failed handshake is over.
    Closing,
}

/// Longest wait for connection.close-ok, in milliseconds (RabbitMQ's `CLOSING_TIMEOUT`).
const CLOSING_TIMEOUT: Millis = 30_000;
/// Silence before a connection that failed its handshake is closed (RabbitMQ's `SILENT_CLOSE_DELAY`).
const SILENT_CLOSE_DELAY: Millis = 3_000;

#[derive(Debug)]
pub(crate) struct Timers {
    deadline: Option<(Millis, Expired)>,
    /// Milliseconds; 0 is no heartbeat.
    heartbeat: Millis,
    received: Millis,
    sent: Millis,
    /// The peer is not read, so its heartbeats are not missed.
    paused: bool,
}

impl Timers {
    pub(crate) fn new(now: Millis, handshake_timeout: Millis) -> Timers {
        let deadline = Some((now + handshake_timeout, Expired::Handshake));
        Timers { deadline, heartbeat: 0, received: now, sent: now, paused: false }
    }

    pub(crate) fn opened(&mut self) {
        self.deadline = None;
    }

    pub(crate) fn set_heartbeat(&mut self, seconds: u16) {
        self.heartbeat = Millis::from(seconds) * 1000;
    }

    pub(crate) fn received(&mut self, now: Millis) {
        self.received = now;
    }

    pub(crate) fn sent(&mut self, now: Millis) {
        self.sent = now;
    }

    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self, now: Millis) {
        self.paused = false;
        self.received = now;
    }

    pub(crate) fn closing(&mut self, now: Millis) {
        let wait = if self.heartbeat > 0 { self.heartbeat.min(CLOSING_TIMEOUT) } else { CLOSING_TIMEOUT };
        self.deadline = Some((now + wait, Expired::Closing));
    }

    pub(crate) fn silent(&mut self, now: Millis) {
        self.deadline = Some((now + SILENT_CLOSE_DELAY, Expired::Closing));
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        let beat = (self.heartbeat > 0).then(|| (self.sent + self.heartbeat / 2).min(self.misses_at()));
        let deadline = self.deadline.map(|(at, _)| at);
        match (beat, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn expired(&self, now: Millis) -> Option<Expired> {
        if let Some((at, why)) = self.deadline
            && now >= at
        {
            return Some(why);
        }
        (self.heartbeat > 0 && now >= self.misses_at()).then_some(Expired::Heartbeat)
    }

    pub(crate) fn heartbeat_due(&self, now: Millis) -> bool {
        self.heartbeat > 0 && now >= self.sent + self.heartbeat / 2
    }

    /// When the peer's heartbeat is missed, if there is one.
    fn misses_at(&self) -> Millis {
        if self.paused { Millis::MAX } else { self.received + 2 * self.heartbeat }
    }
}
