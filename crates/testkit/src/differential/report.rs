//! A difference as a transcript: what the reference did in the smallest script, as lines that can be kept as a regression, after
//! comments that say what was done instead.

use std::fmt::Write as _;

use super::script::{Action, Script, text_of};
use super::view::{Event, Played, View};
use crate::transcript::received::Message;
use crate::transcript::value::Value;

/// The transcript of a script; `only` are the lines of step `step` that one of the brokers alone has.
pub(crate) fn transcript(script: &Script, step: usize, only: &[Vec<String>; 2], played: &Played) -> String {
    let mut text = format!("# Seed {}, step {}\n", script.seed, step + 1);
    for (broker, lines) in ["reference", "warrenmq"].iter().zip(only) {
        for line in lines {
            let _ = writeln!(text, "# {broker}: {line}");
        }
        if lines.is_empty() {
            let _ = writeln!(text, "# {broker}: nothing more");
        }
    }
    for (step, view) in script.steps.iter().zip(&played.views) {
        if let Action::Wait(milliseconds) = step.action
            && view.events.is_empty()
        {
            let _ = writeln!(text, "{}: S <nothing {milliseconds}>", step.connection);
        }
        write_view(&mut text, view);
    }
    let own = format!("seed-{}-", script.seed);
    for generated in ["g", "c"] {
        for number in 0..10 {
            let alias = format!("%{generated}{number}");
            text = text.replace(&alias, &format!("${{{generated}{number}}}"));
        }
    }
    text.replace('@', &own)
}

fn write_view(text: &mut String, view: &View) {
    for (connection, event) in &view.events {
        let line = match event {
            Event::Said(line) if line == "open" => {
                "open capabilities=basic.nack,consumer_cancel_notify,publisher_confirms".to_owned()
            }
            Event::Said(line) => line.clone(),
            Event::Heard(message, _) => {
                format!("S{} {}", if is_mixed(view, *connection, message) { "&" } else { "" }, shown(message))
            }
            Event::Closed(_) => "S <close>".to_owned(),
            Event::Silent(what) => format!("# {what}"),
        };
        let _ = writeln!(text, "{connection}: {line}");
    }
    for ((connection, channel), confirms) in &view.confirms {
        for (tag, refused) in confirms {
            let line = if *refused {
                format!("S basic.nack {channel} {tag}")
            } else {
                format!("S confirmed {channel} {tag}..{tag}")
            };
            let _ = writeln!(text, "{connection}: {line}");
        }
    }
}

/// Whether deliveries to other consumers came on the same channel.
fn is_mixed(view: &View, connection: u32, message: &Message) -> bool {
    let is_other = |event: &Event| match event {
        Event::Heard(other, _) => {
            other.method.name == "basic.deliver"
                && other.channel == message.channel
                && text_of(other, "consumer-tag") != text_of(message, "consumer-tag")
        }
        _ => false,
    };
    message.method.name == "basic.deliver"
        && view.events.iter().any(|(number, event)| *number == connection && is_other(event))
}

/// A method as an expectation: a time inside a table cannot be left open there, so all headers are.
fn shown(message: &Message) -> String {
    let line = message.to_string();
    let headers = message.content.as_ref().and_then(|content| content.properties[2].as_ref());
    let Some(headers @ Value::Table(entries)) = headers else { return bound(message, line) };
    if entries.iter().any(|(key, _)| key == b"x-death") {
        return line.replace(&format!("headers={headers}"), "headers=*");
    }
    line
}

/// A generated name is bound where the server says it.
fn bound(message: &Message, line: String) -> String {
    let mut line = line;
    for (method, mark, glob) in
        [("queue.declare-ok", "g", "amq.gen-*"), ("basic.consume-ok", "c", "amq.ctag-*")]
    {
        if message.method.name == method {
            for number in 0..10 {
                line = line.replace(&format!("\"%{mark}{number}\""), &format!("${mark}{number}~{glob}"));
            }
        }
    }
    line
}
