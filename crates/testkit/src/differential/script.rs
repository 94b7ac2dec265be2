//! A script: the steps that one seed stands for, before anybody has answered. It is text where it can be: a method is written as
//! in a transcript, with two freedoms. `@` at the front of a name stands for what makes the name the script's own, and `%g0`,
//! `%c0` for the queue name or consumer tag that the server generated first, second, …; a delivery tag of `-n` is the n-th
//! delivery that the channel holds.
//!
//! Invariant: a step means the same to every broker that has answered the same until then.

use std::fmt;

use crate::transcript::codec::hex;
use crate::transcript::parse::method_line;
use crate::transcript::received::{Content, Message};
use crate::transcript::scan::{Pattern, Scanner};
use crate::transcript::value::{Typed, Value};

/// A queue whose messages expire because of a policy of `definitions.json`.
const EXPIRING_BY_POLICY: &str = "@pt";
/// How names of quorum queues begin.
pub(crate) const QUORUM: &str = "@u";
/// What lives longer than this many milliseconds does not expire in a script.
const EXPIRY_NEAR_MS: i128 = 60_000;

/// The steps of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
}

/// What one client does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) connection: u32,
    pub(crate) action: Action,
}

/// One thing that a client does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Says a method, after it has opened the connection and the channel where they are not.
    Say(Message),
    /// Says a method whatever the state of the channel.
    Blurt(Message),
    /// Sends one frame.
    Frame { kind: u8, channel: u16, payload: Vec<u8> },
    /// Sends bytes.
    Bytes(Vec<u8>),
    /// Goes away without a word.
    Leave,
    /// Waits for so many milliseconds.
    Wait(u64),
}

impl Script {
    /// Whether its outcome depends on how long the steps take: something in it expires, waited for or not.
    pub(crate) fn is_timed(&self) -> bool {
        self.waits() || self.steps.iter().any(|step| step.action.message().is_some_and(expires))
    }

    /// Whether one of its lines has this text.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.steps.iter().any(|step| step.to_string().contains(text))
    }

    /// Whether it has quorum queues.
    pub(crate) fn has_quorum_queues(&self) -> bool {
        let is_one = |message: &Message| text_of(message, "queue").starts_with(QUORUM);
        self.steps.iter().any(|step| step.action.message().is_some_and(is_one))
    }

    /// Whether it waits for what expires.
    pub(crate) fn waits(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Wait(_)))
    }
}

impl Action {
    /// The method that is said.
    pub(crate) fn message(&self) -> Option<&Message> {
        match self {
            Action::Say(message) | Action::Blurt(message) => Some(message),
            _ => None,
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.connection)?;
        match &self.action {
            Action::Say(message) | Action::Blurt(message) => write!(f, "C {message}"),
            Action::Frame { kind, channel, payload } => {
                write!(f, "C frame {kind} {channel} {}", Value::Text(payload.clone()))
            }
            Action::Bytes(bytes) => write!(f, "C <bytes {}>", hex(bytes)),
            Action::Leave => write!(f, "C <close>"),
            Action::Wait(milliseconds) => write!(f, "S <nothing {milliseconds}>"),
        }
    }
}

/// A method that is written as in a transcript.
///
/// # Panics
/// When it is none: only this folder writes them.
pub(crate) fn method(text: &str) -> Message {
    read_method(text).unwrap_or_else(|error| panic!("invariant: {text} is a method: {error}"))
}

fn read_method(text: &str) -> Result<Message, String> {
    let line = method_line(Scanner::new(text))?;
    let value = |pattern: &Pattern| match pattern {
        Pattern::Exactly(value) => Ok(value.clone()),
        _ => Err("a script has no patterns".to_owned()),
    };
    let fields = line.fields.iter().map(value).collect::<Result<_, _>>()?;
    let content = match &line.content {
        None => None,
        Some(content) => {
            let property = |pattern: &Option<Pattern>| pattern.as_ref().map(value).transpose();
            let properties = content.properties.iter().map(property).collect::<Result<_, _>>()?;
            match value(&content.body)? {
                Value::Text(body) => Some(Content { properties, body }),
                _ => return Err("a body is text".to_owned()),
            }
        }
    };
    Ok(Message { method: line.method, channel: line.channel, fields, content })
}

/// The message with `change` made in each of its texts, those in tables included.
pub(crate) fn map_texts(message: &Message, change: &dyn Fn(&[u8]) -> Vec<u8>) -> Message {
    let mut message = message.clone();
    message.fields.iter_mut().for_each(|value| change_texts(value, change));
    if let Some(content) = &mut message.content {
        content.properties.iter_mut().flatten().for_each(|value| change_texts(value, change));
    }
    message
}

fn change_texts(value: &mut Value, change: &dyn Fn(&[u8]) -> Vec<u8>) {
    let typed = |typed: &mut Typed| change_texts(&mut typed.value, change);
    match value {
        Value::Text(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(typed),
        Value::Table(entries) => entries.iter_mut().map(|(_, value)| value).for_each(typed),
        _ => {}
    }
}

/// Whether a message or a queue expires because of this method while a script may be played.
fn expires(message: &Message) -> bool {
    let is_soon = |milliseconds: i128| (1..EXPIRY_NEAR_MS).contains(&milliseconds);
    let arguments = match field(message, "arguments") {
        Some(Value::Table(entries)) => entries.as_slice(),
        _ => &[],
    };
    let by_argument = arguments.iter().any(|(key, typed)| {
        matches!(key.as_slice(), b"x-message-ttl" | b"x-expires")
            && matches!(typed.value, Value::Number(time) if is_soon(time))
    });
    let by_policy = message.method.name == "queue.declare" && text_of(message, "queue") == EXPIRING_BY_POLICY;
    let property = message.content.as_ref().and_then(|content| content.property("expiration"));
    by_argument
        || by_policy
        || matches!(property, Some(Value::Text(text))
            if std::str::from_utf8(text).is_ok_and(|text| text.parse().is_ok_and(is_soon)))
}

/// Replaces every `from` in `text`.
pub(crate) fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if !from.is_empty() && rest.starts_with(from) {
            result.extend(to);
            rest = &rest[from.len()..];
        } else {
            result.push(rest[0]);
            rest = &rest[1..];
        }
    }
    result
}

/// A field of a method by its name.
pub(crate) fn field<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    let index = message.method.fields.iter().position(|field| field.name == name)?;
    message.fields.get(index)
}

/// The same, to be changed.
pub(crate) fn field_mut<'a>(message: &'a mut Message, name: &str) -> Option<&'a mut Value> {
    let index = message.method.fields.iter().position(|field| field.name == name)?;
    message.fields.get_mut(index)
}

/// A text field as it is, or what is readable of it.
pub(crate) fn text_of(message: &Message, name: &str) -> String {
    match field(message, name) {
        Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

/// A number field; 0 for what is none.
pub(crate) fn number_of(message: &Message, name: &str) -> i128 {
    match field(message, name) {
        Some(Value::Number(number)) => *number,
        _ => 0,
    }
}

/// Whether a bit is set.
pub(crate) fn is_set(message: &Message, name: &str) -> bool {
    field(message, name) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_makes_a_script_a_matter_of_time() {
        let is_timed = |text: &str| {
            let steps = vec![Step { connection: 1, action: Action::Say(method(text)) }];
            Script { seed: 1, steps }.is_timed()
        };
        assert!(is_timed("queue.declare 1 queue=q arguments={x-message-ttl:int32:600}"));
        assert!(is_timed("queue.declare 1 queue=q arguments={a:str:b,x-expires:int64:600}"));
        assert!(is_timed("basic.publish 1 routing-key=q | expiration=600 | body=x"));
        assert!(!is_timed("queue.declare 1 queue=q arguments={x-message-ttl:int32:600000}"));
        assert!(!is_timed(
            "queue.declare 1 queue=q arguments={x-message-ttl:int32:0,x-max-length:int32:600}"
        ));
        assert!(!is_timed("basic.publish 1 routing-key=q | expiration=600x | body=x"));
        assert!(!is_timed("basic.publish 1 routing-key=q | | body=x"));
    }

    #[test]
    fn texts_change_everywhere() {
        let said = method("queue.declare 1 queue=@q arguments={a:str:x@q,b:array:[str:@q]}");
        let changed = map_texts(&said, &|text| replace(text, b"@", b"own-"));
        assert_eq!(
            changed.to_string(),
            "queue.declare 1 queue=own-q arguments={a:str:xown-q,b:array:[str:own-q]}"
        );
        assert_eq!(text_of(&changed, "queue"), "own-q");
        assert!(!is_set(&changed, "durable"));
    }
}
