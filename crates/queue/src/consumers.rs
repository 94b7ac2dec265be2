//! The consumers of one queue and whose turn it is.
//!
//! Invariant: a consumer stands in `turns` exactly when it may get a message now (`may_receive`), and only
//! once; higher priorities stand in front. Whoever runs out of credit leaves and comes back at the end of its
//! priority, as in RabbitMQ.

use std::collections::{BTreeSet, VecDeque};

use crate::rare::Empty;
use crate::single_active::SingleActive;

/// Names a consumer of this queue; reused after the consumer was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerSlot(pub u32);

/// How a consumer says what it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// The queue sends until this many messages are out; `None` is no limit (automatic acknowledgement, prefetch
    /// 0).
    Messages(Option<u32>),
    /// The queue only says that there is something; the consumer then pulls. For limits shared by several consumers
    /// (`basic.qos` with `global`).
    Pull,
}

/// What a consumer brings when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Nobody else may consume beside it.
    pub exclusive: bool,
    /// Those of the highest priority that can take something are served; 0 is normal.
    pub priority: i32,
    /// Its prefetch.
    pub credit: Credit,
    /// Octets that may be on their way to it; the message that crosses the limit still goes.
    pub window: i64,
}

/// Which of the consumers of a queue get messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turns {
    /// Those that can take something, in turn.
    All,
    /// One, for as long as it is there.
    Single,
    /// One, until somebody of a higher priority comes.
    SingleTakenOver,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) exclusive: bool,
    pub(crate) pull: bool,
    /// Pull consumers only: was told that there is something and has not pulled since.
    pub(crate) told: bool,
    pub(crate) credit: Option<u32>,
    pub(crate) window: i64,
    priority: i32,
    in_turn: bool,
}

impl Active {
    fn may_receive(&self) -> bool {
        !self.pull && self.window > 0 && self.credit != Some(0)
    }

    /// How many messages it may get at once.
    pub(crate) fn allowance(&self) -> u32 {
        self.credit.unwrap_or(u32::MAX)
    }

    /// Books messages that were handed over.
    pub(crate) fn charge(&mut self, count: u32, octets: u32) {
        if let Some(credit) = &mut self.credit {
            *credit = credit.saturating_sub(count);
        }
        self.window -= i64::from(octets);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Consumers {
    slots: Vec<Option<Active>>,
    /// Empty slots, so that the next consumer need not search for one.
    free: BTreeSet<u32>,
    turns: VecDeque<ConsumerSlot>,
    /// How many places in `turns` belong to consumers that have gone. They are swept together before the order matters again,
    /// since a connection may leave with very many; until then their slots are not free.
    gone: usize,
    count: u32,
    /// How many of them are exclusive: one at most.
    exclusive: u32,
    /// How many of them pull.
    pulling: u32,
    /// Which of them is told first: they take turns too.
    told_first: usize,
    /// Only one of them gets messages.
    single: Option<Box<SingleActive>>,
}

impl Empty for Consumers {
    const EMPTY: &'static Consumers = &Consumers {
        slots: Vec::new(),
        free: BTreeSet::new(),
        turns: VecDeque::new(),
        gone: 0,
        count: 0,
        exclusive: 0,
        pulling: 0,
        told_first: 0,
        single: None,
    };
}

impl Consumers {
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn any_pulling(&self) -> bool {
        self.pulling > 0
    }

    pub(crate) fn any_exclusive(&self) -> bool {
        self.exclusive > 0
    }

    pub(crate) fn add(&mut self, consumer: Consumer, rule: Turns) -> ConsumerSlot {
        let (credit, pull) = match consumer.credit {
            Credit::Messages(credit) => (credit, false),
            Credit::Pull => (Some(0), true),
        };
        let active = Active {
            exclusive: consumer.exclusive,
            pull,
            told: false,
            credit,
            window: consumer.window,
            priority: consumer.priority,
            in_turn: false,
        };
        self.count += 1;
        self.exclusive += u32::from(consumer.exclusive);
        self.pulling += u32::from(pull);
        self.sweep();
        let slot = match self.free.pop_first() {
            Some(at) => {
                self.slots[at as usize] = Some(active);
                ConsumerSlot(at)
            }
            None => {
                self.slots.push(Some(active));
                ConsumerSlot(self.slots.len() as u32 - 1)
            }
        };
        self.join(slot, consumer.priority, rule);
        self.enqueue(slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: ConsumerSlot) -> bool {
        let Some(active) = self.slots.get_mut(slot.0 as usize).and_then(Option::take) else { return false };
        self.count -= 1;
        self.exclusive -= u32::from(active.exclusive);
        self.pulling -= u32::from(active.pull);
        if self.count == 0 {
            self.single = None;
            self.slots.clear();
            self.free.clear();
            self.turns.clear();
            self.gone = 0;
        } else if active.in_turn {
            self.gone += 1;
        } else {
            self.free.insert(slot.0);
        }
        if let Some(served) = self.single.as_mut().and_then(|single| single.leave(slot)) {
            self.enqueue(served);
        }
        true
    }

    /// Whether a consumer has to wait until another one has gone.
    pub(crate) fn is_waiting(&self, slot: ConsumerSlot) -> bool {
        self.single.as_ref().is_some_and(|single| !single.serves(slot))
    }

    /// Whether another consumer is to take over once nothing is out.
    pub(crate) fn yields(&self) -> bool {
        self.single.as_ref().is_some_and(|single| single.yields())
    }

    /// The one that was to take over does.
    pub(crate) fn take_over(&mut self) {
        if let Some(next) = self.single.as_mut().map(|single| single.take_over()) {
            self.enqueue(next);
        }
    }

    fn join(&mut self, slot: ConsumerSlot, priority: i32, rule: Turns) {
        match (&mut self.single, rule) {
            (_, Turns::All) => {}
            (Some(single), _) => {
                single.join(slot, priority);
                if single.yields() {
                    let active = single.active();
                    self.turns.retain(|other| *other != active);
                    if let Some(active) = self.get_mut(active) {
                        active.in_turn = false;
                    }
                }
            }
            (None, rule) => {
                self.single =
                    Some(Box::new(SingleActive::new(slot, priority, rule == Turns::SingleTakenOver)));
            }
        }
    }

    /// Forgets the places of consumers that have gone. To be called before [`Consumers::next`] and its like.
    pub(crate) fn sweep(&mut self) {
        if self.gone > 0 {
            let (slots, free) = (&self.slots, &mut self.free);
            self.turns.retain(|slot| {
                let is_here = slots.get(slot.0 as usize).is_some_and(Option::is_some);
                if !is_here {
                    free.insert(slot.0);
                }
                is_here
            });
            self.gone = 0;
        }
    }

    pub(crate) fn get_mut(&mut self, slot: ConsumerSlot) -> Option<&mut Active> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(crate) fn recredit(&mut self, slot: ConsumerSlot, credit: Credit) {
        let Some(active) = self.get_mut(slot) else { return };
        let was_pulling = active.pull;
        (active.credit, active.pull) = match credit {
            Credit::Messages(credit) => (credit, false),
            Credit::Pull => (Some(0), true),
        };
        active.told = false;
        active.in_turn = false;
        self.pulling = self.pulling - u32::from(was_pulling) + u32::from(credit == Credit::Pull);
        self.turns.retain(|other| *other != slot);
        self.enqueue(slot);
    }

    /// Lets a consumer take its place at the end of the turns if it may receive and is not there yet.
    pub(crate) fn enqueue(&mut self, slot: ConsumerSlot) {
        self.sweep();
        if self.is_waiting(slot) {
            return;
        }
        if let Some(active) = self.slots.get_mut(slot.0 as usize).and_then(Option::as_mut)
            && active.may_receive()
            && !active.in_turn
        {
            active.in_turn = true;
            let priority = active.priority;
            // Nearly always all have the same priority, and the place is the end.
            let at = match self.turns.back() {
                Some(last) if self.priority(*last) < priority => {
                    self.turns.partition_point(|other| self.priority(*other) >= priority)
                }
                _ => self.turns.len(),
            };
            self.turns.insert(at, slot);
        }
    }

    /// Whether anybody may receive now.
    pub(crate) fn any_in_turn(&self) -> bool {
        self.turns.len() > self.gone
    }

    /// Whether only one may receive now: it is alone, or above all others.
    pub(crate) fn one_in_turn(&self) -> bool {
        match (self.turns.front(), self.turns.get(1)) {
            (Some(first), Some(second)) => self.priority(*first) > self.priority(*second),
            (first, _) => first.is_some(),
        }
    }

    /// Whose turn it is, without moving on.
    pub(crate) fn next(&self) -> Option<ConsumerSlot> {
        self.turns.front().copied()
    }

    /// The consumer at the head got something: it goes to the end, or leaves when it may get no more.
    pub(crate) fn advance(&mut self) {
        let Some(slot) = self.turns.pop_front() else { return };
        let lowest = self.turns.back().map(|last| self.priority(*last));
        if let Some(active) = self.slots.get_mut(slot.0 as usize).and_then(Option::as_mut) {
            if active.may_receive() && lowest.is_none_or(|lowest| lowest >= active.priority) {
                self.turns.push_back(slot);
            } else {
                active.in_turn = false;
                self.enqueue(slot);
            }
        }
    }

    /// Hands at most `count` messages to the consumers in turn, one by one, for as long as anybody may receive; says how many. `give`
    /// is told whose turn it is, and says how many octets that message has.
    pub(crate) fn deal(&mut self, count: u32, mut give: impl FnMut(ConsumerSlot) -> u32) -> u32 {
        let mut given = 0;
        while given < count
            && let Some(slot) = self.next()
        {
            if (count - given) as usize >= self.turns.len() && self.are_equal() {
                given += self.deal_round(&mut give);
                continue;
            }
            let size = give(slot);
            let active = self.get_mut(slot).expect("invariant: whoever stands in turns is here");
            active.charge(1, size);
            self.advance();
            given += 1;
        }
        given
    }

    /// One message to each of those in turn, who have the same priority: those that can take more keep their order.
    fn deal_round(&mut self, give: &mut impl FnMut(ConsumerSlot) -> u32) -> u32 {
        let slots = &mut self.slots;
        let mut given = 0;
        self.turns.retain(|slot| {
            let active = slots.get_mut(slot.0 as usize).and_then(Option::as_mut);
            let active = active.expect("invariant: whoever stands in turns is here");
            active.charge(1, give(*slot));
            given += 1;
            active.in_turn = active.may_receive();
            active.in_turn
        });
        given
    }

    /// Whether all in turn have the same priority.
    fn are_equal(&self) -> bool {
        let ends = (self.turns.front(), self.turns.back());
        matches!(ends, (Some(first), Some(last)) if self.priority(*first) == self.priority(*last))
    }

    /// After this consumer the others are told first.
    pub(crate) fn pulled(&mut self, slot: ConsumerSlot) {
        self.told_first = slot.0 as usize + 1;
    }

    fn priority(&self, slot: ConsumerSlot) -> i32 {
        self.slots.get(slot.0 as usize).and_then(Option::as_ref).map_or(0, |active| active.priority)
    }

    /// Every pull consumer that could take something and has not been told yet is told now.
    pub(crate) fn tell(&mut self, hungry: &mut Vec<ConsumerSlot>) {
        if self.pulling == 0 {
            return;
        }
        let count = self.slots.len();
        for step in 0..count {
            let at = (self.told_first + step) % count;
            if self.is_waiting(ConsumerSlot(at as u32)) {
                continue;
            }
            if let Some(active) = self.slots.get_mut(at).and_then(Option::as_mut)
                && active.pull
                && active.window > 0
                && !active.told
            {
                active.told = true;
                hungry.push(ConsumerSlot(at as u32));
            }
        }
    }
}
