//! Dead letters: from the queue they leave to the queues that their dead-letter exchange leads to.
//!
//! Invariants: a message leaves one queue and enters others in one record of the journal; it runs after all queue locks are free; what
//! leaves a queue enters others in the order in which it left; a
//! message that died of itself (not rejected) does not come back to a queue it died in, so a cycle ends
//! (<https://www.rabbitmq.com/docs/dlx>); one that its queue keeps (`x-dead-letter-strategy` `at-least-once`) leaves when all take it.

mod death;

use std::sync::Arc;

use warrenmq_queue::{Dead, Delivery, Picks, Position, Reason, Record, Run, RunBuilder};
use warrenmq_routing::{Dependence, Message};
use warrenmq_wire::basic;
use warrenmq_wire::content;

use crate::broker::Broker;
use crate::chance::Chance;
use crate::delayed;
use crate::properties::each_hidden;
use crate::queue_cell::{QueueCell, Scratch};
use crate::vhost::{Picture, keep};
use death::Death;

/// Where the messages go that leave a queue unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetters {
    pub(crate) vhost: Arc<str>,
    pub(crate) queue: Arc<str>,
    /// `x-dead-letter-exchange`; empty is the default exchange.
    pub(crate) exchange: String,
    /// `x-dead-letter-routing-key`; without it messages keep their keys.
    pub(crate) routing_key: Option<String>,
}

/// Messages that left a queue at once and wait for their dead-letter exchange.
#[derive(Debug)]
pub(crate) struct Dying {
    pub(crate) to: Arc<DeadLetters>,
    /// The number of the queue that they leave, if its messages are on disk.
    pub(crate) from: Option<u64>,
    /// That queue. What is kept stays there until all others have it.
    pub(crate) cell: Arc<QueueCell>,
    /// Those of the same queue that have a lower one go first.
    pub(crate) turn: u64,
    pub(crate) dead: Vec<Dead>,
}

/// Publishes what died; that may make others die, until nothing is left.
///
/// What other threads took out of the same queue before goes first, so a thread may wait for another. It waits for turns in the
/// order in which it was given its own, so each thread that is waited for has an older turn than who waits, and nobody waits in a circle.
pub(crate) fn publish(broker: &Broker, scratch: &mut Scratch) {
    while !scratch.dead.is_empty() {
        for Dying { to, from, cell, turn, dead } in std::mem::take(&mut scratch.dead) {
            cell.await_burial(turn);
            for dead in dead {
                bury(broker, &to, from, &cell, dead, scratch);
            }
            cell.end_burial(turn);
        }
    }
}

fn bury(
    broker: &Broker,
    to: &DeadLetters,
    from: Option<u64>,
    cell: &QueueCell,
    dead: Dead,
    scratch: &mut Scratch,
) {
    let Dead { delivery, reason, kept, .. } = dead;
    let mut offsets: Vec<u32> = Vec::new();
    match &delivery.picks {
        Picks::Range { offset, count } => {
            let mut at = *offset;
            for _ in 0..*count {
                offsets.push(at);
                at = delivery.run.record(at).1;
            }
        }
        Picks::List(list) => offsets.extend(list.iter().map(|pick| pick.offset)),
    }
    let mut taken = Vec::new();
    for (index, offset) in offsets.into_iter().enumerate() {
        let is_taken = publish_one(broker, to, reason, delivery.run.record(offset).0, kept, scratch);
        if kept && is_taken {
            // What is kept was handed out in a row.
            let position = delivery.first + index as u64;
            taken.push((position, position));
        }
    }
    let gone = if kept { taken } else { positions(&delivery) };
    if kept {
        cell.buried(&gone, broker.limits().queue_window_octets, scratch);
    }
    if let Some(queue) = from {
        scratch.work.settle(queue, gone);
    }
}

/// Says whether a message that is `kept` has arrived everywhere. Others arrive where they can.
fn publish_one(
    broker: &Broker,
    from: &DeadLetters,
    reason: Reason,
    record: Record<'_>,
    kept: bool,
    scratch: &mut Scratch,
) -> bool {
    let Some(vhost) = broker.vhost(&from.vhost) else { return false };
    let mut picture = vhost.picture();
    let (exchange, own_key) = basic::split_route(record.route);
    let Ok(header) = content::parse_header(record.header) else { return false };
    let extra = header.headers().map(|headers| death::sender_selected(&headers)).unwrap_or_default();
    let keys: Vec<&[u8]> = match &from.routing_key {
        Some(key) => vec![key.as_bytes()],
        None => {
            std::iter::once(own_key).chain(extra.iter().copied()).chain(each_hidden(record.hidden)).collect()
        }
    };
    let time = (broker.epoch_ms() + scratch.now) / 1000;
    let cc: Vec<&[u8]> = std::iter::once(own_key).chain(extra.iter().copied()).collect();
    let death = Death {
        queue: &from.queue,
        reason: reason.name(),
        time,
        exchange,
        routing_keys: &cc,
        ttl: record.ttl,
    };
    let new_header = death.record(&header, record.dead);
    let Ok(parsed) = content::parse_header(&new_header) else { return false };
    let mut route = Vec::new();
    basic::put_route(&mut route, from.exchange.as_bytes(), keys.first().copied().unwrap_or_default());
    // Another key stands for all of them.
    let hidden = if from.routing_key.is_none() { record.hidden } else { b"" };
    let record = Record { route: &route, hidden, header: &new_header, ttl: None, dead: true, ..record };
    let headers = parsed.headers();
    let delay = delayed::delay(headers.as_ref()).ok().flatten();
    let mut message =
        Message { keys: &keys, headers, properties: Some(&parsed), chance: 0, waits: delay.is_some() };
    let depends = picture.topology.route_dependence(&from.exchange) == Dependence::Message;
    if depends {
        message.chance = Chance::new(&broker.names).next();
    }
    let mut builder = RunBuilder::new();
    builder.push(&record);
    let Some(run) = builder.finish() else { return false };
    let enters = |cell: &QueueCell| reason == Reason::Rejected || !is_cycle(cell, &parsed);
    if kept && !all_take(&picture, &from.exchange, &message, &run, enters) {
        return false;
    }
    if depends && picture.keeps_histories() {
        keep(&picture, &from.exchange, &message, record, broker.limits().recent_history_octets);
        // Who was bound meanwhile may have looked before this.
        picture = vhost.picture();
    }
    let (mut targets, mut held) = (Vec::new(), Vec::new());
    if picture.topology.route_or_hold(&from.exchange, &message, &mut held, &mut targets).is_err() {
        return false;
    }
    for delayed in held.iter().filter_map(|id| picture.delayed(*id)) {
        let delay = delay.unwrap_or_default().min(broker.limits().delay_max_ms);
        delayed.put(delayed.waiting(record, delayed.stamp(scratch.now, delay)), scratch);
    }
    let cells = targets.iter().filter_map(|id| picture.cell(*id)).filter(|cell| enters(cell));
    enter(broker, cells, &run, kept, scratch) || !held.is_empty()
}

/// Puts a message into queues and says whether any has taken it. Those of one that is `kept` were asked before, and take it.
fn enter<'a>(
    broker: &Broker,
    cells: impl Iterator<Item = &'a Arc<QueueCell>>,
    run: &Run,
    kept: bool,
    scratch: &mut Scratch,
) -> bool {
    let window = broker.limits().queue_window_octets;
    let (mut queues, mut keeps_all, mut taken) = (Vec::new(), false, false);
    for cell in cells {
        let Some(first) = cell.append(run.clone(), !kept, window, None, scratch).first() else { continue };
        taken = true;
        if cell.info.durable {
            queues.push((cell.info.store_id, first));
            keeps_all |= cell.keeps_all();
        }
    }
    scratch.work.publish(queues, run, keeps_all, broker.epoch_ms() + scratch.now);
    taken
}

/// Whether a message has somewhere to go from an exchange, and nobody there refuses it.
fn all_take(
    picture: &Picture,
    exchange: &str,
    message: &Message<'_>,
    run: &Run,
    enters: impl Fn(&QueueCell) -> bool,
) -> bool {
    let (mut targets, mut held) = (Vec::new(), Vec::new());
    if picture.topology.route_or_hold(exchange, message, &mut held, &mut targets).is_err() {
        return false;
    }
    let mut cells = targets.iter().filter_map(|id| picture.cell(*id)).filter(|cell| enters(cell)).peekable();
    (cells.peek().is_some() || !held.is_empty()) && cells.all(|cell| !cell.peek(|queue| queue.rejects(run)))
}

/// Where the messages of a delivery stood.
fn positions(delivery: &Delivery) -> Vec<(Position, Position)> {
    match &delivery.picks {
        Picks::Range { count: 0, .. } => Vec::new(),
        Picks::Range { count, .. } => vec![(delivery.first, delivery.first + u64::from(*count) - 1)],
        Picks::List(list) => {
            let at = |index: u32| delivery.first + u64::from(index);
            list.iter().map(|pick| (at(pick.index), at(pick.index))).collect()
        }
    }
}

/// Whether the message has died in this queue before and was never rejected on the way.
fn is_cycle(cell: &QueueCell, header: &content::ContentHeader<'_>) -> bool {
    header.headers().is_some_and(|headers| death::is_cycle(&headers, cell.info.name.as_bytes()))
}
