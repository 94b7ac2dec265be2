//! Requests, the names that their replies go to, and the replies.
//!
//! Invariant: a requester is one consumer of the pseudo-queue of replies. Its name is known when the first of its requests is seen. What is
//! published to that comes to it in the order of the publishes, for one queue stands behind the name.

use std::collections::{BTreeMap, VecDeque};

use super::{Oracle, Ruling};
use crate::content::{Content, REPLIES};
use crate::link::LinkId;
use crate::message::{Message, MessageId};
use crate::op::{Number, To};

/// Everybody who gets replies, or got them.
#[derive(Debug, Default)]
pub(super) struct Replies {
    requesters: Vec<Requester>,
    /// Their names, or nothing where that was not seen.
    addresses: Vec<String>,
    /// Who has asked, by request.
    asked: BTreeMap<MessageId, usize>,
}

/// A consumer of replies.
#[derive(Debug)]
struct Requester {
    at: (LinkId, Number),
    consumer: u32,
    /// The call in which it has left.
    left: Option<u64>,
    /// Replies that are on their way.
    owed: VecDeque<MessageId>,
}

impl Replies {
    /// A consumer begins.
    pub(super) fn begin(&mut self, at: (LinkId, Number), consumer: u32) {
        self.requesters.push(Requester { at, consumer, left: None, owed: VecDeque::new() });
        self.addresses.push(String::new());
    }

    /// It is cancelled, if it is one of these.
    pub(super) fn cancel(&mut self, consumer: u32, call: u64) {
        if let Some(requester) = self.of_consumer(consumer) {
            self.requesters[requester].left = Some(call);
        }
    }

    /// A channel ends.
    pub(super) fn leave_channel(&mut self, at: (LinkId, Number), call: u64) {
        if let Some(requester) = self.of_channel(at) {
            self.requesters[requester].left = Some(call);
        }
    }

    /// The one with this number.
    pub(super) fn of_consumer(&self, consumer: u32) -> Option<usize> {
        self.requesters.iter().rposition(|known| known.consumer == consumer)
    }

    /// The one that is on this channel.
    pub(super) fn of_channel(&self, at: (LinkId, Number)) -> Option<usize> {
        self.requesters.iter().rposition(|known| known.at == at && known.left.is_none())
    }

    /// A message is published, and may be a request.
    pub(super) fn asks(&mut self, at: (LinkId, Number), message: &Message) {
        if let Some(requester) = self.of_channel(at).filter(|_| message.asks) {
            self.asked.insert(message.id, requester);
        }
    }

    /// Whom a message is a reply to, if that is there.
    pub(super) fn asker(&self, to: To) -> Option<usize> {
        let To::Reply(requester) = to else { return None };
        self.is_there(requester).then_some(requester)
    }

    /// A reply comes to its requester, if that is still there.
    pub(super) fn owe(&mut self, requester: usize, reply: MessageId) -> bool {
        let is_there = self.is_there(requester);
        if is_there {
            self.requesters[requester].owed.push_back(reply);
        }
        is_there
    }

    /// Nothing is on its way to anybody who is there.
    pub(super) fn have_come(&self) -> Ruling {
        let waits = |known: &&Requester| known.left.is_none() && !known.owed.is_empty();
        match self.requesters.iter().find(waits) {
            Some(known) => Err(format!("a reply is lost: {known:?}")),
            None => Ok(()),
        }
    }

    fn is_there(&self, requester: usize) -> bool {
        self.requesters[requester].left.is_none()
    }
}

impl Oracle {
    /// The names that replies go to, by the number of who gets them; empty where none was seen.
    pub fn addresses(&self) -> &[String] {
        &self.replies.addresses
    }

    /// Those who have asked and are there, and those who have left.
    pub fn requesters(&self) -> (Vec<usize>, Vec<usize>) {
        let known = |requester: &usize| !self.replies.addresses[*requester].is_empty();
        (0..self.replies.requesters.len()).filter(known).partition(|number| self.replies.is_there(*number))
    }

    /// Whoever gets a request finds the name of its requester.
    pub(super) fn check_address(&mut self, message: &Message, content: &Content) -> Ruling {
        let Some(name) = &content.reply_to else { return Ok(()) };
        let Some(requester) = self.replies.asked.get(&message.id).copied() else {
            return Err(format!("message {} asks for replies to {name}", message.id));
        };
        let addresses = &mut self.replies.addresses;
        let is_made_up =
            name.strip_prefix(REPLIES).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'));
        if addresses[requester].is_empty() && is_made_up && !addresses.contains(name) {
            addresses[requester].clone_from(name);
        }
        if addresses[requester] == *name {
            return Ok(());
        }
        let known = &self.replies.requesters[requester];
        Err(format!(
            "message {} asks for replies to {name}, not to {:?} ({known:?})",
            message.id, addresses[requester]
        ))
    }

    /// A reply has come to its requester. It may be in the same call that this leaves.
    pub(super) fn reply_came(
        &mut self,
        at: (LinkId, Number),
        requester: usize,
        tag: u64,
        content: &Content,
        redelivered: bool,
    ) -> Ruling {
        let stamp = content.stamp;
        let known = &mut self.replies.requesters[requester];
        if known.at != at || known.left.is_some_and(|call| call < self.call) {
            return Err(format!("message {stamp} comes as a reply to {known:?}, which is not there"));
        }
        let Some(reply) = known.owed.pop_front().filter(|owed| u64::from(*owed) == stamp) else {
            return Err(format!("message {stamp} comes as a reply to {known:?}"));
        };
        let message = self.messages[reply as usize];
        if redelivered || !message.is_whole_in(content) {
            return Err(format!("reply {stamp} has changed: {content:?}"));
        }
        self.check_address(&message, content)?;
        if self.channels.contains_key(&at) { self.count_delivery(at, tag) } else { Ok(()) }
    }
}
