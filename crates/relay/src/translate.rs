//! Publish frames to deliver frames: the exchange and key of a publish stand in the deliver in the same octets, header and
//! body frames stay as they are but for their channel.
//!
//! Invariant: what follows a publish is handed on as it comes, however it is cut, and costs no memory; only a method frame
//! is waited for as a whole.

use std::io::{self, ErrorKind};

/// Last octet of every frame.
pub(crate) const FRAME_END: u8 = 0xCE;

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const CONTENT_BODY: u8 = 3;
/// Type, channel, size.
const FRAME_HEAD: usize = 7;
/// The head and the end.
const OVERHEAD: usize = FRAME_HEAD + 1;
const PUBLISH: [u8; 4] = [0, 60, 0, 40];
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// A method of more octets than this is not ours.
const METHOD_BYTES_MAX: usize = 64 * 1024;

/// The way of messages from one publisher to one consumer.
#[derive(Debug)]
pub(crate) struct Translator {
    /// Channel of the consumer.
    channel: u16,
    /// Tag of the consumer as a short string.
    consumer_tag: Vec<u8>,
    delivery_tag: u64,
    /// The last publish frame, and the deliver frame that was made of it with its delivery tag at `tag_at`.
    publish: Vec<u8>,
    deliver: Vec<u8>,
    tag_at: usize,
    /// Octets of the content frame at hand that are still to come.
    rest: usize,
}

impl Translator {
    /// For a consumer on `channel` with `consumer_tag`, a short string.
    pub(crate) fn new(channel: u16, consumer_tag: &[u8]) -> Self {
        Self {
            channel,
            consumer_tag: consumer_tag.to_vec(),
            delivery_tag: 0,
            publish: Vec::new(),
            deliver: Vec::new(),
            tag_at: 0,
            rest: 0,
        }
    }

    /// Appends to `out` what becomes of `input`; returns how much of it that was. It stops before a method that is no
    /// publish, and before a frame of which too little is there.
    pub(crate) fn translate(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut at = self.rest.min(input.len());
        self.rest -= at;
        // Content frames that need no change are copied together: those from here to `at`.
        let mut copied = 0;
        while let Some((kind, channel, length)) = head(input, at) {
            match kind {
                METHOD => {
                    let Some(frame) = input.get(at..at + length).filter(|frame| is_publish(frame)) else {
                        break;
                    };
                    out.extend_from_slice(input.get(copied..at).unwrap_or_default());
                    self.put_deliver(frame, out);
                    at += length;
                    copied = at;
                }
                CONTENT_HEADER | CONTENT_BODY => {
                    if channel != self.channel {
                        out.extend_from_slice(input.get(copied..at).unwrap_or_default());
                        out.push(kind);
                        out.extend_from_slice(&self.channel.to_be_bytes());
                        copied = at + 3;
                    }
                    self.rest = length.saturating_sub(input.len() - at);
                    at += length - self.rest;
                }
                // Heartbeats go nowhere.
                _ => {
                    out.extend_from_slice(input.get(copied..at).unwrap_or_default());
                    at = (at + length).min(input.len());
                    copied = at;
                }
            }
        }
        out.extend_from_slice(input.get(copied..at).unwrap_or_default());
        at
    }

    fn put_deliver(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        if self.publish != frame {
            self.remember(frame);
        }
        self.delivery_tag += 1;
        if let Some(tag) = self.deliver.get_mut(self.tag_at..self.tag_at + 8) {
            tag.copy_from_slice(&self.delivery_tag.to_be_bytes());
        }
        out.extend_from_slice(&self.deliver);
    }

    /// Makes the deliver frame for a publish frame.
    #[cold]
    fn remember(&mut self, frame: &[u8]) {
        self.publish = frame.to_vec();
        // Behind the ids: a reserved number, exchange and key, one octet of flags, the frame's end.
        let route = frame.get(FRAME_HEAD + 6..frame.len().saturating_sub(2)).unwrap_or_default();
        let size = DELIVER.len() + self.consumer_tag.len() + 8 + 1 + route.len();
        self.deliver.clear();
        self.deliver.push(METHOD);
        self.deliver.extend_from_slice(&self.channel.to_be_bytes());
        self.deliver.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
        self.deliver.extend_from_slice(&DELIVER);
        self.deliver.extend_from_slice(&self.consumer_tag);
        self.tag_at = self.deliver.len();
        // Delivery tag and `redelivered`.
        self.deliver.extend_from_slice(&[0; 9]);
        self.deliver.extend_from_slice(route);
        self.deliver.push(FRAME_END);
    }
}

/// Whether `input` begins with a basic.publish.
pub(crate) fn is_publish(input: &[u8]) -> bool {
    input.first() == Some(&METHOD) && ids(input) == Some(&PUBLISH)
}

/// Whether `input` begins with another method.
pub(crate) fn is_other_method(input: &[u8]) -> bool {
    input.first() == Some(&METHOD) && ids(input).is_some_and(|ids| *ids != PUBLISH)
}

/// Channel, payload and length of the method frame at the start of `input`; `None` while it is not there as a whole.
///
/// # Errors
/// When something else is there.
pub(crate) fn method(input: &[u8]) -> io::Result<Option<(u16, &[u8], usize)>> {
    let Some((kind, channel, length)) = head(input, 0) else { return Ok(None) };
    if kind != METHOD || length > METHOD_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    let payload = input.get(..length).and_then(|frame| frame.get(FRAME_HEAD..length - 1));
    Ok(payload.map(|payload| (channel, payload, length)))
}

fn ids(frame: &[u8]) -> Option<&[u8; 4]> {
    frame.get(FRAME_HEAD..)?.first_chunk()
}

/// Type, channel and whole length of the frame at `at`.
#[inline]
fn head(input: &[u8], at: usize) -> Option<(u8, u16, usize)> {
    let [kind, channel_high, channel_low, s3, s2, s1, s0] = *input.get(at..)?.first_chunk()?;
    let size = u32::from_be_bytes([s3, s2, s1, s0]) as usize;
    Some((kind, u16::from_be_bytes([channel_high, channel_low]), size + OVERHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind], channel.to_be_bytes().as_slice(), &size, payload, &[FRAME_END]].concat()
    }

    /// A message on `channel` to exchange `e` with `key`, its body in one frame for each part.
    fn published(channel: u16, key: &str, parts: &[&str]) -> Vec<u8> {
        let length = [u8::try_from(key.len()).unwrap()];
        let method = [&PUBLISH, b"\0\0\x01e".as_slice(), &length, key.as_bytes(), &[0]].concat();
        with_content(frame(METHOD, channel, &method), channel, parts)
    }

    fn delivered(channel: u16, tag: u64, key: &str, parts: &[&str]) -> Vec<u8> {
        let length = [u8::try_from(key.len()).unwrap()];
        let method =
            [&DELIVER, b"\x02ct".as_slice(), &tag.to_be_bytes(), b"\0\x01e", &length, key.as_bytes()];
        with_content(frame(METHOD, channel, &method.concat()), channel, parts)
    }

    fn with_content(method: Vec<u8>, channel: u16, parts: &[&str]) -> Vec<u8> {
        let header = frame(CONTENT_HEADER, channel, b"\0\x3c\0\0 any properties");
        let body = parts.iter().flat_map(|part| frame(CONTENT_BODY, channel, part.as_bytes()));
        method.into_iter().chain(header).chain(body).collect()
    }

    #[test]
    fn any_cut_of_the_input_gives_the_same_output() {
        let input = [
            published(1, "k", &["body"]),
            published(1, "k", &["a body of", "two frames"]),
            published(1, "another", &[]),
            published(1, "k", &["last"]),
        ]
        .concat();
        for channel in [1, 7] {
            let expected = [
                delivered(channel, 1, "k", &["body"]),
                delivered(channel, 2, "k", &["a body of", "two frames"]),
                delivered(channel, 3, "another", &[]),
                delivered(channel, 4, "k", &["last"]),
            ]
            .concat();
            for piece in 1..=input.len() {
                let mut translator = Translator::new(channel, b"\x02ct");
                let (mut held, mut out) = (Vec::new(), Vec::new());
                for octets in input.chunks(piece) {
                    held.extend_from_slice(octets);
                    let taken = translator.translate(&held, &mut out);
                    held.drain(..taken);
                }
                assert_eq!(out, expected, "pieces of {piece} octets on channel {channel}");
                assert!(held.is_empty());
            }
        }
    }

    #[test]
    fn another_method_ends_the_messages() {
        let message = published(1, "k", &["body"]);
        let close = frame(METHOD, 0, b"\0\x0a\0\x32\0\xc8\0\0\0\0\0");
        let input = [message.clone(), close.clone()].concat();
        let mut out = Vec::new();
        let taken = Translator::new(1, b"\x02ct").translate(&input, &mut out);
        assert_eq!((taken, out), (message.len(), delivered(1, 1, "k", &["body"])));
        let rest = &input[taken..];
        assert!(is_other_method(rest) && !is_publish(rest));
        let (channel, payload, length) = method(rest).unwrap().unwrap();
        assert_eq!((channel, payload.len(), length), (0, 11, close.len()));
        assert!(method(&close[..close.len() - 1]).unwrap().is_none());
    }

    #[test]
    fn a_heartbeat_goes_nowhere() {
        let input = [frame(8, 0, b""), published(1, "k", &["body"])].concat();
        let mut out = Vec::new();
        assert_eq!(Translator::new(1, b"\x02ct").translate(&input, &mut out), input.len());
        assert_eq!(out, delivered(1, 1, "k", &["body"]));
    }
}
