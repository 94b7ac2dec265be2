//! The command line of `warrenmq serve`.
//!
//! Invariant: every option is also a configuration key and an environment variable; the option wins.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::config::{Overrides, Size, parse_address};

/// Printed below the options.
const AFTER_HELP: &str = "\
The command line wins over the environment, the environment over the configuration file, the file over the defaults.
Every key of the file has a variable as well: limits.frame_max is WARRENMQ_LIMITS_FRAME_MAX.
SIGTERM and SIGINT (Ctrl-C) stop the broker in order: clients are told, data is on disk, the exit code is 0.";

/// Options of `warrenmq serve`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; may be repeated [default: 0.0.0.0:5672 and `[::]:5672`] [env: WARRENMQ_LISTEN, comma separated]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    listen: Vec<SocketAddr>,
    /// Folder of what has to outlive the process; made if it is not there [default: warrenmq-data] [env: WARRENMQ_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Block publishers while less than this is free on the disk of the data folder [default: 50MB] [env: WARRENMQ_DISK_FREE_LIMIT]
    #[arg(long, value_name = "SIZE")]
    disk_free_limit: Option<Size>,
    /// Configuration file in TOML [default: none] [env: WARRENMQ_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// definitions.json, as RabbitMQ exports it, to take in at the start [default: none] [env: WARRENMQ_LOAD_DEFINITIONS]
    #[arg(long, value_name = "FILE")]
    load_definitions: Option<PathBuf>,
    /// How much to log on stderr: off, error, warn, info, debug or trace [default: info] [env: WARRENMQ_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    log: Option<String>,
}

impl ServeArgs {
    /// What was given, as the strongest layer of the configuration.
    pub(super) fn into_overrides(self) -> Overrides {
        let ServeArgs { listen, data_dir, disk_free_limit, config, load_definitions, log } = self;
        Overrides { config, listen, data_dir, disk_free_limit, load_definitions, log }
    }
}

fn log_level(text: &str) -> Result<String, String> {
    super::parse_log_level(text).map(|_| text.to_owned())
}
