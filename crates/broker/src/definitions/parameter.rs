//! Owns the definitions of runtime parameters, in a vhost and of the whole node.
//!
//! Invariant: a value is kept as it came, whatever it is for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name;

/// What a component is told about a vhost. RabbitMQ keeps operator policies and the limits of vhosts here too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Whom it is for: `federation-upstream`, `shovel` and others.
    #[serde(deserialize_with = "name::deserialize")]
    pub component: String,
    /// Its vhost.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub vhost: String,
    /// Unique in its component and vhost.
    #[serde(deserialize_with = "name::deserialize")]
    pub name: String,
    /// Anything.
    pub value: Value,
}

/// What the whole node is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalParameter {
    /// Unique name.
    #[serde(deserialize_with = "name::deserialize")]
    pub name: String,
    /// Anything.
    pub value: Value,
}

impl GlobalParameter {
    /// Says who the cluster is that exported it: RabbitMQ makes its own and does not import it.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with("internal")
    }
}

impl Parameter {
    /// The component of operator policies.
    pub const OPERATOR_POLICY: &str = "operator_policy";
    /// The component of the limits of vhosts, which are one parameter.
    pub const VHOST_LIMITS: &str = "vhost-limits";

    /// Whether it is an operator policy or the limits of a vhost, which are kept apart.
    pub fn is_builtin(&self) -> bool {
        [Self::OPERATOR_POLICY, Self::VHOST_LIMITS].contains(&self.component.as_str())
    }
}
