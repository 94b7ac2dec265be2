//! A queue as plain lists: what [`warrenmq_queue::Queue`] has to do, message by message.
//!
//! Invariant: a message is in exactly one of `ready`, `unacked`, `doomed` and `done`. Where bodies are on a disk the model only knows
//! which: it waits where the queue has to wait, and nowhere else.

use std::collections::BTreeSet;

use warrenmq_queue::{Attempts, Consumer, Credit, Kind, Overflow, Position, Reason, Settings};

/// Position of the first message: what follows soon crosses the edge between two parts of the queue's sets.
pub(crate) const START: Position = 4093;

/// One message of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) position: Position,
    /// The number in its body.
    pub(crate) number: u64,
    pub(crate) priority: u8,
    /// Octets of its record.
    pub(crate) size: u64,
    /// Octets of its body.
    pub(crate) body: u64,
    pub(crate) redelivered: bool,
    /// When it came.
    pub(crate) arrived: u64,
    /// Its own time to live.
    pub(crate) ttl: Option<u64>,
    /// How often it came back, where that is counted.
    pub(crate) attempts: Attempts,
    /// Until when it had to wait when it came back last.
    pub(crate) due: Option<u64>,
    /// It is ready, and stands among those that came back.
    pub(crate) lined_up: bool,
    /// It came back too often.
    pub(crate) gave_up: bool,
    persistent: bool,
}

impl Message {
    /// When it expires: the shorter time to live counts.
    fn expires(&self, settings: &Settings) -> Option<u64> {
        let ttl = self.ttl.into_iter().chain(settings.message_ttl).min();
        ttl.map(|ttl| self.arrived + ttl)
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
    }
}

/// A message before it has a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) priority: Option<u8>,
    pub(crate) ttl: Option<u64>,
    /// Octets of its record.
    pub(crate) size: u64,
    /// Octets of its body.
    pub(crate) body: u64,
}

impl Published {
    fn at(&self, position: Position, arrived: u64, settings: &Settings) -> Message {
        let Published { number, priority, ttl, size, body } = *self;
        let priority = match settings.kind {
            Kind::Classic => priority.unwrap_or(0).min(settings.max_priority),
            Kind::Quorum => priority.unwrap_or(4).min(31),
        };
        let (redelivered, lined_up, gave_up) = (false, false, false);
        let (attempts, due) = (Attempts::default(), None);
        let persistent = number.is_multiple_of(2) || settings.kind == Kind::Quorum;
        Message {
            position,
            number,
            priority,
            size,
            body,
            redelivered,
            arrived,
            ttl,
            attempts,
            due,
            lined_up,
            gave_up,
            persistent,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) consumer: Consumer,
    told: bool,
    /// Messages that it may still get; `None` is no limit.
    credit: Option<u64>,
    window: i64,
    granted: u64,
    pub(crate) received: u64,
}

/// What a command of the model causes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Caused {
    /// Slot and message, in the order of the queue.
    pub(crate) deliveries: Vec<(usize, Message)>,
    pub(crate) hungry: Vec<usize>,
    /// Number and reason.
    pub(crate) dead: Vec<(u64, Reason)>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) settings: Settings,
    pub(crate) now: u64,
    /// The next to leave stands first.
    pub(crate) ready: Vec<Message>,
    pub(crate) unacked: Vec<Message>,
    /// Rejected, and not dead yet because their bodies are on disk.
    pub(crate) doomed: Vec<Message>,
    /// Back, and not ready yet.
    pub(crate) waiting: Vec<Message>,
    /// Settled, dead, purged or deleted.
    pub(crate) done: Vec<Message>,
    /// Messages whose bodies are on disk only; told before each command.
    pub(crate) stored: BTreeSet<Position>,
    pub(crate) readers: Vec<Option<Reader>>,
    /// Who may receive, the next one first.
    turns: Vec<usize>,
    told_first: usize,
    /// Where one consumer is active: all of them, the active one first, the others in the order in which they came.
    line: Vec<usize>,
    pub(crate) published: u64,
    /// Everything below was deleted with its queue.
    deleted: u64,
    /// Dead letters that were never in the queue.
    refused: BTreeSet<Position>,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Model {
        Model { settings, published: START, ..Model::default() }
    }

    pub(crate) fn advance(&mut self, now: u64, caused: &mut Caused) {
        self.now = now;
        let waited = self.waiting.len();
        self.end_waiting();
        self.drop_expired(Position::MAX, caused);
        self.drop_expired_anywhere(caused);
        if self.waiting.len() < waited {
            self.drop_returned(caused);
        }
    }

    /// Those that stand first in their priority, or anywhere, and may expire: position and time.
    pub(crate) fn deadlines(&self) -> Vec<(Position, u64)> {
        let heads = (0..=31).filter_map(|priority| self.head(priority));
        let looked_at: Vec<usize> =
            if self.settings.expire_anywhere { (0..self.ready.len()).collect() } else { heads.collect() };
        let time = |at: usize| Some((self.ready[at].position, self.ready[at].expires(&self.settings)?));
        let returned = self.ready.first().filter(|message| message.lined_up).map(|_| 0);
        let waiting = self.waiting.iter().filter_map(|message| Some((message.position, message.due?)));
        looked_at.into_iter().chain(returned).filter_map(time).chain(waiting).collect()
    }

    /// Other settings, for what may change.
    pub(crate) fn configure(&mut self, settings: Settings, caused: &mut Caused) {
        self.settings = settings;
        self.drop_expired(Position::MAX, caused);
        self.drop_expired_anywhere(caused);
        self.serve(Position::MAX, caused);
        self.drop_overflow(caused);
    }

    /// Messages of one run, each with number, priority, time to live and size; says whether they were taken.
    pub(crate) fn publish(&mut self, run: &[Published], caused: &mut Caused) -> bool {
        let Settings { overflow, dead_letters, .. } = self.settings;
        let octets = run.iter().map(|message| message.body).sum();
        if overflow != Overflow::DropHead && self.is_above_limit(run.len() as u64, octets) {
            if overflow == Overflow::RejectPublishDlx && dead_letters {
                // They get positions, since whoever buries them reports those.
                for published in run {
                    let position = self.published;
                    self.published += 1;
                    self.refused.insert(position);
                    caused.dead.push((published.number, Reason::Maxlen));
                    self.done.push(published.at(position, self.now, &self.settings));
                }
            }
            return false;
        }
        let first = self.published;
        for published in run {
            let message = published.at(self.published, self.now, &self.settings);
            self.published += 1;
            self.place(message);
        }
        self.serve(first, caused);
        self.drop_expired(Position::MAX, caused);
        self.drop_expired_anywhere(caused);
        self.drop_overflow(caused);
        true
    }

    /// Some bodies are in memory now: what is stored was told anew.
    pub(crate) fn loaded(&mut self, caused: &mut Caused) {
        self.bury(caused);
        self.drop_expired(Position::MAX, caused);
        self.drop_expired_anywhere(caused);
        self.serve(Position::MAX, caused);
        self.drop_overflow(caused);
    }

    /// After a restart persistent messages are back unless they are `gone`.
    pub(crate) fn restart(&mut self, gone: &BTreeSet<Position>, delivered_below: Position) {
        let Model { settings, now, published, deleted, .. } = *self;
        let refused = std::mem::take(&mut self.refused);
        let all = [&mut self.ready, &mut self.unacked, &mut self.doomed, &mut self.waiting, &mut self.done];
        let all: Vec<Message> = all.into_iter().flat_map(std::mem::take).collect();
        *self = Model { settings, now, published, deleted, refused, ..Model::default() };
        for mut message in all {
            if message.is_persistent() && !gone.contains(&message.position) {
                message.redelivered = message.position < delivered_below || message.attempts.returned > 0;
                message.gave_up = false;
                if message.due > Some(now) {
                    message.lined_up = false;
                    self.waiting.push(message);
                } else {
                    self.place(message);
                }
            } else {
                self.done.push(message);
            }
        }
    }

    /// Whether no restart can bring a message back.
    pub(crate) fn is_nowhere(&self, position: Position) -> bool {
        position < self.deleted || self.refused.contains(&position)
    }

    /// Everything that is not done.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Message> {
        self.ready.iter().chain(&self.unacked).chain(&self.doomed).chain(&self.waiting)
    }

    /// Whether the next message waits for its body.
    pub(crate) fn stalls(&self) -> bool {
        self.ready.first().is_some_and(|message| self.stored.contains(&message.position))
    }

    /// Whether the consumer was taken, and its slot.
    pub(crate) fn consume(&mut self, consumer: Consumer) -> Option<usize> {
        let mut others = self.readers.iter().flatten().peekable();
        let is_shared = others.peek().is_some() || self.settings.single_active;
        if consumer.exclusive && is_shared || others.any(|other| other.consumer.exclusive) {
            return None;
        }
        let slot = self.readers.iter().position(Option::is_none).unwrap_or(self.readers.len());
        if slot == self.readers.len() {
            self.readers.push(None);
        }
        let window = consumer.window;
        self.readers[slot] =
            Some(Reader { consumer, told: false, credit: Some(0), window, granted: 0, received: 0 });
        self.line.push(slot);
        self.recredit(slot, consumer.credit);
        if self.yields() {
            self.turns.clear();
        }
        Some(slot)
    }

    pub(crate) fn cancel(&mut self, slot: usize) -> bool {
        let was_there = self.readers.get_mut(slot).and_then(Option::take).is_some();
        self.turns.retain(|other| *other != slot);
        if self.line.first() == Some(&slot) {
            self.line.remove(0);
            self.promote();
        }
        self.line.retain(|other| *other != slot);
        if let Some(active) = self.line.first() {
            self.take_place(*active);
        }
        while matches!(self.readers.last(), Some(None)) {
            self.readers.pop();
        }
        was_there
    }

    /// The next in line comes to the front: the first of the highest priority.
    fn promote(&mut self) {
        let priority = |slot: &usize| self.readers[*slot].as_ref().map(|reader| reader.consumer.priority);
        let highest = self.line.iter().map(priority).max();
        if let Some(at) = self.line.iter().position(|slot| Some(priority(slot)) == highest) {
            let next = self.line.remove(at);
            self.line.insert(0, next);
        }
    }

    /// Whether somebody of a higher priority waits for the active one to have nothing out any more.
    fn yields(&self) -> bool {
        let priority = |slot: &usize| self.readers[*slot].as_ref().map(|reader| reader.consumer.priority);
        let active = self.line.first().and_then(priority);
        let takes_over = self.settings.single_active && self.settings.kind == Kind::Quorum;
        takes_over && self.line.iter().any(|slot| priority(slot) > active)
    }

    fn may_be_served(&self, slot: usize) -> bool {
        !self.settings.single_active || (self.line.first() == Some(&slot) && !self.yields())
    }

    pub(crate) fn credit(&mut self, slot: usize, messages: u32, octets: u64) {
        let Some(reader) = self.reader(slot) else { return };
        if let (Some(credit), Credit::Messages(_)) = (&mut reader.credit, reader.consumer.credit) {
            *credit += u64::from(messages);
            reader.granted += u64::from(messages);
        }
        reader.window += i64::try_from(octets).expect("a small number");
        self.take_place(slot);
    }

    pub(crate) fn recredit(&mut self, slot: usize, credit: Credit) {
        self.turns.retain(|other| *other != slot);
        let Some(reader) = self.reader(slot) else { return };
        reader.consumer.credit = credit;
        reader.told = false;
        reader.credit = match credit {
            Credit::Messages(messages) => messages.map(u64::from),
            Credit::Pull => Some(0),
        };
        reader.granted = reader.received + reader.credit.unwrap_or(0);
        self.take_place(slot);
    }

    pub(crate) fn pull(&mut self, slot: usize, limit: u32, caused: &mut Caused) -> u32 {
        let may = self.may_be_served(slot);
        let reader = self.reader(slot).filter(|reader| reader.consumer.credit == Credit::Pull);
        let Some(reader) = reader else { return 0 };
        reader.told = false;
        if !may {
            return 0;
        }
        let mut given = 0;
        while given < limit && self.reader(slot).is_some_and(|r| r.window > 0) {
            let Some(message) = self.pop(Position::MAX, caused) else { break };
            self.hand_over(slot, message, caused);
            given += 1;
        }
        if given > 0 {
            self.told_first = slot + 1;
        }
        let comes_back = !self.ready.is_empty() && given == limit;
        self.reader(slot).expect("just seen").told = comes_back;
        given
    }

    pub(crate) fn get(&mut self, ack: bool, caused: &mut Caused) -> Option<Message> {
        let message = self.pop(Position::MAX, caused)?;
        if ack {
            self.unacked.push(message)
        } else {
            self.done.push(message)
        }
        self.drop_expired(Position::MAX, caused);
        Some(message)
    }

    pub(crate) fn settle(&mut self, first: Position, last: Position) {
        let settled = self.unacked.extract_if(.., |m| (first..=last).contains(&m.position));
        self.done.extend(settled);
    }

    pub(crate) fn discard(&mut self, first: Position, last: Position, caused: &mut Caused) {
        if !self.settings.dead_letters {
            return self.settle(first, last);
        }
        let rejected = self.unacked.extract_if(.., |m| (first..=last).contains(&m.position));
        self.doomed.extend(rejected);
        self.bury(caused);
    }

    pub(crate) fn purge(&mut self) -> u64 {
        let count = self.ready.len() + self.waiting.len();
        self.done.append(&mut self.ready);
        self.done.append(&mut self.waiting);
        count as u64
    }

    pub(crate) fn delete(&mut self) {
        self.done.append(&mut self.ready);
        self.done.append(&mut self.unacked);
        self.done.append(&mut self.doomed);
        self.done.append(&mut self.waiting);
        self.deleted = self.published;
        self.readers.clear();
        self.turns.clear();
        self.told_first = 0;
        self.line.clear();
    }

    /// What is ready goes to those who may have it; then those who pull are told of the rest.
    pub(crate) fn hand_out(&mut self, caused: &mut Caused) {
        self.serve(Position::MAX, caused);
    }

    /// One message to each in turn, as long as there is one and somebody may have it. Messages from `fresh` on do not expire
    /// before they had this chance.
    fn serve(&mut self, fresh: Position, caused: &mut Caused) {
        if self.yields() && self.unacked.is_empty() {
            let active = self.line.remove(0);
            self.promote();
            self.line.push(active);
            self.take_place(self.line[0]);
        }
        while !self.ready.is_empty() && !self.turns.is_empty() {
            let Some(message) = self.pop(fresh, caused) else { break };
            let slot = self.turns.remove(0);
            self.hand_over(slot, message, caused);
            self.take_place(slot);
        }
        let count = self.readers.len();
        let first = self.told_first;
        for slot in (0..count).map(|step| (first + step) % count) {
            if !self.ready.is_empty()
                && !self.stalls()
                && self.may_be_served(slot)
                && let Some(reader) = self.reader(slot)
                && reader.consumer.credit == Credit::Pull
                && reader.window > 0
                && !reader.told
            {
                reader.told = true;
                caused.hungry.push(slot);
            }
        }
        if self.any_returns() {
            self.drop_overflow(caused);
        }
    }

    /// Panics when a message is lost, or when somebody got more than he may.
    pub(crate) fn check(&self) {
        let places = [&self.ready, &self.unacked, &self.doomed, &self.waiting, &self.done];
        let mut positions: Vec<Position> = places.into_iter().flatten().map(|m| m.position).collect();
        positions.sort_unstable();
        assert!(positions.into_iter().eq(START..self.published), "each message is in one place");
        for reader in self.readers.iter().flatten() {
            let limited = matches!(reader.consumer.credit, Credit::Messages(Some(_)));
            assert!(!limited || reader.received <= reader.granted, "more than was granted: {reader:?}");
        }
    }

    /// The next message; what has expired in front of it goes.
    fn pop(&mut self, fresh: Position, caused: &mut Caused) -> Option<Message> {
        if !self.ready.is_empty() {
            self.drop_expired(fresh, caused);
        }
        let here = !self.ready.is_empty() && !self.stalls();
        here.then(|| Message { lined_up: false, ..self.ready.remove(0) })
    }

    /// Rejected messages whose bodies are here die.
    pub(crate) fn bury(&mut self, caused: &mut Caused) {
        self.doomed.sort_by_key(|message| message.position);
        let Model { doomed, done, stored, .. } = self;
        for message in doomed.extract_if(.., |message| !stored.contains(&message.position)) {
            let reason = if message.gave_up { Reason::DeliveryLimit } else { Reason::Rejected };
            if self.settings.dead_letters {
                caused.dead.push((message.number, reason));
            }
            done.push(message);
        }
    }

    /// A classic queue is looked at as soon as something has come back.
    pub(crate) fn drop_returned(&mut self, caused: &mut Caused) {
        if self.settings.kind == Kind::Classic {
            self.drop_overflow(caused);
        }
    }

    /// The oldest of the lowest priority leave a queue that is too long.
    fn drop_overflow(&mut self, caused: &mut Caused) {
        let Settings { overflow, dead_letters, .. } = self.settings;
        while overflow == Overflow::DropHead && self.is_above_limit(0, 0) {
            let returned = self.ready.first().filter(|message| message.lined_up).map(|_| 0);
            let lowest = (0..=31).find_map(|priority| self.head(priority));
            let Some(lowest) = returned.or(lowest) else { break };
            let waits = dead_letters || !self.is_too_long(0);
            if waits && self.stored.contains(&self.ready[lowest].position) {
                break;
            }
            self.drop_at(lowest, Reason::Maxlen, caused);
        }
    }

    /// Whether with so many messages more, and so many octets of bodies, more would be ready than may be.
    fn is_above_limit(&self, messages: u64, octets: u64) -> bool {
        let bodies: u64 = self.ready.iter().map(|message| message.body).sum();
        let max = self.settings.max_length_bytes;
        self.is_too_long(messages) || max.is_some_and(|max| bodies + octets > max)
    }

    /// Whether with so many messages more there would be too many, whatever their size.
    fn is_too_long(&self, messages: u64) -> bool {
        let kept = if self.settings.keep_dead { self.doomed.len() } else { 0 };
        let count = (self.ready.len() + self.waiting.len() + kept) as u64;
        self.settings.max_length.is_some_and(|max| count + messages > max)
    }

    /// All that have expired, where the queue looks everywhere.
    fn drop_expired_anywhere(&mut self, caused: &mut Caused) {
        if !self.settings.expire_anywhere {
            return;
        }
        let expired = |message: &Message| {
            !self.stored.contains(&message.position)
                && message.expires(&self.settings).is_some_and(|expires| expires <= self.now)
        };
        let expired: Vec<Position> = self.ready.iter().filter(|m| expired(m)).map(|m| m.position).collect();
        for position in expired {
            let at = self.ready.iter().position(|message| message.position == position);
            self.drop_at(at.expect("it was just seen"), Reason::Expired, caused);
        }
    }

    /// Those that stand first in their priority and have expired.
    fn drop_expired(&mut self, fresh: Position, caused: &mut Caused) {
        while let Some(first) = self.ready.first()
            && first.lined_up
            && !self.stored.contains(&first.position)
            && first.expires(&self.settings).is_some_and(|expires| expires <= self.now)
        {
            self.drop_at(0, Reason::Expired, caused);
        }
        for priority in 0..=31 {
            while let Some(at) = self.head(priority)
                && self.ready[at].position < fresh
                && !self.stored.contains(&self.ready[at].position)
                && self.ready[at].expires(&self.settings).is_some_and(|expires| expires <= self.now)
            {
                self.drop_at(at, Reason::Expired, caused);
            }
        }
    }

    fn drop_at(&mut self, at: usize, reason: Reason, caused: &mut Caused) {
        let message = self.ready.remove(at);
        if self.settings.dead_letters {
            caused.dead.push((message.number, reason));
        }
        self.done.push(message);
    }

    /// Where the first message of a priority stands.
    fn head(&self, priority: u8) -> Option<usize> {
        self.ready.iter().position(|message| !message.lined_up && message.priority == priority)
    }

    fn reader(&mut self, slot: usize) -> Option<&mut Reader> {
        self.readers.get_mut(slot)?.as_mut()
    }

    fn hand_over(&mut self, slot: usize, message: Message, caused: &mut Caused) {
        let reader = self.reader(slot).expect("only readers have a turn");
        reader.received += 1;
        reader.window -= i64::try_from(message.size).expect("a small number");
        if let (Some(credit), Credit::Messages(_)) = (&mut reader.credit, reader.consumer.credit) {
            *credit -= 1;
        }
        self.unacked.push(message);
        caused.deliveries.push((slot, message));
    }

    /// Its place among the ready: after all of a higher priority and all older ones of the same.
    pub(crate) fn place(&mut self, mut message: Message) {
        message.lined_up = false;
        let key = |m: &Message| (!m.lined_up, u8::MAX - m.priority, m.position);
        let behind = |other: &Message| key(other) > key(&message);
        let at = self.ready.iter().position(behind).unwrap_or(self.ready.len());
        self.ready.insert(at, message);
    }

    /// The end of the turns of its priority, if it may receive and has no place yet.
    fn take_place(&mut self, slot: usize) {
        if !self.may_be_served(slot) {
            return;
        }
        let Some(reader) = self.reader(slot) else { return };
        let may = reader.consumer.credit != Credit::Pull && reader.window > 0 && reader.credit != Some(0);
        let priority = reader.consumer.priority;
        if may && !self.turns.contains(&slot) {
            let lower = |other: &usize| {
                self.readers[*other].as_ref().is_some_and(|other| other.consumer.priority < priority)
            };
            let at = self.turns.iter().position(lower).unwrap_or(self.turns.len());
            self.turns.insert(at, slot);
        }
    }
}
