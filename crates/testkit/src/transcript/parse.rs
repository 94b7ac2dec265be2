//! From the text of a transcript to its steps. The format is described in `tests/transcripts/README.md`.

use super::codec::{FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD};
use super::scan::{Pattern, Scanner};
use super::spec::{self, Field, Kind, Method};
use super::step::{
    Action, Condition, ContentLine, Expected, FramePayload, MethodLine, OpenOptions, Step, Target,
};
use super::value::Value;

/// How long `S <nothing>` listens when it does not say.
const SILENCE_MS: u64 = 100;

/// The steps of `text` that count for `target`, or the number of the first bad line and what is wrong with it.
pub(crate) fn parse(text: &str, target: Target) -> Result<Vec<Step>, (usize, String)> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let source = without_comment(line);
        if source.is_empty() {
            continue;
        }
        let step = step(index + 1, source).map_err(|error| (index + 1, error))?;
        if step.condition.holds(target) {
            replace_default(&mut steps, &step);
            steps.push(step);
        }
    }
    Ok(steps)
}

/// A line with a target of its own takes the place of the unmarked expectation just before it.
fn replace_default(steps: &mut Vec<Step>, step: &Step) {
    let is_expectation = |step: &Step| matches!(step.action, Action::Expect { .. });
    let is_special = matches!(step.condition, Condition::Only(_)) && is_expectation(step);
    let replaces = |last: &mut Step| {
        last.condition == Condition::Always && is_expectation(last) && last.connection == step.connection
    };
    if is_special && steps.last_mut().is_some_and(replaces) {
        steps.pop();
    }
}

fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    line.split_once(" # ").map_or(line, |(code, _)| code.trim_end())
}

fn step(line: usize, source: &str) -> Result<Step, String> {
    let mut text = source;
    let mut connection = 1;
    if let Some((number, rest)) = source.split_once(':')
        && let Ok(number) = number.parse()
    {
        (connection, text) = (number, rest);
    }
    let mut scanner = Scanner::new(text);
    let head = scanner.word()?;
    let (head, condition) = match head.split_once('[') {
        Some((head, condition)) => (head, parse_condition(condition)?),
        None => (head, Condition::Always),
    };
    let action = match head {
        "open" => Action::Open(open_options(&mut scanner)?),
        "skip" => Action::Skip(scanner.rest().to_owned()),
        "C" => sent(scanner)?,
        "S" | "S&" => Action::Expect { expected: expected(scanner)?, in_any_order: head == "S&" },
        other => return Err(format!("`{other}` is none of open, skip, C, S, S&")),
    };
    Ok(Step { line, source: source.to_owned(), connection, condition, action })
}

fn parse_condition(text: &str) -> Result<Condition, String> {
    match text {
        "3.10]" => Ok(Condition::Only(Target::RabbitMq310)),
        "!3.10]" => Ok(Condition::Except(Target::RabbitMq310)),
        other => Err(format!("`[{other}` is neither [3.10] nor [!3.10]")),
    }
}

fn open_options(scanner: &mut Scanner<'_>) -> Result<OpenOptions, String> {
    let mut options = OpenOptions::default();
    while !scanner.is_at_end() {
        match scanner.key() {
            Some("user") => options.user = scanner.word()?.to_owned(),
            Some("password") => options.password = scanner.word()?.to_owned(),
            Some("vhost") => options.vhost = scanner.word()?.to_owned(),
            Some("capabilities") => {
                options.capabilities = scanner.word()?.split(',').map(str::to_owned).collect();
            }
            Some("channel-max") => options.channel_max = Some(scanner.number()?),
            Some("frame-max") => options.frame_max = Some(scanner.number()?),
            Some("heartbeat") => options.heartbeat = scanner.number()?,
            other => return Err(format!("open has no option {}", other.unwrap_or("without a name"))),
        }
    }
    Ok(options)
}

/// What follows `C`.
fn sent(mut scanner: Scanner<'_>) -> Result<Action, String> {
    if scanner.takes("<close>") {
        return Ok(Action::Drop);
    }
    if scanner.takes("<bytes") {
        return bytes(scanner.rest()).map(Action::SendBytes);
    }
    if scanner.takes("frame ") {
        return frame(scanner);
    }
    let method = method_line(scanner)?;
    let patterns = method
        .content
        .iter()
        .flat_map(|content| content.properties.iter().flatten().chain(std::iter::once(&content.body)));
    if method.fields.iter().chain(patterns).any(|pattern| *pattern == Pattern::Any) {
        return Err("`*` cannot be sent".to_owned());
    }
    Ok(Action::SendMethod(method))
}

/// What follows `S`.
fn expected(mut scanner: Scanner<'_>) -> Result<Expected, String> {
    if scanner.takes("<close>") {
        return Ok(Expected::Close);
    }
    if scanner.takes("<nothing") {
        let milliseconds = scanner.rest().trim_end_matches('>');
        let parsed = if milliseconds.is_empty() { Ok(SILENCE_MS) } else { milliseconds.parse() };
        return parsed.map(Expected::Nothing).map_err(|_| format!("`{milliseconds}` is not a number"));
    }
    if scanner.takes("<bytes") {
        return bytes(scanner.rest()).map(Expected::Bytes);
    }
    if scanner.takes("confirmed ") {
        let channel = scanner.number()?;
        let range = scanner.word()?;
        let (first, last) = range.split_once("..").ok_or("`confirmed CHANNEL FIRST..LAST`")?;
        return match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => Ok(Expected::Confirmed { channel, first, last }),
            _ => Err(format!("`{range}` is not FIRST..LAST")),
        };
    }
    method_line(scanner).map(Expected::Method)
}

/// `hex>` or `"text">`.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let text = text.strip_suffix('>').ok_or("`>` is missing")?.trim();
    if text.starts_with('"') {
        return Scanner::new(text).text();
    }
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    let bytes: Result<Vec<u8>, _> = digits.chunks(2).map(pair).collect();
    bytes.map_err(|_| format!("`{text}` is not hexadecimal"))
}

/// What follows `C frame`.
fn frame(mut scanner: Scanner<'_>) -> Result<Action, String> {
    let kind = scanner.word()?;
    if kind == "method" {
        let method = method_line(scanner)?;
        let channel = method.channel;
        return Ok(Action::SendFrame { kind: FRAME_METHOD, channel, payload: FramePayload::Method(method) });
    }
    let channel = scanner.number()?;
    if kind == "header" {
        let (mut class_id, mut body_size) = (60, 0);
        while !scanner.is_at_end() && !scanner.takes("|") {
            match scanner.key() {
                Some("class") => class_id = scanner.number()?,
                Some("size") => body_size = scanner.number()?,
                _ => return Err("a header has class= and size=".to_owned()),
            }
        }
        let properties = properties(&mut scanner)?;
        let payload = FramePayload::Header { class_id, body_size, properties };
        return Ok(Action::SendFrame { kind: FRAME_HEADER, channel, payload });
    }
    let kind = match kind {
        "body" => FRAME_BODY,
        "heartbeat" => FRAME_HEARTBEAT,
        number => number.parse().map_err(|_| format!("`{number}` is no frame type"))?,
    };
    let payload = if scanner.is_at_end() { Vec::new() } else { scanner.text()? };
    Ok(Action::SendFrame { kind, channel, payload: FramePayload::Bytes(payload) })
}

/// `METHOD CHANNEL VALUE… FIELD=VALUE… | PROPERTY=VALUE… | body=VALUE`.
pub(crate) fn method_line(mut scanner: Scanner<'_>) -> Result<MethodLine, String> {
    let name = scanner.word()?;
    let method = spec::method_by_name(name).ok_or(format!("there is no method `{name}`"))?;
    let channel = scanner.number()?;
    let mut fields: Vec<Pattern> =
        method.fields.iter().map(|field| Pattern::Exactly(Value::default_of(field.kind))).collect();
    let mut position = 0;
    let mut has_more = false;
    while !scanner.is_at_end() {
        if scanner.takes("|") {
            has_more = true;
            break;
        }
        match scanner.key() {
            Some("by") => set_cause(method, &mut fields, scanner.word()?)?,
            Some(key) => {
                position = field_index(&method.fields, key).ok_or(format!("{name} has no field `{key}`"))?;
                fields[position] = scanner.pattern(method.fields[position].kind)?;
            }
            None => {
                let field = method.fields.get(position).ok_or(format!("{name} has no more fields"))?;
                fields[position] = scanner.pattern(field.kind)?;
            }
        }
        position += 1;
    }
    if has_more && !method.has_content {
        return Err(format!("{name} has no content"));
    }
    let content = if method.has_content { Some(content(&mut scanner)?) } else { None };
    Ok(MethodLine { method, channel, fields, content })
}

/// `by=METHOD` fills the ids of the method that was the cause of a close.
fn set_cause(method: &Method, fields: &mut [Pattern], cause: &str) -> Result<(), String> {
    let cause = spec::method_by_name(cause).ok_or(format!("there is no method `{cause}`"))?;
    for (name, id) in [("class-id", cause.class_id), ("method-id", cause.method_id)] {
        let index = field_index(&method.fields, name).ok_or(format!("{} has no cause", method.name))?;
        fields[index] = Pattern::Exactly(Value::Number(id.into()));
    }
    Ok(())
}

/// Fields are called by their name, which may leave out `-id`.
fn field_index(fields: &[Field], key: &str) -> Option<usize> {
    fields.iter().position(|field| field.name == key || field.name.strip_suffix("-id") == Some(key))
}

/// What follows the first `|` of a method with content.
fn content(scanner: &mut Scanner<'_>) -> Result<ContentLine, String> {
    let properties = properties(scanner)?;
    let mut content =
        ContentLine { properties, body: Pattern::Exactly(Value::Text(Vec::new())), split: Vec::new() };
    if !scanner.is_at_end() && scanner.key() == Some("body") {
        content.body = scanner.pattern(Kind::LongStr)?;
    }
    if !scanner.is_at_end() && scanner.key() == Some("split") {
        let sizes = scanner.word()?;
        let parsed: Result<_, _> = sizes.split(',').map(str::parse).collect();
        content.split = parsed.map_err(|_| format!("`{sizes}` is not a list of sizes"))?;
    }
    if scanner.is_at_end() { Ok(content) } else { Err("nothing may follow the body".to_owned()) }
}

/// `NAME=VALUE…`, up to the next `|`; stops before `body=`.
fn properties(scanner: &mut Scanner<'_>) -> Result<Vec<Option<Pattern>>, String> {
    let all = spec::properties();
    let mut properties = vec![None; all.len()];
    while !scanner.is_at_end() && !scanner.takes("|") && !scanner.comes_next("body=") {
        let key = scanner.key().ok_or("a property is NAME=VALUE")?;
        let index = all.iter().position(|field| field.name == key).ok_or(format!("no property `{key}`"))?;
        properties[index] = Some(scanner.pattern(all[index].kind)?);
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Action {
        let steps = parse(line, Target::Default).unwrap();
        assert_eq!(steps.len(), 1, "{line}");
        steps[0].action.clone()
    }

    fn method(line: &str) -> MethodLine {
        match one(line) {
            Action::SendMethod(method) => method,
            Action::Expect { expected: Expected::Method(method), .. } => method,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn fields_by_name_by_position_and_by_default() {
        let close = method("S channel.close 3 406 \"PRECONDITION_FAILED - no\" by=queue.declare");
        let number = |number| Pattern::Exactly(Value::Number(number));
        assert_eq!((close.method.name, close.channel), ("channel.close", 3));
        let text = Pattern::Exactly(Value::Text(b"PRECONDITION_FAILED - no".to_vec()));
        assert_eq!(close.fields, [number(406), text, number(50), number(10)]);
        assert_eq!(method("S channel.close 3 406 \"PRECONDITION_FAILED - no\" class=50 method=10"), close);
    }

    #[test]
    fn content_is_properties_and_body() {
        let publish =
            method("C basic.publish 1 exchange= routing-key=q | delivery-mode=2 | body=\"a b\" split=1,2");
        let content = publish.content.unwrap();
        assert_eq!(content.properties.iter().flatten().count(), 1);
        assert_eq!(content.body, Pattern::Exactly(Value::Text(b"a b".to_vec())));
        assert_eq!(content.split, [1, 2]);
        assert_eq!(method("C basic.publish 1 | body=x").content.unwrap().properties, vec![None; 14]);
        assert!(method("C basic.publish 1 routing-key=q").content.is_some());
    }

    #[test]
    fn lines_for_a_target() {
        let text =
            "S channel.close 1 406 \"a\"\nS[3.10] connection.close 0 503 \"b\"\nC[!3.10] channel.close-ok 1";
        let sources =
            |target| -> Vec<usize> { parse(text, target).unwrap().iter().map(|s| s.line).collect() };
        assert_eq!(sources(Target::Default), [1, 3]);
        assert_eq!(sources(Target::RabbitMq310), [2]);
    }

    #[test]
    fn other_lines() {
        assert_eq!(one("2: C <close>"), Action::Drop);
        assert_eq!(one("C <bytes 01 ff>"), Action::SendBytes(vec![1, 255]));
        assert_eq!(one("C <bytes \"AMQP\\x00\">"), Action::SendBytes(b"AMQP\0".to_vec()));
        let expect = |expected| Action::Expect { expected, in_any_order: false };
        assert_eq!(one("S <close>   # a comment"), expect(Expected::Close));
        assert_eq!(one("S <nothing>"), expect(Expected::Nothing(100)));
        assert_eq!(one("S <nothing 300>"), expect(Expected::Nothing(300)));
        assert_eq!(one("S confirmed 1 2..5"), expect(Expected::Confirmed { channel: 1, first: 2, last: 5 }));
        assert!(matches!(one("open capabilities=a,b frame-max=4096"), Action::Open(options)
            if options.capabilities == ["a", "b"] && options.frame_max == Some(4096)));
        for line in ["C frame header 1 size=5 | priority=1", "C frame body 1 \"x\"", "C frame heartbeat 0"] {
            assert!(matches!(one(line), Action::SendFrame { .. }), "{line}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let lines = [
            "X queue.declare 1",
            "C queue.declair 1",
            "C queue.declare one",
            "C queue.declare 1 que=q",
            "C queue.declare 1 queue=*",
            "C queue.declare 1 | priority=1",
            "C tx.select 1 extra",
            "C queue.declare 1 by=queue.bind",
            "S[3.9] tx.select-ok 1",
            "C basic.publish 1 | colour=red | body=x",
            "C basic.publish 1 | body=x trailing",
            "C <bytes zz>",
        ];
        for line in lines {
            let text = format!("# first\n\n{line}");
            assert!(matches!(parse(&text, Target::RabbitMq310), Err((3, _))), "{line}");
        }
    }
}
