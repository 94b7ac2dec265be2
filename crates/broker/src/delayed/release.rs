//! Messages that are due go to the queues of their exchange.
//!
//! Invariant: a message enters its queues and leaves its bucket in one record of the journal.

use std::cmp::Reverse;
use std::sync::Arc;

use warrenmq_queue::{Record, RunBuilder};
use warrenmq_routing::{Dependence, Message, QueueId};
use warrenmq_wire::basic;
use warrenmq_wire::content::{self, ContentHeader};

use super::Delayed;
use super::bucket::Rest;
use super::header;
use super::wheel::{Budget, Done, TURN_MESSAGES, TURN_OCTETS, Wheel};
use crate::broker::Broker;
use crate::chance::Chance;
use crate::properties::{each_hidden, expires_after, hidden_keys, selected};
use crate::queue_cell::{QueueCell, Scratch};
use crate::vhost::{Picture, keep};

/// Messages with the same queues, until others come.
struct Leaving<'a> {
    delayed: &'a Delayed,
    picture: Option<Arc<Picture>>,
    targets: Vec<QueueId>,
    builder: RunBuilder,
    /// A queue among them may refuse: then each message is published alone.
    alone: bool,
    dependence: Dependence,
    chance: Chance,
}

impl Delayed {
    /// Publishes what is sorted and due at `unix`.
    pub(super) fn release(
        &self,
        wheel: &mut Wheel,
        unix: u64,
        budget: &mut Budget,
        done: &mut Done,
        (broker, scratch): (&Broker, &mut Scratch),
    ) {
        let is_due = |wheel: &Wheel| wheel.sorted.peek().is_some_and(|next| next.0.taken.stamp.due() <= unix);
        if !is_due(wheel) {
            return;
        }
        let mut leaving = Leaving::new(self, broker);
        // Those before it in the turn may have used up the budget, and what is due goes first.
        let mut own = Budget { messages: TURN_MESSAGES, octets: TURN_OCTETS, more: false };
        while is_due(wheel) && !own.is_spent() {
            let Some(Reverse(next)) = wheel.sorted.pop() else { break };
            own.spend(next.taken.octets());
            leaving.add(next.taken.run.record(next.taken.offset).0, broker, scratch);
            done.note(&next.cell, next.taken.position);
        }
        leaving.flush(broker, scratch);
        budget.more |= own.more;
    }

    /// Publishes messages of a bucket of which all is due, in the order in which they stand there.
    pub(super) fn stream(
        &self,
        cell: &Arc<QueueCell>,
        budget: &mut Budget,
        (broker, scratch): (&Broker, &mut Scratch),
    ) {
        if budget.is_spent() {
            return;
        }
        let mut taken = Vec::new();
        let rest = cell.take(budget.messages, budget.octets, scratch, |message| taken.push(message));
        budget.more |= rest == Rest::More;
        let mut leaving = Leaving::new(self, broker);
        let mut positions = Vec::with_capacity(taken.len());
        for message in &taken {
            budget.spend(message.octets());
            leaving.add(message.run.record(message.offset).0, broker, scratch);
            positions.push(message.position);
        }
        leaving.flush(broker, scratch);
        cell.settle_all(&mut positions, scratch);
    }
}

impl<'a> Leaving<'a> {
    fn new(delayed: &'a Delayed, broker: &Broker) -> Leaving<'a> {
        let picture = broker.vhost(&delayed.vhost).map(|vhost| vhost.picture());
        let depends = |picture: &Arc<Picture>| picture.topology.route_dependence(&delayed.exchange);
        let dependence = picture.as_ref().map_or(Dependence::Keys, depends);
        let (targets, builder, chance) = (Vec::new(), RunBuilder::new(), Chance::new(&broker.names));
        Leaving { delayed, picture, targets, builder, alone: false, dependence, chance }
    }

    /// A message has waited.
    fn add(&mut self, record: Record<'_>, broker: &Broker, scratch: &mut Scratch) {
        let Some(picture) = self.picture.clone() else { return };
        let Ok(before) = content::parse_header(record.header) else { return };
        let keys = keys(&record, &before);
        let header = header::waited(&before, b"BCC");
        let Ok(after) = content::parse_header(&header) else { return };
        let (persistent, ttl) = (after.is_persistent(), after.expiration().and_then(expires_after));
        let hidden = before.headers().map_or_else(Vec::new, |headers| hidden_keys(&headers));
        let hidden = if hidden.is_empty() { record.hidden } else { &hidden };
        let record = Record { hidden, header: &header, persistent, ttl, due: None, ..record };
        let (headers, properties, exchange) = (after.headers(), Some(&after), &self.delayed.exchange);
        let mut message = Message { keys: &keys, headers, properties, chance: 0, waits: false };
        if self.dependence == Dependence::Message {
            message.chance = self.chance.next();
            keep(&picture, exchange, &message, record, broker.limits().recent_history_octets);
        }
        let mut targets = Vec::new();
        if picture.topology.route(exchange, &message, &mut targets).is_err() {
            return;
        }
        targets.retain(|id| picture.cell(*id).is_some());
        let room = header.len() + record.body.len();
        if targets != self.targets || self.alone || !self.builder.has_room(room) {
            self.flush(broker, scratch);
            self.alone = targets.iter().filter_map(|id| picture.cell(*id)).any(|cell| cell.may_reject());
            self.targets = targets;
        }
        if !self.targets.is_empty() {
            self.builder.push(&record);
        }
    }

    /// Hands over what has gathered.
    fn flush(&mut self, broker: &Broker, scratch: &mut Scratch) {
        let (Some(picture), Some(run)) = (&self.picture, self.builder.finish()) else { return };
        let (mut places, mut keeps_all) = (Vec::new(), false);
        for cell in self.targets.iter().filter_map(|id| picture.cell(*id)) {
            let published = cell.publish(run.clone(), broker.limits().queue_window_octets, None, scratch);
            if let Some(first) = published.first()
                && cell.info.durable
            {
                places.push((cell.info.store_id, first));
                keeps_all |= cell.keeps_all();
            }
        }
        scratch.work.publish(places, &run, keeps_all, broker.epoch_ms() + scratch.now);
    }
}

/// The routing key, those of the headers CC and BCC, and those that the message hides since before.
fn keys<'a>(record: &Record<'a>, header: &ContentHeader<'a>) -> Vec<&'a [u8]> {
    let (_, own) = basic::split_route(record.route);
    let headers = header.headers();
    let more = headers
        .iter()
        .flat_map(|headers| [&b"CC"[..], b"BCC"].into_iter().flat_map(|name| selected(headers, name)));
    std::iter::once(own).chain(more).chain(each_hidden(record.hidden)).collect()
}
