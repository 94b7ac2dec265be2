//! Bytes of frames, methods, content headers and tables, both ways, driven by the table in `spec`. Decoding is strict: a frame
//! that has a wrong end byte, bytes left over or a length that does not fit is an error, so this is also a judge of what a
//! broker sends.

use super::spec::{self, Field, Kind, Method};
use super::value::{Typed, Value};

/// Frame types.
pub(crate) const FRAME_METHOD: u8 = 1;
pub(crate) const FRAME_HEADER: u8 = 2;
pub(crate) const FRAME_BODY: u8 = 3;
pub(crate) const FRAME_HEARTBEAT: u8 = 8;
/// Bytes of a frame besides its payload: type, channel, size, end.
pub(crate) const FRAME_OVERHEAD: usize = 8;

const FRAME_END: u8 = 0xCE;
const CLASS_BASIC: u16 = 60;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) channel: u16,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend((self.payload.len() as u32).to_be_bytes());
        bytes.extend(&self.payload);
        bytes.push(FRAME_END);
        bytes
    }

    /// Takes the first frame off `bytes`; `None` when it is not complete yet.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let Some((head, rest)) = bytes.split_first_chunk::<7>() else { return Ok(None) };
        let kind = head[0];
        if ![FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT].contains(&kind) {
            return Err(format!("not a frame: {}", hex(bytes)));
        }
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if rest.len() <= size {
            return Ok(None);
        }
        if rest[size] != FRAME_END {
            return Err(format!("a frame ends with {:#04x}: {}", rest[size], hex(bytes)));
        }
        let frame =
            Frame { kind, channel: u16::from_be_bytes([head[1], head[2]]), payload: rest[..size].to_vec() };
        bytes.drain(..size + FRAME_OVERHEAD);
        Ok(Some(frame))
    }
}

/// The payload of a method frame.
pub(crate) fn encode_method(method: &Method, values: &[Value]) -> Vec<u8> {
    let mut payload = method.class_id.to_be_bytes().to_vec();
    payload.extend(method.method_id.to_be_bytes());
    let mut bits = 0;
    for (field, value) in method.fields.iter().zip(values) {
        if field.kind != Kind::Bit {
            bits = 0;
        } else {
            if bits % 8 == 0 {
                payload.push(0);
            }
            if *value == Value::Bool(true) {
                *payload.last_mut().expect("invariant: an octet was pushed for the first bit") |=
                    1 << (bits % 8);
            }
            bits += 1;
            continue;
        }
        encode_field(field.kind, value, &mut payload);
    }
    payload
}

/// Method and field values of the payload of a method frame.
pub(crate) fn decode_method(payload: &[u8]) -> Result<(&'static Method, Vec<Value>), String> {
    let mut reader = Reader { bytes: payload };
    let (class_id, method_id) = (reader.number(2)? as u16, reader.number(2)? as u16);
    let method =
        spec::method_by_ids(class_id, method_id).ok_or(format!("no method {class_id}.{method_id}"))?;
    let mut values = Vec::new();
    let mut bits = 0;
    let mut octet = 0;
    for field in &method.fields {
        if field.kind != Kind::Bit {
            bits = 0;
            values.push(reader.field(field.kind)?);
            continue;
        }
        if bits % 8 == 0 {
            octet = reader.number(1)? as u8;
        }
        values.push(Value::Bool(octet & (1 << (bits % 8)) != 0));
        bits += 1;
    }
    reader.end(method.name)?;
    Ok((method, values))
}

/// The payload of a content header frame; `None` for each property that is not there.
pub(crate) fn encode_header(class_id: u16, body_size: u64, properties: &[Option<Value>]) -> Vec<u8> {
    let mut payload = class_id.to_be_bytes().to_vec();
    payload.extend([0, 0]);
    payload.extend(body_size.to_be_bytes());
    let mut flags = 0u16;
    let mut values = Vec::new();
    for (index, (field, value)) in spec::properties().iter().zip(properties).enumerate() {
        if let Some(value) = value {
            flags |= 1 << (15 - index);
            encode_field(field.kind, value, &mut values);
        }
    }
    payload.extend(flags.to_be_bytes());
    payload.extend(values);
    payload
}

/// Body size and properties of the payload of a content header frame of class basic.
pub(crate) fn decode_header(payload: &[u8]) -> Result<(u64, Vec<Option<Value>>), String> {
    let mut reader = Reader { bytes: payload };
    let (class_id, weight) = (reader.number(2)? as u16, reader.number(2)?);
    if (class_id, weight) != (CLASS_BASIC, 0) {
        return Err(format!("a content header of class {class_id} and weight {weight}"));
    }
    let body_size = reader.number(8)? as u64;
    let flags = reader.number(2)? as u16;
    let property = |(index, field): (usize, &Field)| {
        let is_there = flags & (1 << (15 - index)) != 0;
        if is_there { reader.field(field.kind).map(Some) } else { Ok(None) }
    };
    let properties =
        spec::properties().iter().enumerate().map(property).collect::<Result<Vec<_>, String>>()?;
    reader.end("a content header")?;
    Ok((body_size, properties))
}

/// Bytes for an error text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 64 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}

fn encode_field(kind: Kind, value: &Value, bytes: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Octet, Value::Number(number)) => put_number(*number, 1, bytes),
        (Kind::Short, Value::Number(number)) => put_number(*number, 2, bytes),
        (Kind::Long, Value::Number(number)) => put_number(*number, 4, bytes),
        (Kind::LongLong, Value::Number(number)) => put_number(*number, 8, bytes),
        (Kind::ShortStr, Value::Text(text)) => put_text(text, 1, bytes),
        (Kind::LongStr, Value::Text(text)) => put_text(text, 4, bytes),
        (Kind::Table, Value::Table(entries)) => put_table(entries, bytes),
        (kind, value) => unreachable!("{value} was read as a {kind:?}"),
    }
}

/// The lowest `width` bytes, which are right for negative numbers too.
fn put_number(number: i128, width: usize, bytes: &mut Vec<u8>) {
    bytes.extend(&number.to_be_bytes()[16 - width..]);
}

fn put_text(text: &[u8], length_width: usize, bytes: &mut Vec<u8>) {
    put_number(text.len() as i128, length_width, bytes);
    bytes.extend(text);
}

fn put_table(entries: &[(Vec<u8>, Typed)], bytes: &mut Vec<u8>) {
    let mut content = Vec::new();
    for (key, typed) in entries {
        put_text(key, 1, &mut content);
        put_typed(typed, &mut content);
    }
    put_text(&content, 4, bytes);
}

fn put_typed(typed: &Typed, bytes: &mut Vec<u8>) {
    bytes.push(typed.tag);
    match (typed.tag, &typed.value) {
        (b't', Value::Bool(value)) => bytes.push((*value).into()),
        (b'f', Value::Float(value)) => bytes.extend((*value as f32).to_be_bytes()),
        (b'd', Value::Float(value)) => bytes.extend(value.to_be_bytes()),
        (b'D', Value::Decimal(scale, value)) => {
            bytes.push(*scale);
            bytes.extend(value.to_be_bytes());
        }
        (b'S' | b'x', Value::Text(text)) => put_text(text, 4, bytes),
        (b'F', Value::Table(entries)) => put_table(entries, bytes),
        (b'A', Value::Array(items)) => {
            let mut content = Vec::new();
            items.iter().for_each(|item| put_typed(item, &mut content));
            put_text(&content, 4, bytes);
        }
        (b'V', Value::Void) => {}
        (tag, Value::Number(number)) => put_number(*number, integer_width(tag).0, bytes),
        (tag, value) => unreachable!("{value} was read for the tag {}", char::from(tag)),
    }
}

/// Bytes and signedness of an integer type; zero bytes for what is none.
fn integer_width(tag: u8) -> (usize, bool) {
    match tag {
        b'b' => (1, true),
        b'B' => (1, false),
        b's' => (2, true),
        b'u' => (2, false),
        b'I' => (4, true),
        b'i' => (4, false),
        b'l' => (8, true),
        b'L' | b'T' => (8, false),
        _ => (0, false),
    }
}

/// The rest of a payload.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(format!("{length} bytes expected where {} are left", self.bytes.len()));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<i128, String> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | i128::from(*byte)))
    }

    fn text(&mut self, length_width: usize) -> Result<&'a [u8], String> {
        let length = self.number(length_width)? as usize;
        self.take(length)
    }

    fn field(&mut self, kind: Kind) -> Result<Value, String> {
        match kind {
            Kind::Bit => unreachable!("bits are read by the octet"),
            Kind::Octet => self.number(1).map(Value::Number),
            Kind::Short => self.number(2).map(Value::Number),
            Kind::Long => self.number(4).map(Value::Number),
            Kind::LongLong => self.number(8).map(Value::Number),
            Kind::ShortStr => Ok(Value::Text(self.text(1)?.to_vec())),
            Kind::LongStr => Ok(Value::Text(self.text(4)?.to_vec())),
            Kind::Table => self.table(),
        }
    }

    fn table(&mut self) -> Result<Value, String> {
        let mut content = Reader { bytes: self.text(4)? };
        let mut entries = Vec::new();
        while !content.bytes.is_empty() {
            entries.push((content.text(1)?.to_vec(), content.typed()?));
        }
        Ok(Value::Table(entries))
    }

    fn array(&mut self) -> Result<Value, String> {
        let mut content = Reader { bytes: self.text(4)? };
        let mut items = Vec::new();
        while !content.bytes.is_empty() {
            items.push(content.typed()?);
        }
        Ok(Value::Array(items))
    }

    fn typed(&mut self) -> Result<Typed, String> {
        let tag = self.number(1)? as u8;
        let value = match tag {
            b't' => Value::Bool(self.number(1)? != 0),
            b'f' => Value::Float(f32::from_bits(self.number(4)? as u32).into()),
            b'd' => Value::Float(f64::from_bits(self.number(8)? as u64)),
            b'D' => Value::Decimal(self.number(1)? as u8, self.number(4)? as u32),
            b'S' | b'x' => Value::Text(self.text(4)?.to_vec()),
            b'F' => self.table()?,
            b'A' => self.array()?,
            b'V' => Value::Void,
            _ => self.integer(tag)?,
        };
        Ok(Typed { tag, value })
    }

    fn integer(&mut self, tag: u8) -> Result<Value, String> {
        let (width, signed) = integer_width(tag);
        if width == 0 {
            return Err(format!("a table entry of the unknown type {tag:#04x}"));
        }
        let number = self.number(width)?;
        let is_negative = signed && number >> (8 * width - 1) == 1;
        Ok(Value::Number(if is_negative { number - (1 << (8 * width)) } else { number }))
    }

    fn end(&self, what: &str) -> Result<(), String> {
        if self.bytes.is_empty() { Ok(()) } else { Err(format!("{} bytes after {what}", self.bytes.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_method_has_the_bytes_of_the_specification() {
        let method = spec::method_by_name("queue.declare").unwrap();
        let table = vec![(b"x".to_vec(), Typed { tag: b'I', value: Value::Number(-2) })];
        let bits = [false, true, false, true, false].map(Value::Bool);
        let mut values = vec![Value::Number(0), text("q")];
        values.extend(bits);
        values.push(Value::Table(table));
        let payload = encode_method(method, &values);
        assert_eq!(hex(&payload), "0032000a000001710a00000007017849fffffffe");
        assert_eq!(decode_method(&payload), Ok((method, values)));
    }

    #[test]
    fn a_header_has_the_bytes_of_the_specification() {
        let mut properties = vec![None; 14];
        properties[0] = Some(text("text/plain"));
        properties[3] = Some(Value::Number(2));
        properties[13] = Some(text("c"));
        let payload = encode_header(60, 5, &properties);
        assert_eq!(
            hex(&payload),
            "003c00000000000000000005900 40a746578742f706c61696e020163".replace(' ', "")
        );
        assert_eq!(decode_header(&payload), Ok((5, properties)));
    }

    #[test]
    fn every_table_type_comes_back() {
        let number = |tag, number| Typed { tag, value: Value::Number(number) };
        let items = vec![
            Typed { tag: b't', value: Value::Bool(true) },
            number(b'b', -128),
            number(b'B', 255),
            number(b's', -32768),
            number(b'u', 65535),
            number(b'I', i32::MIN.into()),
            number(b'i', u32::MAX.into()),
            number(b'l', i64::MIN.into()),
            number(b'L', u64::MAX.into()),
            number(b'T', 1_700_000_000),
            Typed { tag: b'f', value: Value::Float(1.5) },
            Typed { tag: b'd', value: Value::Float(-0.1) },
            Typed { tag: b'D', value: Value::Decimal(2, 314) },
            Typed { tag: b'S', value: Value::Text(vec![0xFF, 0]) },
            Typed { tag: b'x', value: Value::Text(vec![1, 2, 3]) },
            Typed { tag: b'V', value: Value::Void },
            Typed { tag: b'F', value: Value::Table(vec![(b"k".to_vec(), number(b'b', 1))]) },
        ];
        let value = Value::Table(vec![(b"all".to_vec(), Typed { tag: b'A', value: Value::Array(items) })]);
        let mut bytes = Vec::new();
        encode_field(Kind::Table, &value, &mut bytes);
        assert_eq!(Reader { bytes: &bytes }.field(Kind::Table), Ok(value));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let empty = Frame { kind: FRAME_METHOD, channel: 1, payload: vec![0, 20, 0, 41] };
        let mut bytes = empty.encode();
        let mut short = bytes[..bytes.len() - 1].to_vec();
        assert_eq!(Frame::take(&mut short), Ok(None));
        assert_eq!(Frame::take(&mut bytes), Ok(Some(empty)));
        assert!(Frame::take(&mut vec![1, 0, 1, 0, 0, 0, 0, 0]).is_err(), "end byte");
        assert!(Frame::take(&mut b"AMQP\0\0\x09\x01".to_vec()).is_err(), "protocol header");
        assert!(decode_method(&[0, 20, 0, 41, 0]).is_err(), "a byte left over");
        assert!(decode_method(&[0, 20, 0, 99]).is_err(), "unknown method");
        assert!(decode_method(&[0, 60, 0, 21, 9, b'a']).is_err(), "short string");
    }
}
