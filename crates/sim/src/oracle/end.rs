//! The end of a run: what must have happened by then.

use super::channel::Mode;
use super::copy::{CopyId, Fate, Place};
use super::{Oracle, Ruling};

impl Oracle {
    /// Everything that could happen has happened: nobody waits for an answer or a confirm.
    ///
    /// # Errors
    /// Who does.
    pub fn rests(&self) -> Ruling {
        for (at, channel) in &self.channels {
            if let Some(asked) = channel.asked {
                return Err(format!("channel {at:?} has no answer to {asked:?}"));
            }
            if let Mode::Confirm { waiting, .. } = &channel.mode
                && let Some(first) = waiting.front()
            {
                return Err(format!("channel {at:?} has no confirm of {first:?}"));
            }
        }
        self.all_are_back()?;
        self.all_are_closed()?;
        self.replies.have_come()?;
        self.none_is_late()
    }

    /// All connections are gone, and everything has come back to its queue.
    pub fn all_is_back(&mut self) {
        for copy in &mut self.copies {
            // To a quorum queue it comes back in front, in an order that depends on who left first.
            let stays_loose = copy.loose && self.queues[copy.queue].kind.quorum;
            copy.loose = copy.due > 0 || stays_loose;
        }
    }

    /// All queues were read until they were empty.
    ///
    /// # Errors
    /// What is missing.
    pub fn drained(&mut self) -> Ruling {
        for id in 0..self.copies.len() {
            let copy = &self.copies[id];
            if matches!(copy.place, Place::Kept(_)) && copy.sure && !copy.may_be_gone {
                return Err(format!("{} has died, and others do not get it", self.describe(id)));
            }
            if self.is_lost(id) && self.candidates(id).iter().all(|other| self.is_lost(*other)) {
                return Err(format!("{} is lost", self.describe(id)));
            }
        }
        for (died, letter) in &self.deaths {
            let is_missing = |id: CopyId| self.copies[id].place == Place::Ready;
            // A crash has undone the death, but not that its queue has no dead letters any more: it has died again, for good.
            let is_over =
                self.queues[self.copies[*died].queue].rules.dead_letters.is_none() && self.may_go(*died);
            if is_missing(*died) && is_missing(*letter) && !is_over {
                return Err(format!("{} is lost, and its dead letter too", self.describe(*died)));
            }
        }
        for group in &self.groups {
            let is_missing = |id: &&CopyId| self.copies[**id].place == Place::Ready && !self.may_vanish(**id);
            let is_undone = |id: &&CopyId| is_missing(id) && self.copies[**id].published_in.is_some();
            let others_are = |id: CopyId| self.candidates(id).iter().all(|other| is_undone(&other));
            let published = group.publishes.iter().find(|id| is_undone(id) && others_are(**id));
            let settled = group
                .settles
                .iter()
                .find(|id| is_missing(id) && self.copies[**id].settled_in.is_some_and(|(_, sure)| sure));
            if let (Fate::Undecided, Some(published), Some(settled)) = (group.fate, published, settled) {
                let (published, settled) = (self.describe(*published), self.describe(*settled));
                return Err(format!("half of a commit has happened: {published} is missing, {settled} too"));
            }
        }
        // What has not come is not there; if it went by a rule, a crash may still bring it back.
        for id in 0..self.copies.len() {
            if matches!(self.copies[id].place, Place::Kept(_)) {
                self.copies[id].place = Place::Absent;
            }
            if self.copies[id].place == Place::Ready {
                if self.may_vanish(id) {
                    self.done(id);
                } else {
                    self.is_missing(id);
                }
            }
        }
        Ok(())
    }

    /// Whether a copy was not seen that is there for certain, if it is the one that is.
    fn is_lost(&self, id: CopyId) -> bool {
        let copy = &self.copies[id];
        // What has died is a dead letter.
        let dies = self.queues[copy.queue].rules.dead_letters.is_some();
        let is_excused = copy.may_be_gone || (!dies && self.may_go(id));
        copy.place == Place::Ready && copy.sure && !is_excused
    }
}
