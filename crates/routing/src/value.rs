//! When two field values are the same for a headers exchange: each value has a *form*, and values are the
//! same when their forms are equal octets.
//!
//! As in RabbitMQ (`rabbit_exchange_type_headers`, 3.13 and later) integers of all widths and timestamps
//! are one kind, so are the two widths of floats, and long strings and byte arrays; an integer never equals
//! a float, and nothing equals a void. Inside arrays and tables the types count too; unlike RabbitMQ the
//! order of a nested table does not.

use smallvec::SmallVec;
use warrenmq_wire::table::{RawTable, RawValue};

/// The octets by which a value is compared: a letter for the kind, then the content. Every form says itself
/// where it ends, so that forms can follow each other.
pub(crate) type Form = SmallVec<[u8; 32]>;

/// The form of a value. Recursion is bounded by the depth that the check of a table allows
/// ([`warrenmq_wire::table::DEPTH_MAX`]).
pub(crate) fn form(value: RawValue<'_>) -> Form {
    let mut out = Form::new();
    put(value, &mut out);
    out
}

fn put(value: RawValue<'_>, out: &mut Form) {
    if let Some(integer) = integer(value) {
        out.push(b'i');
        out.extend_from_slice(&integer.to_be_bytes());
    } else if let Some(octets) = value.as_longstr().or_else(|| value.as_byte_array()) {
        out.push(b's');
        out.extend_from_slice(&octets.len().to_be_bytes());
        out.extend_from_slice(octets);
    } else if let Some(float) = value.as_float() {
        // Adding zero makes both zeros one.
        out.push(b'f');
        out.extend_from_slice(&(float + 0.0).to_bits().to_be_bytes());
    } else if let Some(boolean) = value.as_bool() {
        out.extend_from_slice(&[b't', boolean.into()]);
    } else if let Some(values) = value.as_array() {
        out.push(b'a');
        values.for_each(|value| put_nested(value, out));
        out.push(0);
    } else if let Some(table) = value.as_table() {
        put_table(table, out);
    } else {
        // A decimal, which has a fixed length, or a void, which has none.
        out.push(value.tag);
        out.extend_from_slice(value.raw);
    }
}

fn put_table(table: RawTable<'_>, out: &mut Form) {
    let mut entries: Vec<_> = table.entries().collect();
    entries.sort_by_key(|(key, _)| *key);
    // Nothing is the same list to RabbitMQ, whichever kind it is of.
    out.push(if entries.is_empty() { b'a' } else { b'm' });
    for (key, value) in entries {
        // A key is a short string, so its length takes one octet; the 1 tells it from the end.
        out.push(1);
        out.extend(u8::try_from(key.len()));
        out.extend_from_slice(key);
        put_nested(value, out);
    }
    out.push(0);
}

/// A value inside another: its type goes before its form.
fn put_nested(value: RawValue<'_>, out: &mut Form) {
    out.push(match value.tag {
        // Two letters of one type each.
        b'U' => b's',
        b'L' => b'l',
        tag => tag,
    });
    put(value, out);
}

fn integer(value: RawValue<'_>) -> Option<i128> {
    value.as_integer().map(i128::from).or_else(|| value.as_timestamp().map(i128::from))
}
