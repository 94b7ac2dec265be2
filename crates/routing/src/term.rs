//! Values as Erlang prints them, for RabbitMQ's texts that show one.

use std::fmt::Write;
use warrenmq_wire::method::AMQPValue;

/// A value as Erlang prints it in RabbitMQ's texts: the name of its type and its term.
pub(crate) fn term(value: &AMQPValue) -> (&'static str, String) {
    match value {
        AMQPValue::Boolean(value) => ("bool", value.to_string()),
        AMQPValue::ShortShortInt(value) => ("byte", value.to_string()),
        AMQPValue::ShortShortUInt(value) => ("unsignedbyte", value.to_string()),
        AMQPValue::ShortInt(value) => ("short", value.to_string()),
        AMQPValue::ShortUInt(value) => ("unsignedshort", value.to_string()),
        AMQPValue::LongInt(value) => ("signedint", value.to_string()),
        AMQPValue::LongUInt(value) => ("unsignedint", value.to_string()),
        AMQPValue::LongLongInt(value) => ("long", value.to_string()),
        AMQPValue::Float(value) => ("float", format!("{value:?}")),
        AMQPValue::Double(value) => ("double", format!("{value:?}")),
        AMQPValue::DecimalValue(value) => ("decimal", format!("{{{},{}}}", value.scale, value.value)),
        AMQPValue::ShortString(text) => ("longstr", binary(text.as_str().as_bytes())),
        AMQPValue::LongString(text) => ("longstr", binary(text.as_bytes())),
        AMQPValue::ByteArray(octets) => ("binary", binary(octets.as_slice())),
        AMQPValue::Timestamp(value) => ("timestamp", value.to_string()),
        AMQPValue::Void => ("void", "undefined".to_owned()),
        AMQPValue::FieldArray(values) => {
            let values = values.as_slice().iter().map(|value| {
                let (kind, term) = term(value);
                format!("{{{kind},{term}}}")
            });
            ("array", format!("[{}]", values.collect::<Vec<_>>().join(",")))
        }
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter().map(|(key, value)| {
                let (kind, term) = term(value);
                format!("{{{},{kind},{term}}}", binary(key.as_str().as_bytes()))
            });
            ("table", format!("[{}]", entries.collect::<Vec<_>>().join(",")))
        }
    }
}

/// Octets as Erlang prints a binary: quoted if all can be printed, as numbers if not.
pub(crate) fn binary(octets: &[u8]) -> String {
    let mut text = String::from("<<");
    if octets.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        if !octets.is_empty() {
            // Debug escapes these characters as Erlang does.
            let _ = write!(text, "{:?}", String::from_utf8_lossy(octets));
        }
    } else {
        let numbers: Vec<_> = octets.iter().map(u8::to_string).collect();
        text += &numbers.join(",");
    }
    text + ">>"
}
