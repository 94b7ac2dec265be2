//! Messages that may not be published: the broker closes their channel.
//!
//! Invariant: from such a message on nothing on its channel is looked at, until the client has closed it, too.

use super::{Oracle, Ruling};
use crate::bounds::MESSAGE_OCTETS_MAX;
use crate::link::LinkId;
use crate::message::{Message, User};
use crate::op::Number;

impl Oracle {
    /// What the broker has to say against a message.
    pub(super) fn refusal(&self, at: (LinkId, Number), message: &Message) -> Option<String> {
        let why = match message.user {
            _ if message.octets > MESSAGE_OCTETS_MAX => format!(
                "message size {} is larger than configured max size {MESSAGE_OCTETS_MAX}",
                message.octets
            ),
            Some(User::Other) if !self.topology.impersonates => format!(
                "user_id property set to '{}' but authenticated user was '{}'",
                User::Other.name(),
                User::Own.name()
            ),
            _ if message.asks && self.replies.of_channel(at).is_none() => {
                "fast reply consumer does not exist".to_owned()
            }
            _ => return None,
        };
        Some(format!("PRECONDITION_FAILED - {why}"))
    }

    /// The broker closes a channel, and has to say so.
    pub(super) fn refuse(&mut self, at: (LinkId, Number), why: String) {
        self.shut(at);
        self.closes.insert(at, why);
    }

    /// All channels that the broker has to close are closed.
    pub(super) fn all_are_closed(&self) -> Ruling {
        match self.closes.first_key_value() {
            Some((at, why)) => Err(format!("channel {at:?} is not closed: {why}")),
            None => Ok(()),
        }
    }
}
