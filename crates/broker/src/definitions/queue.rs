//! Owns the definition of a queue.

use serde::{Deserialize, Serialize};
use warrenmq_wire::method::{AMQPValue, FieldTable};

use super::{arguments, name};

/// A queue as it was declared. Exclusive queues go with their connection and have no definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Unique in its vhost.
    #[serde(deserialize_with = "name::deserialize")]
    pub name: String,
    /// Its vhost.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub vhost: String,
    /// Whether it survives a restart.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Whether it goes with its last consumer.
    #[serde(default)]
    pub auto_delete: bool,
    /// `x-message-ttl` and others.
    #[serde(default, with = "arguments")]
    pub arguments: FieldTable,
    /// Names its messages on disk: node-wide, never reused, so a queue that is declared again does not find those of the one
    /// before. 0 is none yet. The node's own affair: not in a definitions.json.
    #[serde(skip)]
    pub id: u64,
}

impl Queue {
    /// `classic`, `quorum`, `stream` or whatever else `x-queue-type` says. RabbitMQ's own `type` beside the
    /// arguments is for readers only; it does not import it either.
    pub fn queue_type(&self) -> &str {
        match self.arguments.inner().get("x-queue-type") {
            Some(AMQPValue::LongString(kind)) => std::str::from_utf8(kind.as_bytes()).unwrap_or("invalid"),
            _ => "classic",
        }
    }
}

/// RabbitMQ's default when a definitions file does not say.
fn yes() -> bool {
    true
}
