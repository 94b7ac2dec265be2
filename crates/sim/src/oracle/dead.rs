//! Copies that die, and their dead letters.
//!
//! Invariant: a copy that its queue keeps until all others have taken it (`x-dead-letter-strategy` `at-least-once`) has all of its letters or none;
//! which of the two is known when one of these is seen, and which ones there are is known then.

use super::Oracle;
use super::copy::{Copy, CopyId, Entry, Place, QueueId, Shown};
use crate::content::{Death, Reason};
use crate::message::MessageId;
use crate::topology::Name;

impl Oracle {
    /// It dies: its dead letters are made, or it is kept until they can be.
    pub(super) fn die(&mut self, id: CopyId, reason: Reason) {
        let rules = self.queues[self.copies[id].queue].rules;
        if rules.may_keep() {
            self.copies[id].place = Place::Kept(reason);
            return;
        }
        self.done(id);
        let letters = rules.dead_letters.iter().flat_map(|grave| grave.queues());
        for name in letters.collect::<Vec<_>>() {
            let takes = !self.may_refuse(name);
            self.bury(id, reason, name, takes);
        }
    }

    /// The dead letter of a copy is in the queue of this name; for certain, or perhaps.
    fn bury(&mut self, id: CopyId, reason: Reason, to: Name, is_certain: bool) -> Option<CopyId> {
        let letter = self.add_letter(id, reason, to)?;
        self.copies[letter].sure = is_certain;
        if is_certain && self.copies[id].sure && self.copies[letter].persistent {
            self.deaths.push((id, letter));
        }
        Some(letter)
    }

    /// The dead letter of a copy.
    pub(super) fn add_letter(&mut self, id: CopyId, reason: Reason, to: Name) -> Option<CopyId> {
        let Copy { queue, message, .. } = self.copies[id];
        let death = Death { queue: self.queues[queue].name, reason };
        let letter = self.add_copy(message, self.names[to]?);
        // It does not wait again.
        let copy = &mut self.copies[letter];
        (copy.death, copy.died_from, copy.due) = (Some(death), Some(id), 0);
        Some(letter)
    }

    /// Whether the queue of this name may be full.
    fn may_refuse(&self, name: Name) -> bool {
        self.names[name].is_none_or(|queue| self.queues[queue].rules.rejects())
    }

    /// A dead letter whose death was not seen: where it had expired, was one too many, was refused, or was kept until now.
    pub(super) fn died_unseen(
        &mut self,
        queue: QueueId,
        message: MessageId,
        death: Option<Death>,
    ) -> Option<CopyId> {
        let to = self.queues[queue].name;
        let death = death?;
        let has_died = |id: &CopyId| {
            let copy = &self.copies[*id];
            let from = &self.queues[copy.queue];
            let leads_here = from.rules.dead_letters.is_some_and(|grave| grave.queues().contains(&to));
            let now = !from.deleted && leads_here && self.may_die(*id, death.reason);
            let has_died = match copy.place {
                Place::Ready => copy.may_be_dead || now,
                Place::Kept(reason) => reason == death.reason,
                _ => false,
            };
            has_died && from.name == death.queue
        };
        let died = self.copies_of[message as usize].iter().copied().find(has_died)?;
        if let Some(group) = self.copies[died].published_in.take() {
            // What has died was there.
            self.decide(group, true);
        }
        self.done(died);
        let from = &self.queues[self.copies[died].queue];
        // Rules that have changed may lead elsewhere.
        let graves: Vec<Name> = from.kind.own.dead_letters.map(|grave| grave.queues()).unwrap_or_default();
        let all_take = from.keeps_dead;
        for other in graves.into_iter().filter(|other| *other != to) {
            if self.was_seen(died, other) {
                continue;
            }
            let is_certain = (all_take || !self.may_refuse(other)) && !self.may_have_slipped(died, other);
            if let Some(letter) = self.bury(died, death.reason, other, is_certain) {
                self.doubt_shown(letter);
            }
        }
        let letter = self.bury(died, death.reason, to, true)?;
        self.doubt_shown(letter);
        Some(letter)
    }

    /// Whether a letter of this copy may have gone from the queue of this name, as unseen as it came.
    fn may_have_slipped(&self, died: CopyId, from: Name) -> bool {
        self.names[from].is_some_and(|queue| self.queues[queue].slipped >= self.copies[died].published)
    }

    /// Whether a letter of this copy is in the queue of this name for certain, or was delivered from it since the last start, as one of before.
    fn was_seen(&self, died: CopyId, from: Name) -> bool {
        self.copies_of[self.copies[died].message as usize].iter().any(|id| {
            let copy = &self.copies[*id];
            let is_seen = match copy.place {
                Place::Ready => copy.sure,
                Place::Held(..) => true,
                Place::Gone { call, .. } => call >= self.started,
                _ => false,
            };
            copy.died_from == Some(died) && self.queues[copy.queue].name == from && is_seen
        })
    }

    /// A queue goes, with what is kept there, and with what had died and was still to be read from the disk.
    pub(super) fn doubt_letters(&mut self, queue: QueueId) {
        for id in self.queues[queue].copies.clone() {
            let copy = &mut self.copies[id];
            copy.sure &= !matches!(copy.place, Place::Kept(_));
            for letter in self.copies_of[self.copies[id].message as usize].clone() {
                let letter = &mut self.copies[letter];
                letter.sure &= letter.died_from != Some(id) || letter.place != Place::Ready;
            }
        }
        let copies = &self.copies;
        self.deaths.retain(|(died, letter)| copies[*died].queue != queue || copies[*letter].sure);
    }

    /// A crash: what has died and is on disk alone becomes a dead letter when it has been read. Where that was not seen it may not have been.
    pub(super) fn doubt_deaths(&mut self) {
        for letter in 0..self.copies.len() {
            let Copy { died_from: Some(died), place: Place::Ready, shown: Shown::Never, .. } =
                self.copies[letter]
            else {
                continue;
            };
            if let Place::Gone { call, durable } = &mut self.copies[died].place {
                (*call, *durable) = (self.call, false);
                self.copies[letter].published = self.call;
                self.copies[letter].durable = false;
            }
        }
    }

    /// It may have died before a crash.
    fn doubt_shown(&mut self, letter: CopyId) {
        if self.incarnation > 0 {
            self.copies[letter].shown = Shown::Maybe;
        }
    }

    /// Whether it may die unseen by the rules that count now.
    fn may_die(&self, id: CopyId, reason: Reason) -> bool {
        let is_refused = self.copies[id].entry == Entry::Open;
        match reason {
            Reason::Expired => self.expiry(id).is_some_and(|at| at <= self.now),
            Reason::Maxlen => {
                // What it has taken may go by rules that have changed since then.
                let buries = is_refused && self.queues[self.copies[id].queue].rules.buries_refused();
                buries || self.may_be_too_much(id)
            }
            Reason::Rejected | Reason::DeliveryLimit => false,
        }
    }

    /// Whether a copy is kept that has died like this.
    pub(super) fn is_kept(&self, message: MessageId, death: Option<Death>) -> bool {
        self.copies_of[message as usize].iter().any(|id| {
            let copy = &self.copies[*id];
            let reason = match copy.place {
                Place::Kept(reason) => reason,
                _ => return false,
            };
            death == Some(Death { queue: self.queues[copy.queue].name, reason })
        })
    }

    /// A copy was seen after a crash: it has not left, so nobody has its letters.
    pub(super) fn has_not_died(&mut self, id: CopyId) {
        for letter in self.copies_of[self.copies[id].message as usize].clone() {
            let copy = &mut self.copies[letter];
            if copy.died_from == Some(id) && copy.place == Place::Ready && !copy.sure {
                copy.place = Place::Absent;
            }
        }
    }

    /// Copies have died and wait until all others take them.
    pub fn awaits_burial(&self) -> bool {
        self.copies.iter().any(|copy| {
            let queue = &self.queues[copy.queue];
            let has_expired = || {
                let own = self.messages[copy.message as usize].expiration.filter(|_| copy.death.is_none());
                let ttl = queue.rules.ttl.into_iter().chain(own).min();
                ttl.is_some_and(|ttl| copy.arrived + ttl <= self.now)
            };
            let has_died = match copy.place {
                Place::Kept(_) => true,
                Place::Ready => queue.rules.may_keep() && has_expired(),
                _ => false,
            };
            has_died && copy.sure && !queue.deleted
        })
    }
}
