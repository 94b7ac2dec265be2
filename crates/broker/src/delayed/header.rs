//! The header `x-delay`: what it asks for, and what it says once the message has waited.
//!
//! Invariant: every other octet of the content header passes through.

use warrenmq_wire::content::{self, ContentHeader};
use warrenmq_wire::table::{RawTable, RawValue};

const X_DELAY: &[u8] = b"x-delay";

/// A value that is no number of milliseconds, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoNumber(pub(crate) String);

/// How long the message is to wait, in ms. `None`: not at all.
///
/// As the plugin for RabbitMQ reads it: an integer of any width, the digits of one in a string, or a floating-point number without
/// its fraction; values of other types are passed over.
pub(crate) fn delay(headers: Option<&RawTable<'_>>) -> Result<Option<u64>, NoNumber> {
    let Some(value) = headers.and_then(|headers| headers.get(X_DELAY)) else { return Ok(None) };
    Ok(number(&value)?.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0))
}

fn number(value: &RawValue<'_>) -> Result<Option<i64>, NoNumber> {
    if let Some(number) = value.as_integer() {
        return Ok(Some(number));
    }
    if let Some(number) = value.as_float() {
        // A cast saturates, and makes 0 of what is no number.
        return Ok(Some(number as i64));
    }
    let Some(text) = value.as_longstr().or_else(|| value.as_byte_array()) else { return Ok(None) };
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| NoNumber(String::from_utf8_lossy(text).into_owned()))
}

/// The content header of a message that has waited: `x-delay` is the negative of what it was, so that consumers see that
/// it did and no exchange delays it again. Without the keys in `hidden`.
pub(crate) fn waited(header: &ContentHeader<'_>, hidden: &[u8]) -> Vec<u8> {
    let mut raw = header.raw.to_vec();
    let Some(headers) = header.headers() else { return raw };
    if headers.get(hidden).is_some() {
        raw = content::without_header_key(header.raw, hidden);
    }
    let Some(Ok(Some(ms))) = headers.get(X_DELAY).map(|value| number(&value)) else { return raw };
    let mut value = vec![b'l'];
    value.extend_from_slice(&ms.saturating_neg().to_be_bytes());
    content::with_header_value(&raw, X_DELAY, &value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(octets: &[u8]) -> Vec<u8> {
        [&(octets.len() as u32).to_be_bytes()[..], octets].concat()
    }

    /// A header with this table, and a delivery mode behind it.
    fn header(entries: &[u8]) -> Vec<u8> {
        [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30, 0][..], &table(entries), &[2]].concat()
    }

    #[test]
    fn what_asks_for_a_delay() {
        let none = || Ok(None);
        let bad = |text: &str| Err(NoNumber(text.to_owned()));
        type Read = Result<Option<u64>, NoNumber>;
        let cases: [(&[u8], Read); 18] = [
            (b"", none()),
            (b"\x01aV", none()),
            (b"\x07x-delayI\0\0\x01\0", Ok(Some(256))),
            (b"\x07x-delayI\0\0\0\0", none()),
            (b"\x07x-delayI\xff\xff\xff\xff", none()),
            (b"\x07x-delayi\xff\xff\xff\xff", Ok(Some(4_294_967_295))),
            (b"\x07x-delayl\0\0\0\x01\0\0\0\0", Ok(Some(1 << 32))),
            (b"\x07x-delayb\x05", Ok(Some(5))),
            (b"\x07x-delayB\xff", Ok(Some(255))),
            (b"\x07x-delays\x01\0", Ok(Some(256))),
            (b"\x07x-delayS\0\0\0\x031x5", bad("1x5")),
            (b"\x07x-delayS\0\0\0\x03150", Ok(Some(150))),
            (b"\x07x-delayS\0\0\0\x02-1", none()),
            (b"\x07x-delayx\0\0\0\x0215", Ok(Some(15))),
            (b"\x07x-delayf\x40\x20\0\0", Ok(Some(2))),
            (b"\x07x-delayd\xff\xf8\0\0\0\0\0\0", none()),
            (b"\x07x-delayV", none()),
            (b"\x07x-delayT\0\0\0\0\0\0\0\x05", none()),
        ];
        for (entries, expected) in cases {
            let octets = header(entries);
            let parsed = content::parse_header(&octets).unwrap();
            parsed.check().unwrap();
            assert_eq!(delay(parsed.headers().as_ref()), expected, "{}", entries.escape_ascii());
        }
    }

    #[test]
    fn only_the_delay_changes() {
        // (before, after)
        let cases: [(&[u8], &[u8]); 6] = [
            (
                b"\x01aV\x07x-delayI\0\0\x01\0\x01bt\x01",
                b"\x01aV\x07x-delayl\xff\xff\xff\xff\xff\xff\xff\0\x01bt\x01",
            ),
            (b"\x07x-delayS\0\0\0\x0215", b"\x07x-delayl\xff\xff\xff\xff\xff\xff\xff\xf1"),
            (b"\x07x-delayl\xff\xff\xff\xff\xff\xff\xff\xfb", b"\x07x-delayl\0\0\0\0\0\0\0\x05"),
            (b"\x03BCCV\x07x-delayb\x01", b"\x07x-delayl\xff\xff\xff\xff\xff\xff\xff\xff"),
            (b"\x07x-delayS\0\0\0\x01x", b"\x07x-delayS\0\0\0\x01x"),
            (b"\x01aV", b"\x01aV"),
        ];
        for (before, after) in cases {
            let octets = header(before);
            let got = waited(&content::parse_header(&octets).unwrap(), b"BCC");
            assert_eq!(got, header(after), "{}", before.escape_ascii());
        }
        let bare = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 2];
        assert_eq!(waited(&content::parse_header(&bare).unwrap(), b"BCC"), bare);
    }
}
