//! Looking at what waits, and taking single messages out, for operators.
//!
//! Invariants: blocks are read without a lock; what is read is matched with what still lives; a message is named by its stamp, which
//! it keeps while it moves from bucket to bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::{Delivery, Look, Picks, Position, Record, Run, read_block};
use warrenmq_store::StoreError;
use warrenmq_wire::basic;

use super::grid::{Class, Slot, Stamp};
use super::{Delayed, header};
use crate::broker::Broker;
use crate::queue_cell::{QueueCell, Scratch};

/// How often a message that moves is followed.
const TRIES: usize = 8;

/// An exchange that delays messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayedExchange {
    /// Its vhost.
    pub vhost: String,
    /// Its name.
    pub exchange: String,
    /// Whether what waits survives a restart.
    pub durable: bool,
    /// How many messages wait.
    pub pending: u64,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMessage {
    /// Names it in its exchange; ascends in the order in which messages are due.
    pub id: u64,
    /// When it is due, in Unix time in milliseconds.
    pub due_ms: u64,
    /// The exchange that it was published to, which is another one where that is bound to the one where it waits.
    pub published_to: Vec<u8>,
    /// Its routing key.
    pub routing_key: Vec<u8>,
    /// The payload of its content header, as consumers will get it.
    pub header: Vec<u8>,
    /// Octets of its body.
    pub body_octets: u64,
}

impl Broker {
    /// All exchanges that delay messages, by vhost and name.
    pub fn delayed_exchanges(&self) -> Vec<DelayedExchange> {
        let describe = |delayed: Arc<Delayed>| DelayedExchange {
            vhost: delayed.vhost.to_string(),
            exchange: delayed.exchange.to_string(),
            durable: delayed.durable,
            pending: delayed.pending(),
        };
        let mut all: Vec<_> = self.delays().all().into_iter().map(describe).collect();
        all.sort_by(|a, b| (&a.vhost, &a.exchange).cmp(&(&b.vhost, &b.exchange)));
        all
    }

    /// The messages that wait at an exchange and are due after the one with the id `after` (0 for all), in the order in which they
    /// are due, `limit` at most. `None`: there is no such exchange, or it does not delay.
    ///
    /// Blocks are read from disk, on the caller's thread: all of the hour, or of the day, that a message is in while it is so far
    /// away. What moves while it is looked for may be missing, or be from a moment before.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn delayed_messages(
        &self,
        vhost: &str,
        exchange: &str,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<PendingMessage>>, StoreError> {
        let Some(delayed) = self.delayed(vhost, exchange) else { return Ok(None) };
        let mut cells = delayed.cells();
        cells.sort_by_key(|(slot, _)| slot.start);
        let mut found: BTreeMap<Stamp, PendingMessage> = BTreeMap::new();
        for (slot, cell) in cells.iter().filter(|(slot, _)| slot.end() > Stamp(after).due()) {
            let is_full = found.len() >= limit;
            if is_full && found.last_key_value().is_none_or(|(last, _)| slot.start > last.due()) {
                break;
            }
            self.walk(cell, |stamp, _, record| {
                let last = found.last_key_value().map(|(last, _)| *last);
                if stamp > Stamp(after) && (found.len() < limit || last.is_some_and(|last| stamp < last)) {
                    found.insert(stamp, describe(stamp, &record));
                    if found.len() > limit {
                        found.pop_last();
                    }
                }
                true
            })?;
        }
        Ok(Some(found.into_values().collect()))
    }

    /// Takes a message out that waits at an exchange, for good. Says whether it was there; it is on disk that it is gone when the
    /// journal is next synced.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn cancel_delayed(
        &self,
        vhost: &str,
        exchange: &str,
        id: u64,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let Some(delayed) = self.delayed(vhost, exchange) else { return Ok(false) };
        let stamp = Stamp(id);
        for _ in 0..TRIES {
            if self.batch_of(now, |scratch| delayed.unsort(stamp, scratch)) {
                return Ok(true);
            }
            let Some((cell, position)) = self.find(&delayed, stamp)? else { return Ok(false) };
            if self.batch_of(now, |scratch| delayed.strike(&cell, position, scratch)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn batch_of(&self, now: Millis, verb: impl FnOnce(&mut Scratch) -> bool) -> bool {
        let mut scratch = Scratch { now, ..Scratch::default() };
        let _inside = self.enter(&mut scratch);
        let done = verb(&mut scratch);
        scratch.work.wanted = done;
        self.finish(&mut scratch);
        done
    }

    fn delayed(&self, vhost: &str, exchange: &str) -> Option<Arc<Delayed>> {
        let picture = self.vhost(vhost)?.picture();
        picture.delayed(picture.topology.exchange(exchange)?.delayed?).map(Arc::clone)
    }

    /// The bucket and the position of a message.
    fn find(
        &self,
        delayed: &Delayed,
        stamp: Stamp,
    ) -> Result<Option<(Arc<QueueCell>, Position)>, StoreError> {
        let slots = Class::ALL.map(|class| Slot::at(class, stamp.due()));
        for (_, cell) in delayed.cells().into_iter().filter(|(slot, _)| slots.contains(slot)) {
            let mut found = None;
            self.walk(&cell, |other, position, _| {
                if other == stamp {
                    found = Some(position);
                }
                found.is_none()
            })?;
            if let Some(position) = found {
                return Ok(Some((cell, position)));
            }
        }
        Ok(None)
    }

    /// Shows all messages of a bucket until `each` says no.
    fn walk(
        &self,
        cell: &Arc<QueueCell>,
        mut each: impl FnMut(Stamp, Position, Record<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let mut from = 0;
        let mut show = |run: &Run, offset: u32, position: Position| {
            let (record, _) = run.record(offset);
            each(Stamp(record.due.unwrap_or(0)), position, record)
        };
        let mut missed = 0;
        while let Some(look) = cell.look(from) {
            let end = look.end();
            match look {
                Look::Here(Delivery { run, first, picks, .. }) => {
                    let Picks::Range { mut offset, count } = picks else { return Ok(()) };
                    for position in first..first + u64::from(count) {
                        if !show(&run, offset, position) {
                            return Ok(());
                        }
                        offset = run.record(offset).1;
                    }
                }
                Look::There { place, live } => {
                    let (run, ranges) = match self.storage().read_block(cell, place) {
                        Ok(read) => read,
                        // It was written elsewhere, or all of it is done with, since it was looked at.
                        Err(_) if missed < TRIES => {
                            missed += 1;
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    let mut goes_on = true;
                    let is_live = |at: Position| live.iter().any(|(first, last)| *first <= at && at <= *last);
                    let shown = read_block(&run, &ranges, |at, offset| {
                        goes_on = goes_on && (!is_live(at) || show(&run, offset, at));
                    });
                    if shown.is_none() || !goes_on {
                        return Ok(());
                    }
                }
            }
            (from, missed) = (end, 0);
        }
        Ok(())
    }
}

fn describe(stamp: Stamp, record: &Record<'_>) -> PendingMessage {
    let (published_to, routing_key) = basic::split_route(record.route);
    let parsed = warrenmq_wire::content::parse_header(record.header).ok();
    PendingMessage {
        id: stamp.0,
        due_ms: stamp.due(),
        published_to: published_to.to_vec(),
        routing_key: routing_key.to_vec(),
        header: parsed.map_or_else(Vec::new, |parsed| header::waited(&parsed, b"BCC")),
        body_octets: record.body.len() as u64,
    }
}
