//! The queue and its model side by side: each command goes to both, and what they cause is compared.
//!
//! Invariant: after every command `Queue::check` holds, counts and octets are those of the model, and a restart would find what
//! it has to find.

use std::collections::{BTreeMap, BTreeSet};

use warrenmq_queue::{
    Back, Consumer, ConsumerSlot, Credit, Delivery, Effects, Get, Page, Pick, Picks, Position, Queue, Record,
    Run, RunBuilder, Settings,
};

use crate::disk::{Disk, holds};
use crate::model::{Caused, Message, Model, Published, START};
use crate::returns::each_attempt;

/// Route and header of every record; what they say means nothing to a queue.
const ROUTE: &[u8] = b"\x00\x01q";
const HEADER: &[u8] = b"header";
/// Octets of a record with an empty body but for its number, as `run.rs` lays them out.
const RECORD_OCTETS: u64 = 12 + 3 + 6 + 8;

/// One message to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) priority: u8,
    /// Octets of its body beside its number.
    pub(crate) padding: usize,
    /// Its own time to live in milliseconds.
    pub(crate) ttl: Option<u64>,
}

/// What is done to a queue.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// One run after the other.
    Publish(Vec<Vec<Draft>>),
    Consume(Consumer),
    Cancel(u32),
    Credit(u32, u32, u64),
    Recredit(u32, Credit),
    Pull(u32, u32),
    Get(bool),
    Settle(Position, Position),
    Discard(Position, Position),
    /// Several ranges come back together.
    Requeue(Vec<(Position, Position)>, Back),
    Purge,
    Delete,
    /// A policy has changed.
    Configure(Settings),
    /// So many milliseconds pass.
    Sleep(u64),
    /// Keep so many octets; pages of so many.
    PageOut(u64, usize),
    /// Up to this position; pages of so many octets.
    Checkpoint(Position, usize),
    /// A page of those on their way is written, or is not.
    Answer(usize, bool),
    /// One of the loads that were asked for is read.
    Load(usize),
    /// A stored block with holes is written again.
    Rewrite,
    /// A restart; every how many-th of what was told to be gone is forgotten (0 is none), and who was delivered.
    Restart(u64, Option<Position>),
}

#[derive(Debug)]
pub(crate) struct Subject {
    queue: Queue,
    pub(crate) model: Model,
    pub(crate) disk: Disk,
    settings: Settings,
    next_number: u64,
    now: u64,
}

impl Subject {
    pub(crate) fn new(settings: Settings) -> Subject {
        let (mut queue, model) = (Queue::new(settings), Model::new(settings));
        queue.restored(START, None);
        Subject { queue, model, disk: Disk::default(), settings, next_number: 1, now: 0 }
    }

    pub(crate) fn apply(&mut self, command: &Command) {
        let mut effects = Effects::new();
        let mut caused = Caused::default();
        self.look();
        self.carry_out(command, &mut effects, &mut caused);
        self.look();
        self.queue.hand_out(&mut effects);
        self.model.hand_out(&mut caused);
        self.bury(&mut effects);
        self.disk.note(&effects);
        self.compare(&effects, &caused);
        self.queue.check();
        self.model.check();
        self.compare_disk();
    }

    /// Dead letters that are kept are taken at once.
    fn bury(&mut self, effects: &mut Effects) {
        let kept = effects.dead.iter().filter(|dead| dead.kept).map(|dead| &dead.delivery);
        let kept: Vec<_> = kept.map(|dead| (dead.first, dead.first + u64::from(dead.count()) - 1)).collect();
        for (first, last) in kept {
            self.queue.check();
            self.queue.buried(first, last, effects);
        }
    }

    /// Takes everything that is left out of both; nothing may be missing and nothing may be too much.
    pub(crate) fn empty(mut self) {
        for slot in 0..self.model.readers.len() as u32 {
            self.apply(&Command::Cancel(slot));
        }
        self.apply(&Command::Requeue(vec![(0, Position::MAX)], Back::Unsent));
        loop {
            while !self.disk.loads.is_empty() {
                self.apply(&Command::Load(0));
            }
            if !self.model.waiting.is_empty() {
                self.apply(&Command::Sleep(100));
                continue;
            }
            if self.model.ready.is_empty() {
                break;
            }
            self.apply(&Command::Get(false));
        }
        assert!(matches!(self.queue.get(true, &mut Effects::new()), Get::Empty));
        while !self.disk.writing.is_empty() {
            self.apply(&Command::Answer(0, true));
        }
        assert!(self.disk.is_empty(), "something is not freed");
        assert_eq!((self.queue.resident(), self.model.live().count()), (0, 0));
    }

    /// Tells the model which bodies are on the disk.
    fn look(&mut self) {
        let live = self.model.live().map(|message| message.position);
        self.model.stored = live.filter(|position| self.queue.is_stored(*position)).collect();
    }

    fn carry_out(&mut self, command: &Command, effects: &mut Effects, caused: &mut Caused) {
        let Subject { queue, model, .. } = self;
        match command {
            Command::Publish(runs) => runs.iter().for_each(|drafts| self.publish(drafts, effects, caused)),
            Command::Consume(_)
            | Command::Cancel(_)
            | Command::Credit(..)
            | Command::Recredit(..)
            | Command::Pull(..) => self.of_consumers(command, effects, caused),
            Command::Get(ack) => self.get(*ack, effects, caused),
            Command::Settle(first, last) => {
                settle(queue, *first, *last, effects);
                model.settle(*first, *last);
            }
            Command::Discard(first, last) => {
                queue.discard(*first, *last, effects);
                model.discard(*first, *last, caused);
            }
            Command::Sleep(millis) => {
                self.now += millis;
                queue.advance(self.now, effects);
                model.advance(self.now, caused);
            }
            Command::Requeue(ranges, back) => {
                for (first, last) in ranges {
                    queue.requeue(*first, *last, *back, effects);
                    model.requeue(*first, *last, *back, caused);
                }
                queue.drop_returned(effects);
                model.drop_returned(caused);
            }
            Command::Configure(settings) => {
                self.settings = *settings;
                queue.configure(*settings, effects);
                model.configure(*settings, caused);
            }
            Command::Purge => assert_eq!(queue.purge(effects), model.purge()),
            Command::Delete => {
                queue.delete();
                model.delete();
                self.disk.delete(self.model.published);
            }
            Command::PageOut(keep, octets) => {
                let pages = self.queue.page_out(*keep, *octets);
                self.send(pages);
            }
            Command::Checkpoint(up_to, octets) => {
                let pages = self.queue.checkpoint(*up_to, *octets);
                self.send(pages);
            }
            Command::Rewrite => {
                let holes = self.queue.holes(1);
                let pages = holes.into_iter().map(|(id, place)| {
                    let (page, octets) = self.disk.read(place);
                    self.queue.rewrite(id, &page.ranges, octets).expect("it has holes")
                });
                let pages = pages.collect();
                self.send(pages);
            }
            Command::Answer(..) | Command::Load(_) | Command::Restart(..) => {
                self.disk_answers(command, effects, caused)
            }
        }
    }

    fn of_consumers(&mut self, command: &Command, effects: &mut Effects, caused: &mut Caused) {
        let Subject { queue, model, .. } = self;
        match command {
            Command::Consume(consumer) => {
                let slot = queue.consume(*consumer, effects).ok().map(|slot| slot.0 as usize);
                assert_eq!(slot, model.consume(*consumer));
            }
            Command::Cancel(slot) => {
                assert_eq!(queue.cancel(ConsumerSlot(*slot)), model.cancel(*slot as usize));
            }
            Command::Credit(slot, messages, octets) => {
                queue.credit(ConsumerSlot(*slot), *messages, *octets, effects);
                model.credit(*slot as usize, *messages, *octets);
            }
            Command::Recredit(slot, credit) => {
                queue.recredit(ConsumerSlot(*slot), *credit, effects);
                model.recredit(*slot as usize, *credit);
            }
            Command::Pull(slot, limit) => {
                let given = queue.pull(ConsumerSlot(*slot), *limit, effects);
                assert_eq!(given, model.pull(*slot as usize, *limit, caused));
            }
            _ => {}
        }
    }

    fn disk_answers(&mut self, command: &Command, effects: &mut Effects, caused: &mut Caused) {
        match command {
            Command::Answer(which, written) => {
                let page = self.disk.writing.remove(*which);
                let id = page.id;
                if *written {
                    let place = self.disk.write(page);
                    self.queue.paged(id, place, effects);
                } else {
                    self.queue.unpaged(id);
                }
            }
            Command::Load(which) => {
                let (id, place) = self.disk.loads.remove(*which);
                let (page, octets) = self.disk.read(place);
                let is_awaited = self.queue.awaits(id, place);
                if is_awaited {
                    let cut = octets.slice(..octets.len() - 1);
                    assert!(!self.queue.loaded(id, place, &page.ranges, cut, effects), "damage is seen");
                }
                assert!(self.queue.loaded(id, place, &page.ranges, octets, effects));
                let stored = &mut self.model.stored;
                stored.retain(|at| !holds(page, *at) || self.queue.is_stored(*at));
                if is_awaited {
                    self.model.loaded(caused);
                }
            }
            Command::Restart(lost, below) => {
                if *lost > 0 {
                    self.disk.gone.retain(|at| at % lost > 0 || self.model.is_nowhere(*at));
                }
                let next = self.model.published;
                self.queue = self.disk.restore(self.settings, next, *below, self.now);
                self.queue.advance(self.now, effects);
                self.model.restart(&self.disk.gone, below.unwrap_or(next));
                self.look();
                self.model.advance(self.now, caused);
            }
            _ => {}
        }
    }

    /// Pages leave for the disk: they hold what lives, each message once.
    fn send(&mut self, pages: Vec<Page>) {
        for page in pages {
            let run = Run::from_bytes(page.pieces.concat().into()).expect("a page holds records");
            assert_eq!((u64::from(run.count()), run.len() as u64), (u64::from(page.count()), page.octets));
            assert!(page.ranges.is_sorted_by(|a, b| a.last() < b.first));
            let ranges = page.ranges.iter();
            let positions = ranges.flat_map(|range| (range.first..=range.last()).map(move |at| (at, range)));
            for ((position, range), (_, record)) in positions.zip(run.records()) {
                let message = self.model.live().find(|message| message.position == position);
                let message = message.expect("only what lives is written");
                assert_eq!((number_of(record.body), page.level), (message.number, message.priority));
                assert_eq!(range.transient, !message.is_persistent());
            }
            self.disk.writing.push(page);
        }
    }

    fn publish(&mut self, drafts: &[Draft], effects: &mut Effects, caused: &mut Caused) {
        let mut builder = RunBuilder::new();
        let mut expected = Vec::new();
        for Draft { priority, padding, ttl } in drafts.iter().copied() {
            let mut body = self.next_number.to_be_bytes().to_vec();
            body.resize(8 + padding, 0);
            let persistent = self.next_number.is_multiple_of(2);
            let (route, header, body) = (ROUTE, HEADER, body.as_slice());
            let own = Some(priority).filter(|_| !self.next_number.is_multiple_of(3) || priority > 0);
            let (dead, due) = (false, None);
            builder.push(&Record {
                route,
                hidden: b"",
                header,
                body,
                persistent,
                priority: own,
                ttl,
                dead,
                due,
            });
            let size = RECORD_OCTETS + padding as u64 + if ttl.is_some() { 8 } else { 0 };
            let (number, body) = (self.next_number, body.len() as u64);
            expected.push(Published { number, priority: own, ttl, size, body });
            self.next_number += 1;
        }
        let Some(run) = builder.finish() else { return };
        let first = self.model.published;
        let taken = self.model.publish(&expected, caused);
        if taken {
            self.disk.publish(first, run.clone(), self.now);
        }
        assert_eq!(self.queue.publish(run, effects), taken.then_some(first));
        // What has died would count for the next one.
        self.bury(effects);
    }

    fn get(&mut self, ack: bool, effects: &mut Effects, caused: &mut Caused) {
        let expected = self.model.get(ack, caused);
        let got = match self.queue.get(ack, effects) {
            Get::Message(got) => Some(got),
            Get::Empty => {
                assert!(self.model.ready.is_empty());
                None
            }
            Get::Stalled => {
                assert!(self.model.stalls());
                None
            }
        };
        let found = got.as_ref().map(|got| messages(&got.delivery));
        assert_eq!(found, expected.map(|message| vec![told(&message)]));
        if let Some(got) = got {
            assert_eq!(got.remaining, self.model.ready.len() as u64);
        }
    }

    fn compare(&mut self, effects: &Effects, caused: &Caused) {
        let hungry: Vec<usize> = effects.hungry.iter().map(|slot| slot.0 as usize).collect();
        assert_eq!(hungry, caused.hungry);
        let dead = effects.dead.iter().flat_map(|dead| {
            messages(&dead.delivery).into_iter().map(|(_, number, ..)| (number, dead.reason))
        });
        let (mut found, mut expected) = (dead.collect::<Vec<_>>(), caused.dead.clone());
        if self.settings.expire_anywhere {
            // Those of one block leave together.
            found.sort_unstable_by_key(|(number, _)| *number);
            expected.sort_unstable_by_key(|(number, _)| *number);
        }
        assert_eq!(found, expected);
        self.compare_deadlines();
        // What matters is what each consumer sees, in its order; the queue gathers it by run.
        let mut found: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        let mut expected: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for (slot, delivery) in &effects.deliveries {
            assert!(delivery.count() > 0, "an empty delivery");
            found.entry(slot.0 as usize).or_default().extend(messages(delivery));
        }
        for (slot, message) in &caused.deliveries {
            expected.entry(*slot).or_default().push(told(message));
        }
        assert_eq!(found, expected);
        let is_limited = self.settings.max_length_bytes.is_some();
        let weight = |message: &Message| if is_limited { message.body + 1 } else { message.size };
        let size: u64 = self.model.ready.iter().map(weight).sum();
        let Subject { queue, model, .. } = self;
        let counts = (queue.ready(), queue.unacked(), queue.waiting());
        let expected = [&model.ready, &model.unacked, &model.waiting].map(|list| list.len() as u64);
        assert_eq!(counts, expected.into());
        assert_eq!(each_attempt(&queue.attempts()), model.attempts());
        if model.live().all(|message| !queue.is_stored(message.position)) {
            assert_eq!(queue.ready_size(), size);
        }
        assert_eq!(queue.consumers() as usize, model.readers.iter().flatten().count());
    }
}

impl Subject {
    /// Deadlines are exact for what is in memory. For what is not, the queue looks in time.
    fn compare_deadlines(&mut self) {
        let found = self.queue.deadline();
        let deadlines = self.model.deadlines();
        for (position, expires) in &deadlines {
            // A queue that looks everywhere reads one block after the other.
            let reads = self.settings.expire_anywhere && !self.disk.loads.is_empty();
            let is_asked = || reads || self.disk.is_asked(&self.queue, *position);
            assert!(found.is_some_and(|at| at <= *expires) || self.queue.is_stored(*position) && is_asked());
        }
        let mut ready = self.model.ready.iter();
        if ready.all(|message| !self.queue.is_stored(message.position)) {
            let soonest = deadlines.iter().map(|(_, expires)| *expires).min();
            // A queue that looks everywhere may look for one that is gone.
            assert!(found == soonest || self.settings.expire_anywhere && found.is_some());
        }
    }

    /// What a restart would find, and what is on its way.
    fn compare_disk(&mut self) {
        let Subject { queue, model, disk, .. } = self;
        if !disk.is_used() {
            return;
        }
        let live: BTreeSet<Position> = model.live().map(|message| message.position).collect();
        disk.check_gone(queue, &live);
        if self.settings.recorded {
            for message in model.done.iter().filter(|message| message.is_persistent()) {
                assert!(disk.gone.contains(&message.position), "{message:?} is not reported");
            }
            assert!(disk.gone.is_disjoint(&live), "what lives is reported");
        }
        if model.readers.iter().flatten().next().is_some()
            && let Some(first) = model.ready.first()
            && queue.is_stored(first.position)
        {
            assert!(disk.is_asked(queue, first.position), "nobody asks for {first:?}");
        }
    }
}

/// Position, number, redelivered flag and how often it came back, as a consumer sees a message.
type Told = (Position, u64, bool, u32);

fn told(message: &Message) -> Told {
    (message.position, message.number, message.redelivered, message.attempts.returned)
}

fn number_of(body: &[u8]) -> u64 {
    u64::from_be_bytes(*body.first_chunk().expect("a number in each body"))
}

fn messages(delivery: &Delivery) -> Vec<Told> {
    let at = |offset: u32| {
        let (record, next) = delivery.run.record(offset);
        assert_eq!((record.route, record.header), (ROUTE, HEADER));
        let number = number_of(record.body);
        assert_eq!(record.persistent, number.is_multiple_of(2));
        (number, next)
    };
    match &delivery.picks {
        Picks::Range { offset, count } => {
            let mut offset = *offset;
            let each = (0..u64::from(*count)).map(|index| {
                let (number, next) = at(offset);
                offset = next;
                (delivery.first + index, number, delivery.redelivered, delivery.attempts)
            });
            each.collect()
        }
        Picks::List(list) => {
            assert!(list.is_sorted_by_key(|pick| pick.index));
            let each = |pick: &Pick| {
                (
                    delivery.first + u64::from(pick.index),
                    at(pick.offset).0,
                    delivery.redelivered,
                    delivery.attempts,
                )
            };
            list.iter().map(each).collect()
        }
    }
}

/// A run of such messages, for tests that need no model.
pub(crate) fn run_of(numbers: std::ops::Range<u64>, padding: usize) -> Run {
    let mut builder = RunBuilder::new();
    for number in numbers {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(8 + padding, 0);
        builder.push(&Record {
            route: ROUTE,
            hidden: b"",
            header: HEADER,
            body: &body,
            persistent: false,
            priority: None,
            ttl: None,
            dead: false,
            due: None,
        });
    }
    builder.finish().expect("at least one message")
}

/// Settles a range, every other one by its words.
fn settle(queue: &mut Queue, first: Position, last: Position, effects: &mut Effects) {
    if last.is_multiple_of(2) || last - first > 1000 {
        return queue.settle(first, last, effects);
    }
    for word in first / 64..=last / 64 {
        let meant = (0..64).filter(|bit| (first..=last).contains(&(word * 64 + bit)));
        let mask = meant.fold(0, |mask, bit| mask | 1 << bit);
        queue.settle_some(word * 64, mask, effects);
    }
}
