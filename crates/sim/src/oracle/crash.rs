//! What ends with a connection or with the broker.

use super::copy::{CopyId, Entry, Fate, Place, Shown};
use super::{Oracle, Ruling};
use crate::link::LinkId;

impl Oracle {
    /// A connection is gone.
    ///
    /// # Errors
    /// None; for callers that rule.
    pub fn lost(&mut self, link: LinkId) -> Ruling {
        self.leave(link);
        self.closes.retain(|(of, _), _| *of != link);
        self.overdue.retain(|(of, _), _| *of != link);
        self.unrouted.retain(|(of, _), _| *of != link);
        Ok(())
    }

    /// The broker was stopped as it should be. Its connections are gone.
    pub fn stopped(&mut self) {
        self.durable = self.call + 1;
        let unread: Vec<bool> = self.queues.iter().map(|queue| !queue.was_read).collect();
        let untouched: Vec<CopyId> = (0..self.copies.len())
            .filter(|id| unread[self.copies[*id].queue] && self.copies[*id].shown == Shown::Never)
            .collect();
        self.crashed();
        for id in untouched {
            self.copies[id].shown = Shown::Never;
        }
    }

    /// The broker has died. Its connections were lost before.
    pub fn crashed(&mut self) {
        self.incarnation += 1;
        self.come = 0;
        self.begin_call();
        self.started = self.call;
        self.channels.clear();
        self.consumers.clear();
        self.shut.clear();
        self.history.clear();
        for queue in 0..self.queues.len() {
            let known = &mut self.queues[queue];
            (known.was_read, known.used, known.active) = (false, self.now, None);
            if !known.kind.durable && !known.deleted {
                known.deleted = true;
                let name = known.name;
                self.names[name] = None;
                self.unbind_all(name);
            }
        }
        let sure_before: Vec<bool> =
            self.copies.iter().map(|copy| copy.sure && copy.place.is_alive()).collect();
        // Somebody is done with the letter, or it was never certain: its loss is none.
        self.deaths.retain(|(_, letter)| sure_before[*letter]);
        self.doubt_deaths();
        for id in 0..self.copies.len() {
            self.survive(id);
        }
        for id in 0..self.groups.len() {
            self.doubt_commit(id, &sure_before);
        }
        // A death that is on disk is done with: then its letter is as certain as any other. One of a message that was not is
        // no loss.
        let (copies, durable) = (&self.copies, self.durable);
        let written = |id: CopyId| copies[id].durable || copies[id].published < durable;
        self.deaths.retain(|(died, letter)| written(*died) && !written(*letter));
    }

    /// What may be said of one copy after a crash.
    fn survive(&mut self, id: CopyId) {
        let has_left = self.copies[id].place == Place::Ready && self.may_have_left(id);
        let dies = has_left && self.queues[self.copies[id].queue].rules.dead_letters.is_some();
        let outlives = self.messages[self.copies[id].message as usize].persistent;
        let copy = &mut self.copies[id];
        let is_kept = matches!(copy.place, Place::Kept(_));
        copy.may_be_dead |= dies || is_kept;
        // A quorum queue keeps what its dead letter does not outlive. What had come back and was one too many is not the first to go when it
        // is read again.
        copy.may_be_gone |= (copy.may_be_dead && !outlives) || (has_left && !dies);
        copy.returns.survive(self.durable, copy.place == Place::Ready);
        copy.loose = copy.due > 0 || copy.returns.may_wait(self.now);
        let was_taken_out = copy.purged || matches!(copy.place, Place::Gone { .. });
        // It does not have to be there, even if the commit has happened that has published it.
        copy.published_in.take_if(|_| was_taken_out);
        (copy.entry, copy.purged) = (Entry::Taken, false);
        if (self.queues[copy.queue].deleted && !copy.may_be_dead) || !copy.persistent {
            copy.place = Place::Absent;
            return;
        }
        // Of a queue that is gone there is a dead letter at most.
        copy.sure &= self.queues[copy.queue].kind.durable;
        let written = copy.durable || copy.published < self.durable;
        match copy.place {
            Place::Ready | Place::Held(..) | Place::Kept(_) => {
                copy.sure &= written;
                copy.durable |= written && copy.sure;
                if copy.shown == Shown::Never {
                    copy.shown = Shown::Maybe;
                }
                copy.place = Place::Ready;
            }
            Place::Gone { call, durable } => {
                if durable || call < self.durable {
                    copy.place = Place::Gone { call, durable: true };
                } else {
                    copy.sure = false;
                    if copy.shown == Shown::Never {
                        copy.shown = Shown::Maybe;
                    }
                    copy.place = Place::Ready;
                }
            }
            Place::Absent => {}
        }
        if copy.due > 0 {
            // It may wait again, or have been moved to its queue again.
            copy.shown = Shown::Maybe;
        }
    }

    /// A commit that was not answered has happened or not.
    fn doubt_commit(&mut self, number: usize, sure_before: &[bool]) {
        let group = &mut self.groups[number];
        if group.fate == Fate::Decided {
            return;
        }
        if group.fate == Fate::Open && group.call < self.durable {
            group.fate = Fate::Decided;
            return;
        }
        let first = group.fate == Fate::Open;
        group.fate = Fate::Undecided;
        if !first {
            return;
        }
        for id in &group.publishes {
            let copy = &mut self.copies[*id];
            // One that was settled meanwhile does not have to come back, even if the commit has happened.
            if copy.place == Place::Ready && sure_before[*id] {
                copy.published_in = Some(number);
            }
        }
        for id in &group.settles {
            let copy = &mut self.copies[*id];
            if copy.place == Place::Ready {
                let written = copy.durable || copy.published < self.durable;
                copy.settled_in = Some((number, written));
            }
        }
    }
}

impl Place {
    fn is_alive(self) -> bool {
        matches!(self, Place::Ready | Place::Held(..) | Place::Kept(_))
    }
}
