//! What a server has sent on one connection and no step has looked at yet: frames sorted by channel, joined to methods with
//! their content, and shown as lines of a transcript.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use super::codec::{self, FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, FRAME_OVERHEAD, Frame};
use super::spec::{self, Method};
use super::value::Value;

/// A method that has arrived, with its content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) method: &'static Method,
    pub(crate) channel: u16,
    pub(crate) fields: Vec<Value>,
    pub(crate) content: Option<Content>,
}

/// Properties and body of a message that has arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) properties: Vec<Option<Value>>,
    pub(crate) body: Vec<u8>,
}

/// The bytes and frames of one connection that wait for a step.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    channels: BTreeMap<u16, VecDeque<Frame>>,
}

impl Received {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Takes exactly `count` bytes that no frame has been made of.
    pub(crate) fn take_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.bytes.len() >= count).then(|| self.bytes.drain(..count).collect())
    }

    /// Makes frames of the bytes. Heartbeats are dropped: they may come at any time.
    pub(crate) fn sort(&mut self, frame_max: u32) -> Result<(), String> {
        while let Some(frame) = Frame::take(&mut self.bytes)? {
            let size = frame.payload.len() + FRAME_OVERHEAD;
            if frame_max > 0 && size > frame_max as usize {
                return Err(format!("a frame of {size} bytes where frame-max is {frame_max}"));
            }
            if frame.kind != FRAME_HEARTBEAT {
                self.channels.entry(frame.channel).or_default().push_back(frame);
            }
        }
        self.channels.retain(|_, frames| !frames.is_empty());
        Ok(())
    }

    /// Takes the next method of a channel once its content is complete.
    pub(crate) fn take_message(&mut self, channel: u16) -> Result<Option<Message>, String> {
        let Some(frames) = self.channels.get_mut(&channel) else { return Ok(None) };
        let Some((message, used)) = message_of(channel, frames)? else { return Ok(None) };
        frames.drain(..used);
        Ok(Some(message))
    }

    /// Takes the next method of any channel once its content is complete, channel by channel.
    pub(crate) fn take_any(&mut self) -> Result<Option<Message>, String> {
        let channels: Vec<u16> = self.channels.keys().copied().collect();
        for channel in channels {
            if let Some(message) = self.take_message(channel)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Whether the server has closed the connection by a method that waits on channel 0.
    pub(crate) fn has_connection_close(&self) -> bool {
        self.channels
            .get(&0)
            .is_some_and(|frames| frames.iter().any(|frame| frame.payload.starts_with(&[0, 10, 0, 50])))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.channels.values().all(VecDeque::is_empty)
    }

    /// All that waits, one line for each method.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (channel, frames) in &self.channels {
            let mut frames = frames.clone();
            while let Ok(Some((message, used))) = message_of(*channel, &frames) {
                let _ = writeln!(text, "S {message}");
                frames.drain(..used);
            }
            for frame in frames {
                let _ = writeln!(text, "S frame {} {channel} {}", frame.kind, codec::hex(&frame.payload));
            }
        }
        if !self.bytes.is_empty() {
            let _ = writeln!(text, "S <bytes {}>", codec::hex(&self.bytes));
        }
        text
    }
}

/// The first method in `frames` and how many of them it takes.
pub(crate) fn message_of(channel: u16, frames: &VecDeque<Frame>) -> Result<Option<(Message, usize)>, String> {
    let Some(first) = frames.front() else { return Ok(None) };
    if first.kind != FRAME_METHOD {
        return Err(format!("a frame of type {} where a method was due", first.kind));
    }
    let (method, fields) = codec::decode_method(&first.payload)?;
    let mut message = Message { method, channel, fields, content: None };
    if !method.has_content {
        return Ok(Some((message, 1)));
    }
    let Some(header) = frames.get(1) else { return Ok(None) };
    if header.kind != FRAME_HEADER {
        return Err(format!("a frame of type {} where a content header was due", header.kind));
    }
    let (body_size, properties) = codec::decode_header(&header.payload)?;
    let mut body = Vec::new();
    let mut used = 2;
    while (body.len() as u64) < body_size {
        let Some(frame) = frames.get(used) else { return Ok(None) };
        if frame.kind != FRAME_BODY || frame.payload.is_empty() {
            return Err(format!("a frame of type {} where a body was due", frame.kind));
        }
        body.extend(&frame.payload);
        used += 1;
    }
    if body.len() as u64 > body_size {
        return Err(format!("a body of {} bytes where {body_size} were announced", body.len()));
    }
    message.content = Some(Content { properties, body });
    Ok(Some((message, used)))
}

impl Content {
    /// A property by its name, if it is there.
    pub(crate) fn property(&self, name: &str) -> Option<&Value> {
        let index = spec::properties().iter().position(|field| field.name == name)?;
        self.properties.get(index)?.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn property_mut(&mut self, name: &str) -> Option<&mut Value> {
        let index = spec::properties().iter().position(|field| field.name == name)?;
        self.properties.get_mut(index)?.as_mut()
    }
}

impl std::fmt::Display for Message {
    /// As a transcript has it, with the fields that are not at their default.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.name, self.channel)?;
        for (field, value) in self.method.fields.iter().zip(&self.fields) {
            if *value != Value::default_of(field.kind) {
                write!(f, " {}={value}", field.name)?;
            }
        }
        let Some(content) = &self.content else { return Ok(()) };
        write!(f, " |")?;
        for (field, value) in spec::properties().iter().zip(&content.properties) {
            if let Some(value) = value {
                write!(f, " {}={value}", field.name)?;
            }
        }
        write!(f, " | body={}", Value::Text(content.body.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(body: &[u8], split: usize) -> Vec<u8> {
        let method = spec::method_by_name("basic.deliver").unwrap();
        let fields: Vec<Value> = method.fields.iter().map(|field| Value::default_of(field.kind)).collect();
        let mut frames = vec![
            (FRAME_METHOD, codec::encode_method(method, &fields)),
            (FRAME_HEADER, codec::encode_header(60, body.len() as u64, &[])),
        ];
        frames.extend(body.chunks(split).map(|chunk| (FRAME_BODY, chunk.to_vec())));
        frames.into_iter().flat_map(|(kind, payload)| Frame { kind, channel: 1, payload }.encode()).collect()
    }

    #[test]
    fn content_is_joined_from_its_frames_wherever_the_bytes_are_cut() {
        let bytes = deliver(b"hello", 2);
        for cut in 0..bytes.len() {
            let mut received = Received::default();
            received.add(&bytes[..cut]);
            received.sort(4096).unwrap();
            assert_eq!(received.take_message(1), Ok(None), "{cut}");
            received.add(&bytes[cut..]);
            received.sort(4096).unwrap();
            let message = received.take_message(1).unwrap().unwrap();
            assert_eq!(message.to_string(), "basic.deliver 1 | | body=hello");
            assert!(received.take_message(1).unwrap().is_none());
        }
    }

    #[test]
    fn a_frame_above_frame_max_is_an_error() {
        let mut received = Received::default();
        received.add(&deliver(&[b'x'; 100], 100));
        assert!(received.sort(64).is_err());
    }
}
