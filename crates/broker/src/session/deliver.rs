//! From the inbox to deliver frames.
//!
//! Invariants: deliveries are encoded in the order in which the queues handed them out; a delivery tag is given out when its
//! frame is encoded, so what was not encoded can still go back as if nothing had happened. What needs no acknowledgement is
//! settled here, once it is encoded.

use warrenmq_protocol::{Outstanding, Piece};
use warrenmq_queue::{Delivery, Picks, Record, Run};
use warrenmq_wire::{self as wire, Consumer, basic};

use super::Session;
use super::out::Out;
use super::settle::{Settlement, Verdict};
use crate::delivery_count;
use crate::inbox::ConsumerKey;

/// A delivery on its way, with how far it got.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: ConsumerKey,
    pub(super) delivery: Delivery,
    /// Picks of a list that are done; a range is shortened instead.
    done: usize,
    /// Octets that its records had before a header was added.
    plain_octets: Option<u32>,
}

impl Pending {
    pub(super) fn new(key: ConsumerKey, delivery: Delivery) -> Pending {
        Pending { key, delivery, done: 0, plain_octets: None }
    }

    /// Messages that came back say how often. What the queue gave for them is what it gets back.
    #[cold]
    fn add_count(&mut self) {
        let (delivery, octets) = delivery_count::with_header(self.delivery.clone());
        (self.delivery, self.plain_octets) = (delivery, Some(octets));
    }

    /// Messages that are left of it.
    pub(super) fn left(&self) -> u64 {
        u64::from(self.delivery.count()) - self.done as u64
    }

    /// What is left of it.
    pub(super) fn into_rest(self) -> Delivery {
        let Pending { mut delivery, done, .. } = self;
        if let Picks::List(list) = &delivery.picks
            && done > 0
        {
            delivery.picks = Picks::List(list.get(done..).unwrap_or_default().into());
        }
        delivery
    }
}

/// What one consumer's messages of one run are encoded with.
struct Encoder<'a> {
    out: &'a mut Out,
    consumer: Consumer<'a>,
    next_tag: &'a mut u64,
    payload_max: usize,
    limit: usize,
    redelivered: bool,
    /// The last one encoded, and its offset: the next one may be like it.
    model: Option<(wire::Delivery, u32)>,
}

impl Encoder<'_> {
    fn is_full(&self) -> bool {
        self.out.len() >= self.limit
    }

    /// Encodes the record at `offset`; returns where the next one starts.
    #[inline]
    fn put(&mut self, run: &Run, offset: u32) -> u32 {
        let tag = *self.next_tag;
        *self.next_tag += 1;
        if let Some((model, at)) = &self.model
            && let Some((body, next)) = run.like(*at, offset)
        {
            model.put_like(self.out.buffer(), tag, body);
            return next;
        }
        self.put_unlike(run, offset, tag)
    }

    fn put_unlike(&mut self, run: &Run, offset: u32, tag: u64) -> u32 {
        let (record, next) = run.record(offset);
        let Record { route, header, body, .. } = record;
        let octets = self.out.buffer();
        if body.len() <= self.payload_max && !Out::borrows(body) {
            let common = (tag, self.redelivered);
            self.model =
                Some((wire::Delivery::put(octets, self.consumer, common, route, header, body), offset));
        } else {
            let Consumer { channel, tag: consumer_tag } = self.consumer;
            basic::put_deliver(octets, channel, consumer_tag, tag, self.redelivered, route);
            self.out.put_content(channel, run, &record, self.payload_max);
            self.model = None;
        }
        next
    }
}

impl Session {
    /// Encodes deliveries until about `limit` octets wait to be written.
    pub fn fill(&mut self, limit: usize) {
        if self.out.is_held() || self.pending.is_empty() {
            return;
        }
        let _inside = self.begin(self.now);
        let payload_max = self.connection.tuning().payload_max();
        let mut acking = false;
        while self.out.len() < limit
            && let Some(pending) = self.pending.front_mut()
        {
            if pending.delivery.attempts > 0 {
                pending.add_count();
            }
            let key = pending.key;
            let Some(source) = self.sources.get_mut(key) else {
                self.pending.pop_front();
                continue;
            };
            let Some(channel) = self.channels.get_mut(source.channel) else {
                self.pending.pop_front();
                continue;
            };
            let mut encoder = Encoder {
                out: &mut self.out,
                consumer: Consumer { channel: channel.number, tag: &source.tag },
                next_tag: &mut channel.next_tag,
                payload_max,
                limit,
                redelivered: pending.delivery.redelivered,
                model: None,
            };
            let before = source.unacked;
            acking |= !source.no_ack;
            let sent = if source.no_ack {
                Sent::Settled(&mut self.settlements)
            } else {
                Sent::Outstanding(&mut channel.outstanding)
            };
            let octets = encode(pending, &mut encoder, &mut source.unacked, sent);
            if source.is_counted() {
                source.unsent = source.unsent.saturating_sub(source.unacked - before);
            }
            let octets = match pending.plain_octets {
                None => octets,
                Some(plain) if pending.left() == 0 => plain,
                Some(_) => 0,
            };
            source.window_used += u64::from(octets);
            if pending.left() == 0 {
                self.pending.pop_front();
            }
            self.return_window(key);
        }
        if acking {
            self.expect_acks();
        }
        self.flush_settlements();
        self.finish();
    }

    /// Tells the queue that octets have left, half a window at a time, so that it costs one lock per many messages.
    fn return_window(&mut self, key: ConsumerKey) {
        let half = u64::from(self.limits().consumer_window_octets) / 2;
        let window = self.window();
        let Some(source) = self.sources.get_mut(key) else { return };
        if source.window_used < half {
            return;
        }
        let octets = std::mem::take(&mut source.window_used);
        if let Some(slot) = source.slot {
            source
                .queue
                .with(window, &mut self.scratch, |queue, effects| queue.credit(slot, 0, octets, effects));
        }
    }
}

/// Where deliveries are noted that were encoded.
enum Sent<'a> {
    /// They wait for their acknowledgement.
    Outstanding(&'a mut Outstanding<ConsumerKey>),
    /// They need none.
    Settled(&'a mut Vec<Settlement>),
}

impl Sent<'_> {
    /// What round robin picks does not stand in a row; 64 positions are noted at once.
    #[inline]
    fn note_one(&mut self, source: ConsumerKey, tag: u64, position: u64) {
        let settlements = match self {
            Sent::Outstanding(outstanding) => return outstanding.record(source, tag, position, 1),
            Sent::Settled(settlements) => settlements,
        };
        let (base, bit) = (position & !63, 1 << (position & 63));
        if let Some(Settlement { piece, verdict: Verdict::SettleSome(mask) }) = settlements.last_mut()
            && piece.source == source
            && piece.first_position == base
        {
            *mask |= bit;
            piece.count += 1;
        } else {
            let piece = Piece { source, first_tag: tag, first_position: base, count: 1 };
            settlements.push(Settlement { piece, verdict: Verdict::SettleSome(bit) });
        }
    }

    fn note(&mut self, source: ConsumerKey, first_tag: u64, first_position: u64, count: u64) {
        match self {
            Sent::Outstanding(outstanding) => outstanding.record(source, first_tag, first_position, count),
            Sent::Settled(settlements) => {
                if let Some(Settlement { piece, verdict: Verdict::Settle }) = settlements.last_mut()
                    && piece.source == source
                    && piece.first_position + piece.count == first_position
                {
                    piece.count += count;
                } else {
                    let piece = Piece { source, first_tag, first_position, count };
                    settlements.push(Settlement { piece, verdict: Verdict::Settle });
                }
            }
        }
    }
}

/// Encodes what fits and notes it; returns the octets of the records.
fn encode(pending: &mut Pending, encoder: &mut Encoder<'_>, unacked: &mut u64, mut noted: Sent<'_>) -> u32 {
    let key = pending.key;
    let Delivery { run, first, picks, .. } = &mut pending.delivery;
    let mut octets = 0;
    match picks {
        Picks::Range { offset, count } => {
            let (first_tag, first_position, start, before) = (*encoder.next_tag, *first, *offset, *count);
            while *count > 0 && !encoder.is_full() {
                *offset = encoder.put(run, *offset);
                *count -= 1;
            }
            let sent = u64::from(before - *count);
            *first += sent;
            octets = *offset - start;
            if sent > 0 {
                *unacked += sent;
                noted.note(key, first_tag, first_position, sent);
            }
        }
        Picks::List(list) => {
            while let Some(pick) = list.get(pending.done)
                && !encoder.is_full()
            {
                let tag = *encoder.next_tag;
                octets += encoder.put(run, pick.offset) - pick.offset;
                pending.done += 1;
                *unacked += 1;
                noted.note_one(key, tag, *first + u64::from(pick.index));
            }
        }
    }
    octets
}
