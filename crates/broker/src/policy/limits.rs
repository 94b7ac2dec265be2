//! Owns limits by name: those of a vhost and those of a user.
//!
//! Invariant: limits that passed the check have known names and whole numbers; a negative one is no limit.

use serde_json::{Map, Value};

use super::erlang::{Pairs, Term};
use super::policy::InvalidPolicy;

/// Who has limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsOf {
    /// A vhost: `max-connections` and `max-queues`.
    Vhost,
    /// A user: `max-connections` and `max-channels`.
    User,
}

impl LimitsOf {
    /// Looks at limits as RabbitMQ does.
    ///
    /// # Errors
    /// [`InvalidPolicy`] with the reason.
    pub fn check(self, limits: &Map<String, Value>) -> Result<(), InvalidPolicy> {
        let (known, of) = match self {
            Self::Vhost => (["max-connections", "max-queues"], "limits"),
            Self::User => (["max-connections", "max-channels"], "user-limits"),
        };
        let mut unknown = Vec::new();
        for (name, value) in limits {
            if !known.contains(&name.as_str()) {
                unknown.push((name.as_str(), value));
            } else if !value.is_i64() && !value.is_u64() {
                let text = format!("{name} should be a number, actually was {}", Term(value));
                return Err(InvalidPolicy(text));
            }
        }
        match unknown.as_slice() {
            [] => Ok(()),
            unknown => Err(InvalidPolicy(format!("Unrecognised terms {} in {of}", Pairs(unknown)))),
        }
    }
}

/// The limit of that name, if there is one: anything but a number that is not negative is none.
pub(crate) fn limit(limits: &Map<String, Value>, name: &str) -> Option<u64> {
    limits.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_whole_numbers_with_known_names() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let limits = object(json!({"max-queues": 0, "max-connections": -1}));
        assert_eq!(LimitsOf::Vhost.check(&limits), Ok(()));
        assert_eq!((limit(&limits, "max-queues"), limit(&limits, "max-connections")), (Some(0), None));
        assert_eq!(limit(&limits, "max-channels"), None);
        let cases = [
            (json!({"max-channels": 1}), "Unrecognised terms [{<<\"max-channels\">>,1}] in limits"),
            (json!({"max-queues": "5"}), "max-queues should be a number, actually was <<\"5\">>"),
            (json!({"max-queues": 1.5}), "max-queues should be a number, actually was 1.5"),
            (json!({"max-queues": null}), "max-queues should be a number, actually was null"),
        ];
        for (limits, reason) in cases {
            assert_eq!(LimitsOf::Vhost.check(&object(limits)), Err(InvalidPolicy(reason.to_owned())));
        }
        assert_eq!(LimitsOf::User.check(&object(json!({"max-channels": 1}))), Ok(()));
        assert!(LimitsOf::User.check(&object(json!({"max-queues": 1}))).is_err());
    }
}
