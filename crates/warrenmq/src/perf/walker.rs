//! Walking over what a broker sends: from frames to whole messages, at the price of a few compares for each.
//!
//! ```text
//!            deliver, return             body size > 0
//!   Method ───────────────────► Header ───────────────► Body ⟲ until all octets have passed
//!      ▲                          │ empty body            │
//!      └──────────────────────────┴───────────────────────┘
//! ```
//! Deliveries mostly differ from the one before them in nothing but their tags and bodies: what is equal is compared, not
//! read again ([`Like`]).
//!
//! Invariant: the items do not depend on how the stream is cut into reads. A body is stepped over, not gathered: only
//! the head and the stamp of a body frame have to be in the buffer together.

use warrenmq_wire::{basic, frame, same};

use super::stamp::{self, Stamp};

/// Octets before a payload.
const HEAD: usize = frame::OVERHEAD - 1;

/// Something whole in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A message for a consumer.
    Delivery(Delivery),
    /// A message that could not be routed.
    Returned,
    /// Any other method: its payload.
    Method(&'a [u8]),
}

/// A message for a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Number in the consumer tag; tags are decimal numbers here.
    pub(crate) consumer: u32,
    pub(crate) tag: u64,
    pub(crate) redelivered: bool,
    /// The first octets of the body, if its first frame has that many.
    pub(crate) stamp: Option<Stamp>,
}

/// Why the stream makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WalkError {
    #[error("{0}")]
    Frame(#[from] frame::FrameError),
    #[error("a frame of type {kind} where {expected} was expected")]
    Unexpected { kind: u8, expected: &'static str },
    #[error("malformed {0}")]
    Malformed(&'static str),
    #[error("a body ended in {0:#04x}")]
    BadEnd(u8),
}

/// The state between two reads.
#[derive(Debug)]
pub(crate) struct Walker {
    payload_max: usize,
    expect: Expect,
    /// The message under way; `None` is one that came back.
    delivery: Option<Delivery>,
    /// Octets of the message's body in frames to come.
    body_left: u64,
    /// Whether the next body frame is the message's first.
    body_begins: bool,
    like: Option<Like>,
}

/// Where the last whole delivery is in the input, and where its parts are in it.
///
/// ```text
/// | 1 channel size deliver | consumer | tag, redelivered | exchange … header … body frame | body | 0xCE |
/// at                                  tag                                                front
/// ```
#[derive(Debug, Clone, Copy)]
struct Like {
    at: usize,
    tag: usize,
    front: usize,
    length: usize,
    consumer: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Method,
    Header,
    Body,
    /// Inside a body frame: so many octets, then the end octet.
    Rest(usize),
}

/// What one frame led to.
enum Step<'a> {
    Item(Item<'a>),
    Next,
    NeedMore,
}

impl Walker {
    /// `payload_max` is the largest frame but for bodies, that is what the reader can buffer.
    pub(crate) fn new(payload_max: usize) -> Self {
        Self {
            payload_max,
            expect: Expect::Method,
            delivery: None,
            body_left: 0,
            body_begins: false,
            like: None,
        }
    }

    /// The next delivery of `input` from `*at` on, if it is there as a whole in the usual three frames. A fraction of the price
    /// of [`Self::next`]; `None` means to ask that.
    #[inline(always)]
    pub(crate) fn next_whole(&mut self, input: &[u8], at: &mut usize) -> Option<Delivery> {
        if self.expect != Expect::Method {
            return None;
        }
        let rest = input.get(*at..)?;
        if let Some(like) = &self.like
            && let Some(delivery) = like.next(input.get(like.at..)?, rest)
        {
            *at += like.length;
            return Some(delivery);
        }
        let (delivery, like) = whole(rest)?;
        self.like = Some(Like { at: *at, ..like });
        *at += like.length;
        Some(delivery)
    }

    /// To be called when `input` is no longer what it was before `*at`.
    pub(crate) fn moved(&mut self) {
        self.like = None;
    }

    /// The next item of `input` from `*at` on; moves `*at` behind what was used up. `None`: call again with what is
    /// left and more behind it.
    pub(crate) fn next<'a>(
        &mut self,
        input: &'a [u8],
        at: &mut usize,
    ) -> Result<Option<Item<'a>>, WalkError> {
        loop {
            let rest = input.get(*at..).unwrap_or_default();
            let step = match self.expect {
                Expect::Method => self.method(rest, at)?,
                Expect::Header => self.header(rest, at)?,
                Expect::Body => self.body(rest, at)?,
                Expect::Rest(left) => self.rest(rest, left, at)?,
            };
            match step {
                Step::Item(item) => return Ok(Some(item)),
                Step::Next => {}
                Step::NeedMore => return Ok(None),
            }
        }
    }

    #[inline]
    fn method<'a>(&mut self, rest: &'a [u8], at: &mut usize) -> Result<Step<'a>, WalkError> {
        let Some((frame, used)) = frame::split(rest, self.payload_max)? else {
            return Ok(Step::NeedMore);
        };
        *at += used;
        match (frame.kind, frame.payload) {
            (frame::METHOD, [0, 60, 0, 60, args @ ..]) => {
                self.delivery = Some(deliver(args).ok_or(WalkError::Malformed("basic.deliver"))?);
                self.expect = Expect::Header;
                Ok(Step::Next)
            }
            (frame::METHOD, [0, 60, 0, 50, ..]) => {
                self.delivery = None;
                self.expect = Expect::Header;
                Ok(Step::Next)
            }
            (frame::METHOD, payload) => Ok(Step::Item(Item::Method(payload))),
            (frame::HEARTBEAT, _) => Ok(Step::Next),
            (kind, _) => Err(WalkError::Unexpected { kind, expected: "a method" }),
        }
    }

    #[inline]
    fn header<'a>(&mut self, rest: &'a [u8], at: &mut usize) -> Result<Step<'a>, WalkError> {
        let Some((frame, used)) = frame::split(rest, self.payload_max)? else {
            return Ok(Step::NeedMore);
        };
        if frame.kind != frame::HEADER {
            return between(frame, used, at, "a content header");
        }
        // Class id, weight, then the size of the body.
        let size = frame.payload.get(4..).and_then(|size| size.first_chunk());
        self.body_left = u64::from_be_bytes(*size.ok_or(WalkError::Malformed("content header"))?);
        *at += used;
        if self.body_left == 0 {
            return Ok(self.finish());
        }
        self.body_begins = true;
        self.expect = Expect::Body;
        Ok(Step::Next)
    }

    #[inline]
    fn body<'a>(&mut self, rest: &'a [u8], at: &mut usize) -> Result<Step<'a>, WalkError> {
        let Some((&[kind, _, _, s0, s1, s2, s3], payload)) = rest.split_first_chunk::<HEAD>() else {
            return Ok(Step::NeedMore);
        };
        if kind != frame::BODY {
            return match frame::split(rest, self.payload_max)? {
                Some((frame, used)) => between(frame, used, at, "a body"),
                None => Ok(Step::NeedMore),
            };
        }
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if self.body_begins && size as usize >= stamp::LEN {
            let Some(bytes) = payload.first_chunk() else {
                return Ok(Step::NeedMore);
            };
            if let Some(delivery) = &mut self.delivery {
                delivery.stamp = Some(Stamp::from_bytes(*bytes));
            }
        }
        self.body_begins = false;
        self.body_left =
            self.body_left.checked_sub(u64::from(size)).ok_or(WalkError::Malformed("body length"))?;
        *at += HEAD;
        self.rest(payload, size as usize, at)
    }

    #[inline]
    fn rest<'a>(&mut self, rest: &'a [u8], left: usize, at: &mut usize) -> Result<Step<'a>, WalkError> {
        match rest.get(left) {
            Some(&frame::END) => {
                *at += left + 1;
                if self.body_left == 0 {
                    return Ok(self.finish());
                }
                self.expect = Expect::Body;
                Ok(Step::Next)
            }
            Some(&end) => Err(WalkError::BadEnd(end)),
            None => {
                *at += rest.len();
                self.expect = Expect::Rest(left - rest.len());
                Ok(Step::NeedMore)
            }
        }
    }

    #[inline]
    fn finish<'a>(&mut self) -> Step<'a> {
        self.expect = Expect::Method;
        Step::Item(self.delivery.map_or(Item::Returned, Item::Delivery))
    }
}

impl Like {
    /// The delivery at the beginning of `rest` if, but for tag and body, its octets are those of `last`, the one before it.
    #[inline(always)]
    fn next(&self, last: &[u8], rest: &[u8]) -> Option<Delivery> {
        let (front, body) = rest.get(..self.length)?.split_at_checked(self.front)?;
        let last = last.get(..self.front)?;
        let (head, tail) = front.split_at_checked(self.tag)?;
        let (last_head, last_tail) = last.split_at_checked(self.tag)?;
        let (tag, tail) = tail.split_first_chunk()?;
        let (redelivered, tail) = tail.split_first()?;
        let equal =
            same(head, last_head) && same(tail, last_tail.get(TAG..)?) && body.last() == Some(&frame::END);
        equal.then(|| Delivery {
            consumer: self.consumer,
            tag: u64::from_be_bytes(*tag),
            redelivered: redelivered & 1 != 0,
            stamp: stamp(body.get(..body.len() - 1).unwrap_or_default()),
        })
    }
}

/// Octets of a delivery tag and the redelivered flag behind it.
const TAG: usize = 9;

/// The usual case, several times as fast as the steps: a delivery whose three frames are all there, and where its parts are.
/// Whatever else there is, malformed or not, is `None` and left to the steps.
#[inline]
fn whole(input: &[u8]) -> Option<(Delivery, Like)> {
    let ([0, 60, 0, 60, args @ ..], rest) = frame_of(frame::METHOD, input)? else {
        return None;
    };
    let (header, rest) = frame_of(frame::HEADER, rest)?;
    let (body, rest) = frame_of(frame::BODY, rest)?;
    let size = u64::from_be_bytes(*header.get(4..)?.first_chunk()?);
    if size != body.len() as u64 {
        return None;
    }
    let delivery = Delivery { stamp: stamp(body), ..deliver(args)? };
    let length = input.len() - rest.len();
    // Frame head, class and method, the length of the consumer tag and the tag itself.
    let tag = HEAD + 4 + 1 + usize::from(*args.first()?);
    let like = Like { at: 0, tag, front: length - body.len() - 1, length, consumer: delivery.consumer };
    Some((delivery, like))
}

/// The stamp at the head of a body, if it is long enough for one.
#[inline(always)]
fn stamp(body: &[u8]) -> Option<Stamp> {
    body.first_chunk().copied().map(Stamp::from_bytes)
}

/// The payload of a whole frame of this kind, and what is behind it.
#[inline]
fn frame_of(expected: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[kind, _, _, s0, s1, s2, s3], rest) = input.split_first_chunk::<HEAD>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_be_bytes([s0, s1, s2, s3]) as usize)?;
    let (&end, rest) = rest.split_first()?;
    (kind == expected && end == frame::END).then_some((payload, rest))
}

/// A frame inside a content that is not part of it: heartbeats and methods of the connection may come there.
#[cold]
fn between<'a>(
    frame: frame::Frame<'a>,
    used: usize,
    at: &mut usize,
    expected: &'static str,
) -> Result<Step<'a>, WalkError> {
    match (frame.kind, frame.channel) {
        (frame::HEARTBEAT, _) => {
            *at += used;
            Ok(Step::Next)
        }
        (frame::METHOD, 0) => {
            *at += used;
            Ok(Step::Item(Item::Method(frame.payload)))
        }
        (kind, _) => Err(WalkError::Unexpected { kind, expected }),
    }
}

/// The arguments of `basic.deliver` as far as they matter here: consumer tag, delivery tag, redelivered.
#[inline(always)]
fn deliver(args: &[u8]) -> Option<Delivery> {
    let (&length, args) = args.split_first()?;
    let (consumer, args) = args.split_at_checked(usize::from(length))?;
    let (tag, args) = args.split_first_chunk()?;
    Some(Delivery {
        consumer: number(consumer)?,
        tag: u64::from_be_bytes(*tag),
        redelivered: args.first()? & 1 != 0,
        stamp: None,
    })
}

/// A short decimal number.
#[inline]
fn number(digits: &[u8]) -> Option<u32> {
    if digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| match digit {
        b'0'..=b'9' => Some(number * 10 + u32::from(digit - b'0')),
        _ => None,
    })
}

const _: () = assert!(basic::CLASS == 60 && basic::DELIVER == 60 && basic::RETURN == 50, "patterns above");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An item without its borrow.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Seen {
        Delivery(Delivery),
        Returned,
        Method(Vec<u8>),
    }

    fn header(size: u64) -> Vec<u8> {
        let mut header = vec![0, 60, 0, 0];
        header.extend_from_slice(&size.to_be_bytes());
        header.extend_from_slice(&[0x10, 0, 2]);
        header
    }

    fn put_delivery(out: &mut Vec<u8>, consumer: u32, tag: u64, body: &[u8], payload_max: usize) {
        let mut route = Vec::new();
        basic::put_route(&mut route, b"exchange", b"key");
        basic::put_deliver(out, 1, consumer.to_string().as_bytes(), tag, tag % 2 == 1, &route);
        basic::put_content(out, 1, &header(body.len() as u64), body, payload_max);
    }

    fn expected(consumer: u32, tag: u64, stamp: Option<Stamp>) -> Seen {
        Seen::Delivery(Delivery { consumer, tag, redelivered: tag % 2 == 1, stamp })
    }

    /// Feeds `stream` in pieces of the given sizes, over and over, keeping what is left as a reader would; with and
    /// without the shortcut for whole deliveries.
    fn walk(stream: &[u8], pieces: &[usize]) -> Result<Vec<Seen>, WalkError> {
        let seen = walk_one_way(stream, pieces, true);
        assert_eq!(seen, walk_one_way(stream, pieces, false));
        seen
    }

    fn walk_one_way(stream: &[u8], pieces: &[usize], shortcut: bool) -> Result<Vec<Seen>, WalkError> {
        let mut walker = Walker::new(4096);
        let mut seen = Vec::new();
        let mut buffer = Vec::new();
        let mut stream = stream;
        let mut pieces = pieces.iter().cycle();
        while !stream.is_empty() {
            let size = stream.len().min(*pieces.next().unwrap());
            buffer.extend_from_slice(&stream[..size]);
            stream = &stream[size..];
            let mut at = 0;
            loop {
                while let Some(delivery) = shortcut.then(|| walker.next_whole(&buffer, &mut at)).flatten() {
                    seen.push(Seen::Delivery(delivery));
                }
                seen.push(match walker.next(&buffer, &mut at)? {
                    Some(Item::Delivery(delivery)) => Seen::Delivery(delivery),
                    Some(Item::Returned) => Seen::Returned,
                    Some(Item::Method(payload)) => Seen::Method(payload.to_vec()),
                    None => break,
                });
            }
            buffer.drain(..at);
            walker.moved();
        }
        assert!(buffer.is_empty(), "the stream ends at the end of a frame");
        Ok(seen)
    }

    /// Deliveries of all sizes, an ack, a heartbeat, a return, a method of channel 0 inside a content.
    fn sample() -> (Vec<u8>, Vec<Seen>) {
        let mut stream = Vec::new();
        let mut seen = Vec::new();
        let stamp = Stamp { sent_ns: 77, producer: 3, sequence: 12 };
        for (tag, size) in [0, 1, 15, 16, 17, 100, 101, 250, 5000].into_iter().enumerate() {
            let mut body = stamp.to_bytes().to_vec();
            body.resize(size.max(16), 0xCE);
            put_delivery(&mut stream, tag as u32 * 7, tag as u64, &body[..size], 100);
            seen.push(expected(tag as u32 * 7, tag as u64, (size >= 16).then_some(stamp)));
        }
        frame::put_heartbeat(&mut stream);
        basic::put_ack(&mut stream, 1, 9, true);
        seen.push(Seen::Method(vec![0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 9, 1]));
        basic::put_return(&mut stream, 1, 312, "NO_ROUTE", &[0, 0]);
        frame::put_heartbeat(&mut stream);
        basic::put_content(&mut stream, 1, &header(3), b"abc", 2);
        seen.push(Seen::Returned);
        basic::put_deliver(&mut stream, 1, b"1", 4, false, &[0, 0]);
        basic::put_ack(&mut stream, 0, 1, false);
        seen.push(Seen::Method(vec![0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
        basic::put_content(&mut stream, 1, &header(0), b"", 2);
        seen.push(expected(1, 4, None));
        (stream, seen)
    }

    #[test]
    fn cut_in_two_anywhere() {
        let (stream, seen) = sample();
        for cut in 1..stream.len() {
            assert_eq!(walk(&stream, &[cut, stream.len()]).unwrap(), seen, "cut at {cut}");
        }
    }

    #[test]
    fn octet_by_octet() {
        let (stream, seen) = sample();
        assert_eq!(walk(&stream, &[1]).unwrap(), seen);
    }

    #[test]
    fn refused() {
        let cases: [(&[u8], WalkError); 7] = [
            (&[3, 0, 1, 0, 0, 0, 0, 0xCE], WalkError::Unexpected { kind: 3, expected: "a method" }),
            (&[1, 0, 1, 0, 0, 0, 4, 0, 60, 0, 60, 0xCE], WalkError::Malformed("basic.deliver")),
            (&DELIVER, WalkError::Unexpected { kind: 1, expected: "a content header" }),
            (&[2, 0, 1, 0, 0, 0, 1, 9, 0xCE], WalkError::Malformed("content header")),
            (&HEADER, WalkError::Unexpected { kind: 2, expected: "a body" }),
            (&[3, 0, 1, 0, 0, 0, 2, 9, 9, 0xCE], WalkError::Malformed("body length")),
            (&[3, 0, 1, 0, 0, 0, 1, 9, 9], WalkError::BadEnd(9)),
        ];
        // How much of a message comes before each case.
        let before: [&[&[u8]]; 7] = [
            &[],
            &[],
            &[&DELIVER],
            &[&DELIVER],
            &[&DELIVER, &HEADER],
            &[&DELIVER, &HEADER],
            &[&DELIVER, &HEADER],
        ];
        for ((bytes, error), before) in cases.into_iter().zip(before) {
            let stream = [before.concat(), bytes.to_vec()].concat();
            assert_eq!(walk(&stream, &[stream.len()]), Err(error), "{stream:?}");
        }
    }

    /// `basic.deliver` to consumer 1 on channel 1.
    const DELIVER: [u8; 25] =
        [1, 0, 1, 0, 0, 0, 17, 0, 60, 0, 60, 1, b'1', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xCE];
    /// Header of a body of one octet.
    const HEADER: [u8; 22] = [2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xCE];

    proptest! {
        #[test]
        fn any_cuts(pieces in prop::collection::vec(1usize..400, 1..20)) {
            let (stream, seen) = sample();
            prop_assert_eq!(walk(&stream, &pieces).unwrap(), seen);
        }

        #[test]
        fn any_octets(stream in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut at = 0;
            let mut walker = Walker::new(4096);
            while walker.next_whole(&stream, &mut at).is_some() {}
            while let Ok(Some(_)) = walker.next(&stream, &mut at) {}
            prop_assert!(at <= stream.len());
        }
    }
}
