//! The runs that a connection is building.
//!
//! A *lane* is one set of queues with the run that is being built for it. Invariant: open lanes share no queue (`holder` names the
//! only one that has messages for a queue), so the order within each queue is the order of publishing.
//!
//! Messages for {a, b} and {b, c} in turn would close a run each time. Then small ones go to the lanes of their single queues
//! instead: a copy of some dozens of octets costs less than a lock.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use warrenmq_queue::{Record, Run, RunBuilder};
use warrenmq_routing::QueueId;

use crate::queue_cell::QueueCell;

/// Most lanes.
const LANES_MAX: usize = 4096;
/// Most queues of all lanes together.
const TARGETS_MAX: usize = 64 * 1024;
/// Most octets that a message may take in the lanes of its single queues together.
const SPLIT_OCTETS_MAX: usize = 4096;

/// Number of a lane.
pub(super) type LaneId = u32;
/// Number of a queue that some lane leads to.
type SlotId = u32;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    slots: Vec<Slot>,
    by_queue: HashMap<QueueId, SlotId, FixedState>,
    /// Lanes of any other number of queues than one.
    by_set: HashMap<Box<[QueueId]>, LaneId, FixedState>,
    /// Lanes that hold something, in the order in which they were opened.
    open: Vec<LaneId>,
    /// A run that was not built here, for the one lane that is open.
    adopted: Option<Run>,
    /// Queues of all lanes.
    targets: usize,
    /// Lanes got in each other's way since the last flush.
    splits: bool,
}

#[derive(Debug)]
struct Lane {
    /// Shared with the transactions that publish to them.
    targets: Arc<[Arc<QueueCell>]>,
    slots: Box<[SlotId]>,
    builder: RunBuilder,
    is_open: bool,
    /// A queue among them may refuse messages.
    may_reject: bool,
    /// A queue among them is durable.
    recorded: bool,
    /// All of them are queues with priorities up to this: then a run has those of one priority together.
    max_priority: u8,
    /// A queue among them keeps transient messages on disk too.
    keeps_all: bool,
}

#[derive(Debug)]
struct Slot {
    cell: Arc<QueueCell>,
    /// The open lane that has messages for it.
    holder: Option<LaneId>,
    /// The lane that leads nowhere else.
    alone: Option<LaneId>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Done,
    /// Its lane leads nowhere.
    Nowhere,
    /// The open lanes have to be flushed first.
    Blocked,
}

impl Lanes {
    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.lanes.len() >= LANES_MAX || self.targets >= TARGETS_MAX
    }

    /// The lane of these queues, which are sorted, if there is one.
    pub(super) fn find(&self, queues: &[QueueId]) -> Option<LaneId> {
        match queues {
            [queue] => self.slots.get(*self.by_queue.get(queue)? as usize)?.alone,
            _ => self.by_set.get(queues).copied(),
        }
    }

    /// A new lane, of queues that are sorted.
    pub(super) fn add(&mut self, targets: Arc<[Arc<QueueCell>]>) -> LaneId {
        let id = self.lanes.len() as LaneId;
        let slots: Box<[SlotId]> = targets.iter().map(|queue| self.slot(queue)).collect();
        match *slots {
            [slot] => self.slots[slot as usize].alone = Some(id),
            _ => {
                let queues = targets.iter().map(|queue| queue.info.id).collect();
                self.by_set.insert(queues, id);
            }
        }
        self.targets += targets.len();
        let may_reject = targets.iter().any(|queue| queue.may_reject());
        let recorded = targets.iter().any(|queue| queue.info.durable);
        let most = |queue: &Arc<QueueCell>| queue.max_priority();
        let max_priority = targets.first().map_or(0, most);
        let max_priority =
            if targets.iter().all(|queue| most(queue) == max_priority) { max_priority } else { 0 };
        let keeps_all = targets.iter().any(|queue| queue.keeps_all());
        let builder = RunBuilder::new();
        self.lanes.push(Lane {
            targets,
            slots,
            builder,
            is_open: false,
            may_reject,
            recorded,
            max_priority,
            keeps_all,
        });
        id
    }

    /// Whether a queue of the lane may refuse messages.
    #[inline]
    pub(super) fn may_reject(&self, lane: LaneId) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| lane.may_reject)
    }

    /// Whether such a message goes to the disk on this lane.
    #[inline]
    pub(super) fn is_recorded(&self, lane: LaneId, persistent: bool) -> bool {
        let lane = self.lanes.get(lane as usize);
        lane.is_some_and(|lane| lane.recorded && (persistent || lane.keeps_all))
    }

    /// The queues of a lane.
    pub(super) fn targets(&self, lane: LaneId) -> Arc<[Arc<QueueCell>]> {
        self.lanes.get(lane as usize).map_or_else(Arc::default, |lane| Arc::clone(&lane.targets))
    }

    /// Adds a message.
    #[inline]
    pub(super) fn push(&mut self, id: LaneId, record: &Record<'_>) -> Pushed {
        match self.lanes.get_mut(id as usize) {
            Some(lane) if lane.is_open && lane.builder.has_room(record.header.len() + record.body.len()) => {
                lane.builder.push(record);
                Pushed::Done
            }
            _ => self.push_elsewhere(id, record),
        }
    }

    /// Adds a message if its lane has something already, has room, and may not refuse.
    #[inline]
    pub(super) fn push_again(&mut self, id: LaneId, record: &Record<'_>) -> bool {
        let octets = record.header.len() + record.body.len();
        let Some(lane) = self.lanes.get_mut(id as usize) else { return false };
        let fits = lane.is_open && !lane.may_reject && lane.builder.has_room(octets);
        if fits {
            lane.builder.push(record);
        }
        fits
    }

    fn push_elsewhere(&mut self, id: LaneId, record: &Record<'_>) -> Pushed {
        let Some(lane) = self.lanes.get(id as usize) else { return Pushed::Nowhere };
        if lane.slots.is_empty() {
            return Pushed::Nowhere;
        }
        let splits = self.splits && lane.slots.len() > 1 && lane.may_split(record);
        let mut holders = lane.slots.iter().filter_map(|slot| self.slots[*slot as usize].holder);
        let octets = record.header.len() + record.body.len();
        let in_the_way = |holder: LaneId| {
            let holder = &self.lanes[holder as usize];
            !splits || holder.slots.len() > 1 || !holder.builder.has_room(octets)
        };
        if holders.any(in_the_way) {
            return Pushed::Blocked;
        }
        if splits {
            for at in 0..lane.slots.len() {
                let slot = self.lanes[id as usize].slots[at];
                let alone = self.alone(slot);
                self.open(alone);
                self.lanes[alone as usize].builder.push(record);
            }
        } else {
            self.open(id);
            self.lanes[id as usize].builder.push(record);
        }
        Pushed::Done
    }

    /// Adds a run that was not built here. Nothing may be open, and nothing may be pushed until it is closed.
    pub(super) fn push_run(&mut self, id: LaneId, run: &Run) -> Pushed {
        debug_assert!(!self.any_open());
        if self.lanes.get(id as usize).is_none_or(|lane| lane.slots.is_empty()) {
            return Pushed::Nowhere;
        }
        self.open(id);
        self.adopted = Some(run.clone());
        Pushed::Done
    }

    /// What is being built for a lane that holds something.
    #[inline]
    pub(super) fn open_lane(&mut self, id: LaneId) -> Option<&mut RunBuilder> {
        self.lanes.get_mut(id as usize).filter(|lane| lane.is_open).map(|lane| &mut lane.builder)
    }

    /// Lanes were flushed because they got in each other's way: until the next flush small messages are copied for each of
    /// their queues.
    pub(super) fn split(&mut self) {
        self.splits = true;
    }

    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// How many lanes are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Finishes the open lanes; each is told with its queues, and whether some may refuse it.
    pub(super) fn close(&mut self, mut each: impl FnMut(&[Arc<QueueCell>], bool, Run)) {
        self.splits = false;
        for id in self.open.drain(..) {
            let lane = &mut self.lanes[id as usize];
            lane.is_open = false;
            for slot in &lane.slots {
                self.slots[*slot as usize].holder = None;
            }
            if let Some(mut run) = self.adopted.take().or_else(|| lane.builder.finish()) {
                if lane.max_priority > 0 {
                    run = run.by_priority(lane.max_priority);
                }
                each(&lane.targets, lane.may_reject, run);
            }
        }
    }

    fn open(&mut self, id: LaneId) {
        let lane = &mut self.lanes[id as usize];
        if !lane.is_open {
            lane.is_open = true;
            self.open.push(id);
            for slot in &lane.slots {
                self.slots[*slot as usize].holder = Some(id);
            }
        }
    }

    fn slot(&mut self, queue: &Arc<QueueCell>) -> SlotId {
        let slots = &mut self.slots;
        *self.by_queue.entry(queue.info.id).or_insert_with(|| {
            slots.push(Slot { cell: Arc::clone(queue), holder: None, alone: None });
            slots.len() as SlotId - 1
        })
    }

    /// The lane of one queue.
    fn alone(&mut self, slot: SlotId) -> LaneId {
        let Slot { cell, alone, .. } = &self.slots[slot as usize];
        match alone {
            Some(lane) => *lane,
            None => self.add(Arc::new([Arc::clone(cell)])),
        }
    }
}

impl Lane {
    /// Whether a message may be copied for each queue: it is small, and it is not to be in the journal more than once.
    fn may_split(&self, record: &Record<'_>) -> bool {
        let octets = record.route.len() + record.header.len() + record.body.len();
        !(self.recorded && (record.persistent || self.keeps_all))
            && octets * self.slots.len() <= SPLIT_OCTETS_MAX
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_queue::{Overflow, Settings};

    use super::*;
    use crate::queue_cell::{Published, QueueInfo, Scratch, Traits};
    use crate::timers::Timers;

    fn queue(number: u64) -> Arc<QueueCell> {
        let info = QueueInfo {
            id: QueueId(number),
            store_id: number,
            vhost: "/".into(),
            name: number.to_string().into(),
            durable: number == 0,
            auto_delete: false,
            owner: None,
            arguments: Default::default(),
        };
        QueueCell::new(info, Traits::default(), &Arc::new(Timers::default()), 0)
    }

    /// Messages for random sets of queues: each queue gets its own, all of them, in the order in which they were published.
    #[test]
    fn the_order_of_each_queue_is_the_order_of_publishing() {
        const QUEUES: usize = 6;
        let mut seed = 1_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let queues: Vec<_> = (0..QUEUES as u64).map(queue).collect();
        for _ in 0..200 {
            let mut lanes = Lanes::default();
            let (mut expected, mut got) = (vec![Vec::new(); QUEUES], vec![Vec::new(); QUEUES]);
            let mut runs = 0;
            let mut flush = |lanes: &mut Lanes| {
                lanes.close(|targets, _, run| {
                    runs += 1;
                    for target in targets {
                        let numbers = run.records().map(|(_, record)| record.body[0]);
                        got[target.info.id.0 as usize].extend(numbers);
                    }
                });
                assert!(!lanes.any_open());
            };
            for number in 0..60 {
                let set = random(1 << QUEUES);
                let targets: Vec<_> =
                    (0..QUEUES).filter(|at| set & (1 << at) != 0).map(|at| Arc::clone(&queues[at])).collect();
                let ids: Vec<_> = targets.iter().map(|queue| queue.info.id).collect();
                let lane = lanes.find(&ids).unwrap_or_else(|| lanes.add(targets.as_slice().into()));
                let body = vec![number; if random(20) == 0 { 2 * SPLIT_OCTETS_MAX } else { 1 }];
                let persistent = random(4) == 0;
                let (route, header) = (&b"\x00\x00"[..], &b""[..]);
                let record = Record {
                    route,
                    hidden: b"",
                    header,
                    body: &body,
                    persistent,
                    priority: None,
                    ttl: None,
                    dead: false,
                    due: None,
                };
                let pushed = match lanes.push(lane, &record) {
                    Pushed::Blocked => {
                        flush(&mut lanes);
                        lanes.split();
                        lanes.push(lane, &record)
                    }
                    pushed => pushed,
                };
                assert_eq!(pushed, if set == 0 { Pushed::Nowhere } else { Pushed::Done });
                for target in &targets {
                    expected[target.info.id.0 as usize].push(number);
                }
                if random(30) == 0 {
                    flush(&mut lanes);
                }
            }
            flush(&mut lanes);
            assert_eq!(got, expected);
        }
    }

    /// Who has looked before a queue began to refuse cannot answer for a refusal, so it is not refused; who looks again is.
    #[test]
    fn what_was_pushed_before_a_queue_began_to_refuse_is_taken() {
        let queue = queue(1);
        let mut scratch = Scratch::default();
        let mut old = Lanes::default();
        let publish = |lanes: &mut Lanes, scratch: &mut Scratch| {
            let lane = lanes.find(&[queue.info.id]).unwrap_or_else(|| lanes.add([Arc::clone(&queue)].into()));
            let (route, header, body) = (&b"\x00\x00"[..], &b""[..], &b""[..]);
            let record = Record {
                route,
                hidden: b"",
                header,
                body,
                persistent: false,
                priority: None,
                ttl: None,
                dead: false,
                due: None,
            };
            lanes.push(lane, &record);
            let mut published = Published::Gone;
            lanes.close(|targets, may_reject, run| {
                published = targets[0].append(run, may_reject, u64::MAX, None, scratch);
            });
            published
        };
        assert_eq!(publish(&mut old, &mut scratch), Published::Taken(0));
        let overflow = Overflow::RejectPublish;
        let settings = Settings { max_length: Some(1), overflow, ..Settings::default() };
        queue.configure(Traits { settings, ..Traits::default() }, u64::MAX, &mut scratch);
        assert_eq!(publish(&mut old, &mut scratch), Published::Taken(1));
        assert_eq!(publish(&mut Lanes::default(), &mut scratch), Published::Rejected);
        queue.configure(Traits::default(), u64::MAX, &mut scratch);
        assert_eq!(publish(&mut Lanes::default(), &mut scratch), Published::Taken(2));
    }

    /// {0, 1} and {1, 2} in turn cost one flush, not one for each message.
    #[test]
    fn lanes_that_overlap_do_not_close_each_other_again_and_again() {
        let queues: Vec<_> = (0..3).map(queue).collect();
        let mut lanes = Lanes::default();
        let ids = [lanes.add(queues[..2].into()), lanes.add(queues[1..].into())];
        let mut flushes = 0;
        for number in 0..100 {
            let record = Record {
                route: b"\x00\x00",
                hidden: b"",
                header: b"",
                body: b"",
                persistent: false,
                priority: None,
                ttl: None,
                dead: false,
                due: None,
            };
            if lanes.push(ids[number % 2], &record) == Pushed::Blocked {
                flushes += 1;
                lanes.close(|_, _, run| assert_eq!(run.count(), 1));
                lanes.split();
                assert_eq!(lanes.push(ids[number % 2], &record), Pushed::Done);
            }
        }
        assert_eq!(flushes, 1);
        let mut counts = Vec::new();
        lanes.close(|targets, _, run| counts.push((targets[0].info.id.0, run.count())));
        counts.sort_unstable();
        assert_eq!(counts, [(0, 49), (1, 99), (2, 50)]);
    }
}
