//! A copy of a message in one queue, and what is known about it.

use super::Oracle;
use super::returns::Returns;
use crate::content::{Death, Reason};
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::Number;
use crate::rules::Rules;
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
    /// Whether its queue has taken it.
    pub(super) entry: Entry,
    /// What it has died of before, if it is a dead letter.
    pub(super) death: Option<Death>,
    /// The copy that it is a dead letter of.
    pub(super) died_from: Option<CopyId>,
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
    /// How often it came back, and how long it waits.
    pub(super) returns: Returns,
    /// When it came back last: the call and the time.
    pub(super) returned: Moment,
    /// It was purged, unless it was on its way to a consumer.
    pub(super) purged: bool,
    /// It may have died unseen before its queue was purged or deleted, or got other rules.
    pub(super) may_be_dead: bool,
    /// It may have gone unseen, and for good, before its queue got other rules.
    pub(super) may_be_gone: bool,
    pub(super) incarnation: u32,
    /// An undecided commit has published it: it is certain if that has happened.
    pub(super) published_in: Option<usize>,
    /// It is one of those of which one is there.
    pub(super) choice: Option<usize>,
    /// An undecided commit has settled it: it is certain, if that says so, when that has not happened.
    pub(super) settled_in: Option<(usize, bool)>,
}

/// A call and its time, in unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub(super) call: u64,
    pub(super) time: u64,
}

/// Whether a queue has taken a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Taken,
    /// It may be full: the confirm will say it.
    Open,
    Refused,
}

/// Where a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its queue, or on its way to a consumer.
    Ready,
    /// Delivered and not settled.
    Held(LinkId, Number),
    /// It has died, and is in its queue until all others have its letters, or has left since.
    Kept(Reason),
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
    /// What counts for it now.
    pub(super) rules: Rules,
    /// The call in which that changed last.
    pub(super) ruled: u64,
    /// The call from which on its octets are limited, if they are.
    pub(super) weighed: u64,
    /// When it was declared, read or left by a consumer last, in unix milliseconds.
    pub(super) used: u64,
    pub(super) deleted: bool,
    pub(super) copies: Vec<CopyId>,
    /// Somebody has read it since the last start.
    pub(super) was_read: bool,
    /// Dead letters have stayed here until all others had them, ever since it was declared.
    pub(super) keeps_dead: bool,
    /// The call in which something large may have gone unseen last, with somebody who does not acknowledge.
    pub(super) slipped: u64,
    /// The consumer that came first, or was next when the one before left: who is served where one is.
    pub(super) active: Option<u32>,
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
    /// A message comes into a queue, which takes it.
    pub(super) fn add_copy(&mut self, message: MessageId, queue: QueueId) -> CopyId {
        let id = self.copies.len();
        let known = self.messages[message as usize];
        let kind = self.queues[queue].kind;
        let due = self.dues[message as usize];
        self.copies.push(Copy {
            message,
            queue,
            place: Place::Ready,
            sure: true,
            entry: Entry::Taken,
            death: None,
            died_from: None,
            shown: Shown::Never,
            order: id as u64,
            level: kind.level(known.priority),
            due,
            loose: due > 0,
            arrived: self.now.max(due),
            published: self.call,
            durable: false,
            persistent: known.persistent || kind.quorum,
            returns: Returns::default(),
            returned: Moment::default(),
            purged: false,
            may_be_dead: false,
            may_be_gone: false,
            incarnation: self.incarnation,
            published_in: None,
            settled_in: None,
            choice: None,
        });
        self.queues[queue].copies.push(id);
        self.copies_of[message as usize].push(id);
        id
    }

    /// Whether the copy may have left its queue unseen: it is too old, or the queue too long, or it was.
    pub(super) fn may_vanish(&self, id: CopyId) -> bool {
        self.copies[id].may_be_gone || self.copies[id].may_be_dead || self.may_go(id)
    }

    /// Whether it may by the rules that count now.
    pub(super) fn may_go(&self, id: CopyId) -> bool {
        self.expiry(id).is_some_and(|at| at <= self.now) || self.may_be_too_much(id)
    }

    /// When it expires.
    pub(super) fn expiry(&self, id: CopyId) -> Option<u64> {
        let copy = &self.copies[id];
        // A dead letter has lost its own.
        let own = self.messages[copy.message as usize].expiration.filter(|_| copy.death.is_none());
        let ttl = self.queues[copy.queue].rules.ttl.into_iter().chain(own).min()?;
        Some(copy.arrived + ttl)
    }

    /// Whether there may be no room for it.
    pub(super) fn may_be_too_much(&self, id: CopyId) -> bool {
        let queue = &self.queues[self.copies[id].queue];
        if !queue.rules.drops() {
            return false;
        }
        let copy = &self.copies[id];
        // What came back to a quorum queue goes first, then the oldest of the lowest priority. What waits counts, and stays.
        let outlives = |other: &&CopyId| {
            let level = self.copies[**other].level;
            let is_behind = level > copy.level || (level == copy.level && **other > id);
            let has_waited = self.copies[**other].returns.wait.is_some();
            **other != id && (is_behind || has_waited || (queue.kind.quorum && copy.loose))
        };
        let others = || queue.copies.iter().filter(outlives);
        let octets = |id: CopyId| self.messages[self.copies[id].message as usize].octets as u64;
        let dropped = queue.rules.max_length.is_some_and(|max| others().count() as u64 >= max);
        let squeezed = queue
            .rules
            .max_octets
            .is_some_and(|max| others().map(|other| octets(*other)).sum::<u64>() + octets(id) > max);
        dropped || squeezed
    }

    /// Whether the copy may still be on its way to its queue.
    pub(super) fn may_wait(&self, id: CopyId) -> bool {
        self.copies[id].due > self.come || self.copies[id].returns.may_wait(self.now)
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
}
