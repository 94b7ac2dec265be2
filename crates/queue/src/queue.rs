//! The queue itself: the verbs and the hand-out of messages.
//!
//! Invariant: after every verb either nothing is ready or no consumer may receive ([`Queue::check`] says so in tests).

use crate::consumers::{Consumer, ConsumerSlot, Consumers, Credit};
use crate::delivery::{Dead, Delivery, Effects, Pick, Picks, Reason, Span};
use crate::level::Level;
use crate::run::Run;
use crate::unacked::Unacked;
use crate::{Millis, Position};

/// Why a consumer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeError {
    /// There is an exclusive consumer, or this one asks to be exclusive beside others.
    ExclusiveUse,
}

/// The answer to [`Queue::get`].
#[derive(Debug)]
pub struct Got {
    /// The one message.
    pub delivery: Delivery,
    /// How many are ready after it.
    pub remaining: u64,
}

/// What a queue is declared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Priorities go from 0 to this; 0 is a plain queue (`x-max-priority`).
    pub max_priority: u8,
    /// Time to live of every message, in milliseconds (`x-message-ttl`).
    pub message_ttl: Option<Millis>,
    /// Most ready messages (`x-max-length`).
    pub max_length: Option<u64>,
    /// What happens beyond it.
    pub overflow: Overflow,
    /// Messages that leave unsettled are handed out as [`crate::Dead`] instead of being dropped.
    pub dead_letters: bool,
}

/// What a full queue does (`x-overflow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest messages of the lowest priority go.
    #[default]
    DropHead,
    /// It takes no more.
    RejectPublish,
    /// It takes no more, and dead-letters what it did not take.
    RejectPublishDlx,
}

/// One queue: its ready messages, its unacked messages and its consumers.
#[derive(Debug)]
pub struct Queue {
    /// Index is the priority; one level when the queue has no `x-max-priority`.
    levels: Box<[Level]>,
    unacked: Unacked,
    consumers: Consumers,
    next: Position,
    ready: u64,
    ready_size: u64,
    settings: Settings,
    /// The time, as far as the queue was told.
    now: Millis,
    /// Some message here may expire: then messages are looked at one by one.
    expirable: bool,
    /// Messages from here on are being published right now and have not had their chance with consumers yet.
    fresh: Position,
    /// Picks of the current round, by consumer; kept to be reused.
    round: Vec<(ConsumerSlot, Vec<Pick>)>,
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: Settings) -> Queue {
        Queue {
            levels: (0..=settings.max_priority).map(|_| Level::default()).collect(),
            unacked: Unacked::default(),
            consumers: Consumers::default(),
            next: 0,
            ready: 0,
            ready_size: 0,
            settings,
            now: 0,
            expirable: settings.message_ttl.is_some(),
            fresh: Position::MAX,
            round: Vec::new(),
        }
    }

    /// Messages ready for delivery.
    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// Octets of their records.
    pub fn ready_size(&self) -> u64 {
        self.ready_size
    }

    /// Messages delivered and not settled.
    pub fn unacked(&self) -> u64 {
        self.unacked.count()
    }

    /// Octets of their records.
    pub fn unacked_size(&self) -> u64 {
        self.unacked.size()
    }

    /// Number of consumers.
    pub fn consumers(&self) -> u32 {
        self.consumers.count()
    }

    /// It is `now`: what has expired at the head leaves. To be told before any other verb, never going back.
    pub fn advance(&mut self, now: Millis, effects: &mut Effects) {
        self.now = self.now.max(now);
        if self.expirable {
            self.drop_expired(effects);
        }
    }

    /// When the next message expires, if one can.
    pub fn deadline(&mut self) -> Option<Millis> {
        if !self.expirable {
            return None;
        }
        let ttl = self.settings.message_ttl;
        self.levels.iter_mut().filter_map(|level| level.head()?.expires(ttl)).min()
    }

    /// Appends the messages of a run, in order, and hands out what consumers can take. A full queue that rejects takes the whole
    /// run or nothing of it; says whether it was taken.
    pub fn publish(&mut self, run: Run, effects: &mut Effects) -> bool {
        if self.rejects() {
            if self.settings.overflow == Overflow::RejectPublishDlx && self.settings.dead_letters {
                let delivery = Span::of_run(run, self.next, self.now).into_delivery();
                effects.dead.push(Dead { delivery, reason: Reason::Maxlen });
            }
            return false;
        }
        let first = self.next;
        self.next += u64::from(run.count());
        self.ready += u64::from(run.count());
        self.ready_size += run.len() as u64;
        self.expirable |= run.has_ttl();
        let span = Span::of_run(run, first, self.now);
        if self.levels.len() == 1 {
            self.levels[0].push(span, !self.expirable);
        } else {
            self.publish_by_priority(span);
        }
        // Even a time to live of 0 leaves the chance to be delivered at once.
        self.fresh = first;
        self.hand_out(effects);
        self.fresh = Position::MAX;
        if self.expirable {
            self.drop_expired(effects);
        }
        self.drop_overflow(effects);
        true
    }

    /// Adds a consumer, which gets messages at once.
    pub fn consume(
        &mut self,
        consumer: Consumer,
        effects: &mut Effects,
    ) -> Result<ConsumerSlot, ConsumeError> {
        if self.consumers.any_exclusive() || (consumer.exclusive && self.consumers.count() > 0) {
            return Err(ConsumeError::ExclusiveUse);
        }
        let slot = self.consumers.add(consumer);
        self.hand_out(effects);
        Ok(slot)
    }

    /// Removes a consumer; what it has not settled stays unacked. Says whether it was there.
    pub fn cancel(&mut self, slot: ConsumerSlot) -> bool {
        self.consumers.remove(slot)
    }

    /// Gives a consumer more credit: messages (after settlements) and octets (after its socket has taken them).
    pub fn credit(&mut self, slot: ConsumerSlot, messages: u32, octets: u64, effects: &mut Effects) {
        let Some(active) = self.consumers.get_mut(slot) else { return };
        if let Some(credit) = &mut active.credit
            && !active.pull
        {
            *credit = credit.saturating_add(messages);
        }
        active.window = active.window.saturating_add(octets as i64);
        self.consumers.enqueue(slot);
        self.hand_out(effects);
    }

    /// Changes how a consumer says what it can take (`basic.qos` with `global` after `basic.consume`).
    pub fn recredit(&mut self, slot: ConsumerSlot, credit: Credit, effects: &mut Effects) {
        self.consumers.recredit(slot, credit);
        self.hand_out(effects);
    }

    /// Hands at most `limit` messages to a consumer that pulls and returns how many. After fewer than `limit` it is told
    /// when there is more; after `limit` it has to come back by itself.
    pub fn pull(&mut self, slot: ConsumerSlot, limit: u32, effects: &mut Effects) -> u32 {
        let mut given = 0;
        match self.consumers.get_mut(slot) {
            Some(active) if active.pull => active.told = false,
            _ => return 0,
        }
        while given < limit && self.ready > 0 {
            if self.consumers.get_mut(slot).is_none_or(|c| c.window <= 0) {
                break;
            }
            let Some(span) = self.pop(limit - given, effects) else { break };
            given += span.count;
            self.hand_over(slot, span, effects);
        }
        if given > 0 {
            self.consumers.pulled(slot);
        }
        if self.ready > 0
            && given == limit
            && let Some(active) = self.consumers.get_mut(slot)
        {
            active.told = true;
        }
        given
    }

    /// Takes one message for `basic.get`; it stays unacked when `ack` is set.
    pub fn get(&mut self, ack: bool, effects: &mut Effects) -> Option<Got> {
        let span = self.pop(1, effects)?;
        if ack {
            self.unacked.insert(span.clone());
        }
        Some(Got { delivery: span.into_delivery(), remaining: self.ready })
    }

    /// The messages from `first` to `last` are done with. Positions that are not unacked are passed over.
    pub fn settle(&mut self, first: Position, last: Position) {
        self.unacked.take(first, last, drop);
    }

    /// The messages from `first` to `last` were rejected for good: they are dead-lettered, or dropped.
    pub fn discard(&mut self, first: Position, last: Position, effects: &mut Effects) {
        if !self.settings.dead_letters {
            return self.settle(first, last);
        }
        self.unacked.take(first, last, |span| {
            effects.dead.push(Dead { delivery: span.into_delivery(), reason: Reason::Rejected });
        });
    }

    /// The unacked messages from `first` to `last` become ready again at their original place, marked as redelivered
    /// if `redelivered`. Nothing is handed out until [`Queue::hand_out`], so that several ranges come back together.
    pub fn requeue(&mut self, first: Position, last: Position, redelivered: bool) {
        let (levels, ready, ready_size) = (&mut self.levels, &mut self.ready, &mut self.ready_size);
        self.unacked.take(first, last, |mut span| {
            span.redelivered |= redelivered;
            *ready += u64::from(span.count);
            *ready_size += u64::from(span.size);
            put_back(levels, span);
        });
    }

    /// Messages that were handed over for good (automatic acknowledgement) but never left: back to their place.
    pub fn give_back(&mut self, delivery: Delivery) {
        Span::from_delivery(delivery, self.now, |span| {
            self.ready += u64::from(span.count);
            self.ready_size += u64::from(span.size);
            put_back(&mut self.levels, span);
        });
    }

    /// Removes all ready messages and says how many there were.
    pub fn purge(&mut self) -> u64 {
        for level in &mut self.levels {
            level.clear();
        }
        self.ready_size = 0;
        std::mem::take(&mut self.ready)
    }

    /// Removes everything, ready or not, and all consumers; what is settled or requeued later is passed over.
    pub fn delete(&mut self) {
        self.purge();
        self.unacked.clear();
        self.consumers = Consumers::default();
    }

    /// Hands ready messages to consumers that may receive: all to the only one, one by one in turn to several.
    pub fn hand_out(&mut self, effects: &mut Effects) {
        self.consumers.sweep();
        while self.ready > 0 && self.consumers.any_in_turn() {
            if self.consumers.one_in_turn() { self.serve_only(effects) } else { self.serve_round(effects) }
        }
        if self.ready > 0 {
            self.consumers.tell(&mut effects.hungry);
        }
    }

    /// Panics when an invariant does not hold; for tests.
    pub fn check(&self) {
        let empty = self.levels.iter().all(Level::is_empty);
        assert_eq!(empty, self.ready == 0, "ready count and levels disagree");
        assert!(
            self.ready == 0 || !self.consumers.any_in_turn(),
            "a consumer with credit waits beside ready messages"
        );
        assert!(empty == (self.ready_size == 0), "ready size and levels disagree");
    }

    fn publish_by_priority(&mut self, mut rest: Span) {
        let highest = (self.levels.len() - 1) as u8;
        let gather = !self.expirable;
        loop {
            let priority = rest.run.priority_at(rest.offset).min(highest);
            let mut same = 1;
            let mut offset = rest.offset + rest.run.size_at(rest.offset);
            while same < rest.count && rest.run.priority_at(offset).min(highest) == priority {
                offset += rest.run.size_at(offset);
                same += 1;
            }
            let level = &mut self.levels[priority as usize];
            if same == rest.count {
                level.push(rest, gather);
                return;
            }
            level.push(rest.take_front(same), gather);
        }
    }

    fn pop(&mut self, mut limit: u32, effects: &mut Effects) -> Option<Span> {
        if self.expirable {
            // The one behind the first may have expired already.
            self.drop_expired(effects);
            limit = limit.min(1);
        }
        if self.ready == 0 {
            return None;
        }
        let span = self.levels.iter_mut().rev().find_map(|level| level.pop(limit))?;
        self.ready -= u64::from(span.count);
        self.ready_size -= u64::from(span.size);
        Some(span)
    }

    fn hand_over(&mut self, slot: ConsumerSlot, span: Span, effects: &mut Effects) {
        let active =
            self.consumers.get_mut(slot).expect("invariant: only consumers of this queue are served");
        active.charge(span.count, span.size);
        if active.ack {
            self.unacked.insert(span.clone());
        }
        effects.deliveries.push((slot, span.into_delivery()));
    }

    fn serve_only(&mut self, effects: &mut Effects) {
        let Some(slot) = self.consumers.next() else { return };
        let allowance = self.consumers.get_mut(slot).map_or(0, |c| c.allowance());
        if let Some(span) = self.pop(allowance, effects) {
            self.hand_over(slot, span, effects);
            self.consumers.advance();
        }
    }

    /// One span, message by message, to the consumers in turn.
    fn serve_round(&mut self, effects: &mut Effects) {
        let Some(mut span) = self.pop(u32::MAX, effects) else { return };
        if span.count == 1 {
            let Some(slot) = self.consumers.next() else { return };
            self.hand_over(slot, span, effects);
            self.consumers.advance();
            return;
        }
        let (first, redelivered) = (span.first, span.redelivered);
        let mut offset = span.offset;
        let mut index = 0;
        while index < span.count
            && let Some(slot) = self.consumers.next()
        {
            let size = span.run.size_at(offset);
            let active =
                self.consumers.get_mut(slot).expect("invariant: only consumers of this queue are served");
            active.charge(1, size);
            if active.ack {
                let (run, first) = (span.run.clone(), first + u64::from(index));
                let arrived = span.arrived;
                self.unacked.insert(Span { run, first, offset, count: 1, size, redelivered, arrived });
            }
            self.picks_of(slot).push(Pick { offset, index });
            self.consumers.advance();
            offset += size;
            index += 1;
        }
        for (slot, picks) in &mut self.round {
            if !picks.is_empty() {
                let list = Picks::List(picks.as_slice().into());
                picks.clear();
                effects
                    .deliveries
                    .push((*slot, Delivery { run: span.run.clone(), first, picks: list, redelivered }));
            }
        }
        if index < span.count {
            // Everybody is full: the rest keeps its place at the head.
            span.take_front(index);
            self.ready += u64::from(span.count);
            self.ready_size += u64::from(span.size);
            put_back(&mut self.levels, span);
        }
    }

    /// Takes expired messages off the heads, as RabbitMQ does: one that stands behind a living one waits.
    fn drop_expired(&mut self, effects: &mut Effects) {
        let (ttl, now, fresh) = (self.settings.message_ttl, self.now, self.fresh);
        for at in 0..self.levels.len() {
            while let Some(head) = self.levels[at].head()
                && head.first < fresh
                && head.expires(ttl).is_some_and(|expires| expires <= now)
            {
                self.drop_head(at, Reason::Expired, effects);
            }
        }
    }

    /// A full queue loses its oldest messages of the lowest priority.
    fn drop_overflow(&mut self, effects: &mut Effects) {
        let Some(max) = self.settings.max_length else { return };
        if self.settings.overflow != Overflow::DropHead {
            return;
        }
        while self.ready > max {
            let Some(lowest) = self.levels.iter().position(|level| !level.is_empty()) else { return };
            self.drop_head(lowest, Reason::Maxlen, effects);
        }
    }

    fn rejects(&self) -> bool {
        self.settings.overflow != Overflow::DropHead
            && self.settings.max_length.is_some_and(|max| self.ready >= max)
    }

    fn drop_head(&mut self, level: usize, reason: Reason, effects: &mut Effects) {
        let Some(span) = self.levels[level].pop(1) else { return };
        self.ready -= u64::from(span.count);
        self.ready_size -= u64::from(span.size);
        if self.settings.dead_letters {
            effects.dead.push(Dead { delivery: span.into_delivery(), reason });
        }
    }

    fn picks_of(&mut self, slot: ConsumerSlot) -> &mut Vec<Pick> {
        let at = slot.0 as usize;
        while self.round.len() <= at {
            self.round.push((ConsumerSlot(self.round.len() as u32), Vec::new()));
        }
        &mut self.round[at].1
    }
}

fn put_back(levels: &mut [Level], span: Span) {
    let highest = (levels.len() - 1) as u8;
    // The messages of a span share their priority: spans are cut by it when they are published.
    let priority = span.run.priority_at(span.offset).min(highest);
    levels[priority as usize].put_back(span);
}
