//! Messages that come to queues, which may refuse them, and the confirms that say so.
//!
//! Invariant: whether a queue was full is known from below and from above; only between the two the broker's word decides.

use super::channel::{Mode, Publication, Unconfirmed};
use super::copy::{CopyId, Entry, Place, Queue, QueueId, Shown};
use super::{Oracle, Ruling};
use crate::content::Reason;
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::Number;

impl Oracle {
    /// A message comes to where it was routed to, of which a part may have gone since then, or gone and come again. The channel has
    /// published so many before, if it counts them.
    pub(super) fn arrive(
        &mut self,
        at: (LinkId, Number),
        publication: Publication,
        number: u64,
    ) -> Vec<CopyId> {
        let Publication { message, to, route, requester } = publication;
        let is_reply = requester.is_some_and(|requester| self.replies.owe(requester, message));
        let copies = self.enter_all(message, &route);
        if copies.is_empty() && !is_reply {
            self.comes_back(at, message, to, number);
        }
        copies
    }

    /// A message comes to a queue.
    pub(super) fn enter(&mut self, message: MessageId, queue: QueueId) -> CopyId {
        let entry = self.entry(message, queue);
        let id = self.add_copy(message, queue);
        let copy = &mut self.copies[id];
        (copy.entry, copy.sure) = (entry, entry == Entry::Taken);
        if entry == Entry::Refused {
            self.refused(id);
        }
        id
    }

    /// Whether the queue takes a message.
    fn entry(&self, message: MessageId, queue: QueueId) -> Entry {
        let rules = self.queues[queue].rules;
        if !rules.rejects() {
            return Entry::Taken;
        }
        let octets = |id: &CopyId| self.messages[self.copies[*id].message as usize].octets as u64;
        let own = self.messages[message as usize].octets as u64;
        let sizes = self.queues[queue].copies.iter().map(octets);
        let largest = sizes.clone().max().unwrap_or(0).max(1);
        // What is on disk alone counts as the average of its block, and after a restart as next to nothing until it is read.
        let smallest = sizes.min().unwrap_or(0);
        let smallest = if self.incarnation > 0 { smallest.min(1) } else { smallest };
        // What waits or is kept counts, but not its octets.
        let fits = |present: &[CopyId], ready: usize, each: u64| {
            let many = rules.max_length.is_none_or(|max| (present.len() as u64) < max);
            many && rules.max_octets.is_none_or(|max| ready as u64 * each + own <= max)
        };
        let (mut certain, possible) = self.ready(queue);
        // What was there before a policy brought a limit in octets counts as nothing while it is on disk alone.
        certain.retain(|id| self.copies[*id].published >= self.queues[queue].weighed);
        let (certainly_present, mut possibly_present) = self.present(queue);
        let copies = self.queues[queue].copies.iter().copied();
        possibly_present.extend(copies.filter(|id| matches!(self.copies[*id].place, Place::Kept(_))));
        match (
            fits(&certainly_present, certain.len(), smallest),
            fits(&possibly_present, possible.len(), largest),
        ) {
            (_, true) => Entry::Taken,
            (false, _) => Entry::Refused,
            _ => Entry::Open,
        }
    }

    /// Copies that are ready for certain, and those that may be.
    pub(super) fn ready(&self, queue: QueueId) -> (Vec<CopyId>, Vec<CopyId>) {
        let (mut certain, mut possible) = self.present(queue);
        certain.retain(|id| !self.copies[*id].returns.may_wait(self.now));
        possible.retain(|id| !self.copies[*id].returns.must_wait(self.now));
        (certain, possible)
    }

    /// The same with those that came back and wait.
    pub(super) fn present(&self, queue: QueueId) -> (Vec<CopyId>, Vec<CopyId>) {
        let copies = self.queues[queue].copies.iter().copied();
        let possible: Vec<CopyId> = copies
            .filter(|id| self.copies[*id].place == Place::Ready && self.copies[*id].due <= self.now)
            .collect();
        let is_certain = |id: &CopyId| {
            let copy = &self.copies[*id];
            // Dead letters arrive at the end of the call in which they die.
            let has_come = copy.death.is_none() || copy.published < self.call;
            // What one read settles and publishes reaches the queue in the order that suits the broker.
            let has_come = has_come && (copy.returned.call < self.call || copy.shown == Shown::Never);
            // When all that has waited has come is known when it has been read.
            let is_here = copy.sure && !copy.purged && !self.is_open(*id);
            is_here && has_come && copy.due == 0 && !self.may_vanish(*id)
        };
        let certain = possible.iter().copied().filter(|id| !self.is_read(queue) && is_certain(id)).collect();
        (certain, possible)
    }

    /// A queue has refused a copy, and buries it if it does that.
    fn refused(&mut self, id: CopyId) {
        let Queue { rules, ruled, .. } = self.queues[self.copies[id].queue];
        let copy = &mut self.copies[id];
        copy.entry = Entry::Refused;
        if copy.place != Place::Ready {
            // Its dead letter was seen before.
            return;
        }
        if copy.published < ruled && (copy.may_be_dead || rules.buries_refused()) {
            // By the rules of before or by those of now, and only one of them may have it die.
            (copy.sure, copy.may_be_dead) = (false, true);
            return;
        }
        copy.place = Place::Absent;
        let graves = rules.dead_letters.filter(|_| rules.buries_refused()).map(|grave| grave.queues());
        for to in graves.unwrap_or_default() {
            self.add_letter(id, Reason::Maxlen, to);
        }
    }

    /// A confirm, or a refusal.
    pub(super) fn confirmed(
        &mut self,
        at: (LinkId, Number),
        tag: u64,
        multiple: bool,
        taken: bool,
    ) -> Ruling {
        self.check_back(at, tag)?;
        let waiting = match self.channels.get_mut(&at).map(|channel| &mut channel.mode) {
            Some(Mode::Confirm { waiting, .. }) => Some(waiting),
            Some(_) => None,
            None => self.closing.get_mut(&at),
        };
        let waiting = waiting.ok_or("a confirm on a channel without them")?;
        let oldest = waiting.front().map_or(0, |oldest| oldest.number);
        if tag < oldest || oldest == 0 || (!multiple && tag != oldest) {
            return Err(format!("a confirm of {tag} (multiple: {multiple}) while {oldest} is the oldest"));
        }
        let mut done: Vec<Unconfirmed> = Vec::new();
        while let Some(next) = waiting.pop_front_if(|next| next.number <= tag) {
            done.push(next);
        }
        if done.last().is_none_or(|last| last.number != tag) {
            return Err(format!("a confirm of {tag}, which was not published"));
        }
        for Unconfirmed { call, copies, journalled, .. } in done {
            if !taken {
                self.not_taken(&copies)?;
                continue;
            }
            if journalled {
                self.durable = self.durable.max(call);
            }
            for id in copies {
                self.was_taken(id)?;
            }
        }
        Ok(())
    }

    fn was_taken(&mut self, id: CopyId) -> Ruling {
        let copy = &mut self.copies[id];
        match copy.entry {
            Entry::Refused => return Err(format!("{} is confirmed, but refused", self.describe(id))),
            Entry::Open => copy.sure |= !copy.purged,
            Entry::Taken => {}
        }
        let copy = &mut self.copies[id];
        (copy.entry, copy.durable) = (Entry::Taken, true);
        Ok(())
    }

    /// One queue at least has refused a message.
    fn not_taken(&mut self, copies: &[CopyId]) -> Ruling {
        let of = |oracle: &Oracle, entry: Entry| -> Vec<CopyId> {
            copies.iter().copied().filter(|id| oracle.copies[*id].entry == entry).collect()
        };
        if !of(self, Entry::Refused).is_empty() {
            return Ok(());
        }
        match of(self, Entry::Open).as_slice() {
            [] => {
                let all: Vec<String> = copies.iter().map(|id| self.describe(*id)).collect();
                Err(format!("there was room, but a message was refused: {}", all.join(", ")))
            }
            [id] if self.copies[*id].shown != Shown::Yes => {
                self.refused(*id);
                Ok(())
            }
            [id] => Err(format!("{} was delivered and refused", self.describe(*id))),
            _ => Ok(()),
        }
    }
}
