//! The headers of a dead letter: `x-death`, `x-first-death-*`, `x-last-death-*`, as RabbitMQ writes them.
//!
//! Invariant: every other property and header passes through byte for byte and in its order; only `expiration` goes, because
//! it has done its work.

use warrenmq_wire::content::{ContentHeader, FIXED, flag};
use warrenmq_wire::table::{RawTable, RawValue};

use crate::properties::Properties;

/// One death.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death<'a> {
    pub(super) queue: &'a str,
    pub(super) reason: &'a str,
    /// Unix time in seconds.
    pub(super) time: u64,
    /// What the message was published with.
    pub(super) exchange: &'a [u8],
    pub(super) routing_keys: &'a [&'a [u8]],
    /// Its own time to live in milliseconds.
    pub(super) ttl: Option<u64>,
}

const X_DEATH: &[u8] = b"x-death";
const FIRST: [&[u8]; 3] = [b"x-first-death-exchange", b"x-first-death-queue", b"x-first-death-reason"];
const LAST: [&[u8]; 3] = [b"x-last-death-exchange", b"x-last-death-queue", b"x-last-death-reason"];

impl Death<'_> {
    /// The content header with this death noted. `known`: its `x-death` is ours; one that a client made is thrown away, as
    /// RabbitMQ does since 4.0.
    pub(super) fn record(&self, header: &ContentHeader<'_>, known: bool) -> Vec<u8> {
        let table = self.headers(header.headers(), known);
        let mut flags = header.flags | flag::HEADERS;
        flags &= !flag::EXPIRATION;
        let mut out = Vec::with_capacity(header.raw.len() + table.len());
        out.extend_from_slice(header.raw.get(..FIXED - 2).unwrap_or_default());
        out.extend_from_slice(&flags.to_be_bytes());
        let mut properties = Properties::of(header);
        for bit in [flag::CONTENT_TYPE, flag::CONTENT_ENCODING, flag::HEADERS] {
            let property = properties.take(bit);
            out.extend_from_slice(if bit == flag::HEADERS { &table } else { property });
        }
        for bit in [flag::DELIVERY_MODE, flag::PRIORITY, flag::CORRELATION_ID, flag::REPLY_TO] {
            out.extend_from_slice(properties.take(bit));
        }
        properties.take(flag::EXPIRATION);
        out.extend_from_slice(properties.rest());
        out
    }

    /// The new table of headers, with its length.
    fn headers(&self, old: Option<RawTable<'_>>, known: bool) -> Vec<u8> {
        let mut out = vec![0; 4];
        let is_ours = |key: &[u8]| key == X_DEATH || LAST.contains(&key) || (!known && FIRST.contains(&key));
        let mut first_is_there = false;
        let mut deaths = Vec::new();
        for (key, value) in old.iter().flat_map(RawTable::entries) {
            if key == X_DEATH && known {
                deaths = value.as_array().map(Iterator::collect).unwrap_or_default();
            }
            if !is_ours(key) {
                first_is_there |= FIRST.contains(&key);
                put_key(&mut out, key);
                put_raw(&mut out, value);
            }
        }
        put_key(&mut out, X_DEATH);
        self.put_deaths(&mut out, &deaths);
        let named = [self.exchange, self.queue.as_bytes(), self.reason.as_bytes()];
        for (keys, wanted) in [(FIRST, !first_is_there), (LAST, true)] {
            for (key, value) in keys.into_iter().zip(named).filter(|_| wanted) {
                put_key(&mut out, key);
                put_longstr(&mut out, value);
            }
        }
        close(&mut out, 0);
        out
    }

    /// The array of deaths: the one of this queue and reason in front, counted up if it was there.
    fn put_deaths(&self, out: &mut Vec<u8>, deaths: &[RawValue<'_>]) {
        out.push(b'A');
        let start = open(out);
        let is_same = |death: &&RawValue<'_>| {
            death.as_table().is_some_and(|table| {
                text(&table, b"queue") == Some(self.queue.as_bytes())
                    && text(&table, b"reason") == Some(self.reason.as_bytes())
            })
        };
        match deaths.iter().find(is_same).and_then(RawValue::as_table) {
            Some(known) => put_counted_up(out, &known),
            None => self.put_first(out),
        }
        for death in deaths.iter().filter(|death| !is_same(death)) {
            put_raw(out, *death);
        }
        close(out, start);
    }

    fn put_first(&self, out: &mut Vec<u8>) {
        out.push(b'F');
        let start = open(out);
        put_key(out, b"count");
        put_long(out, 1);
        put_key(out, b"reason");
        put_longstr(out, self.reason.as_bytes());
        put_key(out, b"queue");
        put_longstr(out, self.queue.as_bytes());
        put_key(out, b"time");
        out.push(b'T');
        out.extend_from_slice(&self.time.to_be_bytes());
        put_key(out, b"exchange");
        put_longstr(out, self.exchange);
        put_key(out, b"routing-keys");
        out.push(b'A');
        let keys = open(out);
        for key in self.routing_keys {
            put_longstr(out, key);
        }
        close(out, keys);
        if let Some(ttl) = self.ttl {
            put_key(out, b"original-expiration");
            put_longstr(out, ttl.to_string().as_bytes());
        }
        close(out, start);
    }
}

/// Whether the message came back to `queue` by itself: no death since it last died there was a rejection. Deaths are newest first.
pub(super) fn is_cycle(headers: &RawTable<'_>, queue: &[u8]) -> bool {
    let Some(deaths) = headers.get(X_DEATH).and_then(|value| value.as_array()) else { return false };
    for death in deaths.filter_map(|death| death.as_table()) {
        if text(&death, b"reason") == Some(b"rejected") {
            return false;
        }
        if text(&death, b"queue") == Some(queue) {
            return true;
        }
    }
    false
}

/// The keys of the header CC; BCC has been taken out when the message was published.
pub(super) fn sender_selected<'a>(headers: &RawTable<'a>) -> Vec<&'a [u8]> {
    let list = headers.get(b"CC").and_then(|value| value.as_array());
    list.map(|list| list.filter_map(|item| item.as_longstr()).collect()).unwrap_or_default()
}

fn text<'a>(table: &RawTable<'a>, key: &[u8]) -> Option<&'a [u8]> {
    table.get(key)?.as_longstr()
}

/// A death that happens again: everything as it was, with `count` one higher.
fn put_counted_up(out: &mut Vec<u8>, death: &RawTable<'_>) {
    out.push(b'F');
    let start = open(out);
    for (key, value) in death.entries() {
        put_key(out, key);
        match value.as_integer() {
            Some(count) if key == b"count" => put_long(out, count.saturating_add(1)),
            _ => put_raw(out, value),
        }
    }
    close(out, start);
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    out.push(key.len() as u8);
    out.extend_from_slice(key);
}

fn put_raw(out: &mut Vec<u8>, value: RawValue<'_>) {
    out.push(value.tag);
    out.extend_from_slice(value.raw);
}

fn put_long(out: &mut Vec<u8>, value: i64) {
    out.push(b'l');
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_longstr(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'S');
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

/// Leaves room for a length.
fn open(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

/// Fills in the length of what came since.
fn close(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    if let Some(room) = out.get_mut(start..start + 4) {
        room.copy_from_slice(&length.to_be_bytes());
    }
}
