//! Owns the keys that a policy may have, which values each takes, and RabbitMQ's reasons for refusing others.
//!
//! Invariant: every key that a RabbitMQ of 3.8 to 4.3 with its own plugins knows is here; one that does nothing here says so.

use serde_json::{Map, Value};

use super::erlang::{Pairs, Term};
use super::policy::PolicyKind;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    check: Check,
    /// The end of the reason: `-1 is not a valid …`.
    what: &'static str,
    /// How the values of a user policy and of an operator policy make one. `None`: operator policies do not have it.
    pub(super) merge: Option<Merge>,
    /// Whether it does anything in this version.
    pub(super) works: bool,
}

/// Which values a key takes.
#[derive(Clone, Copy, Debug)]
enum Check {
    Text,
    TextNotEmpty,
    /// A whole number in this range.
    Whole(i64, i64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// `7D`, `1h` and the like.
    Age,
    /// Of a feature that is not here.
    Anything,
}

/// How two values make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The smaller number.
    Min,
    /// The greater number.
    Max,
    /// The smaller number, but a negative one is no limit: then the greater.
    Limit,
    /// That of the operator policy.
    Operator,
}

const MAX: i64 = i64::MAX;
/// RabbitMQ's `MAX_STREAM_MAX_SEGMENT_SIZE`.
const SEGMENT_MAX: i64 = 3_000_000_000;

const YES: bool = true;
const NO: bool = false;

const fn key(name: &'static str, check: Check, what: &'static str, merge: Option<Merge>, works: bool) -> Key {
    Key { name, check, what, merge, works }
}

/// The keys of RabbitMQ itself, then those of its plugins and of mirrored queues (until 3.13).
static KEYS: [Key; 38] = {
    use Check::{Age, Anything, OneOf, Text, TextNotEmpty, Whole};
    use Merge::{Limit, Max, Min, Operator};
    const LOCATORS: &[&str] = &["client-local", "balanced", "random", "least-leaders"];
    const MASTER_LOCATORS: &[&str] = &["min-masters", "client-local", "random", "balanced", "least-leaders"];
    const OVERFLOWS: &[&str] = &["drop-head", "reject-publish", "reject-publish-dlx"];
    const RETRIES: &[&str] = &["all", "failed", "returned", "disabled"];
    [
        key("alternate-exchange", Text, "alternate exchange name", None, YES),
        key("consumer-timeout", Whole(0, MAX), "consumer timeout", None, YES),
        key("dead-letter-exchange", Text, "dead letter exchange name", None, YES),
        key("dead-letter-routing-key", Text, "dead letter routing key", None, YES),
        key(
            "dead-letter-strategy",
            OneOf(&["at-most-once", "at-least-once"]),
            "dead letter strategy",
            None,
            YES,
        ),
        key("message-ttl", Whole(0, MAX), "message TTL", Some(Min), YES),
        key("expires", Whole(1, MAX), "queue expiry", Some(Min), YES),
        key("max-length", Whole(0, MAX), "maximum length", Some(Min), YES),
        key("max-length-bytes", Whole(0, MAX), "maximum length in bytes", Some(Min), YES),
        key("overflow", OneOf(OVERFLOWS), "overflow value", Some(Operator), YES),
        key("delivery-limit", Whole(i64::MIN, MAX), "delivery limit", Some(Limit), YES),
        key(
            "delayed-retry-type",
            OneOf(RETRIES),
            "delayed retry type. Must be one of: all, failed, returned, disabled",
            Some(Operator),
            YES,
        ),
        key(
            "delayed-retry-min",
            Whole(1, MAX),
            "delayed retry minimum delay. Must be a positive integer",
            Some(Max),
            YES,
        ),
        key(
            "delayed-retry-max",
            Whole(1, MAX),
            "delayed retry maximum delay. Must be a positive integer",
            Some(Min),
            YES,
        ),
        key("max-in-memory-length", Whole(0, MAX), "maximum memory in bytes", Some(Min), NO),
        key("max-in-memory-bytes", Whole(0, MAX), "maximum memory in bytes", Some(Min), NO),
        key("queue-mode", OneOf(&["default", "lazy"]), "queue-mode value", None, NO),
        key("queue-version", Whole(1, 2), "queue-version value", Some(Operator), NO),
        key("queue-leader-locator", OneOf(LOCATORS), "queue leader locator value", None, NO),
        key("queue-master-locator", OneOf(MASTER_LOCATORS), "master locator", Some(Operator), NO),
        key("initial-cluster-size", Whole(0, MAX), "cluster size", None, NO),
        key("target-group-size", Whole(1, MAX), "qq target count value", Some(Max), NO),
        key(
            "member-placement-tag",
            TextNotEmpty,
            "member-placement-tag value. Must be a non-empty string",
            Some(Operator),
            NO,
        ),
        key("consumer-disconnected-timeout", Whole(0, MAX), "consumer disconnected timeout", None, NO),
        key("max-age", Age, "max age", None, NO),
        key("stream-max-segment-size-bytes", Whole(0, SEGMENT_MAX), "segment size", None, NO),
        key("stream-filter-size-bytes", Whole(16, 255), "filter size. Valid range is 16-255", None, NO),
        key("federation-upstream", Text, "federation upstream name", None, NO),
        key("federation-upstream-set", Text, "federation upstream set name", None, NO),
        key("federation-upstream-pattern", Text, "federation upstream pattern", None, NO),
        key("shards-per-node", Whole(0, MAX), "number of shards", None, NO),
        key("routing-key", Text, "routing key", None, NO),
        key("ha-mode", OneOf(&["all", "exactly", "nodes"]), "ha-mode value", Some(Operator), NO),
        key("ha-params", Anything, "ha-params value", Some(Operator), NO),
        key("ha-sync-mode", OneOf(&["manual", "automatic"]), "ha-sync-mode value", Some(Operator), NO),
        key("ha-sync-batch-size", Whole(1, MAX), "ha-sync-batch-size value", None, NO),
        key("ha-promote-on-shutdown", OneOf(PROMOTIONS), "ha-promote-on-shutdown value", None, NO),
        key("ha-promote-on-failure", OneOf(PROMOTIONS), "ha-promote-on-failure value", None, NO),
    ]
};

const PROMOTIONS: &[&str] = &["always", "when-synced"];

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Looks at a definition as RabbitMQ does: at the values first, and then whether every key is known.
///
/// # Errors
/// The reason.
pub(super) fn check(kind: PolicyKind, definition: &Map<String, Value>) -> Result<(), String> {
    if definition.is_empty() {
        return Err("no policy provided".to_owned());
    }
    let mut unknown = Vec::new();
    for (name, value) in definition {
        match find(name).filter(|key| kind == PolicyKind::User || key.merge.is_some()) {
            Some(key) if key.takes(value) => {}
            Some(key) => return Err(format!("{} is not a valid {}", Term(value), key.what)),
            None => unknown.push((name.as_str(), value)),
        }
    }
    check_retries(definition)?;
    match unknown.as_slice() {
        [] => Ok(()),
        unknown => Err(format!("{} are not recognised policy settings", Pairs(unknown))),
    }
}

/// What the keys of delayed retries say has to fit together.
fn check_retries(definition: &Map<String, Value>) -> Result<(), String> {
    let number = |name: &str| definition.get(name).and_then(Value::as_i64);
    let (min, max) = (number("delayed-retry-min"), number("delayed-retry-max"));
    let kind = definition.get("delayed-retry-type").and_then(Value::as_str);
    match (kind, min, max) {
        (Some(kind), None, _) if kind != "disabled" => {
            Err(format!("delayed-retry-min is required when delayed-retry-type is {kind}"))
        }
        (_, Some(min), Some(max)) if max < min => {
            Err(format!("delayed-retry-max ({max}) must not be smaller than delayed-retry-min ({min})"))
        }
        _ => Ok(()),
    }
}

impl Key {
    fn takes(&self, value: &Value) -> bool {
        match self.check {
            Check::Text => value.is_string(),
            Check::TextNotEmpty => value.as_str().is_some_and(|text| !text.is_empty()),
            Check::Whole(min, max) => value.as_i64().is_some_and(|number| (min..=max).contains(&number)),
            Check::OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Check::Age => value.as_str().is_some_and(is_age),
            Check::Anything => true,
        }
    }
}

/// A number above 0 and a unit, as `rabbit_amqqueue:check_max_age` has it.
fn is_age(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    number.bytes().any(|digit| digit != b'0') && ["Y", "M", "D", "h", "m", "s"].contains(&unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(kind: PolicyKind, definition: Value) -> Option<String> {
        let Value::Object(definition) = definition else { panic!("not an object") };
        check(kind, &definition).err()
    }

    #[test]
    fn what_rabbitmq_takes_is_taken() {
        let cases = [
            json!({"message-ttl": 0, "expires": 1, "max-length": 0, "max-length-bytes": 0}),
            json!({"overflow": "reject-publish-dlx", "dead-letter-exchange": "", "dead-letter-routing-key": "k"}),
            json!({"dead-letter-strategy": "at-least-once", "delivery-limit": -1, "consumer-timeout": 0}),
            json!({"delayed-retry-type": "failed", "delayed-retry-min": 5, "delayed-retry-max": 5}),
            json!({"delayed-retry-type": "disabled"}),
            json!({"alternate-exchange": "x", "queue-mode": "lazy", "queue-version": 2}),
            json!({"queue-leader-locator": "balanced", "queue-master-locator": "min-masters"}),
            json!({"max-age": "7D", "stream-max-segment-size-bytes": 1, "initial-cluster-size": 3}),
            json!({"ha-mode": "nodes", "ha-params": ["a"], "ha-sync-mode": "automatic", "target-group-size": 3}),
            json!({"federation-upstream-set": "all", "shards-per-node": 2, "routing-key": "1234"}),
            json!({"max-in-memory-length": 1, "max-in-memory-bytes": 1}),
        ];
        for definition in cases {
            assert_eq!(reason(PolicyKind::User, definition.clone()), None, "{definition}");
        }
        let all = json!({"expires": 1, "message-ttl": 1, "max-length": 1, "max-length-bytes": 1, "overflow": "drop-head",
            "delivery-limit": 1, "max-in-memory-length": 1, "max-in-memory-bytes": 1, "queue-version": 1,
            "target-group-size": 1, "delayed-retry-min": 1});
        assert_eq!(reason(PolicyKind::Operator, all), None);
    }

    #[test]
    fn what_rabbitmq_refuses_is_refused_with_its_reason() {
        let cases = [
            (json!({}), "no policy provided"),
            (json!({"message-ttl": -1}), "-1 is not a valid message TTL"),
            (json!({"message-ttl": "1"}), "<<\"1\">> is not a valid message TTL"),
            (json!({"message-ttl": 1.0}), "1.0 is not a valid message TTL"),
            (json!({"expires": 0}), "0 is not a valid queue expiry"),
            (json!({"max-length": -5}), "-5 is not a valid maximum length"),
            (json!({"max-length-bytes": null}), "null is not a valid maximum length in bytes"),
            (json!({"overflow": "drop-tail"}), "<<\"drop-tail\">> is not a valid overflow value"),
            (json!({"dead-letter-exchange": 1}), "1 is not a valid dead letter exchange name"),
            (json!({"dead-letter-routing-key": []}), "[] is not a valid dead letter routing key"),
            (json!({"dead-letter-strategy": "x"}), "<<\"x\">> is not a valid dead letter strategy"),
            (json!({"delivery-limit": "x"}), "<<\"x\">> is not a valid delivery limit"),
            (json!({"alternate-exchange": true}), "true is not a valid alternate exchange name"),
            (json!({"consumer-timeout": -1}), "-1 is not a valid consumer timeout"),
            (json!({"queue-mode": "eager"}), "<<\"eager\">> is not a valid queue-mode value"),
            (json!({"queue-version": 3}), "3 is not a valid queue-version value"),
            (json!({"max-age": "7d"}), "<<\"7d\">> is not a valid max age"),
            (json!({"max-age": "0D"}), "<<\"0D\">> is not a valid max age"),
            (json!({"stream-filter-size-bytes": 15}), "15 is not a valid filter size. Valid range is 16-255"),
            (
                json!({"delayed-retry-type": "all"}),
                "delayed-retry-min is required when delayed-retry-type is all",
            ),
            (
                json!({"delayed-retry-min": 5, "delayed-retry-max": 4}),
                "delayed-retry-max (4) must not be smaller than delayed-retry-min (5)",
            ),
            (
                json!({"message-tt": 1, "max-length": 5}),
                "[{<<\"message-tt\">>,1}] are not recognised policy settings",
            ),
            // A wrong value is named before a key that is not known.
            (json!({"a": 1, "max-length": -5}), "-5 is not a valid maximum length"),
        ];
        for (definition, expected) in cases {
            assert_eq!(
                reason(PolicyKind::User, definition.clone()).as_deref(),
                Some(expected),
                "{definition}"
            );
        }
        assert_eq!(
            reason(PolicyKind::Operator, json!({"dead-letter-exchange": "x", "expires": 1})).as_deref(),
            Some("[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings")
        );
    }

    #[test]
    fn a_key_stands_once() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[at + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }
}
