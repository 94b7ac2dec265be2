//! Changing single properties of a content header.
//!
//! Invariant: everything that is not changed passes through byte for byte. The header has been checked before.

use warrenmq_queue::HIDDEN_MAX;
use warrenmq_wire::content::{ContentHeader, FIXED, flag};
use warrenmq_wire::table::RawTable;

/// The properties of a content header, taken one after the other.
#[derive(Debug)]
pub(crate) struct Properties<'a> {
    flags: u16,
    rest: &'a [u8],
}

impl<'a> Properties<'a> {
    pub(crate) fn of(header: &ContentHeader<'a>) -> Properties<'a> {
        Properties { flags: header.flags, rest: header.properties }
    }

    /// What was not taken.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The octets of a property; properties have to be asked for in the order of their flags.
    pub(crate) fn take(&mut self, bit: u16) -> &'a [u8] {
        if self.flags & bit == 0 {
            return &[];
        }
        let size = match bit {
            flag::DELIVERY_MODE | flag::PRIORITY => 1,
            flag::TIMESTAMP => 8,
            flag::HEADERS => {
                let length = self.rest.first_chunk::<4>().map_or(0, |octets| u32::from_be_bytes(*octets));
                4 + length as usize
            }
            _ => 1 + self.rest.first().map_or(0, |length| usize::from(*length)),
        };
        let (property, rest) = self.rest.split_at_checked(size).unwrap_or((self.rest, &[]));
        self.rest = rest;
        property
    }
}

/// The value of an `expiration` that was checked, in ms.
pub(crate) fn expires_after(expiration: &[u8]) -> Option<u64> {
    std::str::from_utf8(expiration).ok()?.parse().ok()
}

/// The routing keys in a header (CC or BCC) that was checked.
pub(crate) fn selected<'a>(headers: &RawTable<'a>, name: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let list = headers.get(name).and_then(|value| value.as_array());
    list.into_iter().flatten().filter_map(|item| item.as_longstr())
}

/// The keys of the header BCC as records hide them. What no queue can be bound with, for it is longer than 255 octets, and what is beyond
/// [`HIDDEN_MAX`] is left out.
pub(crate) fn hidden_keys(headers: &RawTable<'_>) -> Vec<u8> {
    let mut keys = Vec::new();
    for key in selected(headers, b"BCC") {
        if let Ok(len) = u8::try_from(key.len())
            && keys.len() + 1 + key.len() <= HIDDEN_MAX
        {
            keys.push(len);
            keys.extend_from_slice(key);
        }
    }
    keys
}

/// Each of such keys.
pub(crate) fn each_hidden(mut keys: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = keys.split_first()?;
        let (key, rest) = rest.split_at_checked(usize::from(*len))?;
        keys = rest;
        Some(key)
    })
}

/// The header with another `reply-to`; `name` is at most 255 octets.
pub(crate) fn with_reply_to(header: &ContentHeader<'_>, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.raw.len() + name.len());
    out.extend_from_slice(header.raw.get(..FIXED).unwrap_or_default());
    let mut properties = Properties::of(header);
    for bit in [
        flag::CONTENT_TYPE,
        flag::CONTENT_ENCODING,
        flag::HEADERS,
        flag::DELIVERY_MODE,
        flag::PRIORITY,
        flag::CORRELATION_ID,
    ] {
        out.extend_from_slice(properties.take(bit));
    }
    properties.take(flag::REPLY_TO);
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(properties.rest());
    out
}

/// The header with a header of this key and number behind the others, in place of one that is there; the key is at most 255 octets.
pub(crate) fn with_number(header: &ContentHeader<'_>, key: &[u8], number: i64) -> Vec<u8> {
    let others = header.headers();
    let mut table = vec![0; 4];
    for (other, value) in others.iter().flat_map(RawTable::entries).filter(|(other, _)| *other != key) {
        table.push(other.len() as u8);
        table.extend_from_slice(other);
        table.push(value.tag);
        table.extend_from_slice(value.raw);
    }
    table.push(key.len() as u8);
    table.extend_from_slice(key);
    table.push(b'l');
    table.extend_from_slice(&number.to_be_bytes());
    let length = (table.len() - 4) as u32;
    table[..4].copy_from_slice(&length.to_be_bytes());
    let mut out = Vec::with_capacity(header.raw.len() + table.len());
    out.extend_from_slice(header.raw.get(..FIXED - 2).unwrap_or_default());
    out.extend_from_slice(&(header.flags | flag::HEADERS).to_be_bytes());
    let mut properties = Properties::of(header);
    for bit in [flag::CONTENT_TYPE, flag::CONTENT_ENCODING] {
        out.extend_from_slice(properties.take(bit));
    }
    properties.take(flag::HEADERS);
    out.extend_from_slice(&table);
    out.extend_from_slice(properties.rest());
    out
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::content;

    use super::*;

    #[test]
    fn a_number_takes_the_place_of_what_was_there() {
        // Content type "t", perhaps headers, delivery mode 2.
        let plain = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0x90, 0, 1, b't', 2]].concat();
        let first = with_number(&content::parse_header(&plain).unwrap(), b"n", 7);
        let header = content::parse_header(&first).unwrap();
        assert!(header.check().is_ok());
        assert_eq!((header.content_type(), header.delivery_mode()), (Some(&b"t"[..]), Some(2)));
        let second = with_number(&header, b"m", 1);
        let third = with_number(&content::parse_header(&second).unwrap(), b"n", -1);
        let header = content::parse_header(&third).unwrap();
        let entries: Vec<_> = header.headers().unwrap().entries().map(|(k, v)| (k, v.as_integer())).collect();
        assert_eq!(entries, [(&b"m"[..], Some(1)), (&b"n"[..], Some(-1))]);
        assert_eq!((header.content_type(), header.delivery_mode()), (Some(&b"t"[..]), Some(2)));
    }
}
