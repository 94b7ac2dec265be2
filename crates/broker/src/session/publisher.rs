//! What a connection publishes with: the routes it remembers, and the runs it is building for their queues.
//!
//! Invariant: what is remembered belongs to one generation of the vhost's picture.
//!
//! A read with messages for many queues has few for each of them, and a run of few messages costs as much as one of many. So
//! while more input is there already, runs stay open for another read.

use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::{Record, Run, RunBuilder};
use warrenmq_routing::QueueId;
use warrenmq_wire::table::RawTable;

use super::fronts::Fronts;
use super::lanes::{LaneId, Lanes, Pushed};
use super::remembered::Remembered;
use crate::queue_cell::QueueCell;

/// Headers beyond this, with their route, are not remembered.
const KEY_OCTETS_MAX: usize = 1024;
/// With this much input for each open run nothing is gained by waiting for more.
const INPUT_PER_RUN_OCTETS: usize = 16 * 1024;
/// Runs are closed after this much input.
const GATHERED_OCTETS_MAX: usize = 1024 * 1024;
/// Runs are closed after this time.
const GATHERED_MS: Millis = 3;

/// What is known of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Lane(LaneId),
    /// Exchange and permission are fine, but it depends on the headers of a message where it goes.
    ByHeaders,
    /// The same, and nothing can be remembered: each message has to be routed by itself.
    Each,
}

#[derive(Debug, Default)]
pub(super) struct Publisher {
    routes: Remembered<Known>,
    /// Where messages go that are routed by their headers: a route, followed by the octets of the headers.
    by_headers: Remembered<Known>,
    /// Messages like which there may be more.
    pub(super) fronts: Fronts,
    key: Vec<u8>,
    lanes: Lanes,
    /// Input that was read since the first of the open runs was opened, and when that was.
    gathered: usize,
    since: Millis,
}

impl Publisher {
    /// Finds a remembered route.
    #[inline]
    pub(super) fn find(&mut self, wire: &[u8]) -> Option<Known> {
        self.routes.find(wire)
    }

    /// Remembers where a route leads, which it did not know.
    pub(super) fn remember(&mut self, wire: &[u8], known: Known) {
        self.routes.remember(wire, known);
    }

    /// Finds the lane of a message that is routed by its headers, if one with the same headers came before.
    pub(super) fn find_with_headers(&mut self, wire: &[u8], headers: Option<RawTable<'_>>) -> Option<LaneId> {
        if !self.set_key(wire, headers) {
            return None;
        }
        match self.by_headers.find(&self.key) {
            Some(Known::Lane(lane)) => Some(lane),
            _ => None,
        }
    }

    /// Remembers where a message with these headers goes, which was not known.
    pub(super) fn remember_with_headers(&mut self, wire: &[u8], headers: Option<RawTable<'_>>, lane: LaneId) {
        if self.set_key(wire, headers) {
            self.by_headers.remember(&self.key, Known::Lane(lane));
        }
    }

    /// Says whether it is worth remembering.
    fn set_key(&mut self, wire: &[u8], headers: Option<RawTable<'_>>) -> bool {
        let headers = headers.map_or(&[][..], |table| table.as_bytes());
        let fits = wire.len() + headers.len() <= KEY_OCTETS_MAX;
        if fits {
            self.key.clear();
            // A route says itself where it ends.
            self.key.extend_from_slice(wire);
            self.key.extend_from_slice(headers);
        }
        fits
    }

    /// Whether there is no room for more lanes; the caller flushes, then forgets.
    pub(super) fn is_full(&self) -> bool {
        self.lanes.is_full()
    }

    /// The lane of these queues, which are sorted; `targets` finds them if they have no lane yet.
    pub(super) fn lane_of(
        &mut self,
        queues: &[QueueId],
        targets: impl FnOnce() -> Arc<[Arc<QueueCell>]>,
    ) -> LaneId {
        match self.lanes.find(queues) {
            Some(lane) => lane,
            None => self.lanes.add(targets()),
        }
    }

    /// Whether a queue of the lane may refuse messages.
    #[inline]
    pub(super) fn may_reject(&self, lane: LaneId) -> bool {
        self.lanes.may_reject(lane)
    }

    /// Whether such a message goes to the disk on this lane.
    #[inline]
    pub(super) fn is_recorded(&self, lane: LaneId, persistent: bool) -> bool {
        self.lanes.is_recorded(lane, persistent)
    }

    /// The queues of a lane, to keep.
    pub(super) fn targets(&self, lane: LaneId) -> Arc<[Arc<QueueCell>]> {
        self.lanes.targets(lane)
    }

    /// Adds a message to the run of its lane. After [`Pushed::Blocked`] the caller flushes, says so by [`Publisher::split`],
    /// and tries again.
    #[inline]
    pub(super) fn push(&mut self, lane: LaneId, record: &Record<'_>) -> Pushed {
        self.lanes.push(lane, record)
    }

    /// Adds a run that was not built here. Nothing may be open, and the caller closes next.
    pub(super) fn push_run(&mut self, lane: LaneId, run: &Run) -> Pushed {
        self.lanes.push_run(lane, run)
    }

    /// Adds a message like one that is in this lane already or was; `false` when it has to go the long way.
    #[inline]
    pub(super) fn push_again(&mut self, lane: LaneId, record: &Record<'_>) -> bool {
        self.lanes.push_again(lane, record)
    }

    /// The run of a lane that has something.
    #[inline]
    pub(super) fn open_lane(&mut self, lane: LaneId) -> Option<&mut RunBuilder> {
        self.lanes.open_lane(lane)
    }

    /// Runs were closed because they got in each other's way.
    pub(super) fn split(&mut self) {
        self.lanes.split();
    }

    /// Whether some run is open.
    pub(super) fn any_open(&self) -> bool {
        self.lanes.any_open()
    }

    /// After `octets` of input: whether the open runs gain by waiting for more of it.
    pub(super) fn gathers(&mut self, octets: usize, now: Millis) -> bool {
        if self.gathered == 0 {
            self.since = now;
        }
        self.gathered += octets;
        self.gathered < GATHERED_OCTETS_MAX.min(self.lanes.open_count() * INPUT_PER_RUN_OCTETS)
            && now <= self.since + GATHERED_MS
    }

    /// Closes the open runs; each is told with its queues, and whether some may refuse it.
    pub(super) fn close(&mut self, each: impl FnMut(&[Arc<QueueCell>], bool, Run)) {
        self.gathered = 0;
        self.lanes.close(each);
    }
}
