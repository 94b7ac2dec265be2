//! Messages that were delivered and wait for their settlement.
//!
//! Invariant: spans are disjoint; each is stored under its *last* position, so that settling from the front (the usual
//! order) changes an entry in place instead of moving it.

use std::collections::BTreeMap;

use crate::Position;
use crate::delivery::Span;

#[derive(Debug, Default)]
pub(crate) struct Unacked {
    spans: BTreeMap<Position, Span>,
    count: u64,
    size: u64,
}

impl Unacked {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn insert(&mut self, span: Span) {
        self.count += u64::from(span.count);
        self.size += u64::from(span.size);
        let clash = self.spans.insert(span.last(), span);
        debug_assert!(clash.is_none());
    }

    /// Removes every message from `first` to `last` that is here and hands it to `each` in order of position.
    pub(crate) fn take(&mut self, first: Position, last: Position, mut each: impl FnMut(Span)) {
        while let Some((&key, span)) = self.spans.range_mut(first..).next() {
            if span.first > last {
                return;
            }
            if span.first < first {
                // Settling in the middle: what lies before stays, as an entry of its own.
                let before = span.take_front((first - span.first) as u32);
                self.spans.insert(before.last(), before);
                continue;
            }
            let taken = if key <= last {
                self.spans.remove(&key).expect("invariant: the entry was just seen")
            } else {
                span.take_front((last - span.first + 1) as u32)
            };
            self.count -= u64::from(taken.count);
            self.size -= u64::from(taken.size);
            each(taken);
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        *self = Unacked::default();
    }
}
