//! Whose turn it is: the single active consumer, and priorities of consumers.
//!
//! Invariant: a consumer has room for certain only where it would have even if all that is ready and unseen were on its way to it.

use super::channel::{Channel, Consumer};
use super::copy::{CopyId, QueueId};
use super::{Oracle, Ruling};
use crate::topology::Name;

/// What goes with a body, at most.
const AROUND_OCTETS: usize = 120;

impl Oracle {
    /// The names of queues that somebody consumes from.
    pub fn consumed(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self
            .existing()
            .into_iter()
            .filter(|name| self.names[*name].is_some_and(|queue| self.is_consumed(queue)))
            .collect();
        names.sort_unstable();
        names
    }

    fn is_consumed(&self, queue: QueueId) -> bool {
        self.consumers.values().any(|consumer| consumer.queue == queue)
    }

    /// How many octets may be on their way to each consumer.
    pub fn set_window(&mut self, octets: u64) {
        self.window = octets;
    }

    /// Where one consumer is active nobody else gets anything, until its channel is closed.
    pub(super) fn check_active(&mut self, queue: QueueId, consumer: u32) -> Ruling {
        while let Some(active) = self.other_active(queue, consumer) {
            let known = self.consumers.get(&active).map(|known| (known.link, known.channel));
            if !known.is_some_and(|at| self.shut_overdue(at)) {
                return Err(format!("consumer {consumer} gets a message while {active} is active"));
            }
        }
        Ok(())
    }

    /// Who is active where that is not this consumer, who is there.
    fn other_active(&self, queue: QueueId, consumer: u32) -> Option<u32> {
        let active = self.queues[queue].active.filter(|_| self.queues[queue].kind.single_active);
        active.filter(|active| *active != consumer && self.consumers.contains_key(&consumer))
    }

    /// A consumer has left: if it was active, of those of the highest priority the one that came first is.
    pub(super) fn pass_on(&mut self, queue: QueueId, left: u32) {
        if self.queues[queue].active == Some(left) {
            let others = self.consumers.iter().filter(|(_, known)| known.queue == queue);
            let first = others.min_by_key(|(_, known)| (-known.priority, known.seat));
            self.queues[queue].active = first.map(|(consumer, _)| *consumer);
        }
    }

    /// A consumer has got a copy: nobody of a higher priority has had room ever since it can have been handed out.
    pub(super) fn check_turn(&self, consumer: u32, id: CopyId) -> Ruling {
        let (Some(mine), copy) = (self.consumers.get(&consumer), &self.copies[id]) else { return Ok(()) };
        let kind = &self.queues[copy.queue].kind;
        // When a dead letter has come is not always seen.
        if kind.single_active || kind.takes_dead {
            return Ok(());
        }
        let soonest = mine.since.call.max(copy.published).max(copy.returned.call);
        let is_passed_over = |other: &Consumer| {
            other.queue == copy.queue
                && other.priority > mine.priority
                && other.room.is_some_and(|since| since < soonest)
        };
        match self.consumers.iter().find(|(_, other)| is_passed_over(other)) {
            Some((other, known)) => Err(format!(
                "consumer {consumer} gets {}, but {other} has a higher priority and room: {known:?}",
                self.describe(id)
            )),
            None => Ok(()),
        }
    }

    /// Something has happened: who has room for certain?
    pub(super) fn look_at_room(&mut self) {
        let mut consumers = std::mem::take(&mut self.consumers);
        let highest: Vec<(u32, QueueId)> = consumers
            .iter()
            .filter(|(_, known)| {
                consumers.values().any(|other| other.queue == known.queue && other.priority < known.priority)
            })
            .map(|(consumer, known)| (*consumer, known.queue))
            .collect();
        for (consumer, queue) in highest {
            let (_, possible) = self.present(queue);
            let octets =
                |id: &CopyId| self.messages[self.copies[*id].message as usize].octets + AROUND_OCTETS;
            let unseen: usize = possible.iter().map(octets).sum();
            let channels = &self.channels;
            if let Some(known) = consumers.get_mut(&consumer) {
                let channel = channels.get(&(known.link, known.channel));
                let held = channel.map_or(0, |channel| channel.held_by(consumer));
                // What others take of a shared prefetch leaves no room for certain.
                let has_own = channel.is_none_or(|channel| channel.shared.is_none());
                // One of those that are ready is the one that it has room for. Half of the window may have been used before.
                let may_be_held = held + possible.len().saturating_sub(1);
                let has_prefetch =
                    known.no_ack || known.prefetch == 0 || may_be_held < usize::from(known.prefetch);
                let has_room = has_own && has_prefetch && (unseen as u64) < self.window / 2;
                known.room = has_room.then(|| known.room.unwrap_or(self.call));
            }
        }
        self.consumers = consumers;
    }
}

impl Channel {
    /// How many deliveries of a consumer are out.
    fn held_by(&self, consumer: u32) -> usize {
        self.out().filter(|hold| hold.consumer == Some(consumer)).count()
    }
}
