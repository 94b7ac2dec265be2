//! The configuration file: TOML, each value with the line it stands on.
//!
//! Invariant: nothing of the file is passed over; a table that is not known comes out as an unknown key.

use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::{ConfigError, Setting, keys};

/// All settings of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text)
}

/// All settings of `text`; `name` is what messages call it.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| syntax(name, text, &error))?.into_inner();
    let mut reader = Reader { name, text, settings: Vec::new() };
    reader.table("", table)?;
    Ok(reader.settings)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    settings: Vec<Setting>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let origin = origin(self.name, self.text, name.span().start);
            let (span, value) = (value.span(), value.into_inner());
            match value {
                DeValue::Table(inner)
                    if keys::is_table(&key) || !inner.is_empty() && keys::find(&key).is_none() =>
                {
                    self.table(&format!("{key}."), inner)?;
                }
                value => {
                    let value = ValueDeserializer::from(Spanned::new(span, value));
                    let value = Value::deserialize(value).map_err(|error| ConfigError::Value {
                        origin: origin.clone(),
                        key: key.clone(),
                        reason: error.message().to_owned(),
                    })?;
                    if keys::is_table(&key) {
                        let reason = format!("{value} is not a table, [{key}]");
                        return Err(ConfigError::Value { origin, key, reason });
                    }
                    self.settings.push(Setting { origin, key, value });
                }
            }
        }
        Ok(())
    }
}

fn syntax(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    ConfigError::Syntax { origin: origin(name, text, at), reason: error.message().replace('\n', ", ") }
}

fn origin(name: &str, text: &str, at: usize) -> String {
    let line = 1 + text.bytes().take(at).filter(|octet| *octet == b'\n').count();
    format!("{name}:{line}")
}
