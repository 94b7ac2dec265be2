//! What exchanges and bindings have to be like, by the type of the exchange, with RabbitMQ's texts.

use crate::binding::{Binding, Destination};
use crate::consistent::{HashOn, weight};
use crate::exchange::{Exchange, ExchangeKind};
use crate::rule::check_headers_arguments;
use crate::term::term;
use warrenmq_wire::method::{AMQPValue, FieldTable};

/// The argument of `x-recent-history` that says how many messages are kept.
const HISTORY_LENGTH: &str = "x-recent-history-length";
/// How many are kept without it.
const HISTORY_LENGTH_DEFAULT: u64 = 20;

/// Checks the arguments of exchange.declare for a type.
///
/// # Errors
/// The text with which RabbitMQ refuses the declare, to follow `PRECONDITION_FAILED - `.
pub fn check_exchange(kind: ExchangeKind, arguments: &FieldTable) -> Result<(), String> {
    match kind {
        ExchangeKind::ConsistentHash => HashOn::read(arguments).map(drop),
        ExchangeKind::RecentHistory => history_length(arguments).map(drop),
        _ => Ok(()),
    }
}

/// Checks a binding from this exchange, whose ends exist.
///
/// # Errors
/// The text with which RabbitMQ refuses the bind, to follow `PRECONDITION_FAILED - `.
pub fn check_binding(source: &Exchange, binding: &Binding) -> Result<(), String> {
    match source.kind {
        ExchangeKind::Headers => check_headers_arguments(&binding.arguments),
        ExchangeKind::ConsistentHash => weight(&binding.routing_key).map(drop),
        ExchangeKind::LocalRandom if !binding.routing_key.is_empty() => {
            let key = String::from_utf8_lossy(&binding.routing_key);
            Err(format!("Non empty binding '{key}' key not permitted"))
        }
        ExchangeKind::LocalRandom if matches!(binding.destination, Destination::Exchange(_)) => {
            Err("Destination not found".to_owned())
        }
        _ => Ok(()),
    }
}

/// How many messages an `x-recent-history` exchange with these arguments keeps.
///
/// # Errors
/// The text with which RabbitMQ refuses the declare.
pub fn history_length(arguments: &FieldTable) -> Result<u64, String> {
    let Some(value) = arguments.inner().get(HISTORY_LENGTH) else { return Ok(HISTORY_LENGTH_DEFAULT) };
    let length = match value {
        AMQPValue::ShortShortInt(length) => i64::from(*length),
        AMQPValue::ShortInt(length) => i64::from(*length),
        AMQPValue::LongInt(length) => i64::from(*length),
        AMQPValue::LongLongInt(length) => *length,
        _ => 0,
    };
    match u64::try_from(length) {
        Ok(length) if length > 0 => Ok(length),
        _ => {
            Err(format!("Invalid argument {}, '{HISTORY_LENGTH}' must be a positive integer", term(value).1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use AMQPValue::{
        Boolean, LongInt, LongLongInt, LongString, LongUInt, ShortInt, ShortShortInt, ShortShortUInt,
    };

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    /// Texts as RabbitMQ 3.10.8 gives them, but for arguments that are no strings, on which it fails with 541.
    #[test]
    fn exchanges() {
        let text = |text: &str| LongString(text.into());
        let length = |value: &str| {
            Err(format!("Invalid argument {value}, 'x-recent-history-length' must be a positive integer"))
        };
        let (ring, history) = (ExchangeKind::ConsistentHash, ExchangeKind::RecentHistory);
        let exclusive = "hash-header and hash-property are mutually exclusive";
        type Case = (ExchangeKind, Vec<(&'static str, AMQPValue)>, Result<(), String>);
        let cases: Vec<Case> = vec![
            (ring, vec![], Ok(())),
            (ring, vec![("hash-header", text(""))], Ok(())),
            (ring, vec![("hash-property", text("timestamp"))], Ok(())),
            (ring, vec![("hash-property", text("app_id"))], Err("Unsupported property: app_id".to_owned())),
            (
                ring,
                vec![("hash-property", text("app_id")), ("hash-header", text("h"))],
                Err(exclusive.to_owned()),
            ),
            (
                ring,
                vec![("hash-header", LongInt(1))],
                Err("invalid type 'signedint' for arg 'hash-header'".to_owned()),
            ),
            (history, vec![], Ok(())),
            (history, vec![("x-recent-history-length", LongLongInt(1))], Ok(())),
            (history, vec![("x-recent-history-length", ShortShortInt(1))], Ok(())),
            (history, vec![("x-recent-history-length", ShortInt(300))], Ok(())),
            (history, vec![("x-recent-history-length", LongInt(0))], length("0")),
            (history, vec![("x-recent-history-length", LongInt(-1))], length("-1")),
            (history, vec![("x-recent-history-length", LongUInt(5))], length("5")),
            (history, vec![("x-recent-history-length", ShortShortUInt(5))], length("5")),
            (history, vec![("x-recent-history-length", text("5"))], length(r#"<<"5">>"#)),
            (history, vec![("x-recent-history-length", Boolean(true))], length("true")),
            (ExchangeKind::Direct, vec![("hash-property", text("app_id"))], Ok(())),
        ];
        for (kind, arguments, expected) in cases {
            assert_eq!(check_exchange(kind, &table(&arguments)), expected, "{kind:?} {arguments:?}");
        }
        assert_eq!(history_length(&FieldTable::default()), Ok(20));
    }

    /// Texts as RabbitMQ gives them.
    #[test]
    fn bindings() {
        let small = "The binding key must be greater than 0";
        let number = "The binding key must be an integer: ";
        let cases = [
            ("1", Ok(1)),
            ("+007", Ok(7)),
            ("10000", Ok(10_000)),
            ("0", Err(small.to_owned())),
            ("-0", Err(small.to_owned())),
            ("-99999999999999999999", Err(small.to_owned())),
            ("10001", Err("The binding key must not exceed 10000".to_owned())),
            ("99999999999999999999", Err("The binding key must not exceed 10000".to_owned())),
            ("", Err(format!("{number}<<>>"))),
            ("-", Err(format!("{number}<<\"-\">>"))),
            ("1.5", Err(format!("{number}<<\"1.5\">>"))),
            (" 1", Err(format!("{number}<<\" 1\">>"))),
        ];
        for (key, expected) in cases {
            assert_eq!(weight(key.as_bytes()), expected, "{key}");
        }
    }
}
