//! A queue with its name, its lock and the way to its consumers.
//!
//! Invariant: what a command causes is put into the consumers' inboxes while the queue is locked, so that no later
//! command can overtake it; everything after `deleted` is a no-op.

mod paging;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Condvar;

use warrenmq_protocol::{Exception, Millis};
use warrenmq_queue::{
    ConsumeError, Consumer, ConsumerSlot, Credit, Effects, Empty, Get, Kind, Position, Queue, Rare, Run,
    Settings,
};
use warrenmq_routing::QueueId;
use warrenmq_wire::method::FieldTable;

use crate::dead_letter::{DeadLetters, Dying};
use crate::delayed::Bucket;
use crate::inbox::{ConsumerKey, Inbox, Notice, Touched};
use crate::lock::{Guard, Rank, Ranked};
use crate::refusal;
use crate::storage::Work;
use crate::timers::{Due, Timers};

/// Number of a connection, never reused while the node runs.
pub(crate) type ConnectionId = u64;

/// What a queue was declared as; never changes.
#[derive(Clone, Debug)]
pub(crate) struct QueueInfo {
    /// Within its vhost, while the node runs: what routing answers with.
    pub(crate) id: QueueId,
    /// Node-wide and for good: what names its messages on disk (see [`crate::queue_ids`]).
    pub(crate) store_id: u64,
    pub(crate) vhost: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    /// The only connection that may use it.
    pub(crate) owner: Option<ConnectionId>,
    pub(crate) arguments: FieldTable,
}

/// What the arguments of a queue and its policies make of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) settings: Settings,
    /// The queue goes when it was not used for so long (`x-expires`), in milliseconds.
    pub(crate) expires: Option<Millis>,
    /// How long a delivery may wait for its acknowledgement, in milliseconds; `None`: as configured.
    pub(crate) consumer_timeout: Option<Millis>,
    pub(crate) dead_letters: Option<Arc<DeadLetters>>,
}

/// The queue says nothing of how long a delivery may wait for its acknowledgement.
const NO_TIMEOUT: u64 = u64::MAX;

/// A thread waits for another that has an earlier turn, and as long as turns come to an end. One that has died in the midst of its turn
/// is not waited for longer than this.
const BURIAL_TIME_MAX: Duration = Duration::from_secs(10);

/// A queue that connections share.
#[derive(Debug)]
pub(crate) struct QueueCell {
    pub(crate) info: QueueInfo,
    /// Changes before the picture of the vhost does; who has looked before may publish once more without being refused.
    may_reject: AtomicBool,
    /// Milliseconds, or [`NO_TIMEOUT`].
    consumer_timeout: AtomicU64,
    kind: Kind,
    max_priority: u8,
    single_active: bool,
    timers: Arc<Timers>,
    me: Weak<QueueCell>,
    /// Its messages wait to be published.
    bucket: Option<Box<Bucket>>,
    state: Ranked<State>,
    burial_ended: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    expires: Option<Millis>,
    dead_letters: Option<Arc<DeadLetters>>,
    /// By [`ConsumerSlot`].
    links: Rare<Vec<Option<Link>>>,
    deleted: bool,
    /// Publishers that wait until the window has drained.
    waiting: Rare<Vec<Arc<Inbox>>>,
    /// The window was full for longer than publishers wait: this is a backlog until it has drained.
    backlog: bool,
    /// The deadline that the timers know.
    armed: Option<Millis>,
    /// When it was last declared, read or consumed from; counts for `x-expires` without consumers.
    used: Millis,
    /// Octets in memory that the node knows of.
    reported: i64,
    /// Connections whose basic.get waits until the head is read back.
    fetchers: Rare<Vec<Arc<Inbox>>>,
    burials: Rare<Burials>,
}

/// Turns of those who send dead letters of a queue on: given under its lock, taken without it.
#[derive(Debug, Default)]
struct Burials {
    begun: u64,
    ended: u64,
}

impl Empty for Burials {
    const EMPTY: &'static Burials = &Burials { begun: 0, ended: 0 };
}

#[derive(Debug)]
struct Link {
    inbox: Arc<Inbox>,
    key: ConsumerKey,
}

/// Buffers that a connection lends to the queues it works on.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) effects: Effects,
    pub(crate) touched: Touched,
    /// Messages that wait for their dead-letter exchange, until all locks are free.
    pub(crate) dead: Vec<Dying>,
    /// What is to be done for the disk.
    pub(crate) work: Work,
    /// The time of the present batch.
    pub(crate) now: Millis,
}

/// Numbers of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ready: u64,
    pub(crate) consumers: u32,
}

/// What became of a published run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// From this position on.
    Taken(Position),
    /// Taken, but the window is full with so many octets: the waiter is to wait until it is told `Drained`.
    Wait(Position, u64),
    /// The queue is full and refuses.
    Rejected,
    /// The queue is deleted.
    Gone,
}

impl Published {
    /// The position of the first message, if it was taken.
    pub(crate) fn first(self) -> Option<Position> {
        match self {
            Published::Taken(first) | Published::Wait(first, _) => Some(first),
            Published::Rejected | Published::Gone => None,
        }
    }
}

/// What ended with a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Others consume, or the queue stays anyway.
    Stays,
    /// It was the last consumer of an auto-delete queue.
    Unused,
}

impl QueueCell {
    /// A queue that was declared at `now`.
    pub(crate) fn new(info: QueueInfo, traits: Traits, timers: &Arc<Timers>, now: Millis) -> Arc<QueueCell> {
        QueueCell::make(info, traits, None, timers, now)
    }

    /// A queue of messages that wait at an exchange.
    pub(crate) fn new_bucket(
        info: QueueInfo,
        traits: Traits,
        bucket: Bucket,
        timers: &Arc<Timers>,
        now: Millis,
    ) -> Arc<QueueCell> {
        QueueCell::make(info, traits, Some(Box::new(bucket)), timers, now)
    }

    fn make(
        info: QueueInfo,
        traits: Traits,
        bucket: Option<Box<Bucket>>,
        timers: &Arc<Timers>,
        now: Millis,
    ) -> Arc<QueueCell> {
        let Traits { mut settings, expires, consumer_timeout, dead_letters } = traits;
        settings.recorded = info.durable;
        let state = State {
            queue: Queue::new(settings),
            expires,
            dead_letters,
            links: Rare::default(),
            deleted: false,
            waiting: Rare::default(),
            backlog: false,
            armed: None,
            used: now,
            reported: 0,
            fetchers: Rare::default(),
            burials: Rare::default(),
        };
        let cell = Arc::new_cyclic(|me| QueueCell {
            info,
            may_reject: AtomicBool::new(settings.may_reject()),
            consumer_timeout: AtomicU64::new(consumer_timeout.unwrap_or(NO_TIMEOUT)),
            kind: settings.kind,
            max_priority: settings.max_priority,
            single_active: settings.single_active,
            timers: Arc::clone(timers),
            me: Weak::clone(me),
            bucket,
            state: Ranked::new(Rank::Queue, state),
            burial_ended: Condvar::new(),
        });
        cell.arm(&mut cell.state.lock());
        cell
    }

    pub(crate) fn named(&self) -> refusal::Named<'_> {
        refusal::queue(&self.info.name, &self.info.vhost)
    }

    /// What makes it one, if it is a bucket.
    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_deref()
    }

    /// Looks at the queue, or does what nobody else has to hear of.
    pub(crate) fn peek<T>(&self, verb: impl FnOnce(&mut Queue) -> T) -> T {
        verb(&mut self.state.lock().queue)
    }

    /// Refuses connections other than the owner of an exclusive queue.
    pub(crate) fn check_access(&self, connection: ConnectionId) -> Result<(), Exception> {
        match self.info.owner {
            Some(owner) if owner != connection => Err(refusal::locked(self.named())),
            _ => Ok(()),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts { ready: state.queue.ready(), consumers: state.queue.consumers() }
    }

    /// Whether it may refuse messages: then they are published one by one, so that each gets its own answer.
    pub(crate) fn may_reject(&self) -> bool {
        self.may_reject.load(Ordering::Relaxed)
    }

    /// How long a delivery may wait for its acknowledgement, if the queue says so (`x-consumer-timeout`).
    pub(crate) fn consumer_timeout(&self) -> Option<Millis> {
        Some(self.consumer_timeout.load(Ordering::Relaxed)).filter(|timeout| *timeout != NO_TIMEOUT)
    }

    /// Takes other traits, from now on: what is too much by them leaves.
    pub(crate) fn configure(&self, traits: Traits, window: u64, scratch: &mut Scratch) {
        let mut state = self.begin(scratch);
        if state.deleted {
            return;
        }
        let Traits { mut settings, expires, consumer_timeout, dead_letters } = traits;
        settings.recorded = self.info.durable;
        self.may_reject.store(settings.may_reject(), Ordering::Relaxed);
        self.consumer_timeout.store(consumer_timeout.unwrap_or(NO_TIMEOUT), Ordering::Relaxed);
        if state.expires != expires {
            // RabbitMQ counts from the moment at which a policy says so.
            state.used = scratch.now;
        }
        (state.expires, state.dead_letters) = (expires, dead_letters);
        state.queue.configure(settings, &mut scratch.effects);
        self.finish(&mut state, window, scratch);
    }

    /// Priorities go from 0 to this.
    pub(crate) fn max_priority(&self) -> u8 {
        self.max_priority
    }

    /// Its type.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether all its messages outlive a restart, persistent or not.
    pub(crate) fn keeps_all(&self) -> bool {
        self.kind == Kind::Quorum
    }

    /// The name of its type, as `x-queue-type` spells it.
    pub(crate) fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether one consumer at a time gets messages (`x-single-active-consumer`).
    pub(crate) fn is_single_active(&self) -> bool {
        self.single_active
    }

    /// Appends a run.
    pub(crate) fn publish(
        &self,
        run: Run,
        window: u64,
        waiter: Option<&Arc<Inbox>>,
        scratch: &mut Scratch,
    ) -> Published {
        self.append(run, true, window, waiter, scratch)
    }

    /// Appends a run, which it may refuse only if the publisher could know that it may.
    pub(crate) fn append(
        &self,
        run: Run,
        may_reject: bool,
        window: u64,
        waiter: Option<&Arc<Inbox>>,
        scratch: &mut Scratch,
    ) -> Published {
        let mut state = self.begin(scratch);
        if state.deleted {
            return Published::Gone;
        }
        let first = if may_reject {
            state.queue.publish(run, &mut scratch.effects)
        } else {
            Some(state.queue.accept(run, &mut scratch.effects))
        };
        self.finish(&mut state, window, scratch);
        let Some(first) = first else { return Published::Rejected };
        if let Some(bucket) = &self.bucket {
            bucket.tell(scratch.now);
        }
        let full = state.queue.ready_size() > window && state.queue.consumers() > 0 && !state.backlog;
        match waiter {
            Some(inbox) if full => {
                state.waiting.push(Arc::clone(inbox));
                Published::Wait(first, state.queue.ready_size())
            }
            _ => Published::Taken(first),
        }
    }

    /// A publisher has waited its time, since `ready` octets were ready. Says how many are now if it is to wait on: consumers took
    /// an eighth of the window meanwhile, so they keep up. Otherwise the queue is a backlog, and nobody waits for that.
    pub(crate) fn wait_on(&self, inbox: &Arc<Inbox>, ready: u64, window: u64) -> Option<u64> {
        let mut state = self.state.lock();
        let now_ready = state.queue.ready_size();
        if now_ready + window / 8 <= ready {
            return Some(now_ready);
        }
        state.backlog = true;
        state.waiting.retain(|other| !Arc::ptr_eq(other, inbox));
        None
    }

    /// A waiting publisher leaves.
    pub(crate) fn stop_waiting(&self, inbox: &Arc<Inbox>) {
        self.state.lock().waiting.retain(|other| !Arc::ptr_eq(other, inbox));
    }

    pub(crate) fn consume(
        &self,
        consumer: Consumer,
        inbox: &Arc<Inbox>,
        key: ConsumerKey,
        window: u64,
        scratch: &mut Scratch,
    ) -> Result<ConsumerSlot, Exception> {
        let mut state = self.begin(scratch);
        if state.deleted {
            return Err(refusal::not_found(self.named()));
        }
        state.used = scratch.now;
        let slot =
            state.queue.consume(consumer, &mut scratch.effects).map_err(|ConsumeError::ExclusiveUse| {
                refusal::refused(format!("{} in exclusive use", self.named()))
            })?;
        let at = slot.0 as usize;
        if state.links.len() <= at {
            state.links.resize_with(at + 1, || None);
        }
        state.links[at] = Some(Link { inbox: Arc::clone(inbox), key });
        self.finish(&mut state, window, scratch);
        Ok(slot)
    }

    /// Removes a consumer. After this nothing more comes for it.
    pub(crate) fn cancel(&self, slot: ConsumerSlot, scratch: &mut Scratch) -> Left {
        let mut state = self.begin(scratch);
        if !state.queue.cancel(slot) {
            return Left::Stays;
        }
        state.used = scratch.now;
        self.arm(&mut state);
        if let Some(link) = state.links.get_mut(slot.0 as usize) {
            *link = None;
        }
        if state.queue.consumers() == 0 {
            state.links.take();
            // Nobody is behind any more.
            state.release(scratch);
        }
        if self.info.auto_delete && !state.deleted && state.queue.consumers() == 0 {
            Left::Unused
        } else {
            Left::Stays
        }
    }

    /// Takes one message. [`Get::Stalled`]: `inbox` is told when the head is read back.
    pub(crate) fn get(&self, ack: bool, window: u64, inbox: &Arc<Inbox>, scratch: &mut Scratch) -> Get {
        let mut state = self.begin(scratch);
        state.used = scratch.now;
        let got = state.queue.get(ack, &mut scratch.effects);
        if matches!(got, Get::Stalled) {
            state.await_load(inbox);
        }
        self.finish(&mut state, window, scratch);
        got
    }

    /// Runs queue verbs under one lock, then hands out what they free.
    pub(crate) fn with(
        &self,
        window: u64,
        scratch: &mut Scratch,
        verbs: impl FnOnce(&mut Queue, &mut Effects),
    ) {
        let mut state = self.begin(scratch);
        if state.deleted {
            return;
        }
        verbs(&mut state.queue, &mut scratch.effects);
        // What came back may be too much.
        state.queue.drop_returned(&mut scratch.effects);
        state.queue.hand_out(&mut scratch.effects);
        self.finish(&mut state, window, scratch);
    }

    /// A declare of a queue that is there counts as use.
    pub(crate) fn touch(&self, now: Millis) {
        let mut state = self.state.lock();
        state.used = now;
        self.arm(&mut state);
    }

    /// Its deadline has come: expired messages go, and those that have waited are ready. Says whether the queue itself has expired.
    pub(crate) fn deadline(&self, window: u64, scratch: &mut Scratch) -> bool {
        let mut state = self.begin(scratch);
        state.armed = None;
        let gone = !state.deleted && self.expires_at(&state).is_some_and(|at| at <= scratch.now);
        if !state.deleted {
            // What has waited for its time may go to consumers now.
            state.queue.hand_out(&mut scratch.effects);
        }
        self.finish(&mut state, window, scratch);
        gone
    }

    pub(crate) fn recredit(&self, slot: ConsumerSlot, credit: Credit, window: u64, scratch: &mut Scratch) {
        self.with(window, scratch, |queue, effects| queue.recredit(slot, credit, effects));
    }

    pub(crate) fn pull(&self, slot: ConsumerSlot, limit: u32, window: u64, scratch: &mut Scratch) -> u32 {
        let mut given = 0;
        self.with(window, scratch, |queue, effects| given = queue.pull(slot, limit, effects));
        given
    }

    pub(crate) fn purge(&self, window: u64, scratch: &mut Scratch) -> u64 {
        let mut purged = 0;
        self.with(window, scratch, |queue, effects| purged = queue.purge(effects));
        purged
    }

    /// Dead letters that were kept here have arrived.
    pub(crate) fn buried(&self, ranges: &[(Position, Position)], window: u64, scratch: &mut Scratch) {
        if !ranges.is_empty() {
            self.with(window, scratch, |queue, effects| {
                ranges.iter().for_each(|(first, last)| queue.buried(*first, *last, effects));
            });
        }
    }

    /// Waits until those before this turn have sent their dead letters on. They need no lock of who waits.
    pub(crate) fn await_burial(&self, turn: u64) {
        let mut state = self.state.lock();
        let mut ended = state.burials.ended;
        while ended < turn {
            let is_late = state.wait(&self.burial_ended, BURIAL_TIME_MAX);
            if is_late && state.burials.ended == ended {
                return;
            }
            ended = state.burials.ended;
        }
    }

    /// The next turn may begin.
    pub(crate) fn end_burial(&self, turn: u64) {
        let mut state = self.state.lock();
        state.burials.ended = state.burials.ended.max(turn + 1);
        self.burial_ended.notify_all();
    }

    /// Marks the queue as gone if `allow` agrees, tells its consumers, and says how many messages were ready. `None`: was
    /// gone already.
    pub(crate) fn delete(
        &self,
        allow: impl FnOnce(Counts) -> Result<(), Exception>,
        scratch: &mut Scratch,
    ) -> Result<Option<u64>, Exception> {
        let mut state = self.state.lock();
        if state.deleted {
            return Ok(None);
        }
        let ready = state.queue.ready();
        allow(Counts { ready, consumers: state.queue.consumers() })?;
        state.deleted = true;
        state.queue.delete();
        self.close_books(&mut state, scratch);
        for inbox in state.fetchers.take() {
            scratch.touched.put(&inbox, |mail| mail.notices.push(Notice::Loaded));
        }
        for link in state.links.take().into_iter().flatten() {
            scratch.touched.put(&link.inbox, |mail| mail.notices.push(Notice::Cancelled(link.key)));
        }
        state.release(scratch);
        Ok(Some(ready))
    }
}

impl QueueCell {
    /// Locks the queue and tells it the time.
    #[inline]
    fn begin(&self, scratch: &mut Scratch) -> Guard<'_, State> {
        let mut state = self.state.lock();
        state.queue.advance(scratch.now, &mut scratch.effects);
        // Whatever becomes of the command: the next queue must not take these for its own.
        self.bury(&mut state, scratch);
        self.note_gone(&mut scratch.effects, &mut scratch.work);
        state
    }

    #[inline]
    fn bury(&self, state: &mut State, scratch: &mut Scratch) {
        if scratch.effects.dead.is_empty() {
            return;
        }
        if let (Some(to), Some(cell)) = (&state.dead_letters, self.me.upgrade()) {
            let from = self.info.durable.then_some(self.info.store_id);
            let (to, turn) = (Arc::clone(to), state.burials.begun);
            state.burials.begun += 1;
            scratch.dead.push(Dying { to, from, cell, turn, dead: scratch.effects.dead.drain(..).collect() });
        }
    }

    /// Puts what was caused where it belongs, while the queue is still locked.
    #[inline]
    fn finish(&self, state: &mut State, window: u64, scratch: &mut Scratch) {
        self.bury(state, scratch);
        self.keep_books(state, scratch);
        state.distribute(window, scratch);
        self.arm(state);
    }

    /// Tells the timers the next deadline, if it is sooner than what they know.
    #[inline]
    fn arm(&self, state: &mut State) {
        if state.deleted {
            return;
        }
        let next = match (state.queue.deadline(), self.expires_at(state)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(at) = next
            && state.armed.is_none_or(|armed| at < armed)
        {
            state.armed = Some(at);
            self.timers.arm(at, Due::Queue(Weak::clone(&self.me)));
        }
    }

    fn expires_at(&self, state: &State) -> Option<Millis> {
        let expires = state.expires?;
        (state.queue.consumers() == 0).then(|| state.used.saturating_add(expires))
    }
}

impl State {
    /// Puts the effects of a command into the inboxes they are for.
    fn distribute(&mut self, window: u64, scratch: &mut Scratch) {
        let Scratch { effects, touched, .. } = scratch;
        let mut deliveries = effects.deliveries.drain(..).peekable();
        while let Some((slot, delivery)) = deliveries.next() {
            let Some(link) = self.links.get(slot.0 as usize).and_then(Option::as_ref) else { continue };
            // What goes to the same consumer in a row goes in under one lock.
            touched.put(&link.inbox, |mail| {
                mail.deliveries.push((link.key, delivery));
                while let Some((_, next)) = deliveries.next_if(|(other, _)| *other == slot) {
                    mail.deliveries.push((link.key, next));
                }
            });
        }
        drop(deliveries);
        for slot in effects.hungry.drain(..) {
            if let Some(link) = self.links.get(slot.0 as usize).and_then(Option::as_ref) {
                touched.put(&link.inbox, |mail| mail.notices.push(Notice::Hungry(link.key)));
            }
        }
        if self.queue.ready_size() <= window / 2 {
            self.backlog = false;
        }
        if !self.waiting.is_empty() && (self.queue.ready_size() <= window / 2 || self.queue.consumers() == 0)
        {
            self.release(scratch);
        }
    }

    fn release(&mut self, scratch: &mut Scratch) {
        for inbox in self.waiting.take() {
            scratch.touched.put(&inbox, |mail| mail.notices.push(Notice::Drained));
        }
    }
}
