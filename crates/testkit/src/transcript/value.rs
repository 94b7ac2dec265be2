//! Field values, typed table entries and the names of their types in transcripts; how a value is shown.

use std::fmt;

use super::spec::Kind;

/// The value of a method field, of a property or of an entry in a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    /// Every integer type, and timestamps in seconds; the width comes from the field or the tag.
    Number(i128),
    Float(f64),
    /// Scale and unscaled value.
    Decimal(u8, u32),
    /// Short and long strings, byte arrays.
    Text(Vec<u8>),
    Array(Vec<Typed>),
    /// In the order of the wire, duplicates included.
    Table(Vec<(Vec<u8>, Typed)>),
    Void,
    /// Inside a table that is expected: any value of that type.
    Any,
}

/// A value with the tag that says its type in a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Typed {
    pub(crate) tag: u8,
    pub(crate) value: Value,
}

/// Tags and what transcripts call them.
const TAGS: [(u8, &str); 18] = [
    (b't', "bool"),
    (b'b', "int8"),
    (b'B', "uint8"),
    (b's', "int16"),
    (b'u', "uint16"),
    (b'I', "int32"),
    (b'i', "uint32"),
    (b'l', "int64"),
    (b'L', "uint64"),
    (b'f', "float"),
    (b'd', "double"),
    (b'D', "decimal"),
    (b'S', "str"),
    (b'x', "bytes"),
    (b'A', "array"),
    (b'T', "timestamp"),
    (b'F', "table"),
    (b'V', "void"),
];

/// The tag of the type called `name`.
pub(crate) fn tag_by_name(name: &str) -> Option<u8> {
    TAGS.iter().find(|(_, known)| *known == name).map(|(tag, _)| *tag)
}

impl Value {
    /// What a field has when a transcript does not name it.
    pub(crate) fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Bit => Value::Bool(false),
            Kind::Octet | Kind::Short | Kind::Long | Kind::LongLong => Value::Number(0),
            Kind::ShortStr | Kind::LongStr => Value::Text(Vec::new()),
            Kind::Table => Value::Table(Vec::new()),
        }
    }
}

impl Value {
    /// Whether `value` is what is expected here.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        let typed = |a: &Typed, b: &Typed| a.tag == b.tag && a.value.accepts(&b.value);
        match (self, value) {
            (Value::Any, _) => true,
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| typed(a, b))
            }
            (Value::Table(a), Value::Table(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && typed(&a.1, &b.1))
            }
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Decimal(scale, value) => write!(f, "{scale}/{value}"),
            Value::Text(bytes) => write_text(f, bytes),
            Value::Array(items) => write_list(f, '[', ']', items, |f, item| write!(f, "{item}")),
            Value::Table(entries) => write_list(f, '{', '}', entries, |f, (key, value)| {
                write_text(f, key)?;
                write!(f, ":{value}")
            }),
            Value::Any => f.write_str("*"),
            Value::Void => Ok(()),
        }
    }
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TAGS.iter().find(|(tag, _)| *tag == self.tag).map_or("?", |(_, name)| name);
        match self.value {
            Value::Void => write!(f, "{name}"),
            _ => write!(f, "{name}:{}", self.value),
        }
    }
}

fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    open: char,
    close: char,
    items: &[T],
    mut write_item: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{open}")?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            write!(f, ",")?;
        }
        write_item(f, item)?;
    }
    write!(f, "{close}")
}

/// Bare when that can be read back, else quoted with escapes; a run of one byte is written as `"x"*N`.
fn write_text(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/#".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_bare) && bytes.len() < 256 {
        return f.write_str(&String::from_utf8_lossy(bytes));
    }
    if bytes.len() > 64 && bytes.iter().all(|byte| *byte == bytes[0]) {
        return write!(f, "\"{}\"*{}", bytes[..1].escape_ascii(), bytes.len());
    }
    f.write_str("\"")?;
    for byte in bytes {
        match byte {
            b'\'' => f.write_str("'")?,
            _ => write!(f, "{}", byte.escape_ascii())?,
        }
    }
    f.write_str("\"")
}
