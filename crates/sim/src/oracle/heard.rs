//! What the broker says.

use super::carried::LARGE_OCTETS;
use super::channel::{Asked, Hold};
use super::copy::{CopyId, Entry, Fate, Moment, Place, QueueId, Shown};
use super::{Oracle, Ruling};
use crate::content::{Content, Death};
use crate::frames::{Heard, Said, ids};
use crate::link::LinkId;
use crate::message::MessageId;
use crate::op::Number;

const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
/// A time to live that came after a message may count for it so many milliseconds too late (docs/policies.md).
const TOGETHER_MS: u64 = 100;

impl Oracle {
    /// The broker has said something.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn heard(&mut self, link: LinkId, heard: &Heard) -> Ruling {
        self.said(link, heard)?;
        self.look_at_room();
        Ok(())
    }

    fn said(&mut self, link: LinkId, heard: &Heard) -> Ruling {
        let at = (link, heard.channel);
        match &heard.said {
            Said::Deliver { consumer, tag, redelivered, content } => {
                self.delivered(at, *consumer, *tag, content, *redelivered)
            }
            Said::GetOk { tag, redelivered, content } => self.got(at, *tag, content, *redelivered),
            Said::Return { why, route, content } => self.came_back(at, why, route, content),
            Said::Ack(tag, multiple) => self.confirmed(at, *tag, *multiple, true),
            Said::Nack(tag, multiple) => self.confirmed(at, *tag, *multiple, false),
            Said::Close(_, text) if self.closes.get(&at) == Some(text) => {
                self.closes.remove(&at);
                self.check_back(at, u64::MAX)
            }
            Said::Close(NOT_FOUND, _) if self.asked(at) == Some(Asked::Missing) => {
                self.shut(at);
                Ok(())
            }
            Said::Close(PRECONDITION_FAILED, text) if text.contains("timed out") => self.timed_out(at, text),
            Said::Close(PRECONDITION_FAILED, text) if text.contains("partial tx completion") => {
                self.half_committed(at)
            }
            Said::Close(code, text) => Err(format!("channel {at:?} is closed: {code} {text}")),
            Said::Reply(id, count) => self.answered(at, *id, *count),
        }
    }

    fn asked(&self, at: (LinkId, Number)) -> Option<Asked> {
        self.channels.get(&at).and_then(|channel| channel.asked)
    }

    fn delivered(
        &mut self,
        at: (LinkId, Number),
        consumer: u32,
        tag: u64,
        content: &Content,
        redelivered: bool,
    ) -> Ruling {
        if let Some(requester) = self.replies.of_consumer(consumer) {
            return self.reply_came(at, requester, tag, content, redelivered);
        }
        if content.body.len() >= LARGE_OCTETS {
            self.large.insert(at.0, self.call);
        }
        let is_behind = self.large.get(&at.0) == Some(&self.call);
        let cancelled = self.cancelled.get(&consumer).filter(|_| is_behind);
        let known = self.consumers.get(&consumer).or(cancelled);
        let known = known.filter(|known| (known.link, known.channel) == at);
        let Some(known) = known else {
            let (message, octets) = (content.stamp, content.body.len());
            return Err(format!(
                "message {message} ({octets} octets) for consumer {consumer}, which is not there"
            ));
        };
        if !self.channels.contains_key(&at) {
            // Its channel was closed meanwhile: it is done with, or back, as it may be.
            return Ok(());
        }
        let (queue, no_ack, prefetch, since) = (known.queue, known.no_ack, known.prefetch, known.since);
        let timeout = known.timeout;
        self.check_active(queue, consumer)?;
        let copy = self.taken(queue, content, redelivered, since)?;
        self.check_turn(consumer, copy)?;
        let (level, order) = (self.copies[copy].level, self.copies[copy].order);
        if self.is_ordered(copy) {
            let last = self.consumers.get_mut(&consumer).and_then(|known| known.last.insert(level, order));
            if last.is_some_and(|last| last >= order) {
                return Err(format!("{} comes after one that was published later", self.describe(copy)));
            }
        }
        let left = self.has_left(copy, since);
        self.hand_over(at, Hold { copy, consumer: Some(consumer), left, timeout }, tag, no_ack)?;
        if no_ack {
            return Ok(());
        }
        let channel = self.channel(at)?;
        let held = channel.holds.values().filter(|hold| hold.consumer == Some(consumer)).count();
        if prefetch > 0 && held > usize::from(prefetch) {
            return Err(format!("consumer {consumer} has {held} messages with a prefetch of {prefetch}"));
        }
        let all = channel.out().filter(|hold| hold.consumer.is_some()).count();
        match channel.shared {
            Some(shared) if all > usize::from(shared) => {
                Err(format!("channel {at:?} has {all} messages with a shared prefetch of {shared}"))
            }
            _ => Ok(()),
        }
    }

    fn got(&mut self, at: (LinkId, Number), tag: u64, content: &Content, redelivered: bool) -> Ruling {
        let Some(Asked::Get { queue, no_ack, since }) = self.channel(at)?.asked.take() else {
            return Err("get-ok without a get".to_owned());
        };
        let copy = self.taken(queue, content, redelivered, since)?;
        let (level, order) = (self.copies[copy].level, self.copies[copy].order);
        if self.is_ordered(copy) {
            let last = self.channel(at)?.got.insert((queue, level), order);
            if last.is_some_and(|last| last >= order) {
                return Err(format!("{} is got after one that was published later", self.describe(copy)));
            }
        }
        let left = self.has_left(copy, since);
        self.hand_over(at, Hold { copy, consumer: None, left, timeout: None }, tag, no_ack)
    }

    /// When a copy has left for somebody who asked then.
    fn has_left(&self, id: CopyId, since: Moment) -> (u64, u64) {
        let copy = &self.copies[id];
        let ready = copy.returns.wait.map_or(copy.arrived, |(from, _)| from);
        (since.time.max(copy.returned.time).max(copy.arrived).max(ready), self.now)
    }

    fn is_ordered(&self, copy: CopyId) -> bool {
        !self.copies[copy].loose && !self.queues[self.copies[copy].queue].kind.takes_dead
    }

    fn hand_over(&mut self, at: (LinkId, Number), hold: Hold, tag: u64, no_ack: bool) -> Ruling {
        let copy = hold.copy;
        self.count_delivery(at, tag)?;
        if no_ack {
            self.done(copy);
        } else {
            self.channel(at)?.holds.insert(tag, hold);
            self.copies[copy].place = Place::Held(at.0, at.1);
        }
        Ok(())
    }

    /// Delivery tags of a channel follow each other.
    pub(super) fn count_delivery(&mut self, at: (LinkId, Number), tag: u64) -> Ruling {
        let channel = self.channel(at)?;
        let last = std::mem::replace(&mut channel.last_tag, tag);
        if tag == last + 1 { Ok(()) } else { Err(format!("delivery tag {tag} comes after {last}")) }
    }

    /// Finds the copy that a queue has given to somebody who asked then, and what may be said about that.
    fn taken(
        &mut self,
        queue: QueueId,
        content: &Content,
        redelivered: bool,
        since: Moment,
    ) -> Result<CopyId, String> {
        let Some(message) = self.messages.get(content.stamp as usize).copied() else {
            return Err(format!("an invented message {content:?}"));
        };
        let died = content.death.is_some();
        if !message.is_in(content) || died != self.queues[queue].kind.takes_dead {
            return Err(format!("message {} has changed: {content:?}", message.id));
        }
        self.check_address(&message, content)?;
        let id = self.ready_copy(queue, message.id, content.death, redelivered)?;
        if !self.copies[id].shown.agrees(redelivered) {
            return Err(format!("redelivered is {redelivered} for {}", self.describe(id)));
        }
        if self.copies[id].due > self.now {
            return Err(format!("{} comes before it is due", self.describe(id)));
        }
        if self.copies[id].returns.must_wait(self.now) {
            return Err(format!("{} has come back and has to wait", self.describe(id)));
        }
        if self.had_expired(id, since) {
            return Err(format!("{} had expired", self.describe(id)));
        }
        self.check_returns(id, content.returns)?;
        self.was_chosen(id)?;
        self.is_there(id, redelivered);
        self.copies[id].shown = Shown::Yes;
        Ok(id)
    }

    /// Whether it had expired before it can have been handed out to somebody who asked then.
    fn had_expired(&self, id: CopyId, since: Moment) -> bool {
        let copy = &self.copies[id];
        let soonest = since.max(copy.returned);
        let same_rules = self.queues[copy.queue].ruled < soonest.call;
        let was_there = copy.published < soonest.call && copy.due == 0;
        // It may be kept with others that have come since, if nothing expired there then.
        let late = if copy.published < self.queues[copy.queue].ruled { TOGETHER_MS } else { 0 };
        same_rules && was_there && self.expiry(id).is_some_and(|at| at + late <= soonest.time)
    }

    /// A queue that counts it says how often it came back.
    fn check_returns(&mut self, id: CopyId, said: Option<u64>) -> Ruling {
        let fits = match said {
            Some(0) => false,
            said => self.copies[id].returns.hear(said.unwrap_or(0)),
        };
        if fits { Ok(()) } else { Err(format!("a delivery count of {said:?} for {}", self.describe(id))) }
    }

    fn ready_copy(
        &mut self,
        queue: QueueId,
        message: MessageId,
        death: Option<Death>,
        redelivered: bool,
    ) -> Result<CopyId, String> {
        let mut best = self.best_ready(queue, message, death, redelivered);
        if best.is_none() && self.was_overdue(queue, message, death) {
            best = self.best_ready(queue, message, death, redelivered);
        }
        let fits = |id: &CopyId| {
            let copy = &self.copies[*id];
            copy.shown.agrees(redelivered) && (copy.sure || !self.is_kept(message, death))
        };
        if let Some(id) = best.filter(fits) {
            return Ok(id);
        }
        let mine = |id: &CopyId| self.copies[*id].queue == queue && self.copies[*id].death == death;
        let earlier = match self.copies_of[message as usize].iter().copied().find(mine) {
            Some(id) => self.seen_twice(id),
            None => {
                let name = self.queues[queue].name;
                format!("message {message} is in queue q{name}, where it never went ({death:?})")
            }
        };
        self.died_unseen(queue, message, death).or(best).ok_or(earlier)
    }

    /// Among dead letters there may be several: meant is rather one that fits, and one that is certain.
    fn best_ready(
        &self,
        queue: QueueId,
        message: MessageId,
        death: Option<Death>,
        redelivered: bool,
    ) -> Option<CopyId> {
        let is_ready = |id: &CopyId| {
            let copy = &self.copies[*id];
            copy.queue == queue && copy.death == death && copy.place == Place::Ready
        };
        let likeness = |id: &CopyId| (self.copies[*id].shown.agrees(redelivered), self.copies[*id].sure);
        self.copies_of[message as usize].iter().copied().filter(is_ready).max_by_key(likeness)
    }

    /// A copy was seen: so it is there, and so is all that came with it.
    fn is_there(&mut self, id: CopyId, redelivered: bool) {
        self.has_not_died(id);
        let copy = &mut self.copies[id];
        (copy.sure, copy.may_be_dead, copy.may_be_gone) = (true, false, false);
        // A letter that was never delivered may be one of a death that a crash had undone, and that has happened again.
        let is_fresh = copy.death.is_some() && !redelivered;
        if copy.incarnation < self.incarnation {
            if !is_fresh {
                copy.durable = true;
            } else if !copy.durable {
                // Then nobody has written it before.
                (copy.incarnation, copy.published) = (self.incarnation, self.call);
            }
        }
        if let Some(group) = copy.published_in.take() {
            self.decide(group, true);
        }
        if let Some((group, _)) = self.copies[id].settled_in.take() {
            self.decide(group, false);
        }
    }

    pub(super) fn decide(&mut self, group: usize, happened: bool) {
        if self.groups[group].fate == Fate::Decided {
            return;
        }
        self.groups[group].fate = Fate::Decided;
        for id in self.groups[group].publishes.clone() {
            let copy = &mut self.copies[id];
            if copy.published_in.take().is_some() && copy.place == Place::Ready {
                copy.sure |= happened && !copy.purged;
                if !happened {
                    copy.place = Place::Absent;
                }
            }
        }
        for id in self.groups[group].settles.clone() {
            let copy = &mut self.copies[id];
            if let Some((_, sure)) = copy.settled_in.take() {
                copy.sure |= sure && !happened;
                if happened {
                    copy.place = Place::Gone { call: self.call, durable: true };
                }
            }
        }
    }

    fn answered(&mut self, at: (LinkId, Number), id: (u16, u16), count: u32) -> Ruling {
        if id == ids::BASIC_RECOVER_OK && self.channels.contains_key(&at) {
            // What was delivered before it in the same call has come back as well.
            self.recover(at)?;
        }
        self.check_back(at, u64::MAX)?;
        let Some(channel) = self.channels.get_mut(&at) else { return Ok(()) };
        match channel.asked.take() {
            Some(Asked::Count { queue, low, high }) => {
                if u64::from(count) < low || u64::from(count) > high {
                    let name = self.queues[queue].name;
                    return Err(format!("queue q{name} has {count} ready, not {low} to {high}"));
                }
            }
            Some(Asked::Get { queue, since, .. }) if id == ids::BASIC_GET_EMPTY => {
                return self.found_empty(queue, since);
            }
            Some(Asked::Get { .. }) => return Err(format!("{id:?} in answer to a get")),
            Some(Asked::Missing) => return Err(format!("{id:?} of a queue that is not there")),
            Some(Asked::Commit(group)) => return self.committed(group),
            Some(Asked::Anything) | None => {}
        }
        Ok(())
    }

    /// A queue has refused a message of a commit; all else of it has happened, and is not promised to be on disk.
    fn half_committed(&mut self, at: (LinkId, Number)) -> Ruling {
        let Some(Asked::Commit(group)) = self.asked(at) else {
            return Err(format!("channel {at:?} has asked for no commit, and hears that it has failed"));
        };
        let (taken, refused): (Vec<CopyId>, Vec<CopyId>) =
            self.groups[group].publishes.iter().partition(|id| self.copies[**id].entry == Entry::Taken);
        if refused.is_empty() {
            return Err(format!("channel {at:?}: all was taken, but the commit has failed"));
        }
        self.groups[group].publishes = taken;
        self.shut(at);
        Ok(())
    }

    fn committed(&mut self, group: usize) -> Ruling {
        let group = &mut self.groups[group];
        if let Some(id) = group.publishes.iter().find(|id| self.copies[**id].entry == Entry::Refused) {
            let id = *id;
            return Err(format!("{} was refused, but its commit is ok", self.describe(id)));
        }
        group.fate = Fate::Decided;
        let (call, publishes, settles) = (group.call, group.publishes.clone(), group.settles.clone());
        let journalled = publishes.iter().any(|id| {
            let copy = &self.copies[*id];
            self.is_journalled(&self.messages[copy.message as usize], &[copy.queue])
        });
        if journalled {
            self.durable = self.durable.max(call);
        }
        for id in publishes {
            self.copies[id].durable = true;
        }
        for id in settles {
            if let Place::Gone { durable, .. } = &mut self.copies[id].place {
                *durable = true;
            }
        }
        Ok(())
    }

    /// Nothing was ready: what was not certain is not there, unless somebody else has it on its way. The answer may have stood behind large
    /// messages: what has come since it was asked for says nothing.
    fn found_empty(&mut self, queue: QueueId, since: Moment) -> Ruling {
        if self.is_read(queue) || self.queues[queue].kind.takes_dead {
            return Ok(());
        }
        for id in self.queues[queue].copies.clone() {
            let copy = &self.copies[id];
            let has_come = copy.published.max(copy.returned.call) <= since.call;
            let has_come = has_come && !copy.returns.may_wait(since.time);
            if copy.place != Place::Ready || !has_come || self.may_vanish(id) || self.may_wait(id) {
                continue;
            }
            if self.is_open(id) {
                self.rule_out(id);
                continue;
            }
            if self.copies[id].sure {
                return Err(format!("a queue is empty, but {} is missing", self.describe(id)));
            }
            if self.copies[id].entry != Entry::Open {
                self.is_missing(id);
            }
        }
        Ok(())
    }
}
