//! Mandatory messages that no queue gets: they come back to the channel that has published them.
//!
//! Invariant: where a message goes is known when it is published or committed, so what has to come back is known, too. All that a channel
//! hears comes in one order, so a confirm or an answer that comes before it is one too early.

use super::{Oracle, Ruling};
use crate::content::Content;
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::{Number, To};

const NO_ROUTE: u16 = 312;

/// A message that has to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unrouted {
    message: MessageId,
    to: To,
    /// Its number among those that are to be confirmed; 0 where none are.
    number: u64,
}

impl Oracle {
    /// No queue gets a message.
    pub(super) fn comes_back(&mut self, at: (LinkId, Number), message: MessageId, to: To, number: u64) {
        let known = &self.messages[message as usize];
        // What waits is routed when it is due, and does not come back then.
        if known.mandatory && known.delay == 0 {
            self.unrouted.entry(at).or_default().push_back(Unrouted { message, to, number });
        }
    }

    /// The broker gives a message back.
    pub(super) fn came_back(
        &mut self,
        at: (LinkId, Number),
        why: &(u16, String),
        route: &(String, String),
        content: &Content,
    ) -> Ruling {
        let owed = self.unrouted.get_mut(&at).and_then(|all| all.pop_front());
        let stamp = content.stamp;
        let Some(Unrouted { message, to, .. }) = owed.filter(|owed| u64::from(owed.message) == stamp) else {
            return Err(format!(
                "message {stamp} comes back to channel {at:?}, where that is due to {owed:?}"
            ));
        };
        let message = self.messages[message as usize];
        let is_said = why.0 == NO_ROUTE && why.1 == "NO_ROUTE" && *route == to.route(self.addresses());
        if !is_said || !message.is_whole_in(content) {
            return Err(format!("message {stamp} comes back as {why:?} {route:?} {content:?}"));
        }
        self.check_address(&message, content)
    }

    /// A channel hears of what comes after its publishes up to this one.
    pub(super) fn check_back(&self, at: (LinkId, Number), number: u64) -> Ruling {
        match self.unrouted.get(&at).and_then(|all| all.front()) {
            Some(first) if first.number <= number => {
                Err(format!("channel {at:?} hears of what comes after {first:?}, which is not back"))
            }
            _ => Ok(()),
        }
    }

    /// Nothing has to come back any more.
    pub(super) fn all_are_back(&self) -> Ruling {
        match self.unrouted.iter().find_map(|(at, all)| Some((at, all.front()?))) {
            Some((at, first)) => Err(format!("{first:?} does not come back to channel {at:?}")),
            None => Ok(()),
        }
    }
}
