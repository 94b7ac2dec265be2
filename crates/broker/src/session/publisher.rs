//! The routes that a connection publishes to, and the runs it is building.
//!
//! A *lane* is one set of queues with the run that is being built for it. Several routes (exchange and key) may lead to the
//! same lane. Invariants: lanes with something in them share no queue, so the order within each queue is the order of
//! publishing; what is remembered belongs to one generation of the vhost's picture.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use warrenmq_queue::{Record, Run, RunBuilder};
use warrenmq_wire::same;

use crate::queue_cell::QueueCell;

/// Most lanes; one bit each.
const LANES_MAX: usize = 128;
/// Most remembered routes.
const ROUTES_MAX: usize = 512;
/// Slots of the table over them.
const SLOTS: usize = 1024;

/// Number of a lane.
pub(super) type LaneId = usize;

#[derive(Debug, Default)]
pub(super) struct Publisher {
    routes: Vec<Route>,
    /// Hash of a route to its index in `routes` plus one; empty until the first publish.
    table: Vec<u16>,
    /// Route of the last publish.
    last: usize,
    lanes: Vec<Lane>,
    /// Bits of the lanes that hold something.
    open: u128,
    hasher: FixedState,
}

#[derive(Debug)]
struct Route {
    /// Exchange and routing key in wire form.
    wire: Box<[u8]>,
    lane: LaneId,
    /// The lane depends on the headers of each message too.
    by_headers: bool,
}

#[derive(Debug)]
struct Lane {
    /// Shared with the transactions that publish to them.
    targets: Arc<[Arc<QueueCell>]>,
    /// Bits of the lanes that share a queue with this one.
    overlaps: u128,
    /// A queue among them may refuse messages.
    may_reject: bool,
    /// A queue among them is durable.
    recorded: bool,
    builder: RunBuilder,
}

/// What is known of a route.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Lane(LaneId),
    /// Exchange and permission are fine, but each message has to be routed by itself.
    ByHeaders,
}

impl Publisher {
    /// Finds a remembered route. The one that was used last costs one comparison.
    #[inline]
    pub(super) fn find(&mut self, wire: &[u8]) -> Option<Known> {
        if let Some(route) = self.routes.get(self.last)
            && same(&route.wire, wire)
        {
            return Some(route.known());
        }
        self.find_in_table(wire)
    }

    fn find_in_table(&mut self, wire: &[u8]) -> Option<Known> {
        let slot = self.table.get(self.slot(wire))?;
        let index = usize::from(*slot).checked_sub(1)?;
        let route = self.routes.get(index)?;
        if !same(&route.wire, wire) {
            return None;
        }
        self.last = index;
        Some(route.known())
    }

    /// Whether nothing more fits; the caller flushes, then forgets.
    pub(super) fn is_full(&self) -> bool {
        self.routes.len() >= ROUTES_MAX || self.lanes.len() >= LANES_MAX
    }

    /// Drops everything remembered. Nothing may be open.
    pub(super) fn forget(&mut self) {
        debug_assert_eq!(self.open, 0);
        self.routes.clear();
        self.lanes.clear();
        self.table.fill(0);
        self.last = 0;
    }

    /// Remembers where a route leads.
    pub(super) fn remember(&mut self, wire: &[u8], lane: LaneId, by_headers: bool) {
        if self.table.is_empty() {
            self.table = vec![0; SLOTS];
        }
        let slot = self.slot(wire);
        self.last = self.routes.len();
        self.routes.push(Route { wire: wire.into(), lane, by_headers });
        if let Some(entry) = self.table.get_mut(slot) {
            *entry = self.routes.len() as u16;
        }
    }

    /// The lane of these queues, which are sorted; made if need be.
    pub(super) fn lane_of(&mut self, targets: &[Arc<QueueCell>]) -> LaneId {
        let same_targets = |lane: &Lane| {
            std::ptr::eq(&*lane.targets, targets)
                || (lane.targets.len() == targets.len()
                    && lane.targets.iter().zip(targets).all(|(a, b)| Arc::ptr_eq(a, b)))
        };
        if let Some(at) = self.lanes.iter().position(same_targets) {
            return at;
        }
        let at = self.lanes.len();
        let mut overlaps = 0;
        for (other, lane) in self.lanes.iter_mut().enumerate() {
            if share(&lane.targets, targets) {
                overlaps |= 1 << other;
                lane.overlaps |= 1 << at;
            }
        }
        let may_reject = targets.iter().any(|queue| queue.may_reject());
        let recorded = targets.iter().any(|queue| queue.info.durable);
        let (targets, builder) = (targets.into(), RunBuilder::new());
        self.lanes.push(Lane { targets, overlaps, may_reject, recorded, builder });
        at
    }

    /// Whether a queue of the lane may refuse messages.
    pub(super) fn may_reject(&self, lane: LaneId) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.may_reject)
    }

    /// Whether the lane's persistent messages go to the disk.
    #[inline]
    pub(super) fn is_recorded(&self, lane: LaneId) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.recorded)
    }

    pub(super) fn targets(&self, lane: LaneId) -> &[Arc<QueueCell>] {
        self.lanes.get(lane).map_or(&[], |lane| &lane.targets)
    }

    /// The same, to keep.
    pub(super) fn shared_targets(&self, lane: LaneId) -> Arc<[Arc<QueueCell>]> {
        self.lanes.get(lane).map_or_else(Arc::default, |lane| Arc::clone(&lane.targets))
    }

    /// Whether a message for `lane` can be added now, or another lane with the same queues has to be flushed first.
    #[inline]
    pub(super) fn must_flush_before(&self, lane: LaneId, octets: usize) -> bool {
        self.lanes
            .get(lane)
            .is_some_and(|lane| self.open & lane.overlaps != 0 || !lane.builder.has_room(octets))
    }

    #[inline]
    pub(super) fn push(&mut self, lane: LaneId, record: Record<'_>) {
        if let Some(entry) = self.lanes.get_mut(lane)
            && !entry.targets.is_empty()
        {
            self.open |= 1 << lane;
            entry.builder.push(record);
        }
    }

    /// What is being built for a lane that holds something.
    #[inline]
    pub(super) fn open_lane(&mut self, lane: LaneId) -> Option<&mut RunBuilder> {
        let open = lane < LANES_MAX && self.open & (1 << lane) != 0;
        self.lanes.get_mut(lane).filter(|_| open).map(|lane| &mut lane.builder)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open != 0
    }

    /// Finishes one open lane.
    pub(super) fn take_open(&mut self) -> Option<(&[Arc<QueueCell>], Run)> {
        while self.open != 0 {
            let at = self.open.trailing_zeros() as usize;
            self.open &= self.open - 1;
            let lane = &mut self.lanes[at];
            if let Some(run) = lane.builder.finish() {
                return Some((&self.lanes[at].targets, run));
            }
        }
        None
    }

    fn slot(&self, wire: &[u8]) -> usize {
        self.hasher.hash_one(wire) as usize % SLOTS
    }
}

impl Route {
    #[inline]
    fn known(&self) -> Known {
        if self.by_headers { Known::ByHeaders } else { Known::Lane(self.lane) }
    }
}

/// Whether two sorted lists have a queue in common.
fn share(a: &[Arc<QueueCell>], b: &[Arc<QueueCell>]) -> bool {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.info.id.cmp(&y.info.id) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => a.next(),
            std::cmp::Ordering::Greater => b.next(),
        };
    }
    false
}
