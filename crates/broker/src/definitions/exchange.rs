//! Owns the definition of an exchange.

use serde::{Deserialize, Serialize};
use warrenmq_wire::method::FieldTable;

use super::{arguments, name};

/// An exchange as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Unique in its vhost.
    #[serde(deserialize_with = "name::deserialize")]
    pub name: String,
    /// Its vhost.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub vhost: String,
    /// The name of its type: `direct`, `x-delayed-message`, or one that WarrenMQ does not have.
    #[serde(rename = "type", deserialize_with = "name::deserialize")]
    pub kind: String,
    /// Whether it survives a restart.
    #[serde(default = "yes")]
    pub durable: bool,
    /// Whether it goes with the last binding from it.
    #[serde(default)]
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    #[serde(default)]
    pub internal: bool,
    /// `alternate-exchange` and others.
    #[serde(default, with = "arguments")]
    pub arguments: FieldTable,
    /// Names what it holds back on disk, if it delays messages: node-wide, never reused. 0 is none. The node's own affair: not in a
    /// definitions.json.
    #[serde(skip)]
    pub number: u64,
}

/// RabbitMQ's default when a definitions file does not say.
fn yes() -> bool {
    true
}
