//! Environment variables: for every key `limits.frame_max` there is `WARRENMQ_LIMITS_FRAME_MAX`.
//!
//! Invariant: the names follow from the keys, so that none can be forgotten.

use std::ffi::OsString;

use toml::Value;

use super::{ConfigError, FILE_VARIABLE, Setting, keys};

const PREFIX: &str = "WARRENMQ_";

/// Set by orchestrators for a service that is called `warrenmq`, or read by `warrenmq perf`: not meant for us.
const FOREIGN: [&str; 3] = ["WARRENMQ_SERVICE_", "WARRENMQ_PORT", "WARRENMQ_PERF_"];

/// The settings among `variables`.
pub(super) fn settings(variables: &[(OsString, OsString)]) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for key in keys::all() {
        let variable = variable(&key.name);
        let Some((_, text)) = variables.iter().find(|(name, _)| name.as_os_str() == variable.as_str()) else {
            continue;
        };
        let origin = format!("environment variable {variable}");
        let Some(text) = text.to_str() else {
            return Err(ConfigError::Value { origin, key: key.name, reason: "it is not UTF-8".to_owned() });
        };
        settings.push(Setting { origin, value: value(&key.default, text), key: key.name });
    }
    Ok(settings)
}

/// Variables that look as if they were meant for us and are not: a mistyped name should not go unnoticed.
pub(crate) fn unknown_variables(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let known: Vec<String> = keys::all().iter().map(|key| variable(&key.name)).collect();
    let is_ours =
        |name: &String| name.starts_with(PREFIX) && !FOREIGN.iter().any(|prefix| name.starts_with(prefix));
    let mut unknown: Vec<String> = names
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(is_ours)
        .filter(|name| name != FILE_VARIABLE && !known.contains(name))
        .collect();
    unknown.sort();
    unknown
}

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// `text` as a value of the same kind as `like`; lists are separated by commas. What is not of that kind stays a string, and is
/// refused as one.
fn value(like: &Value, text: &str) -> Value {
    let words = || text.split(',').map(str::trim).filter(|word| !word.is_empty());
    match like {
        Value::Integer(_) => text.trim().parse().map_or_else(|_| Value::from(text), Value::Integer),
        Value::Array(_) => Value::Array(words().map(Value::from).collect()),
        _ => Value::from(text),
    }
}
