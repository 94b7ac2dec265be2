//! Running the steps of a transcript, one after the other, until one of them is not met.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::codec;
use super::connection::Connection;
use super::parse::parse;
use super::peer::Peer;
use super::received::{Content, Message};
use super::scan::Pattern;
use super::step::{Action, Expected, FramePayload, MethodLine, Step};
use super::value::Value;
use super::variables::Variables;
use super::{Options, Outcome};

/// Where and how a broker does not keep to a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Line in the transcript, from 1; one after its end for what comes too much.
    pub line: usize,
    /// That line.
    pub expected: String,
    /// What the broker did instead, as lines of a transcript where that is possible.
    pub actual: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}\n  expected  {}", self.line, self.expected)?;
        for (index, line) in self.actual.trim_end().lines().enumerate() {
            write!(f, "\n  {}  {line}", if index == 0 { "but got " } else { "        " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}

/// Runs a transcript. `connect` makes the connection with a number when a line first uses it.
///
/// # Errors
/// The first line that is not met, is not a line of a transcript, or asks for the impossible.
pub fn run_transcript(
    text: &str,
    options: Options,
    connect: &mut dyn FnMut(u32) -> Box<dyn Peer>,
) -> Result<Outcome, Mismatch> {
    let mut run = Run::new(options, Box::new(connect));
    let outcome = run.lines(text)?;
    if outcome == Outcome::Passed {
        run.finish(text.lines().count())?;
    }
    Ok(outcome)
}

fn skip_reason(step: &Step) -> Option<String> {
    if let Action::Skip(reason) = &step.action { Some(reason.clone()) } else { None }
}

/// The steps at the beginning that may be met in any order.
fn group_of(steps: &[Step]) -> &[Step] {
    let is_free = |step: &Step| matches!(step.action, Action::Expect { in_any_order: true, .. });
    let end = steps.iter().position(|step| !is_free(step)).unwrap_or(steps.len());
    &steps[..end]
}

fn mismatch(step: &Step, actual: String) -> Mismatch {
    Mismatch { line: step.line, expected: step.source.clone(), actual }
}

/// A transcript that is running: its connections and what its names are bound to.
pub(crate) struct Run<'a> {
    options: Options,
    connect: Box<dyn FnMut(u32) -> Box<dyn Peer> + 'a>,
    connections: BTreeMap<u32, Connection>,
    variables: Variables,
}

impl<'a> Run<'a> {
    pub(crate) fn new(options: Options, connect: Box<dyn FnMut(u32) -> Box<dyn Peer> + 'a>) -> Self {
        Run { options, connect, connections: BTreeMap::new(), variables: Variables::default() }
    }

    /// Runs lines, after those that were run before.
    pub(crate) fn lines(&mut self, text: &str) -> Result<Outcome, Mismatch> {
        let steps = parse(text, self.options.target).map_err(|(line, error)| Mismatch {
            line,
            expected: text.lines().nth(line - 1).unwrap_or_default().to_owned(),
            actual: format!("(this line cannot be read: {error})"),
        })?;
        if let Some(reason) = steps.iter().find_map(skip_reason) {
            return Ok(Outcome::Skipped(reason));
        }
        let mut rest = steps.as_slice();
        while let Some((step, after)) = rest.split_first() {
            let group = group_of(rest);
            if group.len() > 1 {
                self.meet_in_any_order(group)?;
                rest = &rest[group.len()..];
            } else {
                self.step(step).map_err(|actual| mismatch(step, actual))?;
                rest = after;
            }
        }
        self.connections.values_mut().for_each(Connection::flush);
        Ok(Outcome::Passed)
    }

    /// What a name is bound to.
    pub(crate) fn value_bound_to(&self, name: &str) -> Result<&Value, String> {
        self.variables.value_of(name)
    }

    /// The connection that has the word now.
    fn connection(&mut self, number: u32) -> &mut Connection {
        self.connections
            .iter_mut()
            .filter(|(other, _)| **other != number)
            .for_each(|(_, other)| other.flush());
        match self.connections.entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Connection::new((self.connect)(number), self.options.mode)),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let number = step.connection;
        match &step.action {
            Action::Open(options) => self.connection(number).open(options),
            Action::Drop => {
                self.connection(number).drop_peer();
                Ok(())
            }
            Action::SendMethod(line) => {
                let message = self.message(line)?;
                let split = line.content.as_ref().map_or(&[][..], |content| &content.split);
                self.connection(number).send_message(&message, split);
                Ok(())
            }
            Action::SendFrame { kind, channel, payload } => {
                let payload = self.payload(payload)?;
                self.connection(number).send_frame(*kind, *channel, payload);
                Ok(())
            }
            Action::SendBytes(bytes) => {
                self.connection(number).send(bytes);
                Ok(())
            }
            Action::Expect { expected, .. } => self.meet(number, expected),
            Action::Skip(_) => Ok(()),
        }
    }

    fn meet(&mut self, number: u32, expected: &Expected) -> Result<(), String> {
        match expected {
            Expected::Method(line) => {
                let message = self.connection(number).next_message(line.channel)?;
                if self.matches(line, &message)? { Ok(()) } else { Err(format!("S {message}")) }
            }
            Expected::Bytes(bytes) => {
                let actual = self.connection(number).next_bytes(bytes.len())?;
                if actual == *bytes { Ok(()) } else { Err(format!("S <bytes {}>", codec::hex(&actual))) }
            }
            Expected::Close => self.connection(number).expect_close(),
            Expected::Nothing(milliseconds) => {
                self.connection(number).expect_nothing(Duration::from_millis(*milliseconds))
            }
            Expected::Confirmed { channel, first, last } => {
                self.meet_confirms(number, *channel, *first, *last)
            }
        }
    }

    /// Each step of a group takes the next message of its channel that fits any step of the group not met yet.
    fn meet_in_any_order(&mut self, group: &[Step]) -> Result<(), Mismatch> {
        let mut open: Vec<(&Step, &MethodLine)> = Vec::new();
        for step in group {
            match &step.action {
                Action::Expect { expected: Expected::Method(line), .. } => open.push((step, line)),
                _ => return Err(mismatch(step, "(only methods can be met in any order)".to_owned())),
            }
        }
        while let Some((step, line)) = open.first().copied() {
            let refused = |actual| mismatch(step, actual);
            let message = self.connection(step.connection).next_message(line.channel).map_err(refused)?;
            let mut met = None;
            for (index, (other, line)) in open.iter().enumerate() {
                if other.connection == step.connection && self.matches(line, &message).map_err(refused)? {
                    met = Some(index);
                    break;
                }
            }
            open.remove(met.ok_or_else(|| refused(format!("S {message}")))?);
        }
        Ok(())
    }

    fn meet_confirms(&mut self, number: u32, channel: u16, first: u64, last: u64) -> Result<(), String> {
        let mut open: BTreeSet<i128> = (first.into()..=last.into()).collect();
        while let Some(next) = open.first().copied() {
            let message = self.connection(number).next_message(channel)?;
            let (tag, multiple) = match (message.method.name, message.fields.as_slice()) {
                ("basic.ack", [Value::Number(tag), Value::Bool(multiple)]) => (*tag, *multiple),
                _ => return Err(format!("S {message}")),
            };
            if !open.remove(&tag) {
                return Err(format!("S {message}\n(where the first tag still to be confirmed was {next})"));
            }
            if multiple {
                open.retain(|other| *other > tag);
            }
        }
        Ok(())
    }

    fn matches(&mut self, line: &MethodLine, message: &Message) -> Result<bool, String> {
        if line.method != message.method || line.channel != message.channel {
            return Ok(false);
        }
        for (pattern, value) in line.fields.iter().zip(&message.fields) {
            if !self.variables.matches(pattern, value)? {
                return Ok(false);
            }
        }
        let (Some(expected), Some(actual)) = (&line.content, &message.content) else {
            return Ok(line.content.is_none() && message.content.is_none());
        };
        for (pattern, value) in expected.properties.iter().zip(&actual.properties) {
            let matches = match (pattern, value) {
                (Some(pattern), Some(value)) => self.variables.matches(pattern, value)?,
                (pattern, value) => pattern.is_none() && value.is_none(),
            };
            if !matches {
                return Ok(false);
            }
        }
        self.variables.matches(&expected.body, &Value::Text(actual.body.clone()))
    }

    fn message(&self, line: &MethodLine) -> Result<Message, String> {
        let fields = line.fields.iter().map(|pattern| self.value(pattern)).collect::<Result<_, String>>()?;
        let content = match &line.content {
            None => None,
            Some(content) => {
                let properties = self.properties(&content.properties)?;
                match self.value(&content.body)? {
                    Value::Text(body) => Some(Content { properties, body }),
                    other => return Err(format!("({other} is no body)")),
                }
            }
        };
        Ok(Message { method: line.method, channel: line.channel, fields, content })
    }

    fn properties(&self, patterns: &[Option<Pattern>]) -> Result<Vec<Option<Value>>, String> {
        patterns
            .iter()
            .map(|pattern| pattern.as_ref().map(|pattern| self.value(pattern)).transpose())
            .collect()
    }

    fn value(&self, pattern: &Pattern) -> Result<Value, String> {
        self.variables.resolve(pattern)?.ok_or_else(|| "(`*` cannot be sent)".to_owned())
    }

    fn payload(&self, payload: &FramePayload) -> Result<Vec<u8>, String> {
        match payload {
            FramePayload::Bytes(bytes) => Ok(bytes.clone()),
            FramePayload::Header { class_id, body_size, properties } => {
                Ok(codec::encode_header(*class_id, *body_size, &self.properties(properties)?))
            }
            FramePayload::Method(line) => {
                let message = self.message(line)?;
                Ok(codec::encode_method(message.method, &message.fields))
            }
        }
    }

    fn finish(&mut self, lines: usize) -> Result<(), Mismatch> {
        for (number, connection) in &mut self.connections {
            connection.finish().map_err(|actual| Mismatch {
                line: lines + 1,
                expected: format!("(the end, with nothing more on connection {number})"),
                actual,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::Arrival;
    use super::*;

    /// A server that says the lines of a script, whatever it hears, and then closes the connection or stays.
    struct Script {
        bytes: Vec<u8>,
        closes: bool,
    }

    impl Peer for Script {
        fn send(&mut self, _bytes: &[u8]) {}

        fn receive(&mut self, _timeout: Duration) -> Arrival {
            match std::mem::take(&mut self.bytes) {
                bytes if !bytes.is_empty() => Arrival::Bytes(bytes),
                _ if self.closes => Arrival::Closed,
                _ => Arrival::Nothing,
            }
        }
    }

    /// The bytes of the `C` lines of a transcript.
    fn bytes_of(script: &str) -> Vec<u8> {
        struct Recorder(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl Peer for Recorder {
            fn send(&mut self, bytes: &[u8]) {
                self.0.borrow_mut().extend(bytes);
            }
            fn receive(&mut self, _timeout: Duration) -> Arrival {
                Arrival::Nothing
            }
        }
        let bytes = std::rc::Rc::default();
        let mut connect = |_| -> Box<dyn Peer> { Box::new(Recorder(std::rc::Rc::clone(&bytes))) };
        run_transcript(script, Options::default(), &mut connect).unwrap();
        bytes.take()
    }

    fn run(server: &str, closes: bool, transcript: &str) -> Result<Outcome, Mismatch> {
        let bytes = bytes_of(server);
        let mut connect = |_| -> Box<dyn Peer> { Box::new(Script { bytes: bytes.clone(), closes }) };
        run_transcript(transcript, Options::default(), &mut connect)
    }

    const DELIVERIES: &str = "C basic.deliver 1 t 1 | | body=a\nC basic.ack 1 2 true\nC basic.ack 1 3";

    #[test]
    fn what_is_met_passes() {
        let transcripts = [
            "S basic.deliver 1 t 1 | | body=a\nS confirmed 1 1..3\nS <nothing>",
            "S& basic.ack 1 3\nS& basic.deliver 1 $tag 1 | | body=*\nS& basic.ack 1 2 multiple=true\nS <nothing>",
        ];
        for transcript in transcripts {
            assert_eq!(run(DELIVERIES, false, transcript), Ok(Outcome::Passed), "{transcript}");
        }
        assert_eq!(run("C channel.open-ok 1", true, "S channel.open-ok 1\nS <close>"), Ok(Outcome::Passed));
        assert_eq!(run("", true, "S tx.select-ok 1\nskip why"), Ok(Outcome::Skipped("why".to_owned())));
    }

    #[test]
    fn what_is_not_met_is_named() {
        let cases = [
            (
                "S basic.deliver 1 t 1 | | body=b",
                1,
                "S basic.deliver 1 consumer-tag=t delivery-tag=1 | | body=a",
            ),
            ("S basic.deliver 1 t 1 | priority=1 | body=a", 1, "S basic.deliver"),
            ("# one\nS <close>", 2, "the server spoke:\nS basic.deliver"),
            ("S <nothing>", 1, "the server spoke:"),
            (
                "S basic.deliver 1 t 1 | | body=a",
                2,
                "no step has expected what the server sent:\nS basic.ack 1",
            ),
            (
                "S basic.deliver 1 t 1 | | body=a\nS confirmed 1 3..3",
                2,
                "S basic.ack 1 delivery-tag=2 multiple=true",
            ),
            ("S channel.open-ok 2", 1, "nothing arrived; still unread:\nS basic.deliver"),
            ("C channel.open 1 $q", 1, "$q is not bound yet"),
            ("S channel.opened 1", 1, "(this line cannot be read: there is no method `channel.opened`)"),
        ];
        for (transcript, line, actual) in cases {
            let mismatch = run(DELIVERIES, false, transcript).unwrap_err();
            assert_eq!(mismatch.line, line, "{mismatch}");
            assert!(mismatch.actual.starts_with(actual), "{mismatch}");
        }
    }
}
