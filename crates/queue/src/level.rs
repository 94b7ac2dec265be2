//! The ready messages of one priority, oldest first.
//!
//! Invariants: everything in `returned` stands before everything in `fifo`, because messages leave at the front only;
//! `open` stands after `fifo`. Small runs that join a backlog are copied together in `open`, since a run of one message
//! costs several times its size.

use std::collections::{BTreeMap, VecDeque};

use crate::delivery::Span;
use crate::run::RunBuilder;
use crate::{Millis, Position};

/// Runs up to this size are copied together when they join a backlog.
const SMALL_RUN_OCTETS: usize = 4 * 1024;
/// A run gathered from small ones is closed at this size.
const GATHERED_RUN_OCTETS: usize = 32 * 1024;
/// Copying starts only behind this many spans: a queue that keeps up never pays for it.
const BACKLOG_SPANS: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Level {
    returned: BTreeMap<Position, Span>,
    fifo: VecDeque<Span>,
    /// `None` until the level has had a backlog: an idle queue stays small.
    open: Option<Box<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    builder: RunBuilder,
    first: Position,
    /// Of the first; the queue has no use for the others'.
    arrived: Millis,
}

impl Level {
    pub(crate) fn is_empty(&self) -> bool {
        self.returned.is_empty()
            && self.fifo.is_empty()
            && self.open.as_ref().is_none_or(|o| o.builder.is_empty())
    }

    /// Appends messages that were just published.
    /// With `gather` small runs of a backlog may be copied together; not where each message has its own time.
    pub(crate) fn push(&mut self, span: Span, gather: bool) {
        if gather && self.fifo.len() >= BACKLOG_SPANS && (span.size as usize) <= SMALL_RUN_OCTETS {
            self.gather(span);
        } else {
            self.seal();
            self.fifo.push_back(span);
        }
    }

    /// Puts messages that come back to their original place.
    pub(crate) fn put_back(&mut self, span: Span) {
        self.returned.insert(span.first, span);
    }

    /// The oldest messages: all of their span up to `limit`.
    pub(crate) fn pop(&mut self, limit: u32) -> Option<Span> {
        if let Some(mut entry) = self.returned.first_entry() {
            if entry.get().count <= limit {
                return Some(entry.remove());
            }
            let front = entry.get_mut().take_front(limit);
            let rest = entry.remove();
            self.returned.insert(rest.first, rest);
            return Some(front);
        }
        if self.fifo.is_empty() {
            self.seal();
        }
        let head = self.fifo.front_mut()?;
        if head.count > limit {
            return Some(head.take_front(limit));
        }
        let span = self.fifo.pop_front();
        if self.fifo.is_empty() && self.fifo.capacity() > 1024 {
            self.fifo = VecDeque::new();
        }
        span
    }

    /// The oldest messages, without taking them.
    pub(crate) fn head(&mut self) -> Option<&Span> {
        if self.returned.is_empty() && self.fifo.is_empty() {
            self.seal();
        }
        self.returned.first_key_value().map(|(_, span)| span).or_else(|| self.fifo.front())
    }

    pub(crate) fn clear(&mut self) {
        *self = Level::default();
    }

    fn gather(&mut self, span: Span) {
        let open = self.open.get_or_insert_default();
        let next = open.first + u64::from(open.builder.count());
        let full = open.builder.len() + span.size as usize > GATHERED_RUN_OCTETS;
        if !open.builder.is_empty() && (next != span.first || full) {
            self.seal();
        }
        let open = self.open.get_or_insert_default();
        if open.builder.is_empty() {
            open.first = span.first;
            open.arrived = span.arrived;
        }
        open.builder.push_raw(span.run.slice(span.offset, span.offset + span.size), span.count);
    }

    fn seal(&mut self) {
        if let Some(open) = &mut self.open
            && let Some(run) = open.builder.finish()
        {
            self.fifo.push_back(Span::of_run(run, open.first, open.arrived));
        }
    }
}
