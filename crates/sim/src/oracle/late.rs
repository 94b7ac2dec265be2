//! Deliveries that are not acknowledged in time.
//!
//! Invariant: a channel is closed for its oldest delivery alone, never before that is late, and not much after.

use super::channel::{Channel, Hold, Mode};
use super::copy::{CopyId, Place, QueueId};
use super::{Oracle, Ruling};
use crate::content::Death;
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::Number;

/// A session looks at what is late so often within the shortest timeout, and not more often than this.
const LOOKS_PER_TIMEOUT: u64 = 32;
const PAUSE_MIN: u64 = 20;
/// It looks at least so often, whatever the timeouts were when it looked last.
const PAUSE_MAX: u64 = 60_000;

impl Oracle {
    /// The broker closes a channel: a delivery was not acknowledged in time.
    pub(super) fn timed_out(&mut self, at: (LinkId, Number), text: &str) -> Ruling {
        let overdue = self.overdue.remove(&at);
        let Some(hold) = overdue.or_else(|| self.oldest_of(at)) else {
            return Err(format!("channel {at:?} holds nothing, but: {text}"));
        };
        let timeout = self.timeout(&hold);
        let names_it =
            timeout.is_some_and(|timeout| text.contains(&format!("Timeout value used: {timeout} ms. ")));
        if !self.is_late(&hold) || !names_it {
            let copy = self.describe(hold.copy);
            return Err(format!(
                "channel {at:?}: {copy} is out for {hold:?}, timeout {timeout:?}, but: {text}"
            ));
        }
        if overdue.is_none() {
            self.shut(at);
        }
        Ok(())
    }

    /// A message comes from a queue while somebody holds it, and not a dead letter of another death: has his channel been closed?
    pub(super) fn was_overdue(&mut self, queue: QueueId, message: MessageId, death: Option<Death>) -> bool {
        let holder = |id: &CopyId| {
            let copy = &self.copies[*id];
            match copy.place {
                Place::Held(link, number) if copy.queue == queue && copy.death == death => {
                    Some((link, number))
                }
                _ => None,
            }
        };
        let holder = self.copies_of[message as usize].iter().find_map(holder);
        holder.is_some_and(|holder| self.shut_overdue(holder))
    }

    /// What happens can only be if this channel is closed. If a delivery on it is late, all channels of its connection that are late were
    /// closed; what says so may wait behind something that is to be on disk first.
    pub(super) fn shut_overdue(&mut self, suspect: (LinkId, Number)) -> bool {
        let of_link = self.channels.keys().filter(|(link, _)| *link == suspect.0);
        let late =
            of_link.filter_map(|at| Some((*at, self.oldest_of(*at).filter(|hold| self.is_late(hold))?)));
        let late: Vec<_> = late.collect();
        if late.iter().all(|(at, _)| *at != suspect) {
            return false;
        }
        for (at, hold) in late {
            self.overdue.insert(at, hold);
            self.shut(at);
        }
        true
    }

    fn oldest_of(&self, at: (LinkId, Number)) -> Option<Hold> {
        self.channels.get(&at)?.holds.first_key_value().map(|(_, hold)| *hold)
    }

    fn is_late(&self, hold: &Hold) -> bool {
        self.timeout(hold).is_some_and(|timeout| hold.left.0 + timeout < self.now)
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
