//! Messages that went to one of several queues, by an exchange that chooses.
//!
//! Invariant: there is a copy for each of the queues, and what is known about it is what holds if it is the one that is there. At most
//! one of them is seen. The message is lost when each of them would be.

use super::copy::{CopyId, Place};
use super::routes::Route;
use super::{Oracle, Ruling};
use crate::message::MessageId;
use crate::topology::Name;

/// A message of which one copy is there.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Which may be the one.
    open: Vec<CopyId>,
    /// What has decided which.
    looked_at: String,
}

impl Oracle {
    /// A message comes to all queues that it goes to.
    pub(super) fn enter_all(&mut self, message: MessageId, route: &Route) -> Vec<CopyId> {
        // One may have gone since then, or gone and come again.
        let enter = |oracle: &mut Oracle, names: &[Name]| -> Vec<CopyId> {
            let queues: Vec<_> = names.iter().filter_map(|name| oracle.names[*name]).collect();
            queues.into_iter().map(|queue| oracle.enter(message, queue)).collect()
        };
        let mut copies = enter(self, &route.queues);
        let known = self.learned.get(&route.looked_at).copied();
        match known.filter(|_| !route.one_of.is_empty()) {
            Some(name) => copies.extend(enter(self, &[name])),
            None if route.one_of.is_empty() => {}
            None => {
                let open = enter(self, &route.one_of);
                copies.extend(&open);
                for id in &open {
                    self.copies[*id].choice = Some(self.choices.len());
                }
                self.choices.push(Choice { open, looked_at: route.looked_at.clone() });
            }
        }
        copies
    }

    /// The copies that may be the one if this one may be; it alone where there is no question.
    pub(super) fn candidates(&self, id: CopyId) -> &[CopyId] {
        let open = self.copies[id].choice.map_or(&[][..], |choice| &self.choices[choice].open);
        if open.contains(&id) { open } else { &[] }
    }

    /// Whether another one may be there instead of it.
    pub(super) fn is_open(&self, id: CopyId) -> bool {
        self.candidates(id).len() > 1
    }

    /// A copy was seen: the others are not there, and where a hash has chosen it, all that have the same are in this queue.
    pub(super) fn was_chosen(&mut self, id: CopyId) -> Ruling {
        let Some(choice) = self.copies[id].choice else { return Ok(()) };
        self.close(choice, id);
        if !self.topology.chooses.is_some_and(|by| by.hashes()) {
            return Ok(());
        }
        let (name, looked_at) =
            (self.queues[self.copies[id].queue].name, self.choices[choice].looked_at.clone());
        match self.learned.get(&looked_at) {
            Some(other) if *other != name => {
                let copy = self.describe(id);
                return Err(format!("{copy}: what has {looked_at:?} went to queue q{other} before"));
            }
            Some(_) => return Ok(()),
            None => {}
        }
        for choice in 0..self.choices.len() {
            let Choice { open, looked_at: other } = &self.choices[choice];
            let there = open.iter().copied().find(|id| self.queues[self.copies[*id].queue].name == name);
            if let Some(there) = there.filter(|_| *other == looked_at) {
                self.close(choice, there);
            }
        }
        self.learned.insert(looked_at, name);
        Ok(())
    }

    /// It is this one.
    fn close(&mut self, choice: usize, id: CopyId) {
        for other in std::mem::replace(&mut self.choices[choice].open, vec![id]) {
            if other != id {
                self.copies[other].place = Place::Absent;
            }
        }
    }

    /// It turns out not to be there. If it were certain to be, it is one of the others.
    pub(super) fn rule_out(&mut self, id: CopyId) {
        let Some(choice) = self.copies[id].choice else { return };
        let was_sure = self.copies[id].sure;
        self.copies[id].place = Place::Absent;
        self.choices[choice].open.retain(|other| *other != id);
        if was_sure {
            return;
        }
        for other in self.choices[choice].open.clone() {
            let copy = &mut self.copies[other];
            (copy.sure, copy.published_in) = (false, None);
        }
    }

    /// What to say of a copy that is seen and cannot be there.
    pub(super) fn seen_twice(&self, id: CopyId) -> String {
        let copy = &self.copies[id];
        let is_other = |other: &&CopyId| copy.choice.is_some() && self.copies[**other].choice == copy.choice;
        let others = self.copies_of[copy.message as usize].iter().filter(is_other);
        let there = others.copied().find(|other| self.candidates(*other) == [*other] && *other != id);
        match there {
            Some(there) => {
                let name = self.queues[copy.queue].name;
                format!("{} was chosen, and not that in queue q{name}", self.describe(there))
            }
            None => format!("{} is delivered", self.describe(id)),
        }
    }
}
