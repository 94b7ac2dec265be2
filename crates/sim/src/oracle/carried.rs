//! Operations that the broker has carried out.

use std::collections::{BTreeMap, VecDeque};

use super::channel::{Asked, Channel, Consumer, Hold, Mode, Publication, Transaction, Unconfirmed};
use super::copy::{CopyId, Fate, Group, Place, Queue, QueueId};
use super::{Oracle, Ruling};
use crate::content::Reason;
use crate::link::LinkId;
use crate::message::Message;
use crate::op::{Ask, Number, Op, To, Verdict};
use crate::way::Gate;

/// Bodies from here on are written from where they lie, behind what is written before them.
pub(super) const LARGE_OCTETS: usize = 32 * 1024;

impl Oracle {
    /// The broker has used the last octet of an operation.
    ///
    /// # Errors
    /// What does not fit: a fault of the simulation.
    pub fn carried_out(&mut self, link: LinkId, op: &Op) -> Ruling {
        self.carry_out(link, op)?;
        self.look_at_room();
        Ok(())
    }

    fn carry_out(&mut self, link: LinkId, op: &Op) -> Ruling {
        let at = (link, op.channel);
        if self.shut.contains(&at) {
            // Until the client has closed it, too, nothing on it is looked at.
            if matches!(op.ask, Ask::CloseOk | Ask::CloseChannel) {
                self.shut.remove(&at);
            }
            return Ok(());
        }
        let asked = match &op.ask {
            Ask::CloseConnection => {
                self.leave(link);
                None
            }
            Ask::OpenChannel => {
                self.channels.insert(at, Channel::default());
                Some(Asked::Anything)
            }
            Ask::CloseChannel => {
                self.leave_channel(at);
                None
            }
            Ask::CloseOk => None,
            Ask::Publish(message, to) => return self.publish(at, message, *to),
            Ask::Settle { tag, multiple, verdict } => return self.settle(at, *tag, *multiple, *verdict),
            Ask::Commit => Some(Asked::Commit(self.commit(at)?)),
            Ask::Rollback => self.rollback(at)?,
            Ask::Recover => self.recover(at)?,
            ask => Some(self.ask(at, ask)?),
        };
        if let (Some(asked), Some(channel)) = (asked, self.channels.get_mut(&at)) {
            channel.asked = Some(asked);
        }
        Ok(())
    }

    fn ask(&mut self, at: (LinkId, Number), ask: &Ask) -> Result<Asked, String> {
        match *ask {
            Ask::Confirm => self.channel(at)?.mode = Mode::Confirm { published: 0, waiting: VecDeque::new() },
            Ask::Tx => self.channel(at)?.mode = Mode::Tx(Transaction::default()),
            Ask::Prefetch(count) => {
                let channel = self.channel(at)?;
                (channel.prefetch, channel.shared) = (count, None);
            }
            Ask::Share(count) => self.channel(at)?.shared = Some(count),
            Ask::ConsumeReplies(consumer) => self.replies.begin(at, consumer),
            Ask::Declare(name) => self.declare(name),
            Ask::Bind(exchange, name) => return Ok(self.bind(Gate::Exchange(exchange), name)),
            Ask::BindSpecial(special, name) => return Ok(self.bind(Gate::Special(special), name)),
            Ask::Unbind(gate, name) => self.unbind(gate, name),
            Ask::Lead(way) => self.lead(way, true),
            Ask::Unlead(way) => self.lead(way, false),
            Ask::Cancel(consumer) => self.cancel(consumer),
            Ask::Consume { name, consumer, no_ack, timeout, priority } => {
                let Some(queue) = self.names[name] else { return Ok(Asked::Missing) };
                let (prefetch, (link, channel)) = (self.channel(at)?.prefetch, at);
                let (since, seat, last, room) = (self.moment(), self.seats, BTreeMap::new(), None);
                self.consume(
                    consumer,
                    Consumer {
                        link,
                        channel,
                        queue,
                        no_ack,
                        prefetch,
                        timeout,
                        priority,
                        seat,
                        since,
                        last,
                        room,
                    },
                );
            }
            Ask::Get { name, no_ack } => {
                let Some(queue) = self.names[name] else { return Ok(Asked::Missing) };
                self.queues[queue].was_read = true;
                self.queues[queue].used = self.now;
                return Ok(Asked::Get { queue, no_ack, since: self.moment() });
            }
            Ask::Count(name) => {
                let Some(queue) = self.names[name] else { return Ok(Asked::Missing) };
                self.queues[queue].used = self.now;
                return Ok(self.count(queue));
            }
            Ask::Purge(name) => {
                let Some(queue) = self.names[name] else { return Ok(Asked::Missing) };
                // What waits goes, too.
                let counted = self.count_of(queue, self.present(queue));
                self.purge(queue);
                return Ok(counted);
            }
            Ask::Delete(name) => {
                let Some(queue) = self.names[name] else {
                    return Ok(Asked::Anything);
                };
                let counted = self.count(queue);
                self.delete(queue);
                return Ok(counted);
            }
            _ => {}
        }
        Ok(Asked::Anything)
    }

    fn consume(&mut self, consumer: u32, known: Consumer) {
        let queue = &mut self.queues[known.queue];
        queue.active.get_or_insert(consumer);
        (queue.was_read, queue.used) = (true, self.now);
        self.seats += 1;
        self.consumers.insert(consumer, known);
    }

    /// How many of the queue's messages may be ready.
    fn count(&self, queue: QueueId) -> Asked {
        self.count_of(queue, self.ready(queue))
    }

    fn count_of(&self, queue: QueueId, (certain, possible): (Vec<CopyId>, Vec<CopyId>)) -> Asked {
        let (low, high) = (certain.len() as u64, possible.len() as u64);
        let rules = &self.queues[queue].rules;
        // Letters that died unseen in other queues may be here already.
        let high = if self.queues[queue].kind.takes_dead { u64::MAX } else { high };
        // What is to be a dead letter may have to be read from disk first.
        let waits = self.queues[queue].copies.iter().any(|id| self.copies[*id].returns.wait.is_some());
        let max = rules.max_length.filter(|_| rules.drops() && rules.dead_letters.is_none() && !waits);
        Asked::Count { queue, low, high: high.min(max.unwrap_or(u64::MAX)) }
    }

    /// What is ready goes. What is on its way to a consumer stays, and which that is cannot be known.
    pub(super) fn purge(&mut self, queue: QueueId) {
        let is_read = self.is_read(queue);
        let copies = &self.copies;
        let is_here = |id: CopyId| copies[id].queue == queue && copies[id].place == Place::Ready;
        // If this side is the one that is there, none is from now on.
        self.deaths.retain(|(died, letter)| !is_here(*died) && !is_here(*letter));
        for id in self.queues[queue].copies.clone() {
            if self.copies[id].place == Place::Ready {
                let may_be_dead = self.copies[id].may_be_dead
                    || (self.queues[queue].rules.dead_letters.is_some() && self.may_have_left(id));
                if is_read || may_be_dead {
                    let copy = &mut self.copies[id];
                    (copy.sure, copy.purged, copy.may_be_dead) = (false, true, may_be_dead);
                } else {
                    self.done(id);
                }
            }
        }
    }

    fn publish(&mut self, at: (LinkId, Number), message: &Message, to: To) -> Ruling {
        if let Some(why) = self.refusal(at, message) {
            self.refuse(at, why);
            return Ok(());
        }
        self.replies.asks(at, message);
        let route = self.route(message, to);
        if route.is_kept {
            // That happens at once, also in a transaction.
            self.remember(message);
        }
        if message.delay > 0 {
            self.dues[message.id as usize] = self.now + message.delay;
        }
        // Those that are chosen from are all alike.
        let names = route.queues.iter().chain(&route.one_of);
        let targets: Vec<QueueId> = names.filter_map(|name| self.names[*name]).collect();
        let publication = Publication { message: message.id, to, route, requester: self.replies.asker(to) };
        if let Mode::Tx(transaction) = &mut self.channel(at)?.mode {
            transaction.publishes.push(publication);
            return Ok(());
        }
        let number = match &mut self.channel(at)?.mode {
            Mode::Confirm { published, .. } => {
                *published += 1;
                *published
            }
            _ => 0,
        };
        let (call, journalled) = (self.call, self.is_journalled(message, &targets));
        let copies = self.arrive(at, publication, number);
        if let Mode::Confirm { waiting, .. } = &mut self.channel(at)?.mode {
            waiting.push_back(Unconfirmed { number, call, copies, journalled });
        }
        Ok(())
    }

    /// Whether the journal has to have the message before it can be confirmed. Where it may be over at once, this is not counted on.
    pub(super) fn is_journalled(&self, message: &Message, targets: &[QueueId]) -> bool {
        let lasting = |queue: &QueueId| {
            let Queue { kind, rules, .. } = &self.queues[*queue];
            let outlives = message.persistent || kind.quorum;
            let ttl = rules.ttl.or(message.expiration);
            outlives && kind.durable && ttl.is_none() && !rules.drops() && !rules.rejects()
        };
        targets.iter().any(lasting)
    }

    fn settle(&mut self, at: (LinkId, Number), tag: u64, multiple: bool, verdict: Verdict) -> Ruling {
        let channel = self.channel(at)?;
        let tags: Vec<u64> =
            if multiple { channel.holds.range(..=tag).map(|(tag, _)| *tag).collect() } else { vec![tag] };
        for tag in tags {
            let channel = self.channel(at)?;
            let hold =
                channel.holds.remove(&tag).ok_or_else(|| format!("a settlement of the unknown tag {tag}"))?;
            match &mut channel.mode {
                Mode::Tx(transaction) => transaction.settles.push((tag, hold, verdict)),
                _ => self.settled(hold, verdict),
            }
        }
        Ok(())
    }

    fn settled(&mut self, hold: Hold, verdict: Verdict) {
        match verdict {
            Verdict::Ack => self.done(hold.copy),
            Verdict::Requeue => self.give_back(hold.copy, false),
            Verdict::Reject => self.give_back(hold.copy, true),
            Verdict::Discard if self.queues[self.copies[hold.copy].queue].deleted => self.done(hold.copy),
            Verdict::Discard => {
                self.die(hold.copy, Reason::Rejected);
            }
        }
    }

    fn commit(&mut self, at: (LinkId, Number)) -> Result<usize, String> {
        let Mode::Tx(transaction) = &mut self.channel(at)?.mode else {
            return Err("a commit without a transaction".to_owned());
        };
        let Transaction { publishes, settles } = std::mem::take(transaction);
        let mut group =
            Group { call: self.call, publishes: Vec::new(), settles: Vec::new(), fate: Fate::Open };
        for publication in publishes {
            group.publishes.extend(self.arrive(at, publication, 0));
        }
        for (_, hold, verdict) in settles {
            self.settled(hold, verdict);
            // What is kept leaves when others have it, and what came back too often is dead.
            let is_over = matches!(self.copies[hold.copy].place, Place::Gone { .. });
            if is_over && matches!(verdict, Verdict::Ack | Verdict::Discard) {
                group.settles.push(hold.copy);
            }
        }
        self.groups.push(group);
        Ok(self.groups.len() - 1)
    }

    fn rollback(&mut self, at: (LinkId, Number)) -> Result<Option<Asked>, String> {
        let channel = self.channel(at)?;
        if let Mode::Tx(transaction) = &mut channel.mode {
            let Transaction { settles, .. } = std::mem::take(transaction);
            channel.holds.extend(settles.into_iter().map(|(tag, hold, _)| (tag, hold)));
        }
        Ok(Some(Asked::Anything))
    }

    pub(super) fn recover(&mut self, at: (LinkId, Number)) -> Result<Option<Asked>, String> {
        for hold in std::mem::take(&mut self.channel(at)?.holds).into_values() {
            self.give_back(hold.copy, false);
        }
        Ok(Some(Asked::Anything))
    }

    pub(super) fn channel(&mut self, at: (LinkId, Number)) -> Result<&mut Channel, String> {
        self.channels.get_mut(&at).ok_or_else(|| format!("an operation on the closed channel {at:?}"))
    }

    /// A channel ends: its consumers leave, what it holds comes back.
    pub(super) fn leave_channel(&mut self, at: (LinkId, Number)) {
        self.replies.leave_channel(at, self.call);
        let mine: Vec<u32> =
            self.consumers.iter().filter(|(_, c)| (c.link, c.channel) == at).map(|(tag, _)| *tag).collect();
        for consumer in mine {
            self.cancel(consumer);
        }
        let Some(channel) = self.channels.remove(&at) else { return };
        if let Some(Asked::Get { queue, no_ack: false, .. }) = channel.asked {
            self.doubt_large(queue, false);
        }
        if let Some(Asked::Get { queue, no_ack: true, .. }) = channel.asked {
            // A large message may be on its way to who has got it, and is done with.
            self.may_slip(queue);
            for id in &self.queues[queue].copies {
                let copy = &mut self.copies[*id];
                copy.sure &= copy.place != Place::Ready;
            }
        }
        for hold in channel.holds.into_values() {
            self.give_back(hold.copy, true);
        }
        match channel.mode {
            Mode::Tx(transaction) => {
                for (_, hold, _) in transaction.settles {
                    self.give_back(hold.copy, true);
                }
            }
            Mode::Confirm { waiting, .. } => {
                // Confirms that were said in the same call, before the channel closed, are heard after this.
                self.closing.insert(at, waiting);
            }
            Mode::Plain => {}
        }
    }

    /// A connection ends.
    pub(super) fn leave(&mut self, link: LinkId) {
        let channels: Vec<_> = self.channels.keys().filter(|(of, _)| *of == link).copied().collect();
        for at in channels {
            self.leave_channel(at);
        }
        self.shut.retain(|(of, _)| *of != link);
    }

    fn cancel(&mut self, consumer: u32) {
        self.replies.cancel(consumer, self.call);
        let known = self.consumers.get(&consumer).cloned();
        self.cancelled.extend(known.map(|known| (consumer, known)));
        self.leave_queue(consumer);
    }

    /// A consumer goes.
    fn leave_queue(&mut self, consumer: u32) {
        let Some(Consumer { queue, no_ack, .. }) = self.consumers.remove(&consumer) else { return };
        self.queues[queue].used = self.now;
        self.pass_on(queue, consumer);
        self.loosen(queue);
        self.doubt_large(queue, no_ack);
    }

    /// A large message is seen when the last of it may be written. It may be on its way to who leaves, with what is behind it: that is
    /// done with then, or comes back.
    fn doubt_large(&mut self, queue: QueueId, no_ack: bool) {
        if no_ack {
            self.may_slip(queue);
        }
        let mut is_behind = false;
        for id in self.queues[queue].copies.clone() {
            if self.copies[id].place != Place::Ready {
                continue;
            }
            is_behind |= self.messages[self.copies[id].message as usize].octets >= LARGE_OCTETS;
            if !is_behind {
                continue;
            }
            if no_ack {
                self.copies[id].sure = false;
            } else {
                self.may_come_back(id);
            }
        }
    }

    /// Dead letters that have come unseen may be among what is on its way to who leaves, and is done with.
    fn may_slip(&mut self, queue: QueueId) {
        if self.messages.iter().any(|message| message.octets >= LARGE_OCTETS) {
            self.queues[queue].slipped = self.call;
        }
    }

    /// Some of what is ready may come back to the queue: nothing can be said about its order any more.
    fn loosen(&mut self, queue: QueueId) {
        for id in &self.queues[queue].copies {
            self.copies[*id].loose = true;
        }
    }
}
