//! Field tables in wire form: checking them without recursion, and reading them in place in their own order.
//!
//! ```text
//! table  = length (u32), { key (short string), value }
//! value  = tag (1 octet), content by tag          array = length (u32), { value }
//! ```
//! Invariant: [`check`] uses neither recursion nor heap, so nesting costs the sender a refusal and us
//! nothing. Readers work on any bytes: over unchecked ones they end early instead of panicking. Order,
//! duplicate keys and the width of a number stay as they came, which the map of fields in `amq-protocol` does
//! not promise.

use crate::EncodeError;
use crate::cursor;
use amq_protocol::types::FieldTable;
use amq_protocol::types::generation::gen_field_table;

/// How deep tables and arrays may nest, the outermost table counted. RabbitMQ has no limit (it takes 5,000
/// levels); `amq-protocol` and many clients recurse, and overflow their stack there.
pub const DEPTH_MAX: usize = 100;

/// Why bytes are not a field table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A length or a fixed field reaches beyond the table or array that holds it.
    #[error("a field reaches beyond its table")]
    Truncated,
    /// More than [`DEPTH_MAX`] levels of tables and arrays.
    #[error("more than {DEPTH_MAX} levels of nesting")]
    TooDeep,
    /// A type tag that RabbitMQ does not know.
    #[error("unknown field type {0:#04x}")]
    UnknownTag(u8),
}

/// Checks the table at the start of `bytes`, its four length octets included: lengths, tags and nesting. Keys
/// and strings may hold any octets. Returns how many octets the table takes.
///
/// # Errors
/// [`TableError`]; the first fault in the order of the bytes.
pub fn check(bytes: &[u8]) -> Result<usize, TableError> {
    let mut after = bytes;
    let mut body = cursor::long_string(&mut after).ok_or(TableError::Truncated)?;
    while !body.is_empty() {
        if let Some(nested) = step(&mut body, true)? {
            check_nested(nested)?;
        }
    }
    Ok(bytes.len() - after.len())
}

/// A table in place, in wire form and order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTable<'a> {
    body: &'a [u8],
}

impl<'a> RawTable<'a> {
    /// Checks the table at the start of `bytes` and returns it with the octets it takes.
    ///
    /// # Errors
    /// Those of [`check`].
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), TableError> {
        let size = check(bytes)?;
        Ok((Self::from_checked(bytes.get(4..size).unwrap_or_default()), size))
    }

    /// A table from its octets without the length; they should have passed [`check`].
    pub(crate) fn from_checked(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// Keys and values in the order in which they were sent; a key may come more than once.
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.body }
    }

    /// The first value with this key, as RabbitMQ looks it up.
    pub fn get(&self, key: &[u8]) -> Option<RawValue<'a>> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether the table has no entries.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The octets of all entries, without the table's length.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.body
    }
}

/// Iterator over the entries of a [`RawTable`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The octets that are still to come; after the last entry of a malformed table, those that cannot be
    /// read.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], RawValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest;
        let key = cursor::short_string(&mut rest)?;
        let value = RawValue::take(&mut rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Iterator over the values of an array.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = RawValue<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        RawValue::take(&mut self.rest)
    }
}

/// A value in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawValue<'a> {
    /// The type octet.
    pub tag: u8,
    /// The octets after the type octet; of a string, table or array with its four length octets.
    pub raw: &'a [u8],
}

impl<'a> RawValue<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (&tag, mut after) = rest.split_first()?;
        let start = after;
        match width(tag)? {
            Width::Fixed(count) => cursor::take(&mut after, count)?,
            Width::Counted | Width::Nested { .. } => cursor::long_string(&mut after)?,
        };
        *rest = after;
        Some(Self { tag, raw: start.get(..start.len() - after.len())? })
    }

    /// The octets of a long string (`S`).
    pub fn as_longstr(&self) -> Option<&'a [u8]> {
        self.counted(b'S')
    }

    /// The octets of a byte array (`x`).
    pub fn as_byte_array(&self) -> Option<&'a [u8]> {
        self.counted(b'x')
    }

    /// A boolean (`t`); any octet but 0 is true.
    pub fn as_bool(&self) -> Option<bool> {
        match (self.tag, self.raw) {
            (b't', &[octet]) => Some(octet != 0),
            _ => None,
        }
    }

    /// An integer of any width: `b B s U u I i l L`. `L` is signed here as in RabbitMQ. A timestamp is not an
    /// integer.
    pub fn as_integer(&self) -> Option<i64> {
        Some(match (self.tag, self.raw) {
            (b'b', &[a]) => i64::from(a.cast_signed()),
            (b'B', &[a]) => i64::from(a),
            (b's' | b'U', &[a, b]) => i64::from(i16::from_be_bytes([a, b])),
            (b'u', &[a, b]) => i64::from(u16::from_be_bytes([a, b])),
            (b'I', &[a, b, c, d]) => i64::from(i32::from_be_bytes([a, b, c, d])),
            (b'i', &[a, b, c, d]) => i64::from(u32::from_be_bytes([a, b, c, d])),
            (b'l' | b'L', raw) => i64::from_be_bytes(*raw.first_chunk()?),
            _ => return None,
        })
    }

    /// A floating-point number of either width (`f`, `d`).
    pub fn as_float(&self) -> Option<f64> {
        match self.tag {
            b'f' => self.raw.first_chunk().map(|raw| f64::from(f32::from_be_bytes(*raw))),
            b'd' => self.raw.first_chunk().map(|raw| f64::from_be_bytes(*raw)),
            _ => None,
        }
    }

    /// A timestamp (`T`), seconds since 1970.
    pub fn as_timestamp(&self) -> Option<u64> {
        if self.tag != b'T' {
            return None;
        }
        self.raw.first_chunk().map(|raw| u64::from_be_bytes(*raw))
    }

    /// The values of an array (`A`).
    pub fn as_array(&self) -> Option<Values<'a>> {
        self.counted(b'A').map(|rest| Values { rest })
    }

    /// A table (`F`).
    pub fn as_table(&self) -> Option<RawTable<'a>> {
        self.counted(b'F').map(RawTable::from_checked)
    }

    fn counted(&self, tag: u8) -> Option<&'a [u8]> {
        if self.tag != tag {
            return None;
        }
        cursor::long_string(&mut { self.raw })
    }
}

/// Appends a table with its length octets. `FieldTable` holds its keys sorted and once each.
///
/// # Errors
/// When `amq-protocol` cannot write it.
pub fn put(out: &mut Vec<u8>, table: &FieldTable) -> Result<(), EncodeError> {
    let context = gen_field_table(table)(Vec::new().into())?;
    out.extend_from_slice(&context.write);
    Ok(())
}

/// How many octets follow a tag.
enum Width {
    /// Always as many.
    Fixed(usize),
    /// Four length octets and as many octets as they say.
    Counted,
    /// Like `Counted`, holding values (`A`) or keys and values (`F`).
    Nested { keyed: bool },
}

/// The types as RabbitMQ reads them (`rabbit_binary_parser`): `s` is a 16-bit integer and not a short string,
/// `l` and `L` are both signed, `x` is a byte array, `V` nothing. Two things RabbitMQ does not take are
/// harmless and taken here: `U`, the specification's 16-bit integer, and floating-point numbers that are not
/// finite.
#[inline]
fn width(tag: u8) -> Option<Width> {
    Some(match tag {
        b'S' | b'x' => Width::Counted,
        b'I' | b'i' | b'f' => Width::Fixed(4),
        b'l' | b'L' | b'd' | b'T' => Width::Fixed(8),
        b't' | b'b' | b'B' => Width::Fixed(1),
        b's' | b'u' | b'U' => Width::Fixed(2),
        b'D' => Width::Fixed(5),
        b'V' => Width::Fixed(0),
        b'F' => Width::Nested { keyed: true },
        b'A' => Width::Nested { keyed: false },
        _ => return None,
    })
}

/// The inside of a table (`keyed`) or an array.
type Level<'a> = (&'a [u8], bool);

/// Takes one entry off `rest`, with its key if the level has keys. A nested level is returned, not entered.
#[inline]
fn step<'a>(rest: &mut &'a [u8], keyed: bool) -> Result<Option<Level<'a>>, TableError> {
    if keyed {
        cursor::short_string(rest).ok_or(TableError::Truncated)?;
    }
    let tag = cursor::u8(rest).ok_or(TableError::Truncated)?;
    match width(tag).ok_or(TableError::UnknownTag(tag))? {
        Width::Fixed(count) => cursor::take(rest, count).map(|_| None),
        Width::Counted => cursor::long_string(rest).map(|_| None),
        Width::Nested { keyed } => cursor::long_string(rest).map(|inner| Some((inner, keyed))),
    }
    .ok_or(TableError::Truncated)
}

/// Checks a level inside the outermost table and all below it. Levels lie inside each other, so where each
/// ends is all that has to be remembered; apart from `check` because most tables are flat and need no such
/// memory.
fn check_nested((body, mut keyed): Level<'_>) -> Result<(), TableError> {
    let mut parents = [(0, false); DEPTH_MAX - 2];
    let mut depth = 0;
    let (mut at, mut end) = (0, body.len());
    loop {
        while at < end {
            let mut rest = body.get(at..end).unwrap_or_default();
            let nested = step(&mut rest, keyed)?;
            at = end - rest.len();
            if let Some((inner, inner_keyed)) = nested {
                *parents.get_mut(depth).ok_or(TableError::TooDeep)? = (end as u32, keyed);
                depth += 1;
                (at, end, keyed) = (at - inner.len(), at, inner_keyed);
            }
        }
        let Some(outer) = depth.checked_sub(1) else { return Ok(()) };
        depth = outer;
        if let Some(&(parent_end, parent_keyed)) = parents.get(depth) {
            (end, keyed) = (parent_end as usize, parent_keyed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes(), body].concat()
    }

    /// A table in a table and so on, `levels` in all, each of them under `head` (a key and a tag, or only a
    /// tag).
    fn nested(levels: usize, head: &[u8]) -> Vec<u8> {
        let mut bytes = counted(b"");
        for _ in 1..levels {
            bytes = counted(&[head, &bytes].concat());
        }
        bytes
    }

    #[test]
    fn check_accepts_what_rabbitmq_reads() {
        let cases: &[&[u8]] = &[
            b"",
            b"\x01aV",
            b"\0V",
            b"\x02\xff\xfet\x05",
            b"\x01aV\x01aV",
            b"\x01ab1\x01aB1\x01as12\x01au12\x01aU12\x01aI1234\x01ai1234\x01al12345678\x01aL12345678",
            b"\x01af1234\x01ad12345678\x01aD12345\x01aT12345678\x01aS\0\0\0\x02\xff\xfe\x01ax\0\0\0\x01z",
            b"\x01aF\0\0\0\0\x01bA\0\0\0\0",
            b"\x01aA\0\0\0\x0dVt\x01F\0\0\0\x04\x01bb\x07V\x01cV",
        ];
        for body in cases {
            let bytes = counted(body);
            assert_eq!(check(&bytes), Ok(bytes.len()), "{body:?}");
            assert_eq!(check(&[&bytes[..], b"more"].concat()), Ok(bytes.len()), "{body:?} and more");
            for cut in 0..bytes.len() {
                assert_eq!(check(&bytes[..cut]), Err(TableError::Truncated), "{cut} octets of {body:?}");
            }
        }
    }

    #[test]
    fn check_refuses_the_rest() {
        use TableError::{Truncated, UnknownTag};
        let cases: &[(&[u8], TableError)] = &[
            (b"\x01", Truncated),
            (b"\x01a", Truncated),
            (b"\x01az", UnknownTag(b'z')),
            (b"\x01a_", UnknownTag(b'_')),
            (b"\x01a\0", UnknownTag(0)),
            (b"\x01aI123", Truncated),
            (b"\x01aS\0\0\0", Truncated),
            (b"\x01aS\0\0\0\x02x", Truncated),
            (b"\x01aS\xff\xff\xff\xffx", Truncated),
            (b"\x01aF\0\0\0\x02\x01b\x01cV", Truncated),
            (b"\x01aF\0\0\0\x02\x01bV", Truncated),
            (b"\x01aA\0\0\0\x01z\x01cV", UnknownTag(b'z')),
            (b"\x01aA\0\0\0\x06F\0\0\0\x01V\x01cV", Truncated),
        ];
        for (body, expected) in cases {
            assert_eq!(check(&counted(body)), Err(*expected), "{body:?}");
        }
        assert_eq!(check(b"\0\0\0"), Err(Truncated));
        assert_eq!(check(b"\xff\xff\xff\xff\x01aV"), Err(Truncated));
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        for (levels, expected) in
            [(1, true), (2, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false), (10_000, false)]
        {
            let bytes = nested(levels, b"\x01aF");
            let expected = if expected { Ok(bytes.len()) } else { Err(TableError::TooDeep) };
            assert_eq!(check(&bytes), expected, "{levels} tables");
        }
        for (arrays, expected) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, false), (10_000, false)] {
            let bytes = counted(&[b"\x01aA", &nested(arrays, b"A")[..]].concat());
            let expected = if expected { Ok(bytes.len()) } else { Err(TableError::TooDeep) };
            assert_eq!(check(&bytes), expected, "{arrays} arrays in a table");
        }
    }

    #[test]
    fn depth_counts_levels_and_not_siblings() {
        let inner = nested(DEPTH_MAX - 1, b"\x01aF");
        let body: Vec<u8> = (0..5).flat_map(|_| [b"\x01aF", &inner[..]].concat()).collect();
        let bytes = counted(&body);
        assert_eq!(check(&bytes), Ok(bytes.len()));
    }

    #[test]
    fn values_are_read_by_their_type() {
        let bytes = counted(
            b"\x01aS\0\0\0\x01\xff\x01bt\x02\x01cb\xff\x01dB\xff\x01es\xff\xfe\x01fu\xff\xfe\x01gU\xff\xfe\
              \x01hI\xff\xff\xff\xfd\x01ii\xff\xff\xff\xfd\x01jl\xff\xff\xff\xff\xff\xff\xff\xfc\
              \x01kL\xff\xff\xff\xff\xff\xff\xff\xfb\x01lT\0\0\0\0\0\0\0\x09\x01mf\x3f\x80\0\0\
              \x01nd\x40\0\0\0\0\0\0\0\x01oA\0\0\0\x03Vt\x01\x01pF\0\0\0\x03\x01qV\x01rx\0\0\0\x01z\x01rV",
        );
        let (table, size) = RawTable::parse(&bytes).expect("a good table");
        assert_eq!(size, bytes.len());
        let get = |key: &[u8]| table.get(key).expect("a known key");
        assert_eq!(get(b"a").as_longstr(), Some(&b"\xff"[..]));
        assert_eq!(get(b"b").as_bool(), Some(true));
        let integers = [-1, 255, -2, 65534, -2, -3, 4_294_967_293, -4, -5];
        for (key, expected) in (b'c'..).zip(integers) {
            assert_eq!(get(&[key]).as_integer(), Some(expected), "{}", key as char);
        }
        assert_eq!((get(b"l").as_timestamp(), get(b"l").as_integer()), (Some(9), None));
        assert_eq!((get(b"m").as_float(), get(b"n").as_float()), (Some(1.0), Some(2.0)));
        let tags: Vec<u8> = get(b"o").as_array().expect("an array").map(|value| value.tag).collect();
        assert_eq!(tags, b"Vt");
        let inner = get(b"p").as_table().expect("a table");
        assert_eq!((inner.is_empty(), inner.get(b"q").map(|v| v.tag)), (false, Some(b'V')));
        assert_eq!(get(b"r").as_byte_array(), Some(&b"z"[..]), "the first of two equal keys");
        assert_eq!(table.entries().count(), 18);
        assert_eq!(table.get(b"s"), None);
        assert_eq!((get(b"b").as_longstr(), get(b"a").as_bool(), get(b"r").as_longstr()), (None, None, None));
    }
}
