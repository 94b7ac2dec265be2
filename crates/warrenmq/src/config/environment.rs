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
        let wrong = |reason: &str| ConfigError::Value {
            origin: format!("environment variable {variable}"),
            key: key.name.clone(),
            reason: reason.to_owned(),
        };
        let text = text.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
        let value = value(&key.default, text).ok_or_else(|| wrong(&key.wanted()))?;
        settings.push(Setting { origin: format!("environment variable {variable}"), key: key.name, value });
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

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// `text` as a value of the same kind as `like`; lists are separated by commas.
fn value(like: &Value, text: &str) -> Option<Value> {
    let words = || text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Some(match like {
        Value::Integer(_) => Value::Integer(text.trim().parse().ok()?),
        Value::Array(_) => Value::Array(words().map(Value::from).collect()),
        _ => Value::from(text),
    })
}
