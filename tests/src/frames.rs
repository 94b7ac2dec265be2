//! Bytes of frames, for what the lines of a transcript cannot say: floods, and nesting deeper than any client's.

/// Type of a frame with a method.
pub const METHOD: u8 = 1;
/// Type of a frame with a content header.
pub const HEADER: u8 = 2;
/// Type of a frame with a part of a body.
pub const BODY: u8 = 3;

/// One frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xCE);
    bytes
}

/// A frame in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: u8,
    /// Its channel.
    pub channel: u16,
    /// What is in it.
    pub payload: &'a [u8],
}

/// The first frame of `bytes` and what follows it; `None` when it is not whole yet.
///
/// # Panics
/// When it does not end as a frame does.
pub fn split(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (&[kind, c0, c1, s0, s1, s2, s3], rest) = bytes.split_first_chunk::<7>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_be_bytes([s0, s1, s2, s3]) as usize)?;
    let (end, rest) = rest.split_first()?;
    assert_eq!(*end, 0xCE, "a frame of type {kind} has no end");
    Some((Frame { kind, channel: u16::from_be_bytes([c0, c1]), payload }, rest))
}

/// A method frame from class, method and arguments.
pub fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, channel, &[&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat())
}

/// Octets with one octet of length before them.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

/// Octets with four octets of length before them: a long string, or what a table or an array holds.
pub fn long(octets: &[u8]) -> Vec<u8> {
    [&(octets.len() as u32).to_be_bytes()[..], octets].concat()
}

/// A table with a table in it and so on, `levels` in all.
pub fn nested_tables(levels: usize) -> Vec<u8> {
    nested(levels, b"\x01kF")
}

/// A table with an array in it, with an array in it and so on, `levels` arrays in all.
pub fn nested_arrays(levels: usize) -> Vec<u8> {
    long(&[b"\x01kA", &nested(levels, b"A")[..]].concat())
}

/// queue.declare with these arguments, which are a whole table.
pub fn queue_declare(channel: u16, queue: &str, bits: u8, arguments: &[u8]) -> Vec<u8> {
    method(channel, 50, 10, &[&[0, 0], &short(queue.as_bytes())[..], &[bits], arguments].concat())
}

/// basic.publish to the default exchange with its content. `properties` are the flags and what they announce.
pub fn publish(channel: u16, key: &str, mandatory: bool, properties: &[u8], body: &[u8]) -> Vec<u8> {
    publish_to(channel, "", key, mandatory, properties, body)
}

/// basic.publish with its content in as few frames of at most 128 KiB as possible.
pub fn publish_to(
    channel: u16,
    exchange: &str,
    key: &str,
    mandatory: bool,
    properties: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let names = [short(exchange.as_bytes()), short(key.as_bytes())].concat();
    let mut bytes = method(channel, 60, 40, &[&[0, 0], &names[..], &[u8::from(mandatory)]].concat());
    bytes.extend(header(channel, body.len() as u64, properties));
    body.chunks(131_064).for_each(|part| bytes.extend(frame(BODY, channel, part)));
    bytes
}

/// A content header frame of class basic.
pub fn header(channel: u16, body_size: u64, properties: &[u8]) -> Vec<u8> {
    frame(HEADER, channel, &[&[0, 60, 0, 0], &body_size.to_be_bytes()[..], properties].concat())
}

/// Each level is written around the one before, from the inside out, into room that is made beforehand.
fn nested(levels: usize, head: &[u8]) -> Vec<u8> {
    let step = head.len() + 4;
    let mut bytes = Vec::with_capacity(levels * step);
    for level in (0..levels).rev() {
        let size = (level * step) as u32;
        bytes.extend(size.to_be_bytes());
        if level > 0 {
            bytes.extend(head);
        }
    }
    bytes
}
