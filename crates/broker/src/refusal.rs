//! The reply texts of refusals, to the letter of RabbitMQ.
//!
//! Invariant: every text that names a queue or exchange names it as [`Named`] prints it.

use std::fmt;

use warrenmq_protocol::Exception;
use warrenmq_wire::method::{AMQPValue, FieldTable};
use warrenmq_wire::reply::ReplyCode;

/// A resource as texts show it: `queue 'x' in vhost '/'`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) vhost: &'a str,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

pub(crate) fn queue<'a>(name: &'a str, vhost: &'a str) -> Named<'a> {
    Named { kind: "queue", name, vhost }
}

pub(crate) fn exchange<'a>(name: &'a str, vhost: &'a str) -> Named<'a> {
    Named { kind: "exchange", name, vhost }
}

pub(crate) fn not_found(what: Named<'_>) -> Exception {
    Exception::new(ReplyCode::NotFound, format!("no {what}"))
}

pub(crate) fn refused(explanation: impl Into<String>) -> Exception {
    Exception::new(ReplyCode::AccessRefused, explanation)
}

pub(crate) fn precondition(explanation: impl Into<String>) -> Exception {
    Exception::new(ReplyCode::PreconditionFailed, explanation)
}

pub(crate) fn not_allowed(explanation: impl Into<String>) -> Exception {
    Exception::new(ReplyCode::NotAllowed, explanation)
}

pub(crate) fn not_implemented(explanation: impl Into<String>) -> Exception {
    Exception::new(ReplyCode::NotImplemented, explanation)
}

pub(crate) fn default_exchange() -> Exception {
    refused("operation not permitted on the default exchange")
}

pub(crate) fn locked(what: Named<'_>) -> Exception {
    let text = format!(
        "cannot obtain exclusive access to locked {what}. It could be originally declared on another connection or \
         the exclusive property value does not match that of the original declaration."
    );
    Exception::new(ReplyCode::ResourceLocked, text)
}

/// basic.get where one consumer at a time gets messages.
pub(crate) fn single_active(what: Named<'_>, queue_type: &str) -> Exception {
    let text = format!(
        "cannot obtain access to locked {what}. basic.get operations are not supported by {queue_type} queues with single \
         active consumer"
    );
    Exception::new(ReplyCode::ResourceLocked, text)
}

pub(crate) fn reserved(kind: &str, name: &str) -> Exception {
    refused(format!("{kind} name '{name}' contains reserved prefix 'amq.*'"))
}

/// Refuses a redeclaration whose property differs (`rabbit_misc:assert_field_equivalence`).
pub(crate) fn same<T: PartialEq + fmt::Display>(
    what: Named<'_>,
    field: &str,
    received: T,
    current: T,
) -> Result<(), Exception> {
    if received == current {
        return Ok(());
    }
    Err(inequivalent(what, field, &format!("'{received}'"), &format!("'{current}'")))
}

/// Refuses a redeclaration whose argument differs. Integers of all widths compare by value.
pub(crate) fn same_argument(
    what: Named<'_>,
    key: &str,
    received: &FieldTable,
    current: &FieldTable,
) -> Result<(), Exception> {
    let (received, current) = (received.inner().get(key), current.inner().get(key));
    let equal = match (received, current) {
        (Some(a), Some(b)) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
        (a, b) => a == b,
    };
    match (received, current) {
        _ if equal => Ok(()),
        // RabbitMQ shows types only when one side has no value at all.
        (Some(a), Some(b)) => {
            Err(inequivalent(what, key, &format!("'{}'", text(a)), &format!("'{}'", text(b))))
        }
        _ => Err(inequivalent(what, key, &shown(received), &shown(current))),
    }
}

/// The value of any integer type.
pub(crate) fn integer(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(v) => i64::from(*v),
        AMQPValue::ShortShortUInt(v) => i64::from(*v),
        AMQPValue::ShortInt(v) => i64::from(*v),
        AMQPValue::ShortUInt(v) => i64::from(*v),
        AMQPValue::LongInt(v) => i64::from(*v),
        AMQPValue::LongUInt(v) => i64::from(*v),
        AMQPValue::LongLongInt(v) => *v,
        _ => return None,
    })
}

/// The text of a string value.
pub(crate) fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// RabbitMQ's name of the type of a value.
pub(crate) fn type_name(value: &AMQPValue) -> &'static str {
    match value {
        AMQPValue::Boolean(_) => "bool",
        AMQPValue::ShortShortInt(_) => "byte",
        AMQPValue::ShortShortUInt(_) => "unsignedbyte",
        AMQPValue::ShortInt(_) => "short",
        AMQPValue::ShortUInt(_) => "unsignedshort",
        AMQPValue::LongInt(_) => "signedint",
        AMQPValue::LongUInt(_) => "unsignedint",
        AMQPValue::LongLongInt(_) => "long",
        AMQPValue::Float(_) => "float",
        AMQPValue::Double(_) => "double",
        AMQPValue::DecimalValue(_) => "decimal",
        AMQPValue::ShortString(_) | AMQPValue::LongString(_) => "longstr",
        AMQPValue::FieldArray(_) => "array",
        AMQPValue::Timestamp(_) => "timestamp",
        AMQPValue::FieldTable(_) => "table",
        AMQPValue::ByteArray(_) => "binary",
        AMQPValue::Void => "void",
    }
}

fn inequivalent(what: Named<'_>, field: &str, received: &str, current: &str) -> Exception {
    precondition(format!(
        "inequivalent arg '{field}' for {what}: received {received} but current is {current}"
    ))
}

fn shown(value: Option<&AMQPValue>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => format!("the value '{}' of type '{}'", text(value), type_name(value)),
    }
}

fn text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::Boolean(v) => v.to_string(),
        AMQPValue::Float(v) => v.to_string(),
        AMQPValue::Double(v) => v.to_string(),
        AMQPValue::Timestamp(v) => v.to_string(),
        other => integer(other)
            .map(|v| v.to_string())
            .or_else(|| string(other))
            .unwrap_or_else(|| format!("{other:?}")),
    }
}
