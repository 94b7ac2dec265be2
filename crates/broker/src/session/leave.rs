//! What ends with a consumer, a channel or the connection.
//!
//! Invariants: first all consumers go, then what they had not acknowledged comes back, so that nothing is handed to a
//! connection that is leaving; what was never encoded comes back as if it had never left.

use std::sync::Arc;

use warrenmq_queue::{Delivery, Picks};

use super::Session;
use super::channel::Mode;
use super::deliver::Pending;
use super::settle::{Settlement, Verdict};
use crate::inbox::{ConsumerKey, Notice};
use crate::queue_cell::{Left, QueueCell};
use crate::vhost::Deletion;

impl Session {
    /// Ends a consumer; what was sent stays outstanding, an auto-delete queue that nobody uses any more goes.
    pub(super) fn end_consumer(&mut self, key: ConsumerKey) {
        let Some((queue, left)) = self.detach(key) else { return };
        for channel in self.channels.iter_mut() {
            if channel.direct_reply.as_ref() == Some(&queue.info.name) {
                channel.direct_reply = None;
            }
        }
        if self.sources.get(key).is_some_and(|source| source.unacked == 0) {
            self.forget_source(key);
        }
        if left == Left::Unused {
            self.delete_unused(&queue);
        }
    }

    /// The queue of a consumer is gone: RabbitMQ tells clients that can hear it.
    pub(super) fn cancelled_by_queue(&mut self, key: ConsumerKey) {
        use warrenmq_wire::method::{Method, ShortString, basic_cold};
        let Some(source) = self.sources.get(key) else { return };
        let (number, tag) = (source.channel, String::from_utf8_lossy(&source.tag).into_owned());
        self.end_consumer(key);
        if let Some(channel) = self.channels.get_mut(number) {
            channel.consumers.remove(tag.as_str());
        }
        if self.connection.peer().consumer_cancel_notify
            && let Ok(consumer_tag) = ShortString::try_new(tag)
        {
            let cancel = basic_cold::Cancel { consumer_tag, nowait: true };
            self.reply(number, Method::Basic(basic_cold::AMQPMethod::Cancel(cancel)));
        }
    }

    /// Forgets a channel: its consumers end, what is outstanding comes back.
    pub(super) fn leave_channel(&mut self, number: u16) {
        let unused = self.end_consumers_of(number);
        if let Some(mut channel) = self.channels.remove(number) {
            let settlements = &mut self.settlements;
            let verdict = Verdict::Requeue;
            channel.outstanding.take_all(|piece| settlements.push(Settlement { piece, verdict }));
            if let Mode::Transaction(transaction) = channel.mode {
                settlements.extend(transaction.unsettled());
            }
        }
        self.flush_settlements();
        for key in self.sources.keys_of(number) {
            self.forget_source(key);
        }
        for queue in unused {
            self.delete_unused(&queue);
        }
    }

    /// Lets go of everything the connection holds. Safe to call twice.
    pub(super) fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        self.flush();
        let numbers = self.channels.numbers();
        let mut unused = Vec::new();
        for number in &numbers {
            unused.append(&mut self.end_consumers_of(*number));
        }
        for number in numbers {
            self.leave_channel(number);
        }
        for queue in unused.into_iter().chain(std::mem::take(&mut self.exclusive_queues).into_values()) {
            self.delete_unused(&queue);
        }
        if let Some((queue, _)) = self.waits.take() {
            queue.give_up(&self.inbox);
        }
        self.pending.clear();
        self.broker.finish(&mut self.scratch);
    }

    pub(super) fn forget_source(&mut self, key: ConsumerKey) {
        if let Some(source) = self.sources.remove(key)
            && let Some(channel) = self.channels.get_mut(source.channel)
        {
            channel.getters.retain(|other| *other != key);
        }
    }

    /// Ends the consumers of a channel; returns auto-delete queues that are unused now. They are deleted after what is
    /// outstanding has come back, so that the order is the same for all queues.
    fn end_consumers_of(&mut self, number: u16) -> Vec<Arc<QueueCell>> {
        let detached = self.sources.keys_of(number).into_iter().filter_map(|key| self.detach(key));
        detached.filter_map(|(queue, left)| (left == Left::Unused).then_some(queue)).collect()
    }

    /// Takes a consumer off its queue and gives back what was not encoded. `None`: it was no consumer any more.
    fn detach(&mut self, key: ConsumerKey) -> Option<(Arc<QueueCell>, Left)> {
        let source = self.sources.get_mut(key)?;
        let slot = source.slot.take()?;
        let (queue, no_ack) = (Arc::clone(&source.queue), source.no_ack);
        let (number, shared) = (source.channel, source.shared);
        let left = queue.cancel(slot, &mut self.scratch);
        // Nothing more comes for it now; what is here goes back. Its key may be used again.
        self.receive_deliveries(|notice| *notice != Notice::Cancelled(key) && *notice != Notice::Hungry(key));
        let (mine, others): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.key == key);
        self.pending = others.into();
        let unsent: Vec<Delivery> = mine.into_iter().map(Pending::into_rest).collect();
        let count = unsent.iter().map(|delivery| u64::from(delivery.count())).sum();
        self.return_unsent(&queue, no_ack, unsent);
        if shared {
            if let Some(source) = self.sources.get_mut(key) {
                source.unsent = 0;
            }
            self.leave_shared(number, key, count);
        }
        Some((queue, left))
    }

    /// Gives deliveries back that were never encoded.
    fn return_unsent(&mut self, queue: &Arc<QueueCell>, no_ack: bool, deliveries: Vec<Delivery>) {
        let window = self.window();
        if no_ack {
            queue.give_back(deliveries.into_iter(), window, &mut self.scratch);
            return;
        }
        queue.with(window, &mut self.scratch, |queue, _| {
            for delivery in &deliveries {
                match &delivery.picks {
                    Picks::Range { count, .. } if *count > 0 => {
                        queue.requeue(delivery.first, delivery.first + u64::from(*count) - 1, false);
                    }
                    Picks::Range { .. } => {}
                    Picks::List(list) => {
                        for pick in list {
                            let position = delivery.first + u64::from(pick.index);
                            queue.requeue(position, position, false);
                        }
                    }
                }
            }
        });
    }

    /// Takes the deliveries in; of the notices those that are to be kept stay in the inbox.
    pub(super) fn receive_deliveries(&mut self, keep: impl Fn(&Notice) -> bool) {
        let mut mail = std::mem::take(&mut self.mail);
        let notified = self.inbox.swap(&mut mail);
        for (to, delivery) in mail.deliveries.drain(..) {
            self.pending.push_back(Pending::new(to, delivery));
        }
        mail.notices.retain(keep);
        if notified && !mail.notices.is_empty() {
            // Back into the inbox: they are looked at when the present method is done.
            let notices = std::mem::take(&mut mail.notices);
            self.scratch.touched.put(&self.inbox, |mail| mail.notices.splice(0..0, notices).for_each(drop));
        }
        self.mail = mail;
    }

    pub(super) fn delete_unused(&mut self, queue: &Arc<QueueCell>) {
        self.exclusive_queues.remove(&queue.info.id);
        let Some(home) = &self.home else { return };
        let vhost = Arc::clone(&home.vhost);
        let condition = Deletion { if_unused: queue.info.owner.is_none(), if_empty: false };
        // Somebody may have begun to consume in the meantime: then the queue stays.
        if let Ok((_, seq)) =
            vhost.delete_queue(queue, condition, self.broker.journalist(), &mut self.scratch)
        {
            self.hold(seq);
        }
    }
}
