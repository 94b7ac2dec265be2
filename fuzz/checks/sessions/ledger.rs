//! Where every message has to be, as far as clients can know it.
//!
//! Invariant: a message is ready in its queue, outstanding on one channel, or done with. What clients do is entered when they
//! do it, what the broker does when they hear of it.

use std::collections::BTreeMap;

use warrenmq_wire::method::{Method, basic_cold, channel, connection, queue};

use super::line::{Said, octets};

/// The question that is being answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) at: usize,
    pub(crate) channel: u16,
    pub(crate) queue: usize,
    pub(crate) no_ack: bool,
    pub(crate) exclusive: bool,
    /// The broker may close the channel or connection for it.
    pub(crate) may_fail: bool,
}

/// What a client does about something that it has heard.
#[derive(Debug)]
pub(crate) enum Reaction {
    Nothing,
    Answer(Vec<u8>),
    /// The connection was closed: it goes without an answer.
    Leave,
}

#[derive(Debug)]
struct Message {
    queue: usize,
    /// Its place among all that were published.
    order: u64,
    place: Place,
    /// It was delivered before: the next time it is redelivered.
    delivered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Outstanding,
    Done,
}

#[derive(Debug, Default)]
struct Channel {
    last_tag: u64,
    outstanding: BTreeMap<u64, Held>,
    consumers: BTreeMap<String, Consumer>,
    /// For consumers to come.
    prefetch: u64,
    /// For all together.
    shared: Option<u64>,
    /// The shared limit counts what no consumer has got, as RabbitMQ does: no telling when it is reached.
    doubtful: bool,
    published: u64,
    confirmed: u64,
    unfinished: Option<Unfinished>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    number: u32,
    /// `None`: fetched with basic.get.
    consumer: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Consumer {
    id: u32,
    queue: usize,
    no_ack: bool,
    exclusive: bool,
    prefetch: u64,
}

/// A message whose end is still to come: its number, its queue, and how far it is.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    number: u32,
    queue: usize,
    begun: u8,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    messages: Vec<Message>,
    exists: Vec<bool>,
    channels: Vec<BTreeMap<u16, Channel>>,
    next_consumer: u32,
    published: u64,
    /// Mandatory messages that reached no queue and have not come back.
    returning: Vec<u32>,
    pub(crate) asked: Asked,
}

impl Ledger {
    pub(crate) fn new(lines: usize, queues: usize) -> Ledger {
        Ledger {
            messages: Vec::new(),
            exists: vec![false; queues],
            channels: (0..lines).map(|_| BTreeMap::new()).collect(),
            next_consumer: 0,
            published: 0,
            returning: Vec::new(),
            asked: Asked::default(),
        }
    }

    pub(crate) fn exists(&self, queue: usize) -> bool {
        self.exists[queue]
    }

    pub(crate) fn is_open(&self, at: usize, channel: u16) -> bool {
        self.channels[at].contains_key(&channel)
    }

    pub(crate) fn is_unfinished(&self, at: usize, channel: u16) -> bool {
        self.channels[at].get(&channel).is_some_and(|channel| channel.unfinished.is_some())
    }

    /// Messages that are ready in a queue.
    pub(crate) fn ready(&self, queue: usize) -> usize {
        self.messages.iter().filter(|m| m.queue == queue && m.place == Place::Ready).count()
    }

    /// Messages that are not done with.
    pub(crate) fn left(&self) -> usize {
        self.messages.iter().filter(|m| m.place != Place::Done).count()
    }

    pub(crate) fn connect(&mut self, at: usize) {
        assert!(self.channels[at].is_empty());
        self.asked = Asked { at, ..Asked::default() };
    }

    pub(crate) fn open_channel(&mut self, at: usize, number: u16) {
        self.channels[at].insert(number, Channel::default());
    }

    pub(crate) fn publish(&mut self, at: usize, number: u16, queue: usize, mandatory: bool) -> u32 {
        let message = u32::try_from(self.messages.len()).expect("few messages");
        self.messages.push(self.message_for(queue));
        if mandatory && !self.exists[queue] {
            self.returning.push(message);
        }
        self.published += 1;
        self.channel(at, number).published += 1;
        message
    }

    /// A number for a message that comes in parts; it is not published yet.
    pub(crate) fn begin_message(&mut self, at: usize, number: u16, queue: usize, begun: u8) -> u32 {
        let message = u32::try_from(self.messages.len()).expect("few messages");
        self.messages.push(Message { queue, order: 0, place: Place::Done, delivered: false });
        self.channel(at, number).unfinished = Some(Unfinished { number: message, queue, begun });
        message
    }

    /// The message is complete now: its number, and how far it was.
    pub(crate) fn finish_message(&mut self, at: usize, number: u16) -> Option<(u32, u8)> {
        let channel = self.channel(at, number);
        let Unfinished { number: message, queue, begun } = channel.unfinished.take()?;
        channel.published += 1;
        self.messages[message as usize] = self.message_for(queue);
        self.published += 1;
        Some((message, begun))
    }

    /// Whether basic.consume has to succeed.
    pub(crate) fn may_consume(
        &self,
        at: usize,
        number: u16,
        queue: usize,
        tag: &str,
        exclusive: bool,
    ) -> bool {
        let others = self.consumers_of(queue);
        let free = if exclusive { others.is_empty() } else { others.iter().all(|(.., c)| !c.exclusive) };
        self.exists[queue] && free && !self.channels[at][&number].consumers.contains_key(tag)
    }

    pub(crate) fn cancel(&mut self, at: usize, number: u16, tag: &str) {
        self.channel(at, number).consumers.remove(tag);
    }

    pub(crate) fn qos(&mut self, at: usize, number: u16, count: u64, global: bool) {
        let channel = self.channel(at, number);
        if !global {
            channel.prefetch = count;
        }
        if global && count > 0 {
            if channel.shared.is_none() {
                channel.doubtful |= channel.outstanding.values().any(|held| held.consumer.is_none());
            }
            channel.shared = Some(count);
        } else {
            channel.shared = None;
        }
    }

    pub(crate) fn recover(&mut self, at: usize, number: u16) {
        let outstanding = std::mem::take(&mut self.channel(at, number).outstanding);
        outstanding.into_values().for_each(|held| self.requeue(held));
    }

    /// An outstanding delivery tag, if there is one.
    pub(crate) fn some_tag(&mut self, at: usize, number: u16, which: u8) -> u64 {
        let outstanding = &self.channel(at, number).outstanding;
        let at = usize::from(which) % outstanding.len().max(1);
        outstanding.keys().nth(at).copied().unwrap_or(u64::from(which))
    }

    /// Says whether the tag is known.
    pub(crate) fn settle(&mut self, at: usize, number: u16, tag: u64, multiple: bool, requeue: bool) -> bool {
        let outstanding = &mut self.channel(at, number).outstanding;
        let all = tag == 0 && multiple;
        if !all && !outstanding.contains_key(&tag) {
            return false;
        }
        let first = if multiple { 0 } else { tag };
        let last = if all { u64::MAX } else { tag };
        let settled: Vec<(u64, Held)> = outstanding.extract_if(first..=last, |_, _| true).collect();
        for (_, held) in settled {
            if requeue {
                self.requeue(held);
            } else {
                self.messages[held.number as usize].place = Place::Done;
            }
        }
        true
    }

    pub(crate) fn declare(&mut self, queue: usize) {
        self.exists[queue] = true;
    }

    pub(crate) fn leave_channel(&mut self, at: usize, number: u16) {
        let Some(channel) = self.channels[at].remove(&number) else { return };
        channel.outstanding.into_values().for_each(|held| self.requeue(held));
    }

    pub(crate) fn leave(&mut self, at: usize) {
        let numbers: Vec<u16> = self.channels[at].keys().copied().collect();
        numbers.into_iter().for_each(|number| self.leave_channel(at, number));
    }

    /// What the broker has said on a connection, and what the client does about it.
    pub(crate) fn hear(&mut self, at: usize, said: Said) -> Reaction {
        let Said { channel: number, method, number: message } = said;
        match method {
            Method::Basic(method) => self.hear_basic(at, number, method, message),
            Method::Queue(method) => self.hear_queue(&method),
            Method::Channel(channel::AMQPMethod::Close(close)) => {
                assert!(self.asked.may_fail && self.asked.at == at, "{close:?}");
                self.leave_channel(at, number);
                return Reaction::Answer(octets::channel_close_ok(number));
            }
            Method::Connection(connection::AMQPMethod::Close(close)) => {
                assert!(self.asked.may_fail && self.asked.at == at, "{close:?}");
                self.leave(at);
                return Reaction::Leave;
            }
            _ => {}
        }
        Reaction::Nothing
    }

    /// Everything was heard: nothing that was asked for may be missing.
    pub(crate) fn settled(&mut self) {
        let asked = self.asked;
        assert!(self.returning.is_empty(), "{:?} did not come back", self.returning);
        if let Some(channel) = self.channels[asked.at].get(&asked.channel) {
            assert_eq!(channel.confirmed, channel.published, "publishes without a confirm");
        }
    }

    /// No message waits beside a consumer that could take it.
    pub(crate) fn check(&self) {
        for queue in 0..self.exists.len() {
            let ready = self.ready(queue);
            for (at, number, consumer) in self.consumers_of(queue) {
                let channel = &self.channels[at][&number];
                let full = channel.doubtful || !channel.has_room(&consumer);
                assert!(ready == 0 || full, "{ready} messages wait for {consumer:?} of {channel:?}");
            }
        }
    }

    fn hear_basic(&mut self, at: usize, number: u16, method: basic_cold::AMQPMethod, message: Option<u32>) {
        use basic_cold::AMQPMethod as Basic;
        match method {
            Basic::Deliver(deliver) => {
                let channel = self.channel(at, number);
                let consumer = channel.consumers.get(deliver.consumer_tag.as_str()).copied();
                let consumer = consumer.expect("a consumer that is there");
                assert!(channel.has_room(&consumer), "more than {consumer:?} of {channel:?} may get");
                let message = message.expect("a delivery has a body");
                self.take(message, consumer.queue, deliver.redelivered, consumer.no_ack);
                let held = Held { number: message, consumer: Some(consumer.id) };
                self.channel(at, number).hold(deliver.delivery_tag, (!consumer.no_ack).then_some(held));
            }
            Basic::GetOk(got) => {
                let Asked { queue, no_ack, .. } = self.asked;
                let message = message.expect("a delivery has a body");
                let ready = self.messages.iter().filter(|m| m.queue == queue && m.place == Place::Ready);
                let oldest = ready.map(|m| m.order).min();
                assert_eq!(
                    oldest,
                    Some(self.messages[message as usize].order),
                    "the oldest message comes first"
                );
                self.take(message, queue, got.redelivered, no_ack);
                assert_eq!(got.message_count as usize, self.ready(queue));
                let held = Held { number: message, consumer: None };
                self.channel(at, number).hold(got.delivery_tag, (!no_ack).then_some(held));
            }
            Basic::GetEmpty(_) => assert_eq!(self.ready(self.asked.queue), 0, "there is something"),
            Basic::Return(_) => {
                let message = message.expect("a return has a body");
                assert!(
                    !self.returning.is_empty() && self.returning.remove(0) == message,
                    "{message} came back"
                );
            }
            Basic::Ack(ack) => {
                let channel = self.channel(at, number);
                assert!(ack.delivery_tag > channel.confirmed && ack.delivery_tag <= channel.published);
                assert!(ack.multiple || ack.delivery_tag == channel.confirmed + 1);
                channel.confirmed = ack.delivery_tag;
                assert!(self.returning.is_empty(), "returns come before the confirm");
            }
            Basic::ConsumeOk(ok) => {
                let Asked { queue, no_ack, exclusive, may_fail, .. } = self.asked;
                assert!(!may_fail, "{ok:?}");
                let id = self.next_consumer;
                self.next_consumer += 1;
                let channel = self.channel(at, number);
                let consumer = Consumer { id, queue, no_ack, exclusive, prefetch: channel.prefetch };
                channel.consumers.insert(ok.consumer_tag.to_string(), consumer);
            }
            _ => {}
        }
    }

    fn hear_queue(&mut self, method: &queue::AMQPMethod) {
        let queue = self.asked.queue;
        let ready = self.ready(queue);
        match method {
            queue::AMQPMethod::DeclareOk(ok) => {
                let counts = (ok.message_count as usize, ok.consumer_count as usize);
                assert_eq!(counts, (ready, self.consumers_of(queue).len()));
            }
            queue::AMQPMethod::PurgeOk(ok) => {
                assert_eq!(ok.message_count as usize, ready);
                self.drop_messages(queue, |place| place == Place::Ready);
            }
            queue::AMQPMethod::DeleteOk(ok) => {
                assert_eq!(ok.message_count as usize, ready);
                self.drop_messages(queue, |_| true);
                self.exists[queue] = false;
                for channel in self.channels.iter_mut().flat_map(BTreeMap::values_mut) {
                    channel.consumers.retain(|_, consumer| consumer.queue != queue);
                }
            }
            _ => {}
        }
    }

    fn drop_messages(&mut self, queue: usize, which: impl Fn(Place) -> bool) {
        let those = self.messages.iter_mut().filter(|m| m.queue == queue && which(m.place));
        those.for_each(|message| message.place = Place::Done);
    }

    /// A message that is published now; where there is no queue it is done with.
    fn message_for(&self, queue: usize) -> Message {
        let place = if self.exists[queue] { Place::Ready } else { Place::Done };
        Message { queue, order: self.published, place, delivered: false }
    }

    /// A message leaves its queue.
    fn take(&mut self, number: u32, queue: usize, redelivered: bool, no_ack: bool) {
        let message = &mut self.messages[number as usize];
        assert_eq!((message.place, message.queue), (Place::Ready, queue), "message {number}");
        assert_eq!(redelivered, message.delivered, "redelivered flag of message {number}");
        message.delivered = true;
        message.place = if no_ack { Place::Done } else { Place::Outstanding };
    }

    fn requeue(&mut self, held: Held) {
        let message = &mut self.messages[held.number as usize];
        if message.place == Place::Outstanding {
            message.place = Place::Ready;
        }
    }

    fn consumers_of(&self, queue: usize) -> Vec<(usize, u16, Consumer)> {
        let channels = self.channels.iter().enumerate();
        let channels =
            channels.flat_map(|(at, channels)| channels.iter().map(move |(number, c)| (at, *number, c)));
        channels
            .flat_map(|(at, number, channel)| channel.consumers.values().map(move |c| (at, number, *c)))
            .filter(|(.., consumer)| consumer.queue == queue)
            .collect()
    }

    fn channel(&mut self, at: usize, number: u16) -> &mut Channel {
        self.channels[at].get_mut(&number).expect("the channel is open")
    }
}

impl Channel {
    /// Whether one more may be delivered to the consumer.
    fn has_room(&self, consumer: &Consumer) -> bool {
        let of =
            |id: Option<u32>| self.outstanding.values().filter(|held| held.consumer == id).count() as u64;
        let together = self.outstanding.values().filter(|held| held.consumer.is_some()).count() as u64;
        self.shared.is_none_or(|limit| together < limit)
            && (consumer.no_ack || consumer.prefetch == 0 || of(Some(consumer.id)) < consumer.prefetch)
    }

    fn hold(&mut self, tag: u64, held: Option<Held>) {
        assert_eq!(tag, self.last_tag + 1, "delivery tags are counted");
        self.last_tag = tag;
        if let Some(held) = held {
            self.outstanding.insert(tag, held);
        }
    }
}
