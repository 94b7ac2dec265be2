//! A queue as plain lists: what [`warrenmq_queue::Queue`] has to do, message by message.
//!
//! Invariant: a message is in exactly one of `ready`, `unacked`, `away` and `done`.

use warrenmq_queue::{Consumer, Credit, Position};

/// One message of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) position: Position,
    /// The number in its body.
    pub(crate) number: u64,
    pub(crate) priority: u8,
    /// Octets of its record.
    pub(crate) size: u64,
    pub(crate) redelivered: bool,
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
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    highest: u8,
    /// The next to leave stands first.
    pub(crate) ready: Vec<Message>,
    pub(crate) unacked: Vec<Message>,
    /// Handed over for good.
    pub(crate) away: Vec<Message>,
    /// Settled, purged or deleted.
    pub(crate) done: Vec<Message>,
    pub(crate) readers: Vec<Option<Reader>>,
    /// Who may receive, the next one first.
    turns: Vec<usize>,
    told_first: usize,
    pub(crate) published: u64,
}

impl Model {
    pub(crate) fn new(highest: u8) -> Model {
        Model { highest, ..Model::default() }
    }

    pub(crate) fn publish(&mut self, number: u64, priority: u8, size: u64) {
        let position = self.published;
        self.published += 1;
        let priority = priority.min(self.highest);
        self.place(Message { position, number, priority, size, redelivered: false });
    }

    /// Whether the consumer was taken, and its slot.
    pub(crate) fn consume(&mut self, consumer: Consumer) -> Option<usize> {
        let mut others = self.readers.iter().flatten().peekable();
        if consumer.exclusive && others.peek().is_some() || others.any(|other| other.consumer.exclusive) {
            return None;
        }
        let slot = self.readers.iter().position(Option::is_none).unwrap_or(self.readers.len());
        if slot == self.readers.len() {
            self.readers.push(None);
        }
        let window = consumer.window;
        self.readers[slot] =
            Some(Reader { consumer, told: false, credit: Some(0), window, granted: 0, received: 0 });
        self.recredit(slot, consumer.credit);
        Some(slot)
    }

    pub(crate) fn cancel(&mut self, slot: usize) -> bool {
        let was_there = self.readers.get_mut(slot).and_then(Option::take).is_some();
        self.turns.retain(|other| *other != slot);
        while matches!(self.readers.last(), Some(None)) {
            self.readers.pop();
        }
        was_there
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
        let reader = self.reader(slot).filter(|reader| reader.consumer.credit == Credit::Pull);
        let Some(reader) = reader else { return 0 };
        reader.told = false;
        let mut given = 0;
        while given < limit && !self.ready.is_empty() && self.reader(slot).is_some_and(|r| r.window > 0) {
            let message = self.ready.remove(0);
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

    pub(crate) fn get(&mut self, ack: bool) -> Option<Message> {
        let message = (!self.ready.is_empty()).then(|| self.ready.remove(0))?;
        if ack {
            self.unacked.push(message)
        } else {
            self.away.push(message)
        }
        Some(message)
    }

    pub(crate) fn settle(&mut self, first: Position, last: Position) {
        let settled = self.unacked.extract_if(.., |m| (first..=last).contains(&m.position));
        self.done.extend(settled);
    }

    pub(crate) fn requeue(&mut self, first: Position, last: Position, redelivered: bool) {
        let back: Vec<Message> =
            self.unacked.extract_if(.., |m| (first..=last).contains(&m.position)).collect();
        for mut message in back {
            message.redelivered |= redelivered;
            self.place(message);
        }
    }

    pub(crate) fn give_back(&mut self, position: Position) {
        let at = self.away.iter().position(|m| m.position == position).expect("it was handed over");
        let message = self.away.remove(at);
        self.place(message);
    }

    pub(crate) fn purge(&mut self) -> u64 {
        let count = self.ready.len() as u64;
        self.done.append(&mut self.ready);
        count
    }

    pub(crate) fn delete(&mut self) {
        self.done.append(&mut self.ready);
        self.done.append(&mut self.unacked);
        self.readers.clear();
        self.turns.clear();
        self.told_first = 0;
    }

    /// One message to each in turn, as long as there is one and somebody may have it; then those who pull are told.
    pub(crate) fn hand_out(&mut self, caused: &mut Caused) {
        while !self.ready.is_empty() && !self.turns.is_empty() {
            let slot = self.turns.remove(0);
            let message = self.ready.remove(0);
            self.hand_over(slot, message, caused);
            self.take_place(slot);
        }
        let count = self.readers.len();
        let first = self.told_first;
        for slot in (0..count).map(|step| (first + step) % count) {
            if !self.ready.is_empty()
                && let Some(reader) = self.reader(slot)
                && reader.consumer.credit == Credit::Pull
                && reader.window > 0
                && !reader.told
            {
                reader.told = true;
                caused.hungry.push(slot);
            }
        }
    }

    /// Panics when a message is lost, or when somebody got more than he may.
    pub(crate) fn check(&self) {
        let places = [&self.ready, &self.unacked, &self.away, &self.done];
        let mut positions: Vec<Position> = places.into_iter().flatten().map(|m| m.position).collect();
        positions.sort_unstable();
        assert!(positions.into_iter().eq(0..self.published), "each message is in one place");
        for reader in self.readers.iter().flatten() {
            let limited = matches!(reader.consumer.credit, Credit::Messages(Some(_)));
            assert!(!limited || reader.received <= reader.granted, "more than was granted: {reader:?}");
        }
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
        if reader.consumer.ack {
            self.unacked.push(message)
        } else {
            self.away.push(message)
        }
        caused.deliveries.push((slot, message));
    }

    /// Its place among the ready: after all of a higher priority and all older ones of the same.
    fn place(&mut self, message: Message) {
        let key = |m: &Message| (u8::MAX - m.priority, m.position);
        let behind = |other: &Message| key(other) > key(&message);
        let at = self.ready.iter().position(behind).unwrap_or(self.ready.len());
        self.ready.insert(at, message);
    }

    /// The end of the turns of its priority, if it may receive and has no place yet.
    fn take_place(&mut self, slot: usize) {
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
