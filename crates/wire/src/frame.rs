//! Framing: where a frame starts and ends in a stream of bytes.
//!
//! ```text
//! 0      1         3             7                  7+size
//! | kind | channel | size (u32)  | payload          | 0xCE |
//! ```
//! Invariant: a frame is only returned whole, with its end octet checked and its payload within the limit.
//! What the kind means, and whether it may come now, is for `protocol` to say.

/// Kind of a frame that carries a method.
pub const METHOD: u8 = 1;
/// Kind of a frame that carries a content header.
pub const HEADER: u8 = 2;
/// Kind of a frame that carries a part of a content body.
pub const BODY: u8 = 3;
/// Kind of a heartbeat frame.
pub const HEARTBEAT: u8 = 8;
/// The octet after every payload.
pub const END: u8 = 0xCE;
/// Octets of a frame in front of its payload.
pub const HEAD: usize = 7;
/// Octets of a frame besides its payload: seven before, one behind.
pub const OVERHEAD: usize = 8;
/// What a client says first, and what the server answers when a client says something else.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// Most payload octets that an error keeps; RabbitMQ's texts show as many.
pub const FIRST_MAX: usize = 16;

/// One frame, borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// [`METHOD`], [`HEADER`], [`BODY`], [`HEARTBEAT`] or anything else the peer sent.
    pub kind: u8,
    /// Channel number; 0 is the connection itself.
    pub channel: u16,
    /// The octets between head and end octet.
    pub payload: &'a [u8],
}

/// Why the stream cannot be read any further: after either of these the next frame's start is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The head announces more payload than was negotiated.
    #[error("frame of type {kind} on channel {channel} announces {size} octets, {max} are allowed")]
    TooLarge {
        /// Kind in the head.
        kind: u8,
        /// Channel in the head.
        channel: u16,
        /// Announced octets of payload.
        size: u32,
        /// Allowed octets of payload.
        max: u32,
        /// Up to 16 octets of the payload, as far as they have arrived. RabbitMQ's text shows none of them.
        first: Vec<u8>,
    },
    /// The octet behind the payload is not [`END`].
    #[error("frame of type {kind} on channel {channel} with {size} octets ends in {end:#04x}")]
    BadEnd {
        /// Kind in the head.
        kind: u8,
        /// Channel in the head.
        channel: u16,
        /// Octets of payload.
        size: u32,
        /// The octet found.
        end: u8,
        /// Up to 16 octets of the payload.
        first: Vec<u8>,
    },
}

/// The first frame of `input` and the octets it takes there, or `None` when more input is needed.
///
/// `payload_max` is the largest payload accepted, `frame_max - 8`; `usize::MAX` accepts all. (RabbitMQ names
/// `frame_max - 8` in its text but lets eight octets more through.) A frame that is too large is reported as
/// soon as its seven-octet head is there, so the reader never has to buffer it.
///
/// # Errors
/// [`FrameError`]; the stream is then beyond repair.
#[inline]
pub fn split(input: &[u8], payload_max: usize) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((&[kind, c0, c1, s0, s1, s2, s3], rest)) = input.split_first_chunk::<7>() else {
        return Ok(None);
    };
    let channel = u16::from_be_bytes([c0, c1]);
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if size as usize > payload_max {
        return Err(too_large(kind, channel, size, payload_max, rest));
    }
    let Some((payload, rest)) = rest.split_at_checked(size as usize) else {
        return Ok(None);
    };
    match rest.first() {
        Some(&END) => Ok(Some((Frame { kind, channel, payload }, payload.len() + OVERHEAD))),
        Some(&end) => Err(FrameError::BadEnd { kind, channel, size, end, first: first_of(payload) }),
        None => Ok(None),
    }
}

/// The first frame of `input` and what follows it, if it is whole and in order; otherwise [`split`] says what is the matter.
#[inline]
pub fn whole(input: &[u8], payload_max: usize) -> Option<(Frame<'_>, &[u8])> {
    let (&[kind, c0, c1, s0, s1, s2, s3], rest) = input.split_first_chunk::<7>()?;
    let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    let (payload, rest) = rest.split_at_checked(size)?;
    let (&end, rest) = rest.split_first()?;
    let channel = u16::from_be_bytes([c0, c1]);
    (end == END && size <= payload_max).then_some((Frame { kind, channel, payload }, rest))
}

/// Appends a heartbeat frame.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEARTBEAT, 0, 0, 0, 0, 0, 0, END]);
}

/// Appends a whole frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.reserve(payload.len() + OVERHEAD);
    out.extend_from_slice(&head(kind, channel, payload.len()));
    out.extend_from_slice(payload);
    out.push(END);
}

/// What comes before a payload of `size` octets, which must be less than 4 GiB; every caller has a bound of
/// its own.
#[inline]
pub(crate) fn head(kind: u8, channel: u16, size: usize) -> [u8; 7] {
    debug_assert!(u32::try_from(size).is_ok(), "a frame's length has 32 bits");
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = (size as u32).to_be_bytes();
    [kind, c0, c1, s0, s1, s2, s3]
}

#[cold]
fn too_large(kind: u8, channel: u16, size: u32, payload_max: usize, rest: &[u8]) -> FrameError {
    let max = u32::try_from(payload_max).unwrap_or(u32::MAX);
    FrameError::TooLarge { kind, channel, size, max, first: first_of(rest) }
}

fn first_of(payload: &[u8]) -> Vec<u8> {
    payload.iter().copied().take(FIRST_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_returned_when_it_is_whole() {
        let bytes = [METHOD, 0x12, 0x34, 0, 0, 0, 2, b'a', b'b', END, HEARTBEAT];
        for cut in 0..10 {
            assert_eq!(split(&bytes[..cut], 2), Ok(None), "{cut} octets");
        }
        let frame = Frame { kind: METHOD, channel: 0x1234, payload: b"ab" };
        assert_eq!(split(&bytes, 2), Ok(Some((frame, 10))));
    }

    #[test]
    fn an_empty_payload_is_a_frame() {
        let mut bytes = Vec::new();
        put_heartbeat(&mut bytes);
        let frame = Frame { kind: HEARTBEAT, channel: 0, payload: b"" };
        assert_eq!(split(&bytes, 0), Ok(Some((frame, 8))));
    }

    #[test]
    fn a_large_frame_is_refused_from_its_head() {
        let mut bytes = vec![BODY, 0, 7, 0, 0, 0x10, 0];
        for arrived in 0..30 {
            let max = 4095;
            let first = bytes[7..].iter().copied().take(16).collect();
            let error = FrameError::TooLarge { kind: BODY, channel: 7, size: 4096, max, first };
            assert_eq!(split(&bytes, 4095), Err(error), "{arrived} octets of payload");
            assert_eq!(split(&bytes, 4096), Ok(None));
            bytes.push(arrived);
        }
    }

    #[test]
    fn four_gibibytes_only_wait_when_nothing_limits_them() {
        let head = [BODY, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(split(&head, usize::MAX), Ok(None));
        assert!(split(&head, u32::MAX as usize - 1).is_err());
    }

    #[test]
    fn a_wrong_end_octet_is_refused() {
        let error =
            FrameError::BadEnd { kind: METHOD, channel: 1, size: 3, end: b'X', first: b"abc".to_vec() };
        assert_eq!(split(b"\x01\x00\x01\x00\x00\x00\x03abcX", 100), Err(error));
    }
}
