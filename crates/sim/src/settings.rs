//! What an operator sets beside policies: limits of the vhost and of the user, parameters of the vhost and of the node.
//!
//! Invariant: the limits are so wide that nobody meets them: here they have to be there after each start. What they do, tests of the broker show.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::rng::Rng;

/// The user that all clients are.
pub const USER: &str = "guest";
/// Parameters of each kind at the same time.
const NAMES: usize = 3;
/// More than any run has of what is limited.
const WIDE: u64 = 1_000;

/// All that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Limits of the vhost.
    pub vhost: Map<String, Value>,
    /// Limits of the user.
    pub user: Map<String, Value>,
    /// Runtime parameters of the vhost, by name.
    pub parameters: BTreeMap<String, Value>,
    /// Global parameters, by name.
    pub globals: BTreeMap<String, Value>,
}

/// Something that is set, or cleared.
#[derive(Clone, Debug)]
pub enum Change {
    /// The limits of the vhost, in place of those before.
    Vhost(Option<Map<String, Value>>),
    /// Limits of the user, beside those before.
    User(Option<Map<String, Value>>),
    /// A runtime parameter.
    Parameter(String, Option<Value>),
    /// A global parameter.
    Global(String, Option<Value>),
}

impl Settings {
    /// What an operator changes next. What is not there is not cleared.
    pub fn draw(&self, rng: &mut Rng) -> Change {
        let number = WIDE + rng.between(0, 9);
        let clears = rng.chance(1, 3);
        let name = format!("s{}", rng.below(NAMES));
        let limits = |names: [&str; 2], rng: &mut Rng| {
            let name = names[rng.below(2)];
            Map::from_iter([(name.to_owned(), json!(number))])
        };
        match rng.below(4) {
            0 if clears && !self.vhost.is_empty() => Change::Vhost(None),
            0 => Change::Vhost(Some(limits(["max-queues", "max-connections"], rng))),
            1 if clears => Change::User(None),
            1 => Change::User(Some(limits(["max-channels", "max-connections"], rng))),
            2 if clears && self.parameters.contains_key(&name) => Change::Parameter(name, None),
            2 => Change::Parameter(name, Some(json!({"src-delete-after": number}))),
            _ if clears && self.globals.contains_key(&name) => Change::Global(name, None),
            _ => Change::Global(name, Some(json!(number))),
        }
    }

    /// What is there after it.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Vhost(limits) => self.vhost = limits.unwrap_or_default(),
            Change::User(Some(limits)) => self.user.extend(limits),
            Change::User(None) => self.user.clear(),
            Change::Parameter(name, value) => put(&mut self.parameters, name, value),
            Change::Global(name, value) => put(&mut self.globals, name, value),
        }
    }
}

fn put(values: &mut BTreeMap<String, Value>, name: String, value: Option<Value>) {
    match value {
        Some(value) => values.insert(name, value),
        None => values.remove(&name),
    };
}
