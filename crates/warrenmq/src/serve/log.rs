//! The log: lines with time and level on stderr.
//!
//! Invariant: stdout carries nothing but the line that says the broker is ready.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Levels by name, plain (`info`) or for parts of the program (`info,warrenmq_server=debug`).
///
/// # Errors
/// What is accepted, when `text` is something else.
pub(crate) fn parse_log_level(text: &str) -> Result<Targets, String> {
    let wanted =
        "off, error, warn, info, debug or trace is wanted, or a list such as info,warrenmq_server=debug";
    // A bare word that is no level would be taken for the name of a part.
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let is_word = |word: &str| !word.is_empty() && (word.contains('=') || is_level(word));
    if !text.split(',').all(is_word) {
        return Err(wanted.to_owned());
    }
    text.parse().map_err(|_| wanted.to_owned())
}

/// Starts the log of this process.
pub(super) fn start(levels: Targets) {
    let stderr = std::io::stderr();
    let lines = tracing_subscriber::fmt::layer().with_ansi(stderr.is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(levels).init();
}
