//! What the names of a transcript are bound to, and the comparison of a pattern with a value, which is where they are bound.

use std::collections::BTreeMap;

use super::scan::Pattern;
use super::value::Value;

/// Bindings of one run.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    bound: BTreeMap<String, Value>,
}

impl Variables {
    /// The value to send or to expect for a pattern, `None` when any would do.
    pub(crate) fn resolve(&self, pattern: &Pattern) -> Result<Option<Value>, String> {
        match pattern {
            Pattern::Any => Ok(None),
            Pattern::Exactly(Value::Text(text)) => self.interpolate(text).map(|text| Some(Value::Text(text))),
            Pattern::Exactly(value) => Ok(Some(value.clone())),
            Pattern::Variable { name, glob: None } => self.value_of(name).map(|value| Some(value.clone())),
            Pattern::Variable { .. } => Err("only an expectation can have a glob".to_owned()),
        }
    }

    /// Whether the value is what the pattern says; binds its variable when that is new.
    pub(crate) fn matches(&mut self, pattern: &Pattern, value: &Value) -> Result<bool, String> {
        match pattern {
            Pattern::Variable { name, glob } => {
                let text = if let Value::Text(text) = value { text.as_slice() } else { &[] };
                if glob.as_ref().is_some_and(|glob| !matches_glob(glob, text)) {
                    return Ok(false);
                }
                if name.is_empty() {
                    return Ok(true);
                }
                Ok(self.bound.entry(name.clone()).or_insert_with(|| value.clone()) == value)
            }
            other => Ok(self.resolve(other)?.is_none_or(|expected| expected.accepts(value))),
        }
    }

    /// What a name is bound to.
    pub(crate) fn value_of(&self, name: &str) -> Result<&Value, String> {
        self.bound.get(name).ok_or(format!("${name} is not bound yet"))
    }

    /// Replaces each `${name}`.
    fn interpolate(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let mut result = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.windows(2).position(|pair| pair == b"${") {
            let (before, after) = (&rest[..start], &rest[start + 2..]);
            let end = after.iter().position(|byte| *byte == b'}').ok_or("`${` without `}`")?;
            result.extend(before);
            match self.value_of(&String::from_utf8_lossy(&after[..end]))? {
                Value::Text(text) => result.extend(text),
                other => result.extend(other.to_string().into_bytes()),
            }
            rest = &after[end + 1..];
        }
        result.extend(rest);
        Ok(result)
    }
}

/// `*` stands for any bytes, `?` for one.
fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|start| matches_glob(rest, &text[start..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(byte, text)| (*first == b'?' || first == byte) && matches_glob(rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_variable_is_bound_once_and_equal_ever_after() {
        let mut variables = Variables::default();
        let q = Pattern::Variable { name: "q".to_owned(), glob: Some(b"amq.gen-??".to_vec()) };
        assert!(variables.resolve(&Pattern::Variable { name: "q".to_owned(), glob: None }).is_err());
        assert_eq!(variables.matches(&q, &text("other")), Ok(false));
        assert_eq!(variables.matches(&q, &text("amq.gen-ab")), Ok(true));
        assert_eq!(variables.matches(&q, &text("amq.gen-cd")), Ok(false));
        let sentence = Pattern::Exactly(text("no queue '${q}' here"));
        assert_eq!(variables.resolve(&sentence), Ok(Some(text("no queue 'amq.gen-ab' here"))));
        assert_eq!(variables.matches(&sentence, &text("no queue 'amq.gen-ab' here")), Ok(true));
        assert!(variables.resolve(&Pattern::Exactly(text("${unbound}"))).is_err());
    }

    #[test]
    fn globs() {
        for (glob, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "ac", false),
            ("a*", "ba", false),
        ] {
            assert_eq!(matches_glob(glob.as_bytes(), text.as_bytes()), matches, "{glob} {text}");
        }
    }
}
