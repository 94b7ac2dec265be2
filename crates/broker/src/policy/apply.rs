//! Owns what a policy makes of the arguments that a queue was declared with.
//!
//! Invariant: what comes out is read like the arguments of a declare and is never refused: each value passed the checks of a
//! policy or of a declare, and what does not fit together is left out.

use serde_json::{Map, Value};
use warrenmq_wire::method::{AMQPValue, FieldTable, LongString, ShortString};

use super::merge::limit;
use crate::refusal::integer;

/// Who wins where both a policy and an argument say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wins {
    /// The smaller number.
    Smaller,
    /// The smaller number, of which a negative one is no limit.
    Limit,
    /// The argument.
    Argument,
    /// The policy.
    Policy,
    /// The argument in classic queues, the policy in others.
    ByType,
}

/// Keys of policies that are arguments of queues too (`rabbit_queue_type_util:args_policy_lookup` and who calls it).
const ARGUMENTS: [(&str, Wins); 13] = [
    ("message-ttl", Wins::Smaller),
    ("expires", Wins::Smaller),
    ("max-length", Wins::Smaller),
    ("max-length-bytes", Wins::Smaller),
    ("delivery-limit", Wins::Limit),
    ("consumer-timeout", Wins::Smaller),
    ("dead-letter-exchange", Wins::Argument),
    ("dead-letter-routing-key", Wins::Argument),
    ("dead-letter-strategy", Wins::Argument),
    ("overflow", Wins::ByType),
    ("delayed-retry-type", Wins::Policy),
    ("delayed-retry-min", Wins::Smaller),
    ("delayed-retry-max", Wins::Smaller),
];

/// Ten years in milliseconds. Policies may say more, arguments may not.
const EXPIRY_MS_MAX: i64 = 315_360_000_000;

/// The arguments that a queue of this type has under a policy. `definition` is what its policies say together.
pub(crate) fn effective_arguments(
    queue_type: &str,
    arguments: &FieldTable,
    definition: &Map<String, Value>,
) -> FieldTable {
    let mut effective = arguments.clone();
    for (key, wins) in ARGUMENTS {
        let name = format!("x-{key}");
        let Some(value) = definition.get(key) else { continue };
        let value = match effective.inner().get(name.as_str()) {
            Some(argument) => resolve(wins, queue_type, value, argument),
            None => to_amqp(value),
        };
        if let Some(value) = value.map(|value| fitting(queue_type, key, value))
            && let Ok(name) = ShortString::try_new(name)
        {
            effective.insert(name, value);
        }
    }
    fit_together(&effective)
}

/// What counts; `None`: the argument as it is.
fn resolve(wins: Wins, queue_type: &str, policy: &Value, argument: &AMQPValue) -> Option<AMQPValue> {
    match (wins, policy.as_i64(), integer(argument)) {
        (Wins::Smaller, Some(policy), Some(argument)) => Some(AMQPValue::LongLongInt(policy.min(argument))),
        (Wins::Limit, Some(policy), Some(argument)) => Some(AMQPValue::LongLongInt(limit(policy, argument))),
        (Wins::Policy, ..) => to_amqp(policy),
        (Wins::ByType, ..) if queue_type != "classic" => to_amqp(policy),
        _ => None,
    }
}

fn to_amqp(value: &Value) -> Option<AMQPValue> {
    match value {
        Value::String(text) => Some(AMQPValue::LongString(LongString::from(text.as_str()))),
        value => value.as_i64().map(AMQPValue::LongLongInt),
    }
}

/// What an argument of the queue can say.
fn fitting(queue_type: &str, key: &str, value: AMQPValue) -> AMQPValue {
    match (key, value) {
        ("message-ttl" | "expires", AMQPValue::LongLongInt(time)) => {
            AMQPValue::LongLongInt(time.min(EXPIRY_MS_MAX))
        }
        // Quorum queues do not have it; RabbitMQ falls back to their default.
        ("overflow", AMQPValue::LongString(name))
            if queue_type == "quorum" && name.as_bytes() == b"reject-publish-dlx" =>
        {
            AMQPValue::LongString(LongString::from("drop-head"))
        }
        (_, value) => value,
    }
}

/// A routing key without an exchange, and delays without a shortest one or with a longest that is shorter, say nothing.
fn fit_together(arguments: &FieldTable) -> FieldTable {
    let has = |key: &str| arguments.contains_key(key);
    let number = |key: &str| arguments.inner().get(key).and_then(integer);
    let mut dropped: Vec<&str> = Vec::new();
    if !has("x-dead-letter-exchange") {
        dropped.extend(["x-dead-letter-routing-key", "x-dead-letter-strategy"]);
    }
    let (min, max) = (number("x-delayed-retry-min"), number("x-delayed-retry-max"));
    match (min, max) {
        (None, _) => dropped.extend(["x-delayed-retry-type", "x-delayed-retry-max"]),
        (Some(min), Some(max)) if max < min => dropped.push("x-delayed-retry-max"),
        _ => {}
    }
    let mut kept = FieldTable::default();
    for (key, value) in arguments.inner().iter().filter(|(key, _)| !dropped.contains(&key.as_str())) {
        kept.insert(key.clone(), value.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definitions::Queue;

    fn table(arguments: &Value) -> FieldTable {
        let queue = json!({"name": "q", "arguments": arguments});
        serde_json::from_value::<Queue>(queue).unwrap().arguments
    }

    #[test]
    fn policies_and_arguments_meet_as_in_rabbitmq() {
        // (type, arguments, policy, what counts)
        let cases = [
            ("classic", json!({}), json!({"message-ttl": 5}), json!({"x-message-ttl": 5})),
            ("classic", json!({"x-message-ttl": 9}), json!({"message-ttl": 5}), json!({"x-message-ttl": 5})),
            ("classic", json!({"x-message-ttl": 3}), json!({"message-ttl": 5}), json!({"x-message-ttl": 3})),
            ("classic", json!({"x-expires": 3}), json!({"expires": 5}), json!({"x-expires": 3})),
            ("classic", json!({"x-max-length": 9}), json!({"max-length": 0}), json!({"x-max-length": 0})),
            (
                "quorum",
                json!({"x-max-length-bytes": 9}),
                json!({"max-length-bytes": 5}),
                json!({"x-max-length-bytes": 5}),
            ),
            (
                "quorum",
                json!({"x-delivery-limit": 9}),
                json!({"delivery-limit": 5}),
                json!({"x-delivery-limit": 5}),
            ),
            (
                "quorum",
                json!({"x-delivery-limit": -1}),
                json!({"delivery-limit": 5}),
                json!({"x-delivery-limit": 5}),
            ),
            (
                "classic",
                json!({"x-overflow": "drop-head"}),
                json!({"overflow": "reject-publish"}),
                json!({"x-overflow": "drop-head"}),
            ),
            (
                "quorum",
                json!({"x-overflow": "drop-head"}),
                json!({"overflow": "reject-publish"}),
                json!({"x-overflow": "reject-publish"}),
            ),
            (
                "classic",
                json!({"x-dead-letter-exchange": "a"}),
                json!({"dead-letter-exchange": "b", "dead-letter-routing-key": "k"}),
                json!({"x-dead-letter-exchange": "a", "x-dead-letter-routing-key": "k"}),
            ),
            ("classic", json!({}), json!({"dead-letter-routing-key": "k"}), json!({})),
            (
                "quorum",
                json!({"x-consumer-timeout": 9}),
                json!({"consumer-timeout": 5}),
                json!({"x-consumer-timeout": 5}),
            ),
            (
                "quorum",
                json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 5}),
                json!({"delayed-retry-type": "failed", "delayed-retry-min": 9}),
                json!({"x-delayed-retry-type": "failed", "x-delayed-retry-min": 5}),
            ),
            (
                "quorum",
                json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 5}),
                json!({"delayed-retry-max": 3}),
                json!({"x-delayed-retry-type": "all", "x-delayed-retry-min": 5}),
            ),
        ];
        cases.into_iter().for_each(check);
    }

    #[test]
    fn what_is_no_argument_stays_out_and_what_nobody_knows_stays() {
        let cases = [
            ("classic", json!({}), json!({"expires": i64::MAX}), json!({"x-expires": EXPIRY_MS_MAX})),
            // Nothing else becomes an argument, and what is not known stays.
            (
                "classic",
                json!({"x-own": "1"}),
                json!({"queue-mode": "lazy", "alternate-exchange": "x"}),
                json!({"x-own": "1"}),
            ),
        ];
        cases.into_iter().for_each(check);
        let overflow = json!({"overflow": "reject-publish-dlx"});
        check(("quorum", json!({}), overflow.clone(), json!({"x-overflow": "drop-head"})));
        check(("classic", json!({}), overflow, json!({"x-overflow": "reject-publish-dlx"})));
    }

    fn check((queue_type, arguments, definition, expected): (&str, Value, Value, Value)) {
        let effective = effective_arguments(queue_type, &table(&arguments), definition.as_object().unwrap());
        assert_eq!(effective, table(&expected), "{queue_type} {arguments} {definition}");
    }
}
