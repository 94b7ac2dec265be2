//! What the broker says.

use super::channel::{Asked, Hold, Mode, Unconfirmed};
use super::copy::{CopyId, Fate, Place, Queue, QueueId, Shown};
use super::{Oracle, Ruling};
use crate::frames::{Content, Heard, Said, ids};
use crate::link::LinkId;
use crate::op::Number;

const NOT_FOUND: u16 = 404;

impl Oracle {
    /// The broker has said something.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn heard(&mut self, link: LinkId, heard: &Heard) -> Ruling {
        let at = (link, heard.channel);
        match &heard.said {
            Said::Deliver { consumer, tag, redelivered, content } => {
                self.delivered(at, *consumer, *tag, content, *redelivered)
            }
            Said::GetOk { tag, redelivered, content } => self.got(at, *tag, content, *redelivered),
            Said::Ack(tag, multiple) => self.confirmed(at, *tag, *multiple, true),
            Said::Nack(tag, multiple) => self.confirmed(at, *tag, *multiple, false),
            Said::Close(NOT_FOUND, _) if self.asked(at) == Some(Asked::Missing) => {
                self.leave_channel(at);
                Ok(())
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
        let known = self.consumers.get(&consumer).filter(|known| (known.link, known.channel) == at);
        let Some(known) = known else {
            return Err(format!("a delivery for consumer {consumer}, which is not there"));
        };
        let (queue, no_ack, prefetch) = (known.queue, known.no_ack, known.prefetch);
        let copy = self.taken(queue, content, redelivered)?;
        let (level, order) = (self.copies[copy].level, self.copies[copy].order);
        if self.is_ordered(copy) {
            let last = self.consumers.get_mut(&consumer).and_then(|known| known.last.insert(level, order));
            if last.is_some_and(|last| last >= order) {
                return Err(format!("{} comes after one that was published later", self.describe(copy)));
            }
        }
        self.hand_over(at, copy, tag, Some(consumer), no_ack)?;
        let held = self.channel(at)?.holds.values().filter(|hold| hold.consumer == Some(consumer)).count();
        if prefetch > 0 && !no_ack && held > usize::from(prefetch) {
            return Err(format!("consumer {consumer} has {held} messages with a prefetch of {prefetch}"));
        }
        Ok(())
    }

    fn got(&mut self, at: (LinkId, Number), tag: u64, content: &Content, redelivered: bool) -> Ruling {
        let Some(Asked::Get { queue, no_ack }) = self.channel(at)?.asked.take() else {
            return Err("get-ok without a get".to_owned());
        };
        let copy = self.taken(queue, content, redelivered)?;
        let (level, order) = (self.copies[copy].level, self.copies[copy].order);
        if self.is_ordered(copy) {
            let last = self.channel(at)?.got.insert((queue, level), order);
            if last.is_some_and(|last| last >= order) {
                return Err(format!("{} is got after one that was published later", self.describe(copy)));
            }
        }
        self.hand_over(at, copy, tag, None, no_ack)
    }

    fn is_ordered(&self, copy: CopyId) -> bool {
        !self.copies[copy].loose && !self.queues[self.copies[copy].queue].kind.takes_dead
    }

    fn hand_over(
        &mut self,
        at: (LinkId, Number),
        copy: CopyId,
        tag: u64,
        consumer: Option<u32>,
        no_ack: bool,
    ) -> Ruling {
        let channel = self.channel(at)?;
        if tag != channel.last_tag + 1 {
            return Err(format!("delivery tag {tag} comes after {}", channel.last_tag));
        }
        channel.last_tag = tag;
        if no_ack {
            self.done(copy);
        } else {
            channel.holds.insert(tag, Hold { copy, consumer });
            self.copies[copy].place = Place::Held(at.0, at.1);
        }
        Ok(())
    }

    /// Finds the copy that a queue has given, and what may be said about that.
    fn taken(&mut self, queue: QueueId, content: &Content, redelivered: bool) -> Result<CopyId, String> {
        let Some(message) = self.messages.get(content.stamp as usize).copied() else {
            return Err(format!("an invented message {content:?}"));
        };
        let kind = self.queues[queue].kind;
        let is_itself = content.body == message.body() && content.persistent == message.persistent;
        if !is_itself || content.died != kind.takes_dead {
            return Err(format!("message {} has changed: {content:?}", message.id));
        }
        let id = self.ready_copy(queue, message.id, redelivered)?;
        if !self.copies[id].shown.agrees(redelivered) {
            return Err(format!("redelivered is {redelivered} for {}", self.describe(id)));
        }
        if self.copies[id].due > self.now {
            return Err(format!("{} comes before it is due", self.describe(id)));
        }
        self.check_returns(id, content.returns)?;
        self.is_there(id);
        let copy = &mut self.copies[id];
        copy.shown = Shown::Yes;
        if let (Some(rested), Some(ttl)) = (self.rested, kind.ttl)
            && copy.arrived + ttl <= rested
        {
            return Err(format!("{} had expired", self.describe(id)));
        }
        Ok(id)
    }

    /// A quorum queue says how often it came back.
    fn check_returns(&mut self, id: CopyId, said: Option<u64>) -> Ruling {
        let kind = self.queues[self.copies[id].queue].kind;
        let copy = &mut self.copies[id];
        let fits = match said {
            _ if !kind.quorum => said.is_none(),
            Some(0) => false,
            said if copy.returns_at_most => said.unwrap_or(0) <= copy.returns,
            said => said.unwrap_or(0) == copy.returns,
        };
        (copy.returns, copy.returns_at_most) = (said.unwrap_or(0), false);
        if fits { Ok(()) } else { Err(format!("a delivery count of {said:?} for {}", self.describe(id))) }
    }

    fn ready_copy(&mut self, queue: QueueId, message: u32, redelivered: bool) -> Result<CopyId, String> {
        let is_ready = |id: &CopyId| self.copies[*id].place == Place::Ready;
        let copies = &self.copies_of[message as usize];
        let mine = |id: &&CopyId| self.copies[**id].queue == queue;
        // Among dead letters there may be several: meant is rather one that fits, and one that is certain.
        let ready = copies.iter().copied().filter(|id| mine(&id) && is_ready(id));
        let likeness = |id: &CopyId| (self.copies[*id].shown.agrees(redelivered), self.copies[*id].sure);
        let best = ready.max_by_key(likeness);
        if let Some(id) = best.filter(|id| self.copies[*id].shown.agrees(redelivered)) {
            return Ok(id);
        }
        let earlier = match copies.iter().find(mine) {
            Some(id) => format!("{} is delivered", self.describe(*id)),
            None => {
                format!("message {message} is in queue q{}, where it never went", self.queues[queue].name)
            }
        };
        self.died_unseen(queue, message).or(best).ok_or(earlier)
    }

    /// A dead letter whose death was not seen: it comes from a queue where it had expired or was one too many.
    fn died_unseen(&mut self, queue: QueueId, message: u32) -> Option<CopyId> {
        let Queue { kind, name, .. } = self.queues[queue];
        let died = self.copies_of[message as usize].iter().copied().find(|id| {
            let copy = &self.copies[*id];
            let from = &self.queues[copy.queue];
            let may_have_died = copy.may_be_dead || (!from.deleted && self.may_vanish(*id));
            copy.place == Place::Ready && from.kind.dead_letters == Some(name) && may_have_died
        });
        let letter = self.die(died.filter(|_| kind.takes_dead)?)?;
        if self.incarnation > 0 {
            // It may have died before a crash.
            self.copies[letter].shown = Shown::Maybe;
        }
        Some(letter)
    }

    /// A copy was seen: so it is there, and so is all that came with it.
    fn is_there(&mut self, id: CopyId) {
        let copy = &mut self.copies[id];
        copy.sure = true;
        if copy.incarnation < self.incarnation {
            copy.durable = true;
        }
        if let Some(group) = copy.published_in.take() {
            self.decide(group, true);
        }
        if let Some((group, _)) = self.copies[id].settled_in.take() {
            self.decide(group, false);
        }
    }

    fn decide(&mut self, group: usize, happened: bool) {
        if self.groups[group].fate == Fate::Decided {
            return;
        }
        self.groups[group].fate = Fate::Decided;
        for id in self.groups[group].publishes.clone() {
            let copy = &mut self.copies[id];
            if copy.published_in.take().is_some() && copy.place == Place::Ready {
                copy.sure |= happened;
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

    fn confirmed(&mut self, at: (LinkId, Number), tag: u64, multiple: bool, taken: bool) -> Ruling {
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
            if journalled && taken {
                self.durable = self.durable.max(call);
            }
            for id in copies {
                let copy = &mut self.copies[id];
                let rejects = self.queues[copy.queue].kind.rejects;
                if !taken && !rejects {
                    return Err(format!("{} was refused", self.describe(id)));
                }
                if taken {
                    copy.durable = true;
                    copy.sure |= std::mem::take(&mut copy.awaited);
                } else if copy.shown == Shown::Never {
                    copy.place = Place::Absent;
                } else {
                    return Err(format!("{} was delivered and refused", self.describe(id)));
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, at: (LinkId, Number), id: (u16, u16), count: u32) -> Ruling {
        let Some(channel) = self.channels.get_mut(&at) else { return Ok(()) };
        match channel.asked.take() {
            Some(Asked::Count { queue, low, high }) => {
                if u64::from(count) < low || u64::from(count) > high {
                    let name = self.queues[queue].name;
                    return Err(format!("queue q{name} has {count} ready, not {low} to {high}"));
                }
            }
            Some(Asked::Get { queue, .. }) if id == ids::BASIC_GET_EMPTY => return self.found_empty(queue),
            Some(Asked::Get { .. }) => return Err(format!("{id:?} in answer to a get")),
            Some(Asked::Missing) => return Err(format!("{id:?} of a queue that is not there")),
            Some(Asked::Commit(group)) => self.committed(group),
            Some(Asked::Anything) | None => {}
        }
        Ok(())
    }

    fn committed(&mut self, group: usize) {
        let group = &mut self.groups[group];
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
    }

    /// Nothing is ready: what was not certain is not there, unless somebody else has it on its way.
    fn found_empty(&mut self, queue: QueueId) -> Ruling {
        if self.is_read(queue) || self.queues[queue].kind.takes_dead {
            return Ok(());
        }
        for id in self.queues[queue].copies.clone() {
            if self.copies[id].place != Place::Ready || self.may_vanish(id) || self.may_wait(id) {
                continue;
            }
            if self.copies[id].sure {
                return Err(format!("a queue is empty, but {} is missing", self.describe(id)));
            }
            if !self.queues[queue].kind.rejects {
                self.is_missing(id);
            }
        }
        Ok(())
    }
}
