//! The methods that every message needs, written by hand: publish, ack, nack and reject in both directions as
//! far as a broker needs them, deliver, get-ok and return outwards, and the frames of a content.
//!
//! Invariant: nothing here allocates except by growing `out`, and that at most once per call. Exchange and
//! routing key stay together in wire form (a *route*), so that an unchanged route costs one compare and one
//! copy. Neither has to be UTF-8: RabbitMQ checks that only in methods without content.

use crate::{cursor, frame};

pub use crate::DecodeError;

/// Class id of `basic`.
pub const CLASS: u16 = 60;
/// Method id of `basic.publish`.
pub const PUBLISH: u16 = 40;
/// Class and method of basic.publish as they stand in front of its arguments.
pub const PUBLISH_ID: [u8; 4] = [0, CLASS as u8, 0, PUBLISH as u8];
/// Method id of `basic.return`.
pub const RETURN: u16 = 50;
/// Method id of `basic.deliver`.
pub const DELIVER: u16 = 60;
/// Method id of `basic.get-ok`.
pub const GET_OK: u16 = 71;
/// Method id of `basic.ack`.
pub const ACK: u16 = 80;
/// Method id of `basic.reject`.
pub const REJECT: u16 = 90;
/// Method id of `basic.nack`.
pub const NACK: u16 = 120;

/// Octets of a frame head, class id and method id.
const HEAD: usize = 11;
/// Longest short string.
const SHORT_STRING_MAX: usize = 255;

/// Arguments of `basic.publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Exchange and routing key in wire form: length, exchange, length, key; a slice of the input.
    pub route: &'a [u8],
    /// Return the message if no queue takes it.
    pub mandatory: bool,
    /// Return the message if no consumer takes it now. RabbitMQ refuses this flag with 540.
    pub immediate: bool,
}

impl<'a> Publish<'a> {
    /// Name of the exchange; empty for the default exchange.
    pub fn exchange(&self) -> &'a [u8] {
        split_route(self.route).0
    }

    /// The routing key, any octets.
    pub fn routing_key(&self) -> &'a [u8] {
        split_route(self.route).1
    }
}

/// Exchange and routing key of a route that has been checked before; of anything else two empty slices.
#[inline]
pub fn split_route(route: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = route;
    match (cursor::short_string(&mut rest), cursor::short_string(&mut rest)) {
        (Some(exchange), Some(key)) if rest.is_empty() => (exchange, key),
        _ => (&[], &[]),
    }
}

/// Appends a route. Both parts must be at most 255 octets long; what is beyond is cut off.
pub fn put_route(out: &mut Vec<u8>, exchange: &[u8], routing_key: &[u8]) {
    for part in [exchange, routing_key] {
        let part = short(part);
        out.push(part.len() as u8);
        out.extend_from_slice(part);
    }
}

/// Arguments of `basic.ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The delivery; 0 together with `multiple` means all.
    pub delivery_tag: u64,
    /// All up to and including this delivery.
    pub multiple: bool,
}

/// Arguments of `basic.nack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack {
    /// The delivery; 0 together with `multiple` means all.
    pub delivery_tag: u64,
    /// All up to and including this delivery.
    pub multiple: bool,
    /// Back into the queue instead of dropped or dead-lettered.
    pub requeue: bool,
}

/// Arguments of `basic.reject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The delivery.
    pub delivery_tag: u64,
    /// Back into the queue instead of dropped or dead-lettered.
    pub requeue: bool,
}

/// Reads the arguments of `basic.publish` (what follows class and method id).
///
/// # Errors
/// [`DecodeError::Truncated`] and [`DecodeError::Trailing`].
#[inline]
pub fn parse_publish(args: &[u8]) -> Result<Publish<'_>, DecodeError> {
    let Some((_ticket, rest)) = args.split_first_chunk::<2>() else { return Err(DecodeError::Truncated) };
    let Some(&exchange_length) = rest.first() else { return Err(DecodeError::Truncated) };
    let Some(&key_length) = rest.get(1 + usize::from(exchange_length)) else {
        return Err(DecodeError::Truncated);
    };
    let route_length = 2 + usize::from(exchange_length) + usize::from(key_length);
    let Some((route, rest)) = rest.split_at_checked(route_length) else { return Err(DecodeError::Truncated) };
    match rest {
        &[bits] => Ok(Publish { route, mandatory: bits & 1 != 0, immediate: bits & 2 != 0 }),
        [] => Err(DecodeError::Truncated),
        _ => Err(DecodeError::Trailing(rest.len() - 1)),
    }
}

/// Reads the arguments of `basic.ack`.
///
/// # Errors
/// [`DecodeError::Truncated`] and [`DecodeError::Trailing`].
#[inline]
pub fn parse_ack(args: &[u8]) -> Result<Ack, DecodeError> {
    let (delivery_tag, bits) = tag_and_bits(args)?;
    Ok(Ack { delivery_tag, multiple: bits & 1 != 0 })
}

/// Reads the arguments of `basic.nack`.
///
/// # Errors
/// [`DecodeError::Truncated`] and [`DecodeError::Trailing`].
#[inline]
pub fn parse_nack(args: &[u8]) -> Result<Nack, DecodeError> {
    let (delivery_tag, bits) = tag_and_bits(args)?;
    Ok(Nack { delivery_tag, multiple: bits & 1 != 0, requeue: bits & 2 != 0 })
}

/// Reads the arguments of `basic.reject`.
///
/// # Errors
/// [`DecodeError::Truncated`] and [`DecodeError::Trailing`].
#[inline]
pub fn parse_reject(args: &[u8]) -> Result<Reject, DecodeError> {
    let (delivery_tag, bits) = tag_and_bits(args)?;
    Ok(Reject { delivery_tag, requeue: bits & 1 != 0 })
}

/// Appends a `basic.deliver` frame. `route` is in wire form and checked. A consumer tag is a short string;
/// were one longer than 255 octets, it would be cut, never written with a wrong length.
#[inline]
pub fn put_deliver(
    out: &mut Vec<u8>,
    channel: u16,
    consumer_tag: &[u8],
    delivery_tag: u64,
    redelivered: bool,
    route: &[u8],
) {
    let consumer_tag = short(consumer_tag);
    let args = 1 + consumer_tag.len() + 9 + route.len();
    out.reserve(HEAD + args + 1);
    out.extend_from_slice(&deliver_head(channel, args, consumer_tag.len() as u8));
    out.extend_from_slice(consumer_tag);
    out.extend_from_slice(&tag_then(delivery_tag, u8::from(redelivered)));
    out.extend_from_slice(route);
    out.push(frame::END);
}

/// Appends a `basic.get-ok` frame. `message_count` is what is left ready in the queue.
pub fn put_get_ok(
    out: &mut Vec<u8>,
    channel: u16,
    delivery_tag: u64,
    redelivered: bool,
    route: &[u8],
    message_count: u32,
) {
    let args = 9 + route.len() + 4;
    out.reserve(HEAD + args + 1);
    out.extend_from_slice(&head(channel, GET_OK, args));
    out.extend_from_slice(&tag_then(delivery_tag, u8::from(redelivered)));
    out.extend_from_slice(route);
    out.extend_from_slice(&message_count.to_be_bytes());
    out.push(frame::END);
}

/// Appends a `basic.return` frame. A reply text above 255 octets is cut at a character.
pub fn put_return(out: &mut Vec<u8>, channel: u16, reply_code: u16, reply_text: &str, route: &[u8]) {
    let reply_text = reply_text.get(..reply_text.floor_char_boundary(SHORT_STRING_MAX)).unwrap_or_default();
    let args = 3 + reply_text.len() + route.len();
    out.reserve(HEAD + args + 1);
    out.extend_from_slice(&head(channel, RETURN, args));
    out.extend_from_slice(&reply_code.to_be_bytes());
    out.push(reply_text.len() as u8);
    out.extend_from_slice(reply_text.as_bytes());
    out.extend_from_slice(route);
    out.push(frame::END);
}

/// Appends a `basic.publish` frame, for the side that publishes.
#[inline]
pub fn put_publish(out: &mut Vec<u8>, channel: u16, route: &[u8], mandatory: bool) {
    let args = 3 + route.len();
    out.reserve(HEAD + args + 1);
    out.extend_from_slice(&head(channel, PUBLISH, args));
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(route);
    out.extend_from_slice(&[u8::from(mandatory), frame::END]);
}

/// Appends a `basic.ack` frame.
#[inline]
pub fn put_ack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    put_settled(out, channel, ACK, delivery_tag, u8::from(multiple));
}

/// Appends a `basic.nack` frame.
pub fn put_nack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
    put_settled(out, channel, NACK, delivery_tag, u8::from(multiple) | u8::from(requeue) << 1);
}

/// Appends a header frame with this raw content-header payload, then the body in frames of at most
/// `payload_max` octets each (`frame_max - 8`); no body frame for an empty body. The header is one frame
/// whatever its size: AMQP cannot split it, and RabbitMQ does not either.
#[inline]
pub fn put_content(out: &mut Vec<u8>, channel: u16, header: &[u8], body: &[u8], payload_max: usize) {
    let part_max = payload_max.clamp(1, u32::MAX as usize);
    let frames = 1 + body.len().div_ceil(part_max);
    out.reserve(header.len() + body.len() + frames * frame::OVERHEAD);
    frame::put(out, frame::HEADER, channel, header);
    for part in body.chunks(part_max) {
        frame::put(out, frame::BODY, channel, part);
    }
}

/// Appends what [`put_content`] does, but for the parts of the body: `put_part` is called for each where it belongs. For bodies
/// that are not worth a copy.
pub fn put_content_around<'a>(
    out: &mut Vec<u8>,
    channel: u16,
    header: &[u8],
    body: &'a [u8],
    payload_max: usize,
    mut put_part: impl FnMut(&mut Vec<u8>, &'a [u8]),
) {
    let part_max = payload_max.clamp(1, u32::MAX as usize);
    out.reserve(header.len() + (1 + body.len().div_ceil(part_max)) * frame::OVERHEAD);
    frame::put(out, frame::HEADER, channel, header);
    for part in body.chunks(part_max) {
        out.extend_from_slice(&frame::head(frame::BODY, channel, part.len()));
        put_part(out, part);
        out.push(frame::END);
    }
}

/// What comes before the octets of the consumer tag in a deliver frame.
#[inline]
pub(crate) fn deliver_head(channel: u16, args: usize, tag_len: u8) -> [u8; HEAD + 1] {
    let [k, c0, c1, s0, s1, s2, s3, i0, i1, i2, i3] = head(channel, DELIVER, args);
    [k, c0, c1, s0, s1, s2, s3, i0, i1, i2, i3, tag_len]
}

/// Head of a frame with a basic method of `args` octets after the ids.
#[inline]
fn head(channel: u16, method: u16, args: usize) -> [u8; HEAD] {
    let [k, c0, c1, s0, s1, s2, s3] = frame::head(frame::METHOD, channel, args + 4);
    let [i0, i1] = CLASS.to_be_bytes();
    let [i2, i3] = method.to_be_bytes();
    [k, c0, c1, s0, s1, s2, s3, i0, i1, i2, i3]
}

#[inline]
fn tag_then(delivery_tag: u64, octet: u8) -> [u8; 9] {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = delivery_tag.to_be_bytes();
    [t0, t1, t2, t3, t4, t5, t6, t7, octet]
}

/// The whole frame is 21 octets of fixed layout, so it is built on the stack and copied once.
#[inline]
fn put_settled(out: &mut Vec<u8>, channel: u16, method: u16, delivery_tag: u64, bits: u8) {
    let [k, c0, c1, s0, s1, s2, s3, i0, i1, i2, i3] = head(channel, method, 9);
    let [t0, t1, t2, t3, t4, t5, t6, t7] = delivery_tag.to_be_bytes();
    out.extend_from_slice(&[
        k,
        c0,
        c1,
        s0,
        s1,
        s2,
        s3,
        i0,
        i1,
        i2,
        i3,
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        t6,
        t7,
        bits,
        frame::END,
    ]);
}

#[inline]
fn tag_and_bits(args: &[u8]) -> Result<(u64, u8), DecodeError> {
    match args.split_first_chunk::<8>() {
        Some((tag, &[bits])) => Ok((u64::from_be_bytes(*tag), bits)),
        Some((_, [_, trailing @ ..])) => Err(DecodeError::Trailing(trailing.len())),
        _ => Err(DecodeError::Truncated),
    }
}

/// The part of a short string that its length octet can count.
#[inline]
pub(crate) fn short(string: &[u8]) -> &[u8] {
    debug_assert!(string.len() <= SHORT_STRING_MAX, "a short string has at most 255 octets");
    string.get(..SHORT_STRING_MAX).unwrap_or(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(exchange: &[u8], key: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_route(&mut out, exchange, key);
        out
    }

    #[test]
    fn publish_arguments() {
        use DecodeError::{Trailing, Truncated};
        type Parts<'a> = (&'a [u8], &'a [u8], bool, bool);
        let cases: &[(&[u8], Result<Parts<'_>, DecodeError>)] = &[
            (b"\0\0\0\0\0", Ok((b"", b"", false, false))),
            (b"\0\0\x02ex\x03key\x01", Ok((b"ex", b"key", true, false))),
            (b"\xff\xff\0\x02\xff\xfe\xfe", Ok((b"", b"\xff\xfe", false, true))),
            (b"\0\0\0\x02ab\xff", Ok((b"", b"ab", true, true))),
            (b"", Err(Truncated)),
            (b"\0\0", Err(Truncated)),
            (b"\0\0\x02e", Err(Truncated)),
            (b"\0\0\x02ex", Err(Truncated)),
            (b"\0\0\x02ex\x03ke", Err(Truncated)),
            (b"\0\0\x02ex\x03key", Err(Truncated)),
            (b"\0\0\x02ex\x03key\x01zz", Err(Trailing(2))),
        ];
        for (args, expected) in cases {
            let found =
                parse_publish(args).map(|p| (p.exchange(), p.routing_key(), p.mandatory, p.immediate));
            assert_eq!(found, *expected, "{args:?}");
        }
    }

    #[test]
    fn settling_arguments() {
        assert_eq!(parse_ack(b"\0\0\0\0\0\0\x01\x02\x01"), Ok(Ack { delivery_tag: 258, multiple: true }));
        assert_eq!(parse_reject(b"\0\0\0\0\0\0\0\x02\x01"), Ok(Reject { delivery_tag: 2, requeue: true }));
        let nack = |bits, multiple, requeue| {
            assert_eq!(
                parse_nack(&[0, 0, 0, 0, 0, 0, 0, 9, bits]),
                Ok(Nack { delivery_tag: 9, multiple, requeue })
            );
        };
        nack(0, false, false);
        nack(1, true, false);
        nack(2, false, true);
        nack(255, true, true);
        for cut in 0..9 {
            assert_eq!(parse_ack(&[0; 9][..cut]), Err(DecodeError::Truncated));
        }
        assert_eq!(parse_ack(&[0; 12]), Err(DecodeError::Trailing(3)));
    }

    #[test]
    fn a_route_that_is_none_has_empty_parts() {
        assert_eq!(split_route(&route(b"ex", b"\xff")), (&b"ex"[..], &b"\xff"[..]));
        for broken in [&b""[..], b"\x05", b"\x01e", b"\x01e\x02k", b"\x01e\x01kk"] {
            assert_eq!(split_route(broken), (&b""[..], &b""[..]), "{broken:?}");
        }
    }

    #[test]
    fn a_body_is_cut_into_frames() {
        let cases: &[(usize, usize, &[usize])] = &[
            (0, 10, &[]),
            (1, 10, &[1]),
            (10, 10, &[10]),
            (11, 10, &[10, 1]),
            (30, 10, &[10, 10, 10]),
            (3, 0, &[1, 1, 1]),
            (30, usize::MAX, &[30]),
        ];
        for &(size, payload_max, expected) in cases {
            let body: Vec<u8> = (0..size as u8).collect();
            let mut out = Vec::new();
            put_content(&mut out, 3, b"header longer than ten octets", &body, payload_max);
            let mut rest = &out[..];
            let (mut sizes, mut joined) = (Vec::new(), Vec::new());
            while let Some((frame, used)) = frame::split(rest, usize::MAX).expect("our own frames") {
                assert_eq!(frame.channel, 3);
                if rest.len() == out.len() {
                    assert_eq!(
                        (frame.kind, frame.payload),
                        (frame::HEADER, &b"header longer than ten octets"[..])
                    );
                } else {
                    assert_eq!(frame.kind, frame::BODY);
                    sizes.push(frame.payload.len());
                    joined.extend_from_slice(frame.payload);
                }
                rest = &rest[used..];
            }
            assert_eq!((sizes.as_slice(), &joined), (expected, &body), "{size} octets by {payload_max}");
            let mut around = Vec::new();
            put_content_around(
                &mut around,
                3,
                b"header longer than ten octets",
                &body,
                payload_max,
                Vec::extend_from_slice,
            );
            assert_eq!(around, out, "{size} octets by {payload_max}");
        }
    }

    #[test]
    fn the_reservation_is_what_is_written() {
        let route = route(b"ex", b"key");
        type Write<'a> = &'a dyn Fn(&mut Vec<u8>);
        let writers: [Write<'_>; 6] = [
            &|out| put_deliver(out, 1, b"a longer consumer tag", 1, false, &route),
            &|out| put_get_ok(out, 1, 1, false, &route, 9),
            &|out| put_return(out, 1, 312, "NO_ROUTE", &route),
            &|out| put_publish(out, 1, &route, true),
            &|out| put_nack(out, 1, 1, true, true),
            &|out| put_content(out, 1, &[0; 40], &[0; 100], 30),
        ];
        for (index, write) in writers.iter().enumerate() {
            let mut out = Vec::new();
            write(&mut out);
            assert_eq!(out.capacity(), out.len(), "writer {index}");
        }
    }
}
