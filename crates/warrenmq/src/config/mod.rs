//! What can be set, from which places, and in which order they win: command line, environment, file, default.
//!
//! Invariant: a [`Config`] that left [`load`] can be run: every key is known and every value is in its range.
//!
//! ```text
//!   file ─────────┐
//!                 ├──► Setting { origin, key, value } ──► keys: known? kind? range? ──► Config
//!   environment ──┘                                                                       ▲
//!   command line ─────────────────────────────────────────────────────────────────────────┘
//! ```

mod environment;
mod error;
mod file;
mod keys;
mod limits;
mod size;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use warrenmq_broker::Limits;

pub(crate) use environment::unknown_variables;
pub(crate) use error::ConfigError;
pub(crate) use keys::parse_address;
pub(crate) use size::Size;

/// The variable that names the configuration file, as `--config` does.
const FILE_VARIABLE: &str = "WARRENMQ_CONFIG";

/// Everything that can be configured. The names of the fields are the keys; `config/warrenmq.toml` describes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    /// Publishers wait while less than this is free on the disk of `data_dir`.
    pub(crate) disk_free_limit: Size,
    /// Empty: none.
    pub(crate) load_definitions: PathBuf,
    pub(crate) log: String,
    /// 0: one per processor.
    pub(crate) workers: u16,
    /// `fsync` or `os`.
    pub(crate) durability: String,
    /// Empty: made from the name of the host.
    pub(crate) cluster_name: String,
    pub(crate) default_user: String,
    pub(crate) default_pass: String,
    pub(crate) default_vhost: String,
    /// `classic` or `quorum`.
    pub(crate) default_queue_type: String,
    pub(crate) loopback_users: Vec<String>,
    pub(crate) server_properties: ServerProperties,
    #[serde(with = "limits::Keys")]
    pub(crate) limits: Limits,
}

/// Who the broker says it is, in connection.start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerProperties {
    pub(crate) product: String,
    pub(crate) version: String,
}

/// What the command line sets; it wins over all else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) config: Option<PathBuf>,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) disk_free_limit: Option<Size>,
    pub(crate) load_definitions: Option<PathBuf>,
    pub(crate) log: Option<String>,
}

/// A value for a key, and where it comes from, for messages.
#[derive(Clone, Debug)]
struct Setting {
    origin: String,
    key: String,
    value: Value,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 5672)), SocketAddr::from(([0u16; 8], 5672))],
            data_dir: PathBuf::from("warrenmq-data"),
            disk_free_limit: "50MB".parse().expect("invariant: a number and a unit"),
            load_definitions: PathBuf::new(),
            log: "info".to_owned(),
            workers: 0,
            durability: "fsync".to_owned(),
            cluster_name: String::new(),
            default_user: "guest".to_owned(),
            default_pass: "guest".to_owned(),
            default_vhost: "/".to_owned(),
            default_queue_type: "classic".to_owned(),
            loopback_users: vec!["guest".to_owned()],
            server_properties: ServerProperties {
                product: "RabbitMQ".to_owned(),
                version: "3.13.7".to_owned(),
            },
            limits: Limits::default(),
        }
    }
}

/// The configuration of this start. `variables` is the environment.
///
/// # Errors
/// The first thing that is wrong, as one line.
pub(crate) fn load(
    overrides: Overrides,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let variables: Vec<(OsString, OsString)> =
        variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let named =
        variables.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, value)| PathBuf::from(value));
    let mut config = Config::default();
    if let Some(path) = overrides.config.or(named) {
        config.apply_all(file::read(&path)?)?;
    }
    config.apply_all(environment::settings(&variables)?)?;
    if !overrides.listen.is_empty() {
        config.listen = overrides.listen;
    }
    config.data_dir = overrides.data_dir.unwrap_or(config.data_dir);
    config.disk_free_limit = overrides.disk_free_limit.unwrap_or(config.disk_free_limit);
    config.load_definitions = overrides.load_definitions.unwrap_or(config.load_definitions);
    config.log = overrides.log.unwrap_or(config.log);
    config.check()?;
    Ok(config)
}

impl Config {
    /// The definitions file to load at the start, if there is one.
    pub(crate) fn definitions_file(&self) -> Option<&Path> {
        Some(self.load_definitions.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    fn apply_all(&mut self, settings: Vec<Setting>) -> Result<(), ConfigError> {
        settings.into_iter().try_for_each(|setting| self.apply(setting))
    }

    /// One key gets its value, after the checks that concern this key alone.
    fn apply(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let Setting { origin, key, value } = setting;
        let wrong = |reason: String| ConfigError::Value { origin: origin.clone(), key: key.clone(), reason };
        let Some(known) = keys::find(&key) else {
            return Err(ConfigError::UnknownKey { nearest: keys::nearest(&key), origin, key });
        };
        known.check(&value).map_err(wrong)?;
        let mut table = self.to_table();
        keys::put(&mut table, &key, value);
        *self = table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        Ok(())
    }

    /// What depends on more than one key.
    fn check(&self) -> Result<(), ConfigError> {
        let Limits { frame_max, frame_max_min, handshake_frame_max, .. } = self.limits;
        let contradiction = |text: String| Err(ConfigError::Contradiction(text));
        if frame_max < frame_max_min {
            return contradiction(format!(
                "limits.frame_max ({frame_max}) is below limits.frame_max_min ({frame_max_min})"
            ));
        }
        if handshake_frame_max > frame_max {
            return contradiction(format!(
                "limits.handshake_frame_max ({handshake_frame_max}) is above limits.frame_max ({frame_max})"
            ));
        }
        let mut seen = std::collections::HashSet::new();
        // Port 0 is a free port each time.
        if let Some(twice) = self.listen.iter().find(|address| address.port() != 0 && !seen.insert(**address))
        {
            return contradiction(format!("listen names {twice} twice"));
        }
        Ok(())
    }

    fn to_table(&self) -> Table {
        Table::try_from(self).expect("invariant: every key has a representation in TOML")
    }
}

#[cfg(test)]
mod tests;
