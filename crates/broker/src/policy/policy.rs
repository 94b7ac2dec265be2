//! Owns the policy: a pattern of names, what it applies to, and what it says about them.
//!
//! Invariant: a policy that exists has passed RabbitMQ's checks for its kind; one from the store passed them when it was set.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::erlang::{Pairs, Term};
use super::keys;
use crate::access::Pattern;
use crate::definitions::NAME_LENGTH_MAX;

/// What an object says about a policy, beside where it is.
const KEYS: [&str; 4] = ["pattern", "definition", "priority", "apply-to"];

/// Who has set a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Users with the tag `policymaker` (`set_policy`).
    User,
    /// Operators, to bound what the others say (`set_operator_policy`).
    Operator,
}

/// What a policy says about queues and exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "Map<String, Value>")]
pub struct Policy {
    /// The vhost in which it counts.
    pub vhost: String,
    /// Unique in the vhost, among its kind.
    pub name: String,
    /// Searched anywhere in the names.
    pub pattern: Pattern,
    /// The kinds of things it counts for.
    pub apply_to: ApplyTo,
    /// What it says: `message-ttl` and others, with their values.
    pub definition: Map<String, Value>,
    /// Of those that match a name the one with the highest priority counts.
    pub priority: i64,
}

/// The kinds of things that a policy counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum ApplyTo {
    /// Exchanges, and queues of all types.
    #[default]
    All,
    /// Exchanges.
    Exchanges,
    /// Queues of all types.
    Queues,
    /// Classic queues.
    ClassicQueues,
    /// Quorum queues.
    QuorumQueues,
    /// Streams.
    Streams,
}

/// Why something is not a policy, parameter or limit, in RabbitMQ's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("Validation failed\n\n{0}\n")]
pub struct InvalidPolicy(pub String);

impl PolicyKind {
    /// `policy` or `operator policy`, as messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "policy",
            Self::Operator => "operator policy",
        }
    }
}

impl Policy {
    /// A policy of this kind.
    ///
    /// # Errors
    /// [`InvalidPolicy`] with the reason: the pattern is no regular expression, or a key or value of the definition is unknown.
    pub fn new(
        kind: PolicyKind,
        vhost: &str,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: Map<String, Value>,
    ) -> Result<Policy, InvalidPolicy> {
        let pattern = Pattern::of_policy(pattern).map_err(|error| {
            let reason = error.reason;
            InvalidPolicy(format!("pattern should be regular expression but is invalid: {reason}"))
        })?;
        keys::check(kind, &definition).map_err(InvalidPolicy)?;
        let (vhost, name) = (vhost.to_owned(), name.to_owned());
        Ok(Policy { vhost, name, pattern, apply_to, definition, priority })
    }

    /// A policy from the object that RabbitMQ has for it: `pattern`, `definition`, `priority` and `apply-to`.
    ///
    /// # Errors
    /// [`InvalidPolicy`] with the reason.
    pub fn from_object(
        kind: PolicyKind,
        vhost: &str,
        name: &str,
        object: &Map<String, Value>,
    ) -> Result<Policy, InvalidPolicy> {
        let needed = |key: &str| {
            let missing = || InvalidPolicy(format!("Key \"{key}\" not found in {name}"));
            object.get(key).ok_or_else(missing)
        };
        if let Some((key, value)) = object.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
            let text = Pairs(&[(key, value)]);
            return Err(InvalidPolicy(format!("Unrecognised terms {text} in {name}")));
        }
        let pattern = needed("pattern")?;
        let pattern = pattern
            .as_str()
            .ok_or_else(|| InvalidPolicy(format!("pattern should be a binary but was {}", Term(pattern))))?;
        let priority = object.get("priority").map_or(Ok(0), priority)?;
        let apply_to = match object.get("apply-to") {
            None => ApplyTo::default(),
            Some(Value::String(text)) => ApplyTo::from_name(text)?,
            Some(other) => return Err(unrecognised(&Term(other))),
        };
        let definition = definition(needed("definition")?)?;
        Policy::new(kind, vhost, name, pattern, apply_to, priority, definition)
    }

    /// Keys that it has but that do nothing in this version.
    pub fn without_effect(&self) -> impl Iterator<Item = &str> {
        let idle = |key: &&str| keys::find(key).is_none_or(|key| !key.works);
        self.definition.keys().map(String::as_str).filter(idle)
    }

    /// The object that RabbitMQ has for it as a parameter.
    pub(crate) fn to_object(&self) -> Map<String, Value> {
        let entries = [
            ("pattern", Value::from(self.pattern.as_str())),
            ("definition", Value::Object(self.definition.clone())),
            ("priority", self.priority.into()),
            ("apply-to", self.apply_to.name().into()),
        ];
        entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    }
}

impl ApplyTo {
    const ALL: [Self; 6] =
        [Self::All, Self::Exchanges, Self::Queues, Self::ClassicQueues, Self::QuorumQueues, Self::Streams];

    /// The kinds of things with this name.
    ///
    /// # Errors
    /// [`InvalidPolicy`] that lists the names.
    pub fn from_name(name: &str) -> Result<Self, InvalidPolicy> {
        Self::ALL.into_iter().find(|own| own.name() == name).ok_or_else(|| unrecognised(&name))
    }

    /// Its name in RabbitMQ.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Exchanges => "exchanges",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
        }
    }

    /// Whether it has exchanges.
    pub(super) fn has_exchanges(self) -> bool {
        matches!(self, Self::All | Self::Exchanges)
    }

    /// Whether it has queues of this type.
    pub(super) fn has_queues(self, queue_type: &str) -> bool {
        match self {
            Self::All | Self::Queues => true,
            Self::Exchanges => false,
            Self::ClassicQueues => queue_type == "classic",
            Self::QuorumQueues => queue_type == "quorum",
            Self::Streams => queue_type == "stream",
        }
    }
}

/// A user policy as a definitions file has it; what else stands there is not looked at.
impl TryFrom<Map<String, Value>> for Policy {
    type Error = String;

    fn try_from(mut object: Map<String, Value>) -> Result<Self, String> {
        let mut text = |key: &str| match object.remove(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) if text.len() <= NAME_LENGTH_MAX => Ok(text),
            Some(other) => Err(format!("{key} of a policy: {} is not a name", Term(&other))),
        };
        let (vhost, name) = (text("vhost")?, text("name")?);
        if name.is_empty() {
            return Err(format!("policy in virtual host '{vhost}' has undefined name"));
        }
        object.retain(|key, _| KEYS.contains(&key.as_str()));
        Policy::from_object(PolicyKind::User, &vhost, &name, &object)
            .map_err(|InvalidPolicy(reason)| format!("policy '{name}' in vhost '{vhost}': {reason}"))
    }
}

impl TryFrom<String> for ApplyTo {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::from_name(&name).map_err(|InvalidPolicy(reason)| reason)
    }
}

fn unrecognised(term: &dyn fmt::Display) -> InvalidPolicy {
    InvalidPolicy(format!(
        "apply-to '{term}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'"
    ))
}

/// A whole number; what comes from JavaScript may have a fraction of 0.
fn priority(value: &Value) -> Result<i64, InvalidPolicy> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    let refusal = || InvalidPolicy(format!("priority should be a number, actually was {}", Term(value)));
    match value {
        Value::Null => Ok(0),
        value => value.as_i64().or_else(|| value.as_f64().and_then(whole)).ok_or_else(refusal),
    }
}

fn definition(value: &Value) -> Result<Map<String, Value>, InvalidPolicy> {
    crate::definitions::object(value.clone())
        .ok_or_else(|| InvalidPolicy(format!("definition must be a dictionary: {}", Term(value))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Policy, String> {
        let Value::Object(object) = value else { panic!("not an object") };
        Policy::from_object(PolicyKind::User, "/", "p", &object).map_err(|InvalidPolicy(reason)| reason)
    }

    #[test]
    fn objects_are_read_in_their_forms() {
        let policy = read(json!({"pattern": "^a", "definition": {"expires": 5}})).unwrap();
        assert_eq!((policy.apply_to, policy.priority), (ApplyTo::All, 0));
        let pairs = json!({"pattern": "", "definition": [["expires", 5]], "priority": -1.0,
            "apply-to": "quorum_queues"});
        let policy = read(pairs).unwrap();
        assert_eq!((policy.apply_to, policy.priority), (ApplyTo::QuorumQueues, -1));
        assert_eq!(policy.definition["expires"], json!(5));
        assert_eq!(
            serde_json::to_value(&policy).unwrap(),
            json!({"vhost": "/", "name": "p", "pattern": "", "apply-to": "quorum_queues", "definition": {"expires": 5},
                "priority": -1})
        );
        let again = Policy::from_object(PolicyKind::User, "/", "p", &policy.to_object());
        assert_eq!(again, Ok(policy.clone()));
        let mut object = serde_json::to_value(&policy).unwrap();
        object["component"] = json!("policy");
        assert_eq!(serde_json::from_value::<Policy>(object).unwrap(), policy);
        for (object, reason) in [
            (json!({"vhost": "v", "pattern": "a"}), "policy in virtual host 'v' has undefined name"),
            (
                json!({"vhost": "v", "name": "p", "pattern": "a", "definition": {"expires": 0}}),
                "policy 'p' in vhost 'v': 0 is not a valid queue expiry",
            ),
            (json!({"vhost": 1}), "vhost of a policy: 1 is not a name"),
        ] {
            assert_eq!(serde_json::from_value::<Policy>(object).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn what_is_no_policy_is_refused_with_a_reason() {
        let cases = [
            (json!({"definition": {"expires": 5}}), "Key \"pattern\" not found in p"),
            (json!({"pattern": "a"}), "Key \"definition\" not found in p"),
            (json!({"pattern": 1, "definition": {"expires": 5}}), "pattern should be a binary but was 1"),
            (
                json!({"pattern": "(", "definition": {"expires": 5}}),
                "pattern should be regular expression but is invalid: unclosed group",
            ),
            (json!({"pattern": "a", "definition": 5}), "definition must be a dictionary: 5"),
            (json!({"pattern": "a", "definition": [1]}), "definition must be a dictionary: [1]"),
            (json!({"pattern": "a", "definition": []}), "no policy provided"),
            (
                json!({"pattern": "a", "definition": {"expires": 5}, "priority": "high"}),
                "priority should be a number, actually was <<\"high\">>",
            ),
            (
                json!({"pattern": "a", "definition": {"expires": 5}, "aply-to": "all"}),
                "Unrecognised terms [{<<\"aply-to\">>,<<\"all\">>}] in p",
            ),
            (
                json!({"pattern": "a", "definition": {"expires": 5}, "apply-to": "queue"}),
                "apply-to 'queue' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', \
                 'streams', 'exchanges', or 'all'",
            ),
        ];
        for (object, reason) in cases {
            assert_eq!(read(object.clone()), Err(reason.to_owned()), "{object}");
        }
        let error = InvalidPolicy("no policy provided".to_owned());
        assert_eq!(error.to_string(), "Validation failed\n\nno policy provided\n");
    }

    #[test]
    fn what_does_nothing_is_named() {
        let definition = json!({"ha-mode": "all", "expires": 5, "queue-mode": "lazy"});
        let policy = read(json!({"pattern": "a", "definition": definition})).unwrap();
        assert_eq!(policy.without_effect().collect::<Vec<_>>(), ["ha-mode", "queue-mode"]);
    }
}
