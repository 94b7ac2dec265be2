//! The queue itself: the verbs and the hand-out of messages.
//!
//! Invariant: after every verb either nothing is ready or no consumer may receive ([`Queue::check`] says so in tests).

use crate::block::Piece;
use crate::blocks::ranges_of;
use crate::consumers::{Consumer, ConsumerSlot, Consumers, Credit, Turns};
use crate::delivery::{Dead, Delivery, Effects, Pick, Picks, Reason};
use crate::expiries::Expiries;
use crate::hand_out::Next;
use crate::ledger::{Ledger, Weight};
use crate::levels::Levels;
use crate::paging::Writing;
use crate::rare::Rare;
use crate::redelivered::Redelivered;
use crate::restore::Restoring;
use crate::returns::Returns;
use crate::run::Run;
use crate::settings::{Kind, Overflow, Settings};
use crate::weighing::Unweighed;
use crate::{Millis, Position};

/// Why a consumer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeError {
    /// There is an exclusive consumer, or this one asks to be exclusive beside others or where only one is active anyway.
    ExclusiveUse,
}

/// The answer to [`Queue::get`].
#[derive(Debug)]
pub enum Get {
    /// The first message.
    Message(Got),
    /// Nothing is ready.
    Empty,
    /// The first message is on disk. It was asked for: to be tried again when something was loaded.
    Stalled,
}

/// What was fetched.
#[derive(Debug)]
pub struct Got {
    /// The one message.
    pub delivery: Delivery,
    /// How many are ready after it.
    pub remaining: u64,
}

/// One queue: its messages and its consumers.
#[derive(Debug)]
pub struct Queue {
    /// Ascending by priority.
    pub(crate) levels: Levels,
    pub(crate) ledger: Ledger,
    pub(crate) redelivered: Redelivered,
    /// What came back and is not at its place.
    pub(crate) returns: Rare<Returns>,
    pub(crate) consumers: Rare<Consumers>,
    pub(crate) next: Position,
    /// The lowest position that could be here.
    pub(crate) floor: Position,
    pub(crate) settings: Settings,
    /// The time, as far as the queue was told.
    pub(crate) now: Millis,
    /// Some message here may expire: then messages are looked at one by one.
    pub(crate) expirable: bool,
    /// Messages from here on are being published right now and have not had their chance with consumers yet.
    pub(crate) fresh: Position,
    /// Picks of the current round, by consumer; kept to be reused.
    pub(crate) round: Vec<(ConsumerSlot, Vec<Pick>)>,
    /// Whether what is on disk since a restart may expire is not known: the heads have to be looked at.
    pub(crate) unsure: bool,
    /// Where expired messages are looked for, if they leave wherever they stand.
    pub(crate) expiries: Rare<Expiries>,
    /// A basic.get had to wait for the disk, and there was something for it ever since.
    pub(crate) fetched: bool,
    /// Pages on their way to the disk.
    pub(crate) writing: Writing,
    /// What is to be read because octets are limited now.
    pub(crate) unweighed: Unweighed,
    /// Until everything of before a restart is here.
    pub(crate) restoring: Option<Box<Restoring>>,
}

impl Queue {
    /// An empty queue.
    pub fn new(settings: Settings) -> Queue {
        Queue {
            levels: Levels::new(settings.level(None)),
            ledger: Ledger::new(&settings),
            redelivered: Redelivered::default(),
            returns: Rare::default(),
            consumers: Rare::default(),
            next: 0,
            floor: 0,
            settings,
            now: 0,
            expirable: settings.message_ttl.is_some(),
            fresh: Position::MAX,
            round: Vec::new(),
            unsure: false,
            expiries: Rare::default(),
            fetched: false,
            writing: Writing::default(),
            unweighed: Unweighed::default(),
            restoring: None,
        }
    }

    /// Takes other settings: what has expired by them or is too much leaves. What a queue is for good stays as it was: its type,
    /// its priorities, the single active consumer, whether it is recorded.
    pub fn configure(&mut self, settings: Settings, effects: &mut Effects) {
        let before = self.settings;
        let Settings { kind, max_priority, single_active, recorded, .. } = before;
        self.settings = Settings { kind, max_priority, single_active, recorded, ..settings };
        self.expirable |= settings.message_ttl.is_some();
        let weight = Weight::of(&self.settings);
        if weight != self.ledger.weight {
            let Queue { levels, ledger, .. } = self;
            levels.iter_mut().for_each(|level| level.seal(ledger));
            ledger.weight = weight;
            levels.iter_mut().for_each(|level| level.reweigh(ledger));
            self.weigh_all();
        }
        if settings.message_ttl != before.message_ttl {
            self.levels.iter_mut().for_each(|level| level.blocks.forget_soonest());
            self.returns.held().into_iter().for_each(Returns::forget_soonest);
            self.unsure |= self.expirable && self.ledger.stored > 0;
            self.watch_all();
        }
        if self.expirable {
            self.drop_expired(effects);
            self.drop_expired_anywhere(effects);
        }
        self.hand_out(effects);
        self.drop_overflow(effects);
    }

    /// Messages ready for delivery.
    pub fn ready(&self) -> u64 {
        self.ledger.ready
    }

    /// Octets of their records, or of their bodies where these are limited: exact where they are in memory, by the average of their
    /// block where they are not.
    pub fn ready_size(&self) -> u64 {
        self.ledger.ready_size
    }

    /// Everything from here on was never handed out.
    pub fn delivered_below(&self) -> Position {
        let unacked = self.levels.iter().filter_map(|level| level.unacked.last()).max();
        unacked.map_or(0, |last| last + 1).max(self.redelivered.end())
    }

    /// Messages delivered and not settled.
    pub fn unacked(&self) -> u64 {
        self.levels.iter().map(|level| level.unacked.count()).sum()
    }

    /// Number of consumers.
    pub fn consumers(&self) -> u32 {
        self.consumers.count()
    }

    /// It is `now`: what has expired at the head leaves. To be told before any other verb, never going back.
    pub fn advance(&mut self, now: Millis, effects: &mut Effects) {
        self.now = self.now.max(now);
        let waited = if self.returns.is_none() { 0 } else { self.waiting() };
        if !self.returns.is_none() {
            self.end_waiting();
            self.retry_dead(effects);
        }
        if self.expirable {
            self.drop_expired(effects);
            self.drop_expired_anywhere(effects);
        }
        if self.waiting() < waited {
            // A message that alone is too much could not be dropped while it waited.
            self.drop_returned(effects);
        }
    }

    /// Appends the messages of a run, in order, and hands out what consumers can take. Returns the position of the first; the
    /// others follow. A full queue that rejects takes the whole run or nothing of it: then it returns `None`.
    pub fn publish(&mut self, run: Run, effects: &mut Effects) -> Option<Position> {
        if self.rejects(&run) {
            if self.settings.overflow == Overflow::RejectPublishDlx && self.settings.dead_letters {
                let count = run.count();
                let picks = Picks::Range { offset: 0, count };
                let delivery = Delivery { run, first: self.next, picks, redelivered: false, attempts: 0 };
                effects.dead.push(Dead { delivery, reason: Reason::Maxlen, kept: false });
                // Whoever buries them says that these positions are done with: nothing else may get them.
                self.next += u64::from(count);
            }
            return None;
        }
        Some(self.accept(run, effects))
    }

    /// The same for messages that may not be refused any more: they were sent before the queue began to refuse.
    pub fn accept(&mut self, run: Run, effects: &mut Effects) -> Position {
        let first = self.next;
        self.next += u64::from(run.count());
        self.expirable |= run.has_ttl();
        let piece = Piece::of_run(run, first, self.now);
        if self.settings.is_plain() {
            let gather = self.gathers();
            self.levels[0].push(piece, gather, &mut self.ledger);
        } else {
            self.publish_by_priority(piece);
        }
        // Even a time to live of 0 leaves the chance to be delivered at once.
        self.fresh = first;
        self.hand_out(effects);
        self.fresh = Position::MAX;
        if self.expirable {
            (0..self.levels.len()).for_each(|level| self.watch(level, first, self.next - 1));
            self.drop_expired(effects);
            self.drop_expired_anywhere(effects);
        }
        self.drop_overflow(effects);
        first
    }

    /// Adds a consumer, which gets messages at once.
    pub fn consume(
        &mut self,
        consumer: Consumer,
        effects: &mut Effects,
    ) -> Result<ConsumerSlot, ConsumeError> {
        let Settings { kind, single_active, .. } = self.settings;
        let shared = single_active || self.consumers.count() > 0;
        if self.consumers.any_exclusive() || (consumer.exclusive && shared) {
            return Err(ConsumeError::ExclusiveUse);
        }
        let turns = match (single_active, kind) {
            (false, _) => Turns::All,
            (true, Kind::Classic) => Turns::Single,
            (true, Kind::Quorum) => Turns::SingleTakenOver,
        };
        let slot = self.consumers.add(consumer, turns);
        self.hand_out(effects);
        Ok(slot)
    }

    /// Removes a consumer; what it has not settled stays unacked. Says whether it was there. Where another one is to get messages
    /// in its place, that begins with the next [`Queue::hand_out`], so that what comes back stands in its place before.
    pub fn cancel(&mut self, slot: ConsumerSlot) -> bool {
        let was_here = self.consumers.count() > 0 && self.consumers.remove(slot);
        if self.consumers.count() == 0 {
            self.consumers = Rare::default();
        }
        was_here
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
        if self.consumers.is_waiting(slot) {
            return 0;
        }
        while given < limit && self.consumers.get_mut(slot).is_some_and(|c| c.window > 0) {
            let Next::Here(level, mut slice) = self.next(effects) else { break };
            slice.count = slice.count.min(limit - given);
            given += slice.count;
            self.hand_over(slot, level, &slice, effects);
        }
        if given > 0 {
            self.consumers.pulled(slot);
        }
        if self.ledger.ready > 0
            && given == limit
            && let Some(active) = self.consumers.get_mut(slot)
        {
            active.told = true;
        }
        given
    }

    /// Takes one message for `basic.get`; it stays unacked when `ack` is set, and is done with otherwise.
    pub fn get(&mut self, ack: bool, effects: &mut Effects) -> Get {
        let (level, mut slice) = match self.next(effects) {
            Next::Empty => {
                self.fetched = false;
                return Get::Empty;
            }
            Next::Stalled => {
                self.fetched = true;
                return Get::Stalled;
            }
            Next::Here(level, slice) => (level, slice),
        };
        slice.count = 1;
        let delivery = self.levels[level].delivery(&slice, &self.redelivered);
        let end = self.levels[level].end_of(&slice);
        self.levels[level].take(&slice, end, &mut self.ledger);
        self.note_taken(&slice);
        if !ack {
            self.settle(slice.first, slice.first, effects);
        }
        if self.expirable {
            // Those behind it are not counted when their time is over.
            self.drop_expired(effects);
        }
        Get::Message(Got { delivery, remaining: self.ledger.ready })
    }

    /// The messages from `first` to `last` are done with. Positions that are not unacked are passed over.
    #[inline]
    pub fn settle(&mut self, first: Position, last: Position, effects: &mut Effects) {
        let Queue { levels, ledger, redelivered, .. } = self;
        for level in levels {
            level.settle(first, last, ledger, effects, |first, last| redelivered.forget(first, last));
        }
    }

    /// The same for messages that do not stand in a row: those of the 64 positions from `base` on, a multiple of 64, that are
    /// meant by the bits of `mask`, the lowest bit for the lowest position.
    pub fn settle_some(&mut self, base: Position, mask: u64, effects: &mut Effects) {
        let Queue { levels, ledger, redelivered, .. } = self;
        for level in levels {
            let settled = level.settle_some(base, mask, ledger, effects);
            if !redelivered.since().is_empty() {
                ranges_of(base, settled, |first, last| redelivered.forget(first, last));
            }
        }
    }

    /// The messages from `first` to `last` were rejected for good: they are dead-lettered, or dropped.
    pub fn discard(&mut self, first: Position, last: Position, effects: &mut Effects) {
        if !self.settings.dead_letters {
            return self.settle(first, last, effects);
        }
        let before = effects.dead.len();
        for at in 0..self.levels.len() {
            if self.settings.keep_dead {
                self.mark_seen(at, first, last);
            }
            self.levels[at].discard(first, last);
            self.bury(at, first, last, effects);
        }
        effects.dead[before..].sort_by_key(|dead| dead.delivery.first);
    }

    /// Removes all ready messages and says how many there were.
    pub fn purge(&mut self, effects: &mut Effects) -> u64 {
        let purged = self.ledger.ready + if self.returns.is_idle() { 0 } else { self.purge_returns(effects) };
        let Queue { levels, ledger, redelivered, .. } = self;
        for level in levels {
            level.seal(ledger);
            let ready: Vec<(Position, Position)> = level.ready.ranges().collect();
            for (first, last) in ready {
                level.lose(first, last, true, ledger, effects);
                redelivered.forget(first, last);
            }
        }
        purged
    }

    /// Removes everything, ready or not, and all consumers; what is settled or requeued later is passed over. Nothing is
    /// reported: the whole queue goes, on disk too.
    pub fn delete(&mut self) {
        self.levels = Levels::new(self.settings.level(None));
        self.ledger = Ledger::new(&self.settings);
        self.redelivered = Redelivered::default();
        self.returns = Rare::default();
        self.consumers = Rare::default();
        self.writing = Writing::default();
        self.expiries = Rare::default();
        self.unweighed = Rare::default();
    }

    fn publish_by_priority(&mut self, mut rest: Piece) {
        let gather = self.gathers();
        loop {
            let priority = self.settings.level(rest.run.priority_at(rest.offset));
            let (same, size) = same_priority(&rest, priority, &self.settings);
            let at = self.levels.at(priority);
            let level = &mut self.levels[at];
            if same == rest.count {
                level.push(rest, gather, &mut self.ledger);
                return;
            }
            level.push(rest.take_front(same, size), gather, &mut self.ledger);
        }
    }

    /// Whether small runs may be copied together: not where each message counts by itself.
    fn gathers(&self) -> bool {
        !self.expirable && self.ledger.weight == Weight::Records
    }

    /// Whether it is the octets of bodies that count, and not those of records.
    pub fn counts_bodies(&self) -> bool {
        self.ledger.weight == Weight::Bodies
    }

    /// Whether a run would be refused.
    pub fn rejects(&self, run: &Run) -> bool {
        self.settings.may_reject() && self.is_above_limit(u64::from(run.count()), run.bodies(0, run.count()))
    }
}

/// How many messages at the front of a piece have this priority, as the first of them has, and their octets.
fn same_priority(piece: &Piece, priority: u8, settings: &Settings) -> (u32, u32) {
    if !piece.run.has_priority() {
        return (piece.count, piece.size);
    }
    let mut same = 1;
    let mut offset = piece.offset + piece.run.size_at(piece.offset);
    while same < piece.count && settings.level(piece.run.priority_at(offset)) == priority {
        offset += piece.run.size_at(offset);
        same += 1;
    }
    (same, offset - piece.offset)
}
