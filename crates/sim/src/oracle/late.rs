//! Deliveries that are not acknowledged in time.
//!
//! Invariant: a channel is closed for its oldest delivery alone, never before that is late, and not much after.

use super::channel::{Channel, Hold, Mode};
use super::{Oracle, Ruling};
use crate::link::LinkId;
use crate::op::Number;

/// A session looks at what is late so often within the shortest timeout, and not more often than this.
const LOOKS_PER_TIMEOUT: u64 = 32;
const PAUSE_MIN: u64 = 20;
/// It looks at least so often, whatever the timeouts were when it looked last.
const PAUSE_MAX: u64 = 60_000;

impl Oracle {
    /// The broker closes a channel: a delivery was not acknowledged in time.
    pub(super) fn timed_out(&mut self, at: (LinkId, Number), text: &str) -> Ruling {
        let channel = self.channel(at)?;
        let Some(hold) = channel.holds.first_key_value().map(|(_, hold)| *hold) else {
            return Err(format!("channel {at:?} holds nothing, but: {text}"));
        };
        let timeout = self.timeout(&hold);
        let is_late = timeout.is_some_and(|timeout| hold.left.0 + timeout < self.now);
        let names_it =
            timeout.is_some_and(|timeout| text.contains(&format!("Timeout value used: {timeout} ms. ")));
        if !is_late || !names_it {
            let copy = self.describe(hold.copy);
            return Err(format!(
                "channel {at:?}: {copy} is out for {hold:?}, timeout {timeout:?}, but: {text}"
            ));
        }
        self.shut(at);
        Ok(())
    }

    /// The broker has closed a channel.
    pub(super) fn shut(&mut self, at: (LinkId, Number)) {
        self.leave_channel(at);
        self.shut.insert(at);
    }

    /// All sessions have done what was due: no channel has a delivery that is late.
    pub(super) fn none_is_late(&self) -> Ruling {
        for (at, channel) in &self.channels {
            let Some((tag, hold)) = channel.holds.first_key_value().filter(|_| !was_rolled_back(channel))
            else {
                continue;
            };
            let Some(timeout) = self.timeout(hold) else { continue };
            let pause = match hold.timeout {
                Some(own) => (own / LOOKS_PER_TIMEOUT).clamp(PAUSE_MIN, PAUSE_MAX),
                None => PAUSE_MAX,
            };
            if hold.left.1 + timeout + pause + 1 < self.now {
                return Err(format!("channel {at:?} is open, but delivery {tag} is late: {hold:?}"));
            }
        }
        Ok(())
    }

    /// Whether deliveries are out that may not be for ever.
    pub fn has_deadlines(&self) -> bool {
        let mut holds = self.channels.values().flat_map(|channel| channel.holds.values());
        holds.any(|hold| self.timeout(hold).is_some())
    }

    /// How long a delivery may be out.
    fn timeout(&self, hold: &Hold) -> Option<u64> {
        hold.timeout.or(self.queues[self.copies[hold.copy].queue].rules.consumer_timeout)
    }
}

/// What was settled in a transaction that is over may be out again.
fn was_rolled_back(channel: &Channel) -> bool {
    matches!(channel.mode, Mode::Tx(_))
}
