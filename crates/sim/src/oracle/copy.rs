//! A copy of a message in one queue, and what is known about it.

use super::Oracle;
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::Number;
use crate::topology::{Kind, Name};

/// Number of a copy.
pub(super) type CopyId = usize;
/// Number of a queue; one that is declared again is another.
pub(super) type QueueId = usize;

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) message: MessageId,
    pub(super) queue: QueueId,
    pub(super) place: Place,
    /// It is certain that it is there, if it is not gone.
    pub(super) sure: bool,
    /// Its queue may refuse it: its confirm will make it certain.
    pub(super) awaited: bool,
    pub(super) shown: Shown,
    /// When it is due, if it waits first; 0 if not.
    pub(super) due: u64,
    /// Its place among the others of its queue and level.
    pub(super) order: u64,
    pub(super) level: u8,
    /// It came back since the last start, or may have: its order says nothing.
    pub(super) loose: bool,
    /// Unix time, milliseconds.
    pub(super) arrived: u64,
    /// The call that brought it.
    pub(super) published: u64,
    /// Its publish is on disk.
    pub(super) durable: bool,
    pub(super) persistent: bool,
    /// How often it came back, or, after a crash, how often at most.
    pub(super) returns: u64,
    /// There was a crash since it came back, and before that was on disk.
    pub(super) returns_at_most: bool,
    /// The call in which it came back last.
    pub(super) returned: u64,
    /// It was purged, unless it was on its way to a consumer.
    pub(super) purged: bool,
    /// It may have died unseen before its queue was purged or deleted.
    pub(super) may_be_dead: bool,
    pub(super) incarnation: u32,
    /// An undecided commit has published it: it is certain if that has happened.
    pub(super) published_in: Option<usize>,
    /// An undecided commit has settled it: it is certain, if that says so, when that has not happened.
    pub(super) settled_in: Option<(usize, bool)>,
}

/// Where a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its queue, or on its way to a consumer.
    Ready,
    /// Delivered and not settled.
    Held(LinkId, Number),
    /// Done with, in that call.
    Gone { call: u64, durable: bool },
    /// It turned out not to be there.
    Absent,
}

/// Whether it was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Never,
    Maybe,
    Yes,
}

impl Shown {
    /// Whether a delivery may say so.
    pub(super) fn agrees(self, redelivered: bool) -> bool {
        match self {
            Shown::Never => !redelivered,
            Shown::Maybe => true,
            Shown::Yes => redelivered,
        }
    }
}

/// A queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) name: Name,
    pub(super) kind: Kind,
    pub(super) deleted: bool,
    pub(super) copies: Vec<CopyId>,
    /// Somebody has read it since the last start.
    pub(super) was_read: bool,
}

/// A commit, until it is known to be on disk or not to have happened.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) call: u64,
    pub(super) publishes: Vec<CopyId>,
    pub(super) settles: Vec<CopyId>,
    pub(super) fate: Fate,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker that was asked lives.
    Open,
    /// A crash came before commit-ok.
    Undecided,
    /// It is known.
    Decided,
}

impl Oracle {
    /// A message comes into a queue.
    pub(super) fn add_copy(&mut self, message: MessageId, queue: QueueId) -> CopyId {
        let id = self.copies.len();
        let known = self.messages[message as usize];
        let kind = self.queues[queue].kind;
        self.copies.push(Copy {
            message,
            queue,
            place: Place::Ready,
            sure: !kind.rejects,
            awaited: kind.rejects,
            shown: Shown::Never,
            order: id as u64,
            level: kind.level(known.priority),
            due: self.dues[message as usize],
            loose: self.dues[message as usize] > 0,
            arrived: self.now,
            published: self.call,
            durable: false,
            persistent: known.persistent || kind.quorum,
            returns: 0,
            returns_at_most: false,
            returned: 0,
            purged: false,
            may_be_dead: false,
            incarnation: self.incarnation,
            published_in: None,
            settled_in: None,
        });
        self.queues[queue].copies.push(id);
        self.copies_of[message as usize].push(id);
        id
    }

    /// Whether the copy may leave its queue unseen: it is too old, or the queue too long.
    pub(super) fn may_vanish(&self, id: CopyId) -> bool {
        let copy = &self.copies[id];
        let queue = &self.queues[copy.queue];
        let expired = queue.kind.ttl.is_some_and(|ttl| copy.arrived + ttl <= self.now);
        let dropped = queue.kind.max_length.is_some_and(|max| {
            let newer = queue.copies.iter().rev().take_while(|other| **other > id).count();
            !queue.kind.rejects && newer as u64 >= max
        });
        let octets = |id: CopyId| self.messages[self.copies[id].message as usize].octets as u64;
        let squeezed = queue.kind.max_octets.is_some_and(|max| {
            let newer = queue.copies.iter().rev().take_while(|other| **other > id);
            !queue.kind.rejects && newer.map(|other| octets(*other)).sum::<u64>() + octets(id) > max
        });
        expired || dropped || squeezed
    }

    /// Whether the copy may still be on its way to its queue.
    pub(super) fn may_wait(&self, id: CopyId) -> bool {
        self.copies[id].due > self.come
    }

    /// A copy that was delivered is back in its queue.
    pub(super) fn give_back(&mut self, id: CopyId) {
        let call = self.call;
        let deleted = self.queues[self.copies[id].queue].deleted;
        let copy = &mut self.copies[id];
        copy.loose = true;
        copy.returns += 1;
        copy.returned = call;
        copy.shown = Shown::Yes;
        copy.place = if deleted { Place::Absent } else { Place::Ready };
    }

    /// It turns out not to be there. What was purged since the last start may still be on disk.
    pub(super) fn is_missing(&mut self, id: CopyId) {
        if self.copies[id].purged {
            self.done(id);
        } else {
            self.copies[id].place = Place::Absent;
        }
    }

    /// Somebody is done with it.
    pub(super) fn done(&mut self, id: CopyId) {
        self.copies[id].place = Place::Gone { call: self.call, durable: false };
    }

    /// It dies: its dead letter is made. Returns that, if the queue has a place for it.
    pub(super) fn die(&mut self, id: CopyId) -> Option<CopyId> {
        self.done(id);
        let Copy { queue, message, sure, .. } = self.copies[id];
        let to = self.queues[queue].kind.dead_letters?;
        let letter = self.add_copy(message, self.names[to]?);
        if sure {
            self.deaths.push((id, letter));
        }
        Some(letter)
    }
}
