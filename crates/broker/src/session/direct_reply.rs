//! Direct reply-to: replies to a requester without a queue that it would have to declare
//! (<https://www.rabbitmq.com/docs/direct-reply-to>).
//!
//! The pseudo-queue `amq.rabbitmq.reply-to` stands, per channel, for a queue with a made-up name that lives as long as its one
//! consumer. Invariant: its name is only in the `reply-to` of requests, so only who was asked can reply.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_wire::content::ContentHeader;
use warrenmq_wire::method::FieldTable;

use super::Session;
use crate::inbox::ConsumerKey;
use crate::properties::with_reply_to;
use crate::queue_cell::QueueCell;
use crate::refusal::{not_found, precondition, queue};
use crate::vhost::QueueDeclare;

/// The name that clients use.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Whether this is a queue behind the pseudo-queue: nobody else can have such a name.
pub(super) fn is_reply_queue(queue: &QueueCell) -> bool {
    queue.info.name.starts_with(REPLY_TO)
}

impl Session {
    /// The queue behind the pseudo-queue, for the consumer that is just being made.
    pub(super) fn open_direct_reply(
        &mut self,
        number: u16,
        no_ack: bool,
    ) -> Result<Arc<QueueCell>, Exception> {
        if !no_ack {
            return Err(precondition("reply consumer cannot acknowledge"));
        }
        if self.channels.get_mut(number).is_some_and(|channel| channel.direct_reply.is_some()) {
            return Err(precondition("reply consumer already set"));
        }
        let asked = QueueDeclare {
            name: format!("{REPLY_TO}.{}", self.broker.names.generate("g2")),
            durable: false,
            exclusive: true,
            auto_delete: true,
            arguments: FieldTable::default(),
        };
        let vhost = self.vhost()?;
        let asker = self.asker();
        let (cell, _) = vhost.declare_queue(asked, asker, self.broker.journalist(), &self.scratch)?;
        if let Some(channel) = self.channels.get_mut(number) {
            channel.direct_reply = Some(Arc::clone(&cell.info.name));
        }
        Ok(cell)
    }

    /// When the consumer that ends is that of the pseudo-queue, its channel may have another one.
    pub(super) fn close_direct_reply(&mut self, key: ConsumerKey) {
        let Some(source) = self.sources.get(key) else { return };
        if let Some(channel) = self.channels.get_mut(source.channel)
            && channel.direct_reply.as_ref() == Some(&source.queue.info.name)
        {
            channel.direct_reply = None;
        }
    }

    /// The header with the made-up name in place of the pseudo-queue's; `None` when it names something else.
    pub(super) fn direct_reply_header(
        &mut self,
        number: u16,
        header: &ContentHeader<'_>,
    ) -> Result<Option<Vec<u8>>, Exception> {
        if header.reply_to() != Some(REPLY_TO.as_bytes()) {
            return Ok(None);
        }
        match self.channels.get_mut(number).and_then(|channel| channel.direct_reply.clone()) {
            Some(name) => Ok(Some(with_reply_to(header, &name))),
            None => Err(precondition("fast reply consumer does not exist")),
        }
    }

    /// Declaring such a name asks whether the requester is still there. The pseudo-queue itself is always there, for everybody, as in
    /// `rabbit_channel:declare_fast_reply_to/1`.
    pub(super) fn declare_direct_reply(&mut self, name: &str) -> Result<Option<Arc<str>>, Exception> {
        if !name.starts_with(REPLY_TO) {
            return Ok(None);
        }
        let vhost = self.vhost()?;
        if name == REPLY_TO || vhost.picture().queue(name).is_some() {
            Ok(Some(name.into()))
        } else {
            Err(not_found(queue(name, &vhost.name)))
        }
    }
}
