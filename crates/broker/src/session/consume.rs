//! basic.qos, consume, cancel, get and recover.
//!
//! Invariant: consume-ok is in the outgoing octets before the queue learns of the consumer, so no delivery overtakes it.

use std::sync::Arc;

use warrenmq_protocol::Exception;
use warrenmq_queue::{Consumer, Credit, Get, Got, Kind};
use warrenmq_wire::basic;
use warrenmq_wire::method::{FieldTable, Method, ShortString, basic_cold as cold};

use super::ack_timeout;
use super::consumers::Source;
use super::deliver::Pending;
use super::direct_reply::{REPLY_TO, is_reply_queue};
use super::out::Out;
use super::{Fetch, Session};
use crate::access::{Access, Resource};
use crate::delivery_count;
use crate::inbox::ConsumerKey;
use crate::queue_cell::QueueCell;
use crate::refusal::{self, not_allowed};

impl Session {
    pub(super) fn basic_method(&mut self, number: u16, method: cold::AMQPMethod) -> Result<(), Exception> {
        use cold::AMQPMethod as M;
        match method {
            M::Qos(qos) => self.qos(number, qos.prefetch_count, qos.global),
            M::Consume(consume) => self.consume(number, consume),
            M::Cancel(cancel) => {
                self.cancel(number, cancel.consumer_tag.as_str());
                if !cancel.nowait {
                    let ok = cold::CancelOk { consumer_tag: cancel.consumer_tag };
                    self.reply(number, Method::Basic(M::CancelOk(ok)));
                }
                Ok(())
            }
            M::CancelOk(ok) => {
                self.cancel(number, ok.consumer_tag.as_str());
                Ok(())
            }
            M::Get(get) => self.get(number, get.queue.as_str(), get.no_ack),
            M::Recover(recover) => {
                self.recover(number, recover.requeue)?;
                self.reply(number, Method::Basic(M::RecoverOk(cold::RecoverOk {})));
                Ok(())
            }
            M::RecoverAsync(recover) => self.recover(number, recover.requeue),
            _ => Err(super::unimplemented()),
        }
    }

    /// With `global` the limit is shared by all consumers of the channel, present ones too; without it, it is for each
    /// consumer to come, and ends a shared one (RabbitMQ, <https://www.rabbitmq.com/docs/consumer-prefetch>).
    fn qos(&mut self, number: u16, prefetch: u16, global: bool) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        if !global {
            channel.prefetch = prefetch;
        }
        if global && prefetch > 0 {
            let is_new = channel.shared.is_none();
            channel.shared.get_or_insert_default().limit = u64::from(prefetch);
            self.share_prefetch(number);
            if is_new {
                self.count_shared(number);
            }
        } else {
            channel.shared = None;
            self.part_prefetch(number);
        }
        self.reply(number, Method::Basic(cold::AMQPMethod::QosOk(cold::QosOk {})));
        self.serve_shared(number);
        Ok(())
    }

    /// Moves the consumers of a channel under its shared limit.
    fn share_prefetch(&mut self, number: u16) {
        let window = self.window();
        for key in self.sources.keys_of(number) {
            let Some(source) = self.sources.get_mut(key) else { continue };
            if source.shared || source.is_getter() || is_reply_queue(&source.queue) {
                continue;
            }
            source.shared = true;
            source.limited = false;
            if let Some(slot) = source.slot {
                source.queue.recredit(slot, Credit::Pull, window, &mut self.scratch);
            }
            // The queue sends nothing by itself any more: what it has sent before is here.
            self.receive_deliveries(|_| true);
            let mine = self.pending.iter().filter(|pending| pending.key == key);
            let unsent = mine.map(Pending::left).sum();
            if let Some(source) = self.sources.get_mut(key).filter(|source| source.is_counted()) {
                source.unsent = unsent;
            }
        }
    }

    /// Lets the consumers of a channel go by their own limits again.
    fn part_prefetch(&mut self, number: u16) {
        let window = self.window();
        for key in self.sources.keys_of(number) {
            let Some(source) = self.sources.get_mut(key).filter(|source| source.shared) else { continue };
            let credit = Credit::Messages(source.allowance());
            source.shared = false;
            source.limited = source.prefetch > 0;
            source.unsent = 0;
            if let Some(slot) = source.slot {
                source.queue.recredit(slot, credit, window, &mut self.scratch);
            }
        }
    }

    /// A shared limit that is new counts what its channel has already.
    fn count_shared(&mut self, number: u16) {
        let sources = self.sources.keys_of(number).into_iter().filter_map(|key| self.sources.get(key));
        let unsent: u64 = sources.map(|source| source.unsent).sum();
        if let Some(channel) = self.channels.get_mut(number)
            && let Some(shared) = &mut channel.shared
        {
            shared.used = channel.outstanding.count() + unsent;
        }
    }

    fn consume(&mut self, number: u16, consume: cold::Consume) -> Result<(), Exception> {
        let max = self.limits().consumer_max_per_channel as usize;
        let name = self.queue_name(number, consume.queue.as_str())?;
        let Some(channel) = self.channels.get_mut(number) else { return Ok(()) };
        if channel.consumers.contains_key(consume.consumer_tag.as_str()) {
            return Err(not_allowed(format!("attempt to reuse consumer tag '{}'", consume.consumer_tag)));
        }
        if max > 0 && channel.consumers.len() >= max {
            return Err(not_allowed(format!("reached maximum ({max}) of consumers per channel")));
        }
        let (prefetch, shared) = (u32::from(channel.prefetch), channel.shared.is_some());
        let queue = match name.as_str() {
            REPLY_TO => self.open_direct_reply(number, consume.no_ack)?,
            name => self.readable_queue(number, name)?,
        };
        let shared = shared && !is_reply_queue(&queue);
        if shared && queue.kind() == Kind::Quorum {
            return Err(refusal::not_implemented(format!("{} does not support global qos", queue.named())));
        }
        let priority = priority(&consume.arguments, &queue)?;
        let timeout = ack_timeout::consumer_timeout(&consume.arguments, &queue)?;
        let tag = match consume.consumer_tag.as_str() {
            "" => self.broker.names.generate("amq.ctag"),
            given => given.to_owned(),
        };
        let credit = match (consume.no_ack, shared, prefetch) {
            (_, true, _) => Credit::Pull,
            (true, false, _) | (false, false, 0) => Credit::Messages(None),
            (false, false, limit) => Credit::Messages(Some(limit)),
        };
        let consumer = Consumer {
            // Quorum queues of RabbitMQ do not know exclusive consumers.
            exclusive: consume.exclusive && queue.kind() == Kind::Classic,
            priority,
            credit,
            window: i64::from(self.limits().consumer_window_octets),
        };
        let mark = self.out.buffer().len();
        if !consume.nowait {
            let consumer_tag = ShortString::try_new(tag.clone()).map_err(|_| super::unimplemented())?;
            let ok = cold::AMQPMethod::ConsumeOk(cold::ConsumeOk { consumer_tag });
            self.reply(number, Method::Basic(ok));
        }
        let key = self.sources.next_key();
        let window = self.window();
        let slot = match queue.consume(consumer, &self.inbox, key, window, &mut self.scratch) {
            Ok(slot) => slot,
            Err(exception) => {
                self.out.buffer().truncate(mark);
                return Err(exception);
            }
        };
        let source = Source {
            channel: number,
            queue,
            tag: tag.as_bytes().into(),
            slot: Some(slot),
            no_ack: consume.no_ack,
            timeout,
            limited: credit != Credit::Pull && credit != Credit::Messages(None),
            shared,
            prefetch: if consume.no_ack { 0 } else { prefetch },
            unacked: 0,
            unsent: 0,
            window_used: 0,
        };
        self.sources.insert(key, source);
        if let Some(channel) = self.channels.get_mut(number) {
            channel.consumers.insert(tag.into(), key);
        }
        self.watch_acks();
        Ok(())
    }

    /// An unknown tag is no error, as in RabbitMQ.
    fn cancel(&mut self, number: u16, tag: &str) {
        let key = self.channels.get_mut(number).and_then(|channel| channel.consumers.remove(tag));
        if let Some(key) = key {
            self.end_consumer(key);
        }
    }

    fn get(&mut self, number: u16, name: &str, no_ack: bool) -> Result<(), Exception> {
        let queue = self.readable_queue(number, name)?;
        if queue.is_single_active() {
            return Err(refusal::single_active(queue.named(), queue.type_name()));
        }
        self.fetch(Fetch { channel: number, queue, no_ack });
        Ok(())
    }

    /// The queue has read a block back: the basic.get that waits for it is tried again.
    pub(super) fn fetch_again(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            self.fetch(fetch);
        }
    }

    fn fetch(&mut self, fetch: Fetch) {
        let (number, window) = (fetch.channel, self.window());
        let got = match fetch.queue.get(!fetch.no_ack, window, &self.inbox, &mut self.scratch) {
            Get::Message(mut got) => {
                if got.delivery.attempts > 0 {
                    got.delivery = delivery_count::with_header(got.delivery).0;
                }
                got
            }
            Get::Stalled => {
                self.fetch = Some(fetch);
                return;
            }
            Get::Empty => {
                self.reply(number, Method::Basic(cold::AMQPMethod::GetEmpty(cold::GetEmpty {})));
                return;
            }
        };
        let Fetch { queue, no_ack, .. } = fetch;
        let key = if no_ack { None } else { Some(self.getter(number, &queue)) };
        let payload_max = self.connection.tuning().payload_max();
        let Some(channel) = self.channels.get_mut(number) else { return };
        let tag = channel.next_tag;
        channel.next_tag += 1;
        if let Some(key) = key {
            channel.outstanding.record(key, tag, got.delivery.first, 1);
        }
        put_get_ok(&mut self.out, number, tag, &got, payload_max);
        if key.is_some() {
            self.expect_acks();
        }
    }

    /// The source that messages of this queue are noted under when they are fetched on this channel.
    fn getter(&mut self, number: u16, queue: &Arc<QueueCell>) -> ConsumerKey {
        let known = self.channels.get_mut(number).and_then(|channel| {
            let same =
                |key: &&ConsumerKey| self.sources.get(**key).is_some_and(|s| Arc::ptr_eq(&s.queue, queue));
            channel.getters.iter().find(same).copied()
        });
        if let Some(source) = known.and_then(|key| self.sources.get_mut(key)) {
            source.unacked += 1;
        }
        known.unwrap_or_else(|| {
            let key = self.sources.next_key();
            let source = Source {
                channel: number,
                queue: Arc::clone(queue),
                tag: Box::default(),
                slot: None,
                no_ack: false,
                timeout: None,
                limited: false,
                shared: false,
                prefetch: 0,
                unacked: 1,
                unsent: 0,
                window_used: 0,
            };
            self.sources.insert(key, source);
            if let Some(channel) = self.channels.get_mut(number) {
                channel.getters.push(key);
            }
            // It may have a shorter timeout than others.
            self.acks_due = None;
            key
        })
    }

    /// The queue of that name if this connection may read it; empty is the last one declared on the channel.
    fn readable_queue(&mut self, number: u16, name: &str) -> Result<Arc<QueueCell>, Exception> {
        let name = self.queue_name(number, name)?;
        self.permit(Access::Read, Resource::queue(&name))?;
        self.existing_queue(&name)
    }

    /// A pulling consumer was told that its queue has something.
    pub(super) fn hungry(&mut self, key: ConsumerKey) {
        let Some(number) = self.sources.get(key).map(|source| source.channel) else { return };
        if let Some(shared) = self.channels.get_mut(number).and_then(|channel| channel.shared.as_mut())
            && !shared.hungry.contains(&key)
        {
            shared.hungry.push_back(key);
        }
        self.serve_shared(number);
    }

    /// Deliveries under the shared limit were settled or came back.
    pub(super) fn free_shared(&mut self, number: u16, count: u64) {
        if let Some(shared) = self.channels.get_mut(number).and_then(|channel| channel.shared.as_mut()) {
            shared.used = shared.used.saturating_sub(count);
            self.acks.limit(shared.limit);
        }
        self.serve_shared(number);
    }

    /// A consumer leaves the shared limit; `unsent` of its deliveries were never encoded.
    pub(super) fn leave_shared(&mut self, number: u16, key: ConsumerKey, unsent: u64) {
        if let Some(shared) = self.channels.get_mut(number).and_then(|channel| channel.shared.as_mut()) {
            shared.hungry.retain(|other| *other != key);
        }
        self.free_shared(number, unsent);
    }

    /// Shares what the limit allows among the consumers that wait, in turn. Who has reached its own limit goes on waiting.
    fn serve_shared(&mut self, number: u16) {
        let window = self.window();
        let mut full = 0;
        loop {
            let shared = self.channels.get_mut(number).and_then(|channel| channel.shared.as_mut());
            let Some(shared) = shared else { return };
            let free = shared.limit.saturating_sub(shared.used);
            if free == 0 || full == shared.hungry.len() {
                return;
            }
            let share = u32::try_from(free.div_ceil(shared.hungry.len() as u64)).unwrap_or(u32::MAX);
            let Some(key) = shared.hungry.pop_front() else { return };
            let Some(source) = self.sources.get_mut(key).filter(|source| source.shared) else { continue };
            let Some(slot) = source.slot else { continue };
            // What needs no acknowledgement waits for room, too, but takes none.
            let share = if source.no_ack { u32::MAX } else { share };
            let limit = source.allowance().map_or(share, |own| own.min(share));
            if limit == 0 {
                full += 1;
                shared.hungry.push_back(key);
                continue;
            }
            let given = source.queue.pull(slot, limit, window, &mut self.scratch);
            if source.is_counted() {
                source.unsent += u64::from(given);
                shared.used += u64::from(given);
            }
            if given == limit {
                shared.hungry.push_back(key);
            }
            full = 0;
        }
    }
}

/// The consumer argument `x-priority`: any integer, 0 when absent (<https://www.rabbitmq.com/docs/consumer-priority>).
fn priority(arguments: &FieldTable, queue: &QueueCell) -> Result<i32, Exception> {
    let Some(value) = arguments.inner().get("x-priority") else { return Ok(0) };
    let Some(number) = refusal::integer(value) else {
        let (queue, kind) = (queue.named(), refusal::type_name(value));
        let text = format!("invalid arg 'x-priority' for {queue}: \"expected integer, got {kind}\"");
        return Err(refusal::precondition(text));
    };
    Ok(i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX }))
}

/// get-ok with the one message that was fetched.
fn put_get_ok(out: &mut Out, number: u16, tag: u64, got: &Got, payload_max: usize) {
    let offset = match &got.delivery.picks {
        warrenmq_queue::Picks::Range { offset, .. } => *offset,
        warrenmq_queue::Picks::List(list) => list.first().map_or(0, |pick| pick.offset),
    };
    let (record, _) = got.delivery.run.record(offset);
    let remaining = u32::try_from(got.remaining).unwrap_or(u32::MAX);
    basic::put_get_ok(out.buffer(), number, tag, got.delivery.redelivered, record.route, remaining);
    out.put_content(number, &got.delivery.run, &record, payload_max);
}
