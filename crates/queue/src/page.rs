//! What goes to a disk and comes back: pages of messages, by name and place.
//!
//! Invariant: the records of a page stand in its octets in the order of its ranges, without gaps.

use bytes::Bytes;

use crate::{Millis, Position};

/// Where a page is stored; means nothing to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64, pub u32);

/// Names a page or a stored block within its queue. Together with its place it never means anything else again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u64);

/// Messages at positions in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// Position of the first.
    pub first: Position,
    /// How many, at least 1.
    pub count: u32,
    /// They are not persistent: a restart forgets them.
    pub transient: bool,
    /// When they came to the queue. Where nothing expires that is the last of them, and the others came less than a tenth of a second before.
    pub arrived: Millis,
}

/// Messages that came within so many milliseconds may count as having come with the last of them, as long as nothing in their queue
/// expires: should that change, they expire by so much too late, and never too early.
pub(crate) const TOGETHER_MS: Millis = 100;

/// Whether what came at these times may be kept as one. With `timed` the times have to be the same; without, the stretches of time that they
/// are in, so that one that is kept with others again and again moves no further.
pub(crate) fn came_together(before: Millis, arrived: Millis, timed: bool) -> bool {
    before == arrived || !timed && before / TOGETHER_MS == arrived / TOGETHER_MS
}

impl PageRange {
    /// Position of the last.
    pub fn last(&self) -> Position {
        self.first + u64::from(self.count) - 1
    }
}

/// Messages to be written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// To be named when it is written.
    pub id: PageId,
    /// Priority of all its messages, as the queue counts it.
    pub level: u8,
    /// Which messages, in ascending order.
    pub ranges: Vec<PageRange>,
    /// Their records, back to back.
    pub pieces: Vec<Bytes>,
    /// Octets of all pieces.
    pub octets: u64,
}

impl Page {
    pub(crate) fn new(id: PageId, level: u8) -> Page {
        Page { id, level, ranges: Vec::new(), pieces: Vec::new(), octets: 0 }
    }

    /// Number of messages.
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|range| range.count).sum()
    }

    /// Appends a range, to the last one where they make one.
    pub(crate) fn push(&mut self, range: PageRange, timed: bool) {
        match self.ranges.last_mut() {
            Some(last)
                if last.last() + 1 == range.first
                    && last.transient == range.transient
                    && came_together(last.arrived, range.arrived, timed) =>
            {
                last.count += range.count;
                last.arrived = last.arrived.max(range.arrived);
            }
            _ => self.ranges.push(range),
        }
    }
}
