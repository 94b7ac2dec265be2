//! Owns how two values for one key make one: of a user policy and an operator policy, and of a policy and an argument.
//!
//! Invariant: numbers that bound something never grow by a second value.

use serde_json::{Map, Value};

use super::keys::{self, Merge};

/// What counts where both a user policy and an operator policy do (`rabbit_policy:merge_operator_definitions`).
pub(super) fn merge(
    user: Option<&Map<String, Value>>,
    operator: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut merged = user.cloned().unwrap_or_default();
    for (key, value) in operator.into_iter().flatten() {
        let value = match merged.get(key) {
            Some(other) => merge_value(key, other, value),
            None => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn merge_value(key: &str, user: &Value, operator: &Value) -> Value {
    let merge = keys::find(key).and_then(|key| key.merge).unwrap_or(Merge::Operator);
    match (merge, user.as_i64(), operator.as_i64()) {
        (Merge::Min, Some(a), Some(b)) => a.min(b).into(),
        (Merge::Max, Some(a), Some(b)) => a.max(b).into(),
        (Merge::Limit, Some(a), Some(b)) => limit(a, b).into(),
        _ => operator.clone(),
    }
}

/// The smaller of two limits, of which a negative one is none; with such a one the greater, as in RabbitMQ.
pub(super) fn limit(a: i64, b: i64) -> i64 {
    if a < 0 || b < 0 { a.max(b) } else { a.min(b) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operator_bounds_what_a_user_says() {
        // (user policy, operator policy, what counts)
        let cases = [
            (json!({"max-length": 10}), json!({"max-length": 5}), json!({"max-length": 5})),
            (json!({"max-length": 5}), json!({"max-length": 10}), json!({"max-length": 5})),
            (json!({"max-length-bytes": 5}), json!({"max-length-bytes": 0}), json!({"max-length-bytes": 0})),
            (json!({"message-ttl": 5}), json!({"message-ttl": 10}), json!({"message-ttl": 5})),
            (json!({"expires": 15}), json!({"expires": 10}), json!({"expires": 10})),
            (json!({"delivery-limit": 5}), json!({"delivery-limit": 10}), json!({"delivery-limit": 5})),
            (json!({"delivery-limit": -1}), json!({"delivery-limit": 10}), json!({"delivery-limit": 10})),
            (json!({"delivery-limit": 5}), json!({"delivery-limit": -1}), json!({"delivery-limit": 5})),
            (json!({"delivery-limit": -3}), json!({"delivery-limit": -1}), json!({"delivery-limit": -1})),
            (
                json!({"overflow": "drop-head"}),
                json!({"overflow": "reject-publish"}),
                json!({"overflow": "reject-publish"}),
            ),
            (json!({"queue-version": 2}), json!({"queue-version": 1}), json!({"queue-version": 1})),
            (
                json!({"target-group-size": 3}),
                json!({"target-group-size": 5}),
                json!({"target-group-size": 5}),
            ),
            (
                json!({"delayed-retry-min": 3}),
                json!({"delayed-retry-min": 5}),
                json!({"delayed-retry-min": 5}),
            ),
            (
                json!({"delayed-retry-max": 3}),
                json!({"delayed-retry-max": 5}),
                json!({"delayed-retry-max": 3}),
            ),
            (
                json!({"dead-letter-exchange": "x", "max-length": 1}),
                json!({"expires": 10}),
                json!({"dead-letter-exchange": "x", "max-length": 1, "expires": 10}),
            ),
        ];
        for (user, operator, expected) in cases {
            let merged = merge(user.as_object(), operator.as_object());
            assert_eq!(Value::Object(merged), expected, "{user} {operator}");
            assert_eq!(merge(user.as_object(), None), *user.as_object().unwrap());
            assert_eq!(merge(None, operator.as_object()), *operator.as_object().unwrap());
        }
        assert!(merge(None, None).is_empty());
    }
}
