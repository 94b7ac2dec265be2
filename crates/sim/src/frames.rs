//! The client's side of the wire: the methods that the simulated clients send, and what they hear.
//!
//! Invariant: written apart from the broker's own codec, and strict, so it also judges what the broker sends.

use crate::bounds::MESSAGE_OCTETS_MAX;
use crate::content::{Content, Death, Reader, properties, put_properties};
use crate::message::Message;

/// What a client sends first.
pub const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
const OVERHEAD: usize = 8;
/// Octets of a frame's payload, at most, as negotiated by the simulated clients.
pub const PAYLOAD_MAX: usize = 4096 - OVERHEAD;

/// Class and method ids of what the clients use.
pub mod ids {
    #![allow(missing_docs)]
    pub const CONNECTION_START: (u16, u16) = (10, 10);
    pub const CONNECTION_START_OK: (u16, u16) = (10, 11);
    pub const CONNECTION_TUNE: (u16, u16) = (10, 30);
    pub const CONNECTION_TUNE_OK: (u16, u16) = (10, 31);
    pub const CONNECTION_OPEN: (u16, u16) = (10, 40);
    pub const CONNECTION_OPEN_OK: (u16, u16) = (10, 41);
    pub const CONNECTION_CLOSE: (u16, u16) = (10, 50);
    pub const CONNECTION_CLOSE_OK: (u16, u16) = (10, 51);
    pub const CONNECTION_BLOCKED: (u16, u16) = (10, 60);
    pub const CONNECTION_UNBLOCKED: (u16, u16) = (10, 61);
    pub const CHANNEL_OPEN: (u16, u16) = (20, 10);
    pub const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
    pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
    pub const CHANNEL_CLOSE_OK: (u16, u16) = (20, 41);
    pub const EXCHANGE_DECLARE: (u16, u16) = (40, 10);
    pub const EXCHANGE_DECLARE_OK: (u16, u16) = (40, 11);
    pub const EXCHANGE_BIND: (u16, u16) = (40, 30);
    pub const EXCHANGE_UNBIND: (u16, u16) = (40, 40);
    pub const QUEUE_DECLARE: (u16, u16) = (50, 10);
    pub const QUEUE_DECLARE_OK: (u16, u16) = (50, 11);
    pub const QUEUE_BIND: (u16, u16) = (50, 20);
    pub const QUEUE_BIND_OK: (u16, u16) = (50, 21);
    pub const QUEUE_PURGE: (u16, u16) = (50, 30);
    pub const QUEUE_PURGE_OK: (u16, u16) = (50, 31);
    pub const QUEUE_DELETE: (u16, u16) = (50, 40);
    pub const QUEUE_DELETE_OK: (u16, u16) = (50, 41);
    pub const QUEUE_UNBIND: (u16, u16) = (50, 50);
    pub const BASIC_QOS: (u16, u16) = (60, 10);
    pub const BASIC_QOS_OK: (u16, u16) = (60, 11);
    pub const BASIC_CONSUME: (u16, u16) = (60, 20);
    pub const BASIC_CONSUME_OK: (u16, u16) = (60, 21);
    pub const BASIC_CANCEL: (u16, u16) = (60, 30);
    pub const BASIC_CANCEL_OK: (u16, u16) = (60, 31);
    pub const BASIC_PUBLISH: (u16, u16) = (60, 40);
    pub const BASIC_RETURN: (u16, u16) = (60, 50);
    pub const BASIC_DELIVER: (u16, u16) = (60, 60);
    pub const BASIC_GET: (u16, u16) = (60, 70);
    pub const BASIC_GET_OK: (u16, u16) = (60, 71);
    pub const BASIC_GET_EMPTY: (u16, u16) = (60, 72);
    pub const BASIC_ACK: (u16, u16) = (60, 80);
    pub const BASIC_REJECT: (u16, u16) = (60, 90);
    pub const BASIC_NACK: (u16, u16) = (60, 120);
    pub const BASIC_RECOVER: (u16, u16) = (60, 110);
    pub const BASIC_RECOVER_OK: (u16, u16) = (60, 111);
    pub const CONFIRM_SELECT: (u16, u16) = (85, 10);
    pub const CONFIRM_SELECT_OK: (u16, u16) = (85, 11);
    pub const TX_SELECT: (u16, u16) = (90, 10);
    pub const TX_SELECT_OK: (u16, u16) = (90, 11);
    pub const TX_COMMIT: (u16, u16) = (90, 20);
    pub const TX_COMMIT_OK: (u16, u16) = (90, 21);
    pub const TX_ROLLBACK: (u16, u16) = (90, 30);
    pub const TX_ROLLBACK_OK: (u16, u16) = (90, 31);
}

/// Arguments of a method while they are written.
#[derive(Debug, Default)]
pub struct Arguments(Vec<u8>);

impl Arguments {
    /// None yet.
    pub fn new() -> Arguments {
        Arguments::default()
    }

    /// What was written.
    pub fn into_octets(self) -> Vec<u8> {
        self.0
    }

    /// An octet, or up to eight bits.
    #[must_use]
    pub fn octet(mut self, octet: u8) -> Arguments {
        self.0.push(octet);
        self
    }

    /// A short number.
    #[must_use]
    pub fn short(mut self, number: u16) -> Arguments {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A long number.
    #[must_use]
    pub fn long(mut self, number: u32) -> Arguments {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A long long number.
    #[must_use]
    pub fn longlong(mut self, number: u64) -> Arguments {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A short string.
    #[must_use]
    pub fn shortstr(self, text: &str) -> Arguments {
        let mut with_length = self.octet(text.len() as u8);
        with_length.0.extend_from_slice(text.as_bytes());
        with_length
    }

    /// A long string, or a table that is written already.
    #[must_use]
    pub fn longstr(self, octets: &[u8]) -> Arguments {
        let mut with_length = self.long(octets.len() as u32);
        with_length.0.extend_from_slice(octets);
        with_length
    }
}

/// Entries of a table.
#[derive(Debug, Default, Clone)]
pub struct Table(Vec<u8>);

impl Table {
    /// With a number.
    #[must_use]
    pub fn number(mut self, key: &str, number: u64) -> Table {
        self.key(key);
        self.0.push(b'l');
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// With a boolean.
    #[must_use]
    pub fn flag(mut self, key: &str, flag: bool) -> Table {
        self.key(key);
        self.0.extend_from_slice(&[b't', flag.into()]);
        self
    }

    /// With a text.
    #[must_use]
    pub fn text(mut self, key: &str, text: &str) -> Table {
        self.key(key);
        self.0.push(b'S');
        self.0.extend_from_slice(&(text.len() as u32).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// With an array of texts.
    #[must_use]
    pub fn texts(mut self, key: &str, texts: &[&str]) -> Table {
        self.key(key);
        self.0.push(b'A');
        let octets: usize = texts.iter().map(|text| 5 + text.len()).sum();
        self.0.extend_from_slice(&(octets as u32).to_be_bytes());
        for text in texts {
            self.0.push(b'S');
            self.0.extend_from_slice(&(text.len() as u32).to_be_bytes());
            self.0.extend_from_slice(text.as_bytes());
        }
        self
    }

    /// Its octets, without their length.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    fn key(&mut self, key: &str) {
        self.0.push(key.len() as u8);
        self.0.extend_from_slice(key.as_bytes());
    }
}

/// Appends a method frame.
pub fn put_method(out: &mut Vec<u8>, channel: u16, (class, method): (u16, u16), arguments: &Arguments) {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes()[..], &arguments.0].concat();
    put_frame(out, METHOD, channel, &payload);
}

/// Appends a publish with its content.
pub fn put_publish(out: &mut Vec<u8>, channel: u16, exchange: &str, key: &str, message: &Message) {
    let arguments = Arguments::new().short(0).shortstr(exchange).shortstr(key);
    put_method(out, channel, ids::BASIC_PUBLISH, &arguments.octet(message.mandatory.into()));
    put_frame(out, HEADER, channel, &put_properties(message));
    if message.octets > MESSAGE_OCTETS_MAX {
        // It is refused when it is announced.
        return;
    }
    for part in message.body().chunks(PAYLOAD_MAX) {
        put_frame(out, BODY, channel, part);
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(FRAME_END);
}

/// Something that the broker said, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// On which channel.
    pub channel: u16,
    /// Octets that it took on the wire.
    pub octets: usize,
    /// What.
    pub said: Said,
}

/// What the broker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// basic.deliver.
    Deliver {
        /// Number in the consumer tag.
        consumer: u32,
        /// Delivery tag.
        tag: u64,
        /// The flag.
        redelivered: bool,
        /// The message.
        content: Content,
    },
    /// basic.get-ok.
    GetOk {
        /// Delivery tag.
        tag: u64,
        /// The flag.
        redelivered: bool,
        /// The message.
        content: Content,
    },
    /// basic.return.
    Return {
        /// The code and the text that say why.
        why: (u16, String),
        /// The exchange and the routing key that it was published with.
        route: (String, String),
        /// The message.
        content: Content,
    },
    /// basic.ack: a confirm.
    Ack(u64, bool),
    /// basic.nack: a confirm that is none.
    Nack(u64, bool),
    /// channel.close or connection.close, with code and text.
    Close(u16, String),
    /// Any other method, with the message count if it has one.
    Reply((u16, u16), u32),
}

/// Makes events out of octets as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    octets: Vec<u8>,
    used: usize,
    open: Option<(Heard, u64)>,
}

impl Decoder {
    /// More octets of the broker.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.used > 0 {
            self.octets.drain(..self.used);
            self.used = 0;
        }
        self.octets.extend_from_slice(octets);
    }

    /// The next event that is whole.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub fn hear(&mut self) -> Result<Option<Heard>, String> {
        loop {
            let rest = &self.octets[self.used..];
            let Some((&[kind, c0, c1, s0, s1, s2, s3], rest)) = rest.split_first_chunk::<7>() else {
                return Ok(None);
            };
            let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
            if size > PAYLOAD_MAX {
                return Err(format!("a frame of {size} octets"));
            }
            let Some(&end) = rest.get(size) else { return Ok(None) };
            if end != FRAME_END {
                return Err(format!("a frame ends in {end:#x}"));
            }
            let payload = rest[..size].to_vec();
            self.used += size + OVERHEAD;
            if let Some(heard) = self.frame(kind, u16::from_be_bytes([c0, c1]), &payload)? {
                return Ok(Some(heard));
            }
        }
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> Result<Option<Heard>, String> {
        let octets = payload.len() + OVERHEAD;
        match (kind, self.open.take()) {
            (METHOD, None) => {
                let said = method(payload).ok_or_else(|| format!("a malformed method {payload:?}"))?;
                let heard = Heard { channel, octets, said };
                if matches!(heard.said, Said::Deliver { .. } | Said::GetOk { .. } | Said::Return { .. }) {
                    self.open = Some((heard, u64::MAX));
                    return Ok(None);
                }
                Ok(Some(heard))
            }
            (HEADER, Some((mut heard, u64::MAX))) if heard.channel == channel => {
                let (size, content) =
                    properties(payload).ok_or_else(|| format!("a malformed header {payload:?}"))?;
                heard.octets += octets;
                *heard.content() = content;
                Ok(self.with_body(heard, size))
            }
            (BODY, Some((mut heard, left))) if heard.channel == channel && left >= payload.len() as u64 => {
                heard.octets += octets;
                heard.content().body.extend_from_slice(payload);
                Ok(self.with_body(heard, left - payload.len() as u64))
            }
            (kind, open) => Err(format!("a frame of kind {kind} on channel {channel} while {open:?}")),
        }
    }

    fn with_body(&mut self, heard: Heard, left: u64) -> Option<Heard> {
        if left == 0 {
            return Some(heard);
        }
        self.open = Some((heard, left));
        None
    }
}

impl Heard {
    fn content(&mut self) -> &mut Content {
        match &mut self.said {
            Said::Deliver { content, .. } | Said::GetOk { content, .. } | Said::Return { content, .. } => {
                content
            }
            _ => unreachable!("invariant: only these are kept open"),
        }
    }
}

fn method(payload: &[u8]) -> Option<Said> {
    let mut reader = Reader(payload);
    let id = (reader.short()?, reader.short()?);
    Some(match id {
        ids::BASIC_DELIVER => {
            let consumer = std::str::from_utf8(reader.shortstr()?).ok()?.parse().ok()?;
            let (tag, bits) = (reader.longlong()?, reader.octet()?);
            Said::Deliver { consumer, tag, redelivered: bits & 1 != 0, content: Content::default() }
        }
        ids::BASIC_GET_OK => {
            let (tag, bits) = (reader.longlong()?, reader.octet()?);
            Said::GetOk { tag, redelivered: bits & 1 != 0, content: Content::default() }
        }
        ids::BASIC_RETURN => {
            let why = (reader.short()?, reader.text()?);
            Said::Return { why, route: (reader.text()?, reader.text()?), content: Content::default() }
        }
        ids::BASIC_ACK => Said::Ack(reader.longlong()?, reader.octet()? & 1 != 0),
        ids::BASIC_NACK => Said::Nack(reader.longlong()?, reader.octet()? & 1 != 0),
        ids::CHANNEL_CLOSE | ids::CONNECTION_CLOSE => {
            Said::Close(reader.short()?, String::from_utf8_lossy(reader.shortstr()?).into_owned())
        }
        ids::QUEUE_DECLARE_OK => {
            reader.shortstr()?;
            Said::Reply(id, reader.long()?)
        }
        ids::QUEUE_PURGE_OK | ids::QUEUE_DELETE_OK => Said::Reply(id, reader.long()?),
        _ => Said::Reply(id, 0),
    })
}

fn tell_death(f: &mut std::fmt::Formatter<'_>, content: &Content) -> std::fmt::Result {
    match content.death {
        Some(Death { queue, reason }) => write!(f, ", died in q{queue} ({reason:?})"),
        None => Ok(()),
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Said::Deliver { consumer, tag, redelivered, content } => {
                write!(f, "message {} for {consumer}, tag {tag}, redelivered {redelivered}", content.stamp)?;
                tell_death(f, content)
            }
            Said::GetOk { tag, redelivered, content } => {
                write!(f, "message {} got, tag {tag}, redelivered {redelivered}", content.stamp)?;
                tell_death(f, content)
            }
            Said::Return { content, .. } => write!(f, "message {} comes back", content.stamp),
            Said::Ack(tag, multiple) => write!(f, "confirm of {tag}, multiple {multiple}"),
            Said::Nack(tag, multiple) => write!(f, "refusal of {tag}, multiple {multiple}"),
            Said::Close(code, text) => write!(f, "close: {code} {text}"),
            Said::Reply((class, method), count) => write!(f, "{class}.{method} {count}"),
        }
    }
}
