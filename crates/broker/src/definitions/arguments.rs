//! Owns the conversion of arguments between AMQP field tables and JSON, as RabbitMQ converts them when it
//! exports and imports definitions.
//!
//! Invariant: a table that came from JSON can be sent, stored and checked by `warrenmq-wire`: keys are short
//! strings and nesting is within its bound.
//!
//! JSON has fewer types than AMQP. On the way back an integer is `l`, a number with a fraction `d`, a text
//! `S`. A value without a JSON form becomes a text: octets that are not UTF-8 are shown as base64, `V` is
//! `"undefined"`. A decimal is exported as the number it stands for (RabbitMQ writes 3.14 as 2.314).

use std::fmt;
use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use warrenmq_wire::method::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use warrenmq_wire::table;

/// Writes a table as a JSON object; for `#[serde(with = …)]`.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(table: &FieldTable, serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(table.inner().len()))?;
    for (key, value) in table.inner() {
        object.serialize_entry(key.as_str(), &Json(value))?;
    }
    object.end()
}

/// Reads a table from a JSON object; an empty list and null stand for an empty one, as in old exports.
///
/// # Errors
/// For null inside, integers beyond 64 bits signed, keys that are too long, and nesting beyond
/// [`table::DEPTH_MAX`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldTable, D::Error> {
    let table = deserializer.deserialize_any(TableVisitor)?;
    let mut encoded = Vec::new();
    table::put(&mut encoded, &table).map_err(D::Error::custom)?;
    table::check(&encoded).map_err(D::Error::custom)?;
    Ok(table)
}

/// A value on its way out.
struct Json<'a>(&'a AMQPValue);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AMQPValue::Boolean(value) => serializer.serialize_bool(*value),
            AMQPValue::ShortShortInt(value) => serializer.serialize_i8(*value),
            AMQPValue::ShortShortUInt(value) => serializer.serialize_u8(*value),
            AMQPValue::ShortInt(value) => serializer.serialize_i16(*value),
            AMQPValue::ShortUInt(value) => serializer.serialize_u16(*value),
            AMQPValue::LongInt(value) => serializer.serialize_i32(*value),
            AMQPValue::LongUInt(value) => serializer.serialize_u32(*value),
            AMQPValue::LongLongInt(value) => serializer.serialize_i64(*value),
            AMQPValue::Timestamp(value) => serializer.serialize_u64(*value),
            AMQPValue::Float(value) => number(f64::from(*value), serializer),
            AMQPValue::Double(value) => number(*value, serializer),
            AMQPValue::DecimalValue(value) => {
                // Read as text, it is rounded once; a division would round twice.
                let exact = format!("{}e-{}", value.value, value.scale);
                number(exact.parse().unwrap_or_default(), serializer)
            }
            AMQPValue::ShortString(value) => serializer.serialize_str(value.as_str()),
            AMQPValue::LongString(value) => text(value.as_bytes(), serializer),
            AMQPValue::ByteArray(value) => text(value.as_slice(), serializer),
            AMQPValue::FieldArray(values) => {
                let mut list = serializer.serialize_seq(Some(values.as_slice().len()))?;
                for value in values.as_slice() {
                    list.serialize_element(&Json(value))?;
                }
                list.end()
            }
            AMQPValue::FieldTable(table) => serialize(table, serializer),
            AMQPValue::Void => serializer.serialize_str("undefined"),
        }
    }
}

/// JSON has no infinities and no NaN; as null they could not be imported again.
fn number<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(value) } else { serializer.collect_str(&value) }
}

fn text<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match str::from_utf8(octets) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_str(&format_args!("Not UTF-8, base64 is: {}", STANDARD.encode(octets))),
    }
}

struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = FieldTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of arguments")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<FieldTable, A::Error> {
        let mut table = FieldTable::default();
        while let Some(key) = object.next_key::<String>()? {
            let key = ShortString::try_new(key).map_err(A::Error::custom)?;
            table.insert(key, object.next_value::<Amqp>()?.0);
        }
        Ok(table)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FieldTable, A::Error> {
        match list.next_element::<Amqp>()? {
            None => Ok(FieldTable::default()),
            Some(_) => Err(A::Error::custom("expected an object of arguments, found a list")),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<FieldTable, E> {
        Ok(FieldTable::default())
    }
}

/// A value on its way in.
struct Amqp(AMQPValue);

impl<'de> Deserialize<'de> for Amqp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = AMQPValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, number, string, list or object")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<AMQPValue, E> {
        Ok(AMQPValue::Boolean(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<AMQPValue, E> {
        Ok(AMQPValue::LongLongInt(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<AMQPValue, E> {
        let value =
            i64::try_from(value).map_err(|_| E::custom(format_args!("integer {value} is too large")))?;
        Ok(AMQPValue::LongLongInt(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<AMQPValue, E> {
        Ok(AMQPValue::Double(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<AMQPValue, E> {
        Ok(AMQPValue::LongString(LongString::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AMQPValue, A::Error> {
        let mut values = FieldArray::default();
        while let Some(Amqp(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(AMQPValue::FieldArray(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<AMQPValue, A::Error> {
        TableVisitor.visit_map(object).map(AMQPValue::FieldTable)
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::method::{ByteArray, DecimalValue};

    use super::*;

    fn export(value: AMQPValue) -> String {
        serde_json::to_string(&Json(&value)).unwrap()
    }

    fn import(json: &str) -> Result<FieldTable, String> {
        deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_type_exports_as_rabbitmq_exports_it() {
        let array = |values: &[AMQPValue]| AMQPValue::FieldArray(values.to_vec().into());
        let cases = [
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::ShortShortInt(-1), "-1"),
            (AMQPValue::ShortShortUInt(255), "255"),
            (AMQPValue::ShortInt(-1), "-1"),
            (AMQPValue::ShortUInt(65535), "65535"),
            (AMQPValue::LongInt(-1), "-1"),
            (AMQPValue::LongUInt(4_294_967_295), "4294967295"),
            (AMQPValue::LongLongInt(i64::MIN), "-9223372036854775808"),
            (AMQPValue::Float(1.1), "1.100000023841858"),
            (AMQPValue::Double(1.1), "1.1"),
            (AMQPValue::Double(2.0), "2.0"),
            (AMQPValue::Double(1e300), "1e+300"),
            (AMQPValue::Double(f64::NAN), "\"NaN\""),
            (AMQPValue::Float(f32::NEG_INFINITY), "\"-inf\""),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 }), "3.14"),
            (AMQPValue::DecimalValue(DecimalValue { scale: 255, value: 1 }), "1e-255"),
            (AMQPValue::LongString("abc".into()), "\"abc\""),
            (AMQPValue::LongString(b"a\xff".as_slice().into()), "\"Not UTF-8, base64 is: Yf8=\""),
            (AMQPValue::ByteArray(ByteArray::from(b"bin".as_slice())), "\"bin\""),
            (AMQPValue::ByteArray(ByteArray::from(b"\xfe\xff".as_slice())), "\"Not UTF-8, base64 is: /v8=\""),
            (array(&[AMQPValue::LongInt(1), AMQPValue::LongString("a".into())]), "[1,\"a\"]"),
            (array(&[]), "[]"),
            (AMQPValue::FieldTable(FieldTable::default()), "{}"),
            (AMQPValue::Timestamp(1_700_000_000), "1700000000"),
            (AMQPValue::Void, "\"undefined\""),
        ];
        for (value, json) in cases {
            assert_eq!(export(value.clone()), json, "{value:?}");
        }
    }

    #[test]
    fn json_imports_as_rabbitmq_imports_it() {
        // (JSON value, AMQP value)
        let cases = [
            ("true", AMQPValue::Boolean(true)),
            ("1", AMQPValue::LongLongInt(1)),
            ("-9223372036854775808", AMQPValue::LongLongInt(i64::MIN)),
            ("9223372036854775807", AMQPValue::LongLongInt(i64::MAX)),
            ("1.5", AMQPValue::Double(1.5)),
            ("1.0", AMQPValue::Double(1.0)),
            ("1e3", AMQPValue::Double(1000.0)),
            ("\"ü\"", AMQPValue::LongString("ü".into())),
            (
                "[1,[\"a\"]]",
                AMQPValue::FieldArray(
                    vec![
                        AMQPValue::LongLongInt(1),
                        AMQPValue::FieldArray(vec![AMQPValue::LongString("a".into())].into()),
                    ]
                    .into(),
                ),
            ),
            ("{}", AMQPValue::FieldTable(FieldTable::default())),
        ];
        for (json, value) in cases {
            let table = import(&format!("{{\"k\":{json}}}")).unwrap();
            assert_eq!(table.inner().get("k"), Some(&value), "{json}");
            assert_eq!(table.inner().len(), 1);
        }
        for json in ["{}", "[]", "null"] {
            assert_eq!(import(json), Ok(FieldTable::default()), "{json}");
        }
    }

    #[test]
    fn refuses_what_amqp_cannot_say() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let long_key = format!("{{\"{}\":1}}", "k".repeat(256));
        // (JSON, part of the reason)
        let cases = [
            ("{\"a\":null}", "invalid type: null, expected a boolean, number, string, list or object"),
            ("{\"a\":[null]}", "invalid type: null"),
            ("{\"a\":9223372036854775808}", "integer 9223372036854775808 is too large"),
            ("[1]", "expected an object of arguments, found a list"),
            ("1", "expected an object of arguments"),
            (&long_key, "256"),
            (&deep(101), "more than 100 levels of nesting"),
            (&deep(10_000), "recursion limit exceeded"),
        ];
        for (json, reason) in cases {
            let error = import(json).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(import(&deep(100)).is_ok());
    }
}
