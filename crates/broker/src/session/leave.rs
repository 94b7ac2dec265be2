//! What ends with a consumer, a channel or the connection.
//!
//! Invariants: first all consumers go, then what they had not acknowledged comes back, so that nothing is handed to a
//! connection that is leaving; what was never encoded comes back as if it had never left.

use std::sync::Arc;

use warrenmq_queue::{Back, Delivery, Picks};

use super::channel::Mode;
use super::consumers::Sources;
use super::deliver::Pending;
use super::{Session, Wait};
use crate::inbox::{ConsumerKey, Notice};
use crate::queue_cell::{Left, QueueCell};
use crate::vhost::Deletion;

impl Session {
    /// Ends a consumer; what was sent stays outstanding, an auto-delete queue that nobody uses any more goes.
    pub(super) fn end_consumer(&mut self, key: ConsumerKey) {
        self.close_direct_reply(key);
        let shared = self.sources.get(key).filter(|source| source.shared);
        let shared = shared.map(|source| (source.channel, source.is_counted()));
        let (mut ended, unsent) = self.detach(&[key]);
        let Some((queue, left)) = ended.pop() else { return };
        if let Some((number, counted)) = shared {
            self.leave_shared(number, key, if counted { unsent } else { 0 });
        }
        if self.sources.get(key).is_some_and(|source| source.unacked == 0) {
            self.forget_source(key);
        }
        self.let_others(vec![(queue, left)]);
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
        // A basic.get that waits for the disk would take a message that nobody gets.
        self.fetch.take_if(|fetch| fetch.channel == number);
        let keys = self.sources.keys_of(number);
        let (ended, _) = self.detach(&keys);
        self.return_outstanding(number);
        for key in keys {
            self.forget_source(key);
        }
        self.let_others(ended);
    }

    /// Forgets a channel; what is outstanding on it comes back to its queues.
    fn return_outstanding(&mut self, number: u16) {
        self.promises.forget(number);
        self.flush_settlements();
        let Some(mut channel) = self.channels.remove(number) else { return };
        if let Mode::Transaction(transaction) = channel.mode {
            transaction.unsettled().for_each(|piece| channel.outstanding.restore(piece));
        }
        let mut pieces = Vec::new();
        channel.outstanding.take_all(|piece| pieces.push(piece));
        self.return_all(pieces);
    }

    /// Lets go of everything the connection holds. Safe to call twice.
    pub(super) fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        self.flush();
        let (ended, _) = self.detach(&self.sources.keys());
        for number in self.channels.numbers() {
            self.return_outstanding(number);
        }
        self.sources = Sources::default();
        self.let_others(ended);
        for queue in std::mem::take(&mut self.exclusive_queues).into_values() {
            self.delete_unused(&queue);
        }
        if let Some(Wait::Queue { queue, .. }) = self.waits.take() {
            queue.stop_waiting(&self.inbox);
        }
        self.fetch = None;
        self.promises.clear();
        self.leave_blocked();
        self.pending.clear();
        if let Some(home) = &mut self.home {
            home.places = None;
        }
        self.broker.finish(&mut self.scratch);
    }

    pub(super) fn forget_source(&mut self, key: ConsumerKey) {
        if let Some(source) = self.sources.remove(key)
            && let Some(channel) = self.channels.get_mut(source.channel)
        {
            channel.getters.retain(|other| *other != key);
        }
    }

    /// Consumers have left these queues, and what was outstanding has come back, so that the order is the same for all queues:
    /// where one consumer is active the next one gets its messages, and auto-delete queues that are unused now go.
    fn let_others(&mut self, ended: Vec<(Arc<QueueCell>, Left)>) {
        let window = self.window();
        for (queue, left) in ended {
            if left == Left::Unused {
                self.delete_unused(&queue);
            } else if queue.is_single_active() {
                queue.with(window, &mut self.scratch, |_, _| {});
            }
        }
    }

    /// Takes consumers off their queues and gives back what was not encoded. Returns the queues of those that were still
    /// consuming, and how many deliveries went back. `keys` is sorted.
    fn detach(&mut self, keys: &[ConsumerKey]) -> (Vec<(Arc<QueueCell>, Left)>, u64) {
        let mut ended = Vec::new();
        for key in keys {
            let Some(source) = self.sources.get_mut(*key) else { continue };
            let Some(slot) = source.slot.take() else { continue };
            source.unsent = 0;
            ended.push((Arc::clone(&source.queue), source.queue.cancel(slot, &mut self.scratch)));
        }
        // Nothing more comes for them now; what is here goes back. Their keys may be used again.
        let is_mine = |key: &ConsumerKey| keys.binary_search(key).is_ok();
        self.receive_deliveries(|notice| match notice {
            Notice::Cancelled(key) | Notice::Hungry(key) => !is_mine(key),
            _ => true,
        });
        if !self.pending.iter().any(|pending| is_mine(&pending.key)) {
            return (ended, 0);
        }
        let (mut mine, others): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| is_mine(&pending.key));
        self.pending = others.into();
        mine.sort_by_key(|pending| pending.key);
        let mut mine = mine.into_iter().peekable();
        let mut count = 0;
        while let Some(first) = mine.next() {
            let key = first.key;
            let mut unsent = vec![first.into_rest()];
            while let Some(next) = mine.next_if(|next| next.key == key) {
                unsent.push(next.into_rest());
            }
            count += unsent.iter().map(|delivery| u64::from(delivery.count())).sum::<u64>();
            if let Some(source) = self.sources.get(key) {
                let queue = Arc::clone(&source.queue);
                self.return_unsent(&queue, &unsent);
            }
        }
        (ended, count)
    }

    /// Gives deliveries back that were never encoded.
    fn return_unsent(&mut self, queue: &Arc<QueueCell>, deliveries: &[Delivery]) {
        let window = self.window();
        queue.with(window, &mut self.scratch, |queue, effects| {
            for delivery in deliveries {
                match &delivery.picks {
                    Picks::Range { count, .. } if *count > 0 => {
                        let last = delivery.first + u64::from(*count) - 1;
                        queue.requeue(delivery.first, last, Back::Unsent, effects);
                    }
                    Picks::Range { .. } => {}
                    Picks::List(list) => {
                        for pick in list {
                            let position = delivery.first + u64::from(pick.index);
                            queue.requeue(position, position, Back::Unsent, effects);
                        }
                    }
                }
            }
        });
        // A quorum queue has given others their chance by now. Its limit may be smaller than when it handed these out.
        queue.with(window, &mut self.scratch, |queue, effects| queue.drop_overflow(effects));
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
