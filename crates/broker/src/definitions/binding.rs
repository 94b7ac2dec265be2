//! Owns the definition of a binding.

use serde::{Deserialize, Serialize};
use warrenmq_wire::method::FieldTable;

use super::{arguments, name};

/// A binding; all of it together is its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The exchange that messages come from.
    #[serde(deserialize_with = "name::deserialize")]
    pub source: String,
    /// The vhost of both ends.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub vhost: String,
    /// The queue or exchange that they go to.
    #[serde(deserialize_with = "name::deserialize")]
    pub destination: String,
    /// Which of the two.
    pub destination_type: DestinationType,
    /// The key or pattern.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub routing_key: String,
    /// What a headers exchange compares.
    #[serde(default, with = "arguments")]
    pub arguments: FieldTable,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationType {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
}
