//! The types of queues, and which arguments each of them knows.
//!
//! Invariant: an argument that some type of RabbitMQ knows is known by this type or refused; others are kept and mean nothing
//! (`rabbit_queue_type:arguments/2`).

use warrenmq_protocol::Exception;
use warrenmq_wire::method::{AMQPValue, FieldTable, ShortString};

use super::queues::QueueDeclare;
use crate::refusal::{self, string};

/// What `x-queue-type` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QueueType {
    /// `classic`, and what a queue is that does not say.
    #[default]
    Classic,
    /// `quorum`.
    Quorum,
}

pub(super) const QUEUE_TYPE: &str = "x-queue-type";

/// What a classic queue knows; the last four RabbitMQ does not have on classic queues.
const CLASSIC: [&str; 17] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-queue-master-locator",
    "x-queue-leader-locator",
    "x-consumer-timeout",
    "x-warren-expire-anywhere",
    "x-delayed-retry-type",
];

/// What a quorum queue knows.
const QUORUM: [&str; 21] = [
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    "x-queue-leader-locator",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
    "x-warren-expire-anywhere",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
];

/// Those of both that come with `x-delayed-retry-type`.
const RETRY: [&str; 2] = ["x-delayed-retry-min", "x-delayed-retry-max"];

/// What streams alone know.
const STREAM: [&str; 4] =
    ["x-max-age", "x-stream-max-segment-size-bytes", "x-stream-filter-size-bytes", "x-initial-cluster-size"];

impl QueueType {
    /// The type that the arguments name.
    ///
    /// # Errors
    /// The refusal of a name that is none; `what` is the queue.
    pub(super) fn of(arguments: &FieldTable, what: refusal::Named<'_>) -> Result<QueueType, Exception> {
        let invalid =
            |why: String| refusal::precondition(format!("invalid arg '{QUEUE_TYPE}' for {what}: {why}"));
        let Some(value) = arguments.inner().get(QUEUE_TYPE) else { return Ok(QueueType::default()) };
        let Some(name) = string(value) else {
            return Err(invalid(format!("{{unacceptable_type,{}}}", refusal::type_name(value))));
        };
        match name.as_str() {
            // RabbitMQ takes these for a missing argument.
            "" | "undefined" => Ok(QueueType::default()),
            "classic" => Ok(QueueType::Classic),
            "quorum" => Ok(QueueType::Quorum),
            "stream" => {
                Err(invalid("queue type 'stream' is not supported; use 'classic' or 'quorum'".to_owned()))
            }
            other => Err(invalid(format!("\"unsupported queue type '{other}'\""))),
        }
    }

    /// Whether queues can be of the type with this name.
    pub(crate) fn exists(name: &str) -> bool {
        let mut arguments = FieldTable::default();
        if let Ok(key) = ShortString::try_new(QUEUE_TYPE) {
            arguments.insert(key, AMQPValue::LongString(name.into()));
        }
        QueueType::of(&arguments, refusal::queue("", "")).is_ok()
    }

    /// Refuses what a queue of this type cannot be, in RabbitMQ's order (`rabbit_quorum_queue:declare/2`).
    pub(super) fn check_properties(
        self,
        asked: &QueueDeclare,
        what: refusal::Named<'_>,
    ) -> Result<(), Exception> {
        let wrong = match self {
            QueueType::Classic => return Ok(()),
            QueueType::Quorum if asked.auto_delete => "auto-delete",
            QueueType::Quorum if asked.exclusive => "exclusive-owner",
            QueueType::Quorum if !asked.durable => "non-durable",
            QueueType::Quorum => return Ok(()),
        };
        Err(refusal::precondition(format!("invalid property '{wrong}' for {what}")))
    }

    /// Whether the server may give a queue of this type its name. What is no type is refused later.
    pub(crate) fn check_server_named(arguments: &FieldTable) -> Result<(), Exception> {
        match QueueType::of(arguments, refusal::queue("", "")) {
            Ok(QueueType::Quorum) => {
                let module = QueueType::Quorum.module();
                let text = format!("Cannot declare a server-named queue for type {module}");
                Err(refusal::precondition(text))
            }
            _ => Ok(()),
        }
    }

    /// The name of RabbitMQ's module, which its texts show.
    pub(super) fn module(self) -> &'static str {
        match self {
            QueueType::Classic => "rabbit_classic_queue",
            QueueType::Quorum => "rabbit_quorum_queue",
        }
    }

    /// The arguments that it knows: they have to be repeated when a queue is declared again.
    pub(super) fn arguments(self) -> impl Iterator<Item = &'static str> {
        let (own, retry) = match self {
            QueueType::Classic => (&CLASSIC[..], &RETRY[..]),
            QueueType::Quorum => (&QUORUM[..], &[][..]),
        };
        own.iter().chain(retry).copied()
    }

    /// Refuses arguments that only other types know.
    pub(super) fn check_keys(
        self,
        arguments: &FieldTable,
        what: refusal::Named<'_>,
    ) -> Result<(), Exception> {
        let known = |key: &str| self.arguments().any(|own| own == key);
        let foreign = |key: &str| {
            !known(key) && [&CLASSIC[..], &QUORUM[..], &STREAM[..]].iter().any(|list| list.contains(&key))
        };
        match arguments.inner().keys().find(|key| foreign(key.as_str())) {
            Some(key) => Err(refusal::precondition(format!(
                "invalid arg '{key}' for {what} of queue type {}",
                self.module()
            ))),
            None => Ok(()),
        }
    }
}

/// Whether two declarations mean the same type: no type is the default, whatever a queue was declared with.
pub(super) fn same_type(received: &FieldTable, current: &FieldTable) -> bool {
    type_name(received) == type_name(current)
}

/// Whether the arguments name a type.
pub(super) fn is_named(arguments: &FieldTable) -> bool {
    match arguments.inner().get(QUEUE_TYPE) {
        // RabbitMQ takes these for a missing argument.
        Some(AMQPValue::LongString(name)) => !matches!(name.as_bytes(), b"" | b"undefined"),
        other => other.is_some(),
    }
}

/// The name of the type that the arguments mean.
pub(super) fn type_name(arguments: &FieldTable) -> &str {
    match arguments.inner().get(QUEUE_TYPE) {
        Some(AMQPValue::LongString(name)) if is_named(arguments) => {
            std::str::from_utf8(name.as_bytes()).unwrap_or("invalid")
        }
        Some(AMQPValue::LongString(_)) | None => "classic",
        Some(_) => "invalid",
    }
}
