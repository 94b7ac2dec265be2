//! Prebuilt publishes: the bytes of many messages back to back, of which only the stamps change.
//!
//! Invariant: `starts` holds where each message starts and, last, where the last one ends; whatever
//! [`Batch::bytes`] returns begins and ends at such a place.

use std::ops::Range;

use warrenmq_wire::{
    basic,
    content::put_header,
    method::{BasicProperties, EncodeError},
};

use super::{
    connection::CHANNEL,
    stamp::{self, Stamp},
};

/// Octets of one write: more does not make a write cheaper and leaves the cache.
const WRITE_BYTES: usize = 128 * 1024;

/// What all messages of a producer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Octets of the body.
    pub(crate) size: usize,
    pub(crate) mandatory: bool,
    /// Largest payload of a body frame.
    pub(crate) payload_max: usize,
}

/// Messages of one producer, in a ring.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    /// Where the stamp of each message is; empty when messages carry none.
    stamps: Vec<usize>,
    cursor: usize,
}

impl Batch {
    /// Builds messages that go to `routes` in turn, with `properties` in turn; a route is exchange and key in wire form.
    /// After `period` messages both begin again.
    pub(crate) fn new(
        template: &Template,
        routes: &[Vec<u8>],
        properties: &[BasicProperties],
        period: usize,
    ) -> Result<Self, EncodeError> {
        let mut this = Self { bytes: Vec::new(), starts: vec![0], stamps: Vec::new(), cursor: 0 };
        let body: Vec<u8> = (0..template.size).map(|index| index as u8).collect();
        let mut headers = Vec::with_capacity(properties.len());
        for properties in properties {
            let mut header = Vec::new();
            put_header(&mut header, template.size as u64, properties)?;
            headers.push(header);
        }
        loop {
            for (route, header) in routes.iter().cycle().zip(headers.iter().cycle()).take(period) {
                this.push(template, route, header, &body);
            }
            // As many rounds as one write takes, at least one.
            let round = this.bytes.len() / (this.len() / period.max(1)).max(1);
            if round == 0 || this.bytes.len() + round > WRITE_BYTES {
                return Ok(this);
            }
        }
    }

    /// The next messages of the ring: up to `count`, as many as one write takes, at least one.
    #[inline]
    pub(crate) fn take(&mut self, count: u64) -> Range<usize> {
        let first = self.cursor;
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.len() - first);
        let end = self.starts[first] + WRITE_BYTES;
        let fitting = self.starts[first + 1..=first + count].partition_point(|&start| start <= end);
        let last = first + fitting.max(1);
        self.cursor = if last == self.len() { 0 } else { last };
        first..last
    }

    /// Puts `stamp` into the first of `messages`, and stamps with the next sequence numbers into those behind it.
    #[inline]
    pub(crate) fn stamp(&mut self, messages: Range<usize>, stamp: Stamp) {
        if let Some(stamps) = self.stamps.get(messages) {
            for (&at, sequence) in stamps.iter().zip(stamp.sequence..) {
                self.bytes[at..at + stamp::LEN].copy_from_slice(&Stamp { sequence, ..stamp }.to_bytes());
            }
        }
    }

    /// The octets of these messages.
    #[inline]
    pub(crate) fn bytes(&self, messages: Range<usize>) -> &[u8] {
        &self.bytes[self.starts[messages.start]..self.starts[messages.end]]
    }

    /// Number of messages in the ring.
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn push(&mut self, template: &Template, route: &[u8], header: &[u8], body: &[u8]) {
        basic::put_publish(&mut self.bytes, CHANNEL, route, template.mandatory);
        let content = self.bytes.len();
        basic::put_content(&mut self.bytes, CHANNEL, header, body, template.payload_max);
        if template.size >= stamp::LEN {
            let overhead = warrenmq_wire::frame::OVERHEAD;
            self.stamps.push(content + header.len() + overhead + overhead - 1);
        }
        self.starts.push(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::frame;

    use super::*;

    fn route(key: &str) -> Vec<u8> {
        let mut route = Vec::new();
        basic::put_route(&mut route, b"", key.as_bytes());
        route
    }

    fn template(size: usize) -> Template {
        Template { size, mandatory: false, payload_max: 4088 }
    }

    /// What a producer does: the octets of up to `count` messages with their stamps, and how many they are.
    fn next(batch: &mut Batch, count: u64, stamp: Stamp) -> (&[u8], u64) {
        let messages = batch.take(count);
        batch.stamp(messages.clone(), stamp);
        (batch.bytes(messages.clone()), messages.len() as u64)
    }

    /// Routing keys and bodies in a run of frames.
    fn messages(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
        while let Some((frame, used)) = frame::split(bytes, usize::MAX).unwrap() {
            match frame.kind {
                frame::METHOD => {
                    let publish = basic::parse_publish(&frame.payload[4..]).unwrap();
                    messages.push((String::from_utf8(publish.routing_key().to_vec()).unwrap(), Vec::new()));
                }
                frame::BODY => messages.last_mut().unwrap().1.extend_from_slice(frame.payload),
                _ => {}
            }
            bytes = &bytes[used..];
        }
        assert!(bytes.is_empty(), "whole frames");
        messages
    }

    #[test]
    fn whole_messages_with_running_stamps() {
        for size in [16, 100, 5_000, 300_000] {
            let routes = [route("a"), route("bcd"), route("")];
            let mut batch = Batch::new(&template(size), &routes, &[BasicProperties::default()], 3).unwrap();
            let mut sequence = 0;
            for count in [1, 2, 7, 1_000, u64::MAX, 3] {
                let (bytes, taken) = next(&mut batch, count, Stamp { sent_ns: 99, producer: 5, sequence });
                assert!(taken >= 1 && taken <= count, "{taken} of {count} at size {size}");
                assert!(bytes.len() <= WRITE_BYTES || taken == 1);
                let found = messages(bytes);
                assert_eq!(found.len() as u64, taken);
                for (key, body) in found {
                    assert_eq!(key, ["a", "bcd", ""][sequence as usize % 3]);
                    assert_eq!(body.len(), size);
                    let stamp = Stamp::from_bytes(*body.first_chunk().unwrap());
                    assert_eq!(stamp, Stamp { sent_ns: 99, producer: 5, sequence });
                    sequence += 1;
                }
            }
        }
    }

    #[test]
    fn keys_and_properties_in_turn() {
        let routes = [route("a"), route("b")];
        let properties: Vec<_> =
            (1..=3).map(|priority| BasicProperties::default().with_priority(priority)).collect();
        let mut batch = Batch::new(&template(0), &routes, &properties, 6).unwrap();
        let (bytes, taken) = next(&mut batch, 6, Stamp { sent_ns: 0, producer: 0, sequence: 0 });
        let mut rest = bytes;
        let mut priorities = Vec::new();
        while let Some((frame, used)) = frame::split(rest, usize::MAX).unwrap() {
            if frame.kind == frame::HEADER {
                priorities.extend(frame.payload.last().copied());
            }
            rest = &rest[used..];
        }
        let keys: Vec<_> = messages(bytes).into_iter().map(|(key, _)| key).collect();
        assert_eq!((taken, keys.concat()), (6, "ababab".to_owned()));
        assert_eq!(priorities, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn small_bodies_have_no_stamp() {
        for size in [0, 1, 15] {
            let properties = [BasicProperties::default()];
            let mut batch = Batch::new(&template(size), &[route("k")], &properties, 1).unwrap();
            let (bytes, taken) = next(&mut batch, 3, Stamp { sent_ns: 99, producer: 5, sequence: 0 });
            let body: Vec<u8> = (0..size as u8).collect();
            assert_eq!(taken, 3);
            assert_eq!(messages(bytes), vec![("k".to_owned(), body); 3]);
        }
    }
}
