//! `warrenmq ctl definitions`: definitions out of a broker and into one.
//!
//! Invariant: an export is written only when it has come whole; an import has ended well only when it is on disk.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::CtlError;
use super::node::{self, NodeArgs, NodeError};
use super::report::count;

/// Stands for stdin and stdout.
const STANDARD: &str = "-";

#[derive(Debug, Subcommand)]
pub(super) enum DefinitionsCommand {
    /// Write all durable definitions in RabbitMQ's format. There are hashes of passwords among them.
    #[command(after_help = AFTER_HELP)]
    Export(FileArgs),
    /// Take in a definitions.json as RabbitMQ exports it. What is there already stays; users and permissions are replaced.
    #[command(after_help = AFTER_HELP)]
    Import(FileArgs),
}

const AFTER_HELP: &str = "\
While a broker runs it is asked, over the socket control.sock in its data folder; otherwise the folder itself is opened.
Exit code: 0 done, 1 refused or not done, 2 there is no such broker, folder or file.";

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The file; - or nothing is stdout for an export, stdin for an import.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

pub(super) fn run(command: &DefinitionsCommand, out: &mut dyn Write) -> Result<(), CtlError> {
    match command {
        DefinitionsCommand::Export(args) => export(args, out),
        DefinitionsCommand::Import(args) => import(args, out),
    }
}

impl FileArgs {
    fn file(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| path.as_os_str() != STANDARD)
    }
}

fn export(args: &FileArgs, out: &mut dyn Write) -> Result<(), CtlError> {
    let result = node::call(&args.node, "definitions.export", json!({}))?;
    let Some(text) = result.get("definitions").and_then(Value::as_str) else {
        return Err(NodeError::Unexpected.into());
    };
    match args.file() {
        None => out.write_all(text.as_bytes()).and_then(|()| out.flush())?,
        Some(path) => {
            let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
            written
                .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .map_err(|source| CtlError::Write { path: path.to_owned(), source })?;
        }
    }
    Ok(())
}

fn import(args: &FileArgs, out: &mut dyn Write) -> Result<(), CtlError> {
    let path = args.file().unwrap_or(Path::new("stdin"));
    let text = match args.file() {
        Some(path) => std::fs::read_to_string(path),
        None => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
    };
    let text = text.map_err(|source| CtlError::Read { path: path.to_owned(), source })?;
    let result = node::call(&args.node, "definitions.import", json!({ "definitions": text }))?;
    let warnings = result.get("warnings").and_then(Value::as_array);
    let (Some(warnings), Some(found)) = (warnings, result.get("found").and_then(Value::as_object)) else {
        return Err(NodeError::Unexpected.into());
    };
    let found: Vec<String> = found.iter().map(|(kind, number)| of_kind(kind, number)).collect();
    writeln!(out, "definitions: {}", found.join(", "))?;
    for warning in warnings {
        writeln!(out, "warning: {}", warning.as_str().unwrap_or_default())?;
    }
    match warnings.len() {
        0 => writeln!(out, "everything is taken")?,
        1 => writeln!(out, "taken, but for what the warning above says")?,
        number => writeln!(out, "taken, but for what the {number} warnings above say")?,
    }
    Ok(())
}

/// `1 vhost`, `2 queues`; the kinds come in the plural.
fn of_kind(kind: &str, number: &Value) -> String {
    if kind == "policies" && number.as_u64() != Some(1) {
        return format!("{number} policies");
    }
    let one = if kind == "policies" { "policy" } else { kind.strip_suffix('s').unwrap_or(kind) };
    count(number.as_u64().unwrap_or_default(), one)
}
