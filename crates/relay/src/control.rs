//! Answers to the methods that a load generator needs before and after its messages: always yes, always the same.

use std::io::{self, ErrorKind};

use crate::translate::FRAME_END;

const METHOD_FRAME: u8 = 1;
/// Class, method and arguments of connection.start: version 0-9, no properties, PLAIN, `en_US`.
const START: &[u8] = b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US";
/// connection.tune: 2047 channels, frames of 128 KiB, no heartbeats.
const TUNE: &[u8] = b"\0\x0a\0\x1e\x07\xff\0\x02\0\0\0\0";
/// connection.close with 540.
const NOT_IMPLEMENTED: &[u8] =
    b"\0\x0a\0\x32\x02\x1c\x40NOT_IMPLEMENTED - a relay has one queue, no confirms and no acks\0\0\0\0";

/// The answer to the protocol header.
pub(crate) fn greet(out: &mut Vec<u8>) {
    put(out, 0, &[START]);
}

/// Answers one method; returns the consumer's tag when it was basic.consume.
///
/// # Errors
/// When the connection is over: the client has closed it, or it is refused; the answer is to be written all the same.
pub(crate) fn answer(channel: u16, payload: &[u8], out: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let (ids, arguments) = payload.split_at_checked(4).unwrap_or_default();
    match ids {
        [0, 10, 0, 11] => put(out, 0, &[TUNE]),
        [0, 10, 0, 31 | 51] | [0, 20, 0, 41] | [0, 60, 0, 80] => {}
        [0, 10, 0, 40] => put(out, 0, &[&[0, 10, 0, 41, 0]]),
        [0, 10, 0, 50] => {
            put(out, 0, &[&[0, 10, 0, 51]]);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        [0, 20, 0, 10] => put(out, channel, &[&[0, 20, 0, 11, 0, 0, 0, 0]]),
        // Exchange and binding: there is nothing to be declared, and nothing that could be wrong.
        [0, 20, 0, 40] | [0, 40, 0, 10 | 20] | [0, 50, 0, 20] | [0, 60, 0, 10] => {
            let [class, id] = [payload.get(1), payload.get(3)].map(|octet| octet.copied().unwrap_or(0));
            put(out, channel, &[&[0, class, 0, id + 1]]);
        }
        [0, 50, 0, 10] => {
            let name = short_string(arguments.get(2..).unwrap_or_default());
            put(out, channel, &[&[0, 50, 0, 11], name, &[0; 8]]);
        }
        // Purge and delete: no messages were there.
        [0, 50, 0, id @ (30 | 40)] => put(out, channel, &[&[0, 50, 0, id + 1, 0, 0, 0, 0]]),
        [0, 60, 0, 20] => {
            let after_queue = arguments.get(2..).and_then(|rest| rest.get(short_string(rest).len()..));
            let tag = short_string(after_queue.unwrap_or_default());
            put(out, channel, &[&[0, 60, 0, 21], tag]);
            return Ok(Some(tag.to_vec()));
        }
        _ => {
            put(out, 0, &[NOT_IMPLEMENTED]);
            return Err(ErrorKind::Unsupported.into());
        }
    }
    Ok(None)
}

/// The short string at the start of `octets`, with its length octet.
fn short_string(octets: &[u8]) -> &[u8] {
    let length = octets.first().map_or(0, |&length| usize::from(length) + 1);
    octets.get(..length).unwrap_or(&[0])
}

fn put(out: &mut Vec<u8>, channel: u16, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    out.push(METHOD_FRAME);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(FRAME_END);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_answers() {
        // Payload, payload of the answer, whether the connection goes on.
        let cases: [(&[u8], &[u8], bool); 9] = [
            (b"\0\x0a\0\x0bproperties", TUNE, true),
            (b"\0\x0a\0\x1ftuned", b"", true),
            (b"\0\x0a\0\x28\x01/\0\0", b"\0\x0a\0\x29\0", true),
            (b"\0\x14\0\x0a\0", b"\0\x14\0\x0b\0\0\0\0", true),
            (b"\0\x32\0\x0a\0\0\x04perf\0\0\0\0\0", b"\0\x32\0\x0b\x04perf\0\0\0\0\0\0\0\0", true),
            (b"\0\x3c\0\x14\0\0\x04perf\x010\x02\0\0\0\0", b"\0\x3c\0\x15\x010", true),
            (b"\0\x28\0\x0a\0\0\x01e", b"\0\x28\0\x0b", true),
            (b"\0\x0a\0\x32\0\xc8\0\0\0\0\0", b"\0\x0a\0\x33", false),
            (b"\0\x55\0\x0a\0", NOT_IMPLEMENTED, false),
        ];
        for (payload, expected, goes_on) in cases {
            let mut out = Vec::new();
            assert_eq!(answer(1, payload, &mut out).is_ok(), goes_on, "{payload:?}");
            let found = out.get(7..out.len().saturating_sub(1)).unwrap_or_default();
            assert_eq!(found, expected, "{payload:?}");
        }
    }

    #[test]
    fn cut_arguments_do_no_harm() {
        for length in 0..20 {
            for ids in [[0, 50, 0, 10], [0, 60, 0, 20], [0, 20, 0, 40]] {
                let payload = [ids.as_slice(), &vec![9; length]].concat();
                assert!(answer(1, &payload, &mut Vec::new()).is_ok());
            }
        }
    }

    #[test]
    fn the_refusal_is_well_formed() {
        let text_length = usize::from(NOT_IMPLEMENTED[6]);
        assert_eq!(NOT_IMPLEMENTED.len(), 7 + text_length + 4);
    }
}
