//! What a binding to a headers exchange asks of headers: its arguments, read by what `x-match` says
//! (`rabbit_exchange_type_headers`). Rules are ordered by their arguments; equal arguments are one rule.

use crate::term::{binary, term};
use crate::value::form;
use std::cmp::Ordering;
use std::sync::Arc;
use warrenmq_wire::method::{AMQPValue, FieldTable};
use warrenmq_wire::table::RawTable;

/// Checks the arguments of a binding to a headers exchange: `x-match`, if it is there, has to be one of
/// four strings. An error is RabbitMQ's text.
pub(crate) fn check_headers_arguments(arguments: &FieldTable) -> Result<(), String> {
    let value = arguments.inner().iter().find(|(key, _)| key.as_str() == X_MATCH).map(|(_, value)| value);
    match value {
        None => Ok(()),
        Some(AMQPValue::LongString(text)) if Match::from_name(text.as_bytes()).is_some() => Ok(()),
        Some(AMQPValue::LongString(text)) => Err(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            binary(text.as_bytes())
        )),
        Some(other) => {
            let (kind, term) = term(other);
            Err(format!("Invalid x-match field type {kind} (value {term}); expected longstr"))
        }
    }
}

const X_MATCH: &str = "x-match";

/// What `x-match` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    /// One criterion is enough.
    any: bool,
    /// Arguments that begin with `x-` are criteria too.
    with_x: bool,
}

impl Match {
    const DEFAULT: Self = Self { any: false, with_x: false };

    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"all" => Self { any: false, with_x: false },
            b"any" => Self { any: true, with_x: false },
            b"all-with-x" => Self { any: false, with_x: true },
            b"any-with-x" => Self { any: true, with_x: true },
            _ => return None,
        })
    }

    fn takes(self, key: &[u8]) -> bool {
        key != X_MATCH.as_bytes() && (self.with_x || !key.starts_with(b"x-"))
    }
}

/// What a binding asks of headers.
#[derive(Debug)]
pub(crate) struct Rule {
    /// One criterion is enough; if there are none, nothing is.
    pub(crate) any: bool,
    /// Each key once.
    pub(crate) criteria: Box<[Criterion]>,
    /// The arguments in wire form that it was read from.
    pub(crate) arguments: Arc<[u8]>,
}

/// One header that a binding asks for.
#[derive(Debug)]
pub(crate) struct Criterion {
    pub(crate) key: Arc<[u8]>,
    /// The form of the value; `None` asks only that the header is there (a void argument).
    pub(crate) value: Option<Arc<[u8]>>,
}

impl Rule {
    /// Reads binding arguments in wire form; no octets are no arguments, and match every message.
    pub(crate) fn new(arguments: &Arc<[u8]>) -> Self {
        let arguments = Arc::clone(arguments);
        if arguments.is_empty() {
            return Self { any: false, criteria: Box::default(), arguments };
        }
        let Ok((table, _)) = RawTable::parse(&arguments) else {
            // Nested deeper than anything that the wire lets in; such arguments match nothing.
            return Self { any: true, criteria: Box::default(), arguments };
        };
        let x_match = table.get(X_MATCH.as_bytes()).and_then(|value| value.as_longstr());
        let x_match = x_match.and_then(Match::from_name).unwrap_or(Match::DEFAULT);
        let criteria = table.entries().filter(|(key, _)| x_match.takes(key)).map(|(key, value)| Criterion {
            key: key.into(),
            value: (value.tag != b'V').then(|| form(value).as_slice().into()),
        });
        Self { any: x_match.any, criteria: criteria.collect(), arguments }
    }
}

impl Ord for Rule {
    fn cmp(&self, other: &Self) -> Ordering {
        self.arguments.cmp(&other.arguments)
    }
}

impl PartialOrd for Rule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rule {}

#[cfg(test)]
mod tests {
    use super::*;

    use AMQPValue::{Boolean, ByteArray, Double, FieldArray, LongInt, LongLongInt, LongString, Void};

    #[test]
    fn refusals_read_as_those_of_rabbitmq() {
        let value = |text: &str| {
            format!("Invalid x-match field value {text}; expected all, any, all-with-x, or any-with-x")
        };
        let kind = |kind: &str, term: &str| {
            format!("Invalid x-match field type {kind} (value {term}); expected longstr")
        };
        let text = |text: &str| LongString(text.into());
        let cases = [
            (text("zzz"), value(r#"<<"zzz">>"#)),
            (text(""), value("<<>>")),
            (text("ALL"), value(r#"<<"ALL">>"#)),
            (text("a\"b\n'"), value(r#"<<"a\"b\n'">>"#)),
            (LongInt(5), kind("signedint", "5")),
            (Boolean(true), kind("bool", "true")),
            (Void, kind("void", "undefined")),
            (Double(1.5), kind("double", "1.5")),
            (LongLongInt(1 << 40), kind("long", "1099511627776")),
            (ByteArray(vec![0, 255].into()), kind("binary", "<<0,255>>")),
            (
                FieldArray(vec![LongInt(1), text("a")].into()),
                kind("array", r#"[{signedint,1},{longstr,<<"a">>}]"#),
            ),
            (
                AMQPValue::FieldTable(table(&[("k", text("v"))])),
                kind("table", r#"[{<<"k">>,longstr,<<"v">>}]"#),
            ),
        ];
        for (argument, expected) in cases {
            assert_eq!(check_headers_arguments(&table(&[("x-match", argument)])), Err(expected));
        }
        for name in ["all", "any", "all-with-x", "any-with-x"] {
            assert_eq!(check_headers_arguments(&table(&[("x-match", text(name))])), Ok(()));
        }
        assert_eq!(check_headers_arguments(&FieldTable::default()), Ok(()));
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }
}
