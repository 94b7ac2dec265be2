//! The part of the command line that all scenarios of `warrenmq perf` share: which broker, what is reported.

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use amq_protocol::uri::{AMQPScheme, AMQPUri};
use clap::Args;

/// Time that a run takes when neither time nor count is given.
pub(crate) const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// Arguments of every scenario.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonArgs {
    /// Broker to measure.
    #[arg(short = 'H', long, visible_alias = "uris", value_name = "URI", env = "WARRENMQ_PERF_URI",
          default_value = "amqp://guest:guest@127.0.0.1:5672/%2f", value_parser = parse_uri, hide_env_values = true)]
    pub(crate) uri: AMQPUri,
    /// Process id of the broker, on this machine: reports its CPU time and its memory.
    #[arg(long, value_name = "PID", help_heading = "Report")]
    pub(crate) broker_pid: Option<u32>,
    /// Seconds between two live lines.
    #[arg(short = 'i', long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds,
          help_heading = "Report")]
    pub(crate) interval: Duration,
    /// Print the summary as one JSON object on standard output; the live lines go to standard error.
    #[arg(long, help_heading = "Report")]
    pub(crate) json: bool,
    /// Write a chart of the run: percentiles of its latencies, rate and latency over time.
    #[arg(long, value_name = "FILE.svg", help_heading = "Report")]
    pub(crate) plot: Option<PathBuf>,
}

impl CommonArgs {
    /// Host and port, for reports.
    pub(crate) fn broker(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Prints a line about the run while it goes on.
    pub(crate) fn live(&self, line: impl Display) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

/// A time above zero, in seconds with a fraction.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a time above zero".into()),
    }
}

fn parse_uri(text: &str) -> Result<AMQPUri, String> {
    let uri = AMQPUri::from_str(text)?;
    match uri.scheme {
        AMQPScheme::AMQP => Ok(uri),
        AMQPScheme::AMQPS => {
            Err("TLS is not supported here: it would measure the TLS of the generator".into())
        }
    }
}
