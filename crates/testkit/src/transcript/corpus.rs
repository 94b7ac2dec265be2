//! The transcripts of a folder, and how a broker is made ready for one of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::connection::Connection;
use super::parse::parse;
use super::peer::Peer;
use super::received::Message;
use super::scan::Pattern;
use super::spec;
use super::step::{Action, MethodLine, OpenOptions, Target};
use super::value::Value;
use super::{Mismatch, Mode, Options, Outcome, run_transcript};

/// One transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Its path below the folder, without the ending: `queue/declare`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Transcript {
    /// All `*.txt` below `folder` whose names contain `filter`, in the order of their names.
    ///
    /// # Errors
    /// Those of reading folders and files.
    pub fn load(folder: &Path, filter: &str) -> io::Result<Vec<Self>> {
        let mut paths = Vec::new();
        collect(folder, &mut paths)?;
        paths.sort();
        let mut transcripts = Vec::new();
        for path in paths {
            let relative = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
            let name = relative.to_string_lossy().into_owned();
            if name.contains(filter) {
                transcripts.push(Transcript { name, text: fs::read_to_string(&path)? });
            }
        }
        Ok(transcripts)
    }

    /// Runs it against a broker that has seen other transcripts: what a former run may have left behind is removed first.
    ///
    /// # Errors
    /// The first line that is not met.
    pub fn run(
        &self,
        options: Options,
        connect: &mut dyn FnMut(u32) -> Box<dyn Peer>,
    ) -> Result<Outcome, Mismatch> {
        let leftovers = self.leftovers();
        if !leftovers.is_empty() {
            remove(leftovers, connect(0)).map_err(|actual| Mismatch {
                line: 0,
                expected: "(the removal of what a former run has left behind)".to_owned(),
                actual,
            })?;
        }
        run_transcript(&self.text, options, connect)
    }

    /// Methods that delete the queues and exchanges which this transcript declares by name.
    fn leftovers(&self) -> Vec<Message> {
        let targets = [Target::Default, Target::RabbitMq310];
        let steps = targets.iter().filter_map(|target| parse(&self.text, *target).ok()).flatten();
        let mut deletions = Vec::new();
        for step in steps {
            if let Action::SendMethod(line) = &step.action
                && let Some(deletion) = deletion(line)
                && !deletions.contains(&deletion)
            {
                deletions.push(deletion);
            }
        }
        deletions
    }
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    Ok(())
}

/// The opposite of a declaration with a name of its own.
fn deletion(line: &MethodLine) -> Option<Message> {
    let (name, field) = match line.method.name {
        "queue.declare" => ("queue.delete", "queue"),
        "exchange.declare" => ("exchange.delete", "exchange"),
        _ => return None,
    };
    let index = line.method.fields.iter().position(|declared| declared.name == field)?;
    let Pattern::Exactly(Value::Text(text)) = &line.fields[index] else { return None };
    let is_name = std::str::from_utf8(text).is_ok_and(|name| !name.is_empty() && !name.contains('$'));
    if !is_name || text.starts_with(b"amq.") {
        return None;
    }
    let method = spec::method_by_name(name)?;
    let mut fields: Vec<Value> = method.fields.iter().map(|field| Value::default_of(field.kind)).collect();
    fields[1] = Value::Text(text.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect());
    Some(Message { method, channel: 1, fields, content: None })
}

/// Each deletion gets a channel of its own, as a refused one closes it.
fn remove(deletions: Vec<Message>, peer: Box<dyn Peer>) -> Result<(), String> {
    let mut connection = Connection::new(peer, Mode::Whole);
    connection.open(&OpenOptions::default())?;
    for (deletion, channel) in deletions.into_iter().zip(1..) {
        connection.open_channel(channel)?;
        connection.send_message(&Message { channel, ..deletion }, &[]);
        connection.next_message(channel)?;
    }
    connection.finish()
}
