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

/// How deep tables and arrays may nest, the outermost table counted. RabbitMQ has no limit of its own;
/// `amq-protocol` and many clients recurse, and overflow their stack at a few thousand levels.
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
    /// The octets of the entries that are still to come.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], RawValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = cursor::short_string(&mut self.rest)?;
        Some((key, RawValue::take(&mut self.rest)?))
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
/// `l` and `L` are both signed, `x` is a byte array, `V` nothing. `U`, the specification's 16-bit integer, is
/// not in RabbitMQ's list, but some clients write it and `amq-protocol` reads it.
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
