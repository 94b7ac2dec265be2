//! Owns the encoding of the parts of records: integers big-endian, strings behind their length.
//!
//! Invariant: a reader never reads past its input, and a record is only whole when its input is used up.

use std::str;

use warrenmq_wire::method::FieldTable;
use warrenmq_wire::table;

use super::RecordError;

/// Appends `text` behind its length in four octets.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_octets(out, text.as_bytes());
}

/// Appends `octets` behind their length in four octets.
pub(super) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    let length = u32::try_from(octets.len()).expect("invariant: parts of a definition are below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(octets);
}

/// Appends a list of texts behind their number in four octets.
pub(super) fn put_texts(out: &mut Vec<u8>, texts: &[String]) {
    let count = u32::try_from(texts.len()).expect("invariant: a definition has below 2^32 tags");
    out.extend_from_slice(&count.to_be_bytes());
    for text in texts {
        put_text(out, text);
    }
}

/// Appends a number in eight octets.
pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a table in its form on the wire, where every type and width survives.
pub(super) fn put_table(out: &mut Vec<u8>, table: &FieldTable) {
    table::put(out, table)
        .expect("invariant: a table of a definition came from the wire or passed its checks");
}

/// Takes the parts of a record from the front of its octets.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    pub(super) fn octet(&mut self) -> Result<u8, RecordError> {
        let (octet, rest) = self.rest.split_first().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*octet)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_be_bytes(*number))
    }

    pub(super) fn octets(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.count()?;
        let (octets, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(octets)
    }

    pub(super) fn text(&mut self) -> Result<String, RecordError> {
        let octets = self.octets()?;
        str::from_utf8(octets).map(str::to_owned).map_err(|_| RecordError::NotUtf8)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, RecordError> {
        (0..self.count()?).map(|_| self.text()).collect()
    }

    pub(super) fn table(&mut self) -> Result<FieldTable, RecordError> {
        let size = table::check(self.rest)?;
        let (octets, rest) = self.rest.split_at_checked(size).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        match amq_protocol::types::parsing::parse_field_table(octets) {
            Ok(([], table)) => Ok(table),
            // What the check lets through and the parser does not: keys that are not UTF-8.
            _ => Err(RecordError::NotUtf8),
        }
    }

    /// Ends the reading: nothing may be left.
    pub(super) fn end(self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::TrailingOctets(self.rest.len())) }
    }

    fn count(&mut self) -> Result<usize, RecordError> {
        let (count, rest) = self.rest.split_first_chunk::<4>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        usize::try_from(u32::from_be_bytes(*count)).map_err(|_| RecordError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        let mut out = Vec::new();
        put_text(&mut out, "ä");
        put_texts(&mut out, &["a".to_owned(), String::new()]);
        put_table(&mut out, &FieldTable::default());
        put_octets(&mut out, b"\xff");
        put_u64(&mut out, 1 << 40);
        out.push(7);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.text().unwrap(), "ä");
        assert_eq!(reader.texts().unwrap(), ["a", ""]);
        assert_eq!(reader.table().unwrap(), FieldTable::default());
        assert_eq!(reader.octets().unwrap(), b"\xff");
        assert_eq!(reader.u64().unwrap(), 1 << 40);
        assert_eq!(reader.octet().unwrap(), 7);
        reader.end().unwrap();
    }

    #[test]
    fn damage_is_an_error() {
        let text = |octets: &[u8]| Reader::new(octets).text().unwrap_err();
        assert_eq!(text(b""), RecordError::Truncated);
        assert_eq!(text(b"\0\0\0\x02a"), RecordError::Truncated);
        assert_eq!(text(b"\xff\xff\xff\xffa"), RecordError::Truncated);
        assert_eq!(text(b"\0\0\0\x01\xff"), RecordError::NotUtf8);
        assert_eq!(Reader::new(b"").octet(), Err(RecordError::Truncated));
        assert_eq!(Reader::new(b"1234567").u64(), Err(RecordError::Truncated));
        assert_eq!(Reader::new(b"\xff\xff\xff\xff").texts(), Err(RecordError::Truncated));
        assert_eq!(Reader::new(b"ab").end(), Err(RecordError::TrailingOctets(2)));
        assert_eq!(Reader::new(b"\0\0\0\x03\x01\xffV").table(), Err(RecordError::NotUtf8));
        assert!(matches!(Reader::new(b"\0\0\0\x03\x01k?").table(), Err(RecordError::Table(_))));
    }
}
