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
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        origin: origin(name, text, error.span().map_or(0, |span| span.start)),
        reason: error.message().replace('\n', ", "),
    };
    let table = DeTable::parse(text).map_err(syntax)?.into_inner();
    let mut settings = Vec::new();
    flatten(&mut settings, "", table, &|at| origin(name, text, at)).map_err(syntax)?;
    Ok(settings)
}

fn flatten(
    settings: &mut Vec<Setting>,
    prefix: &str,
    table: DeTable<'_>,
    origin: &dyn Fn(usize) -> String,
) -> Result<(), toml::de::Error> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let origin_of_key = origin(name.span().start);
        if keys::is_table(&key) && value.get_ref().is_table() {
            let DeValue::Table(inner) = value.into_inner() else { continue };
            flatten(settings, &format!("{key}."), inner, origin)?;
        } else {
            settings.push(Setting { origin: origin_of_key, key, value: plain(value)? });
        }
    }
    Ok(())
}

fn plain(value: Spanned<DeValue<'_>>) -> Result<Value, toml::de::Error> {
    Value::deserialize(ValueDeserializer::from(value))
}

fn origin(name: &str, text: &str, at: usize) -> String {
    let line = 1 + text.bytes().take(at).filter(|octet| *octet == b'\n').count();
    format!("{name}:{line}")
}
