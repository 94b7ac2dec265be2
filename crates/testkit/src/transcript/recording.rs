//! From what a recorder has heard to a transcript that says the same. Invariant: played to a server that says what the recorded
//! one said, the transcript says the client's octets, each of them; what no line with names could say so is a line of bytes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::codec::{self, FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, FRAME_OVERHEAD, Frame};
use super::peer::{Arrival, Peer};
use super::received::{Message, Received, message_of};
use super::recorder::{Said, Side};
use super::spec;
use super::value::Value;
use super::{Options, run_transcript};

/// The protocol header has so many octets and is no frame.
const HEADER_OCTETS: usize = 8;
/// Frames as large as anybody sends: how large they may be is part of what was recorded.
const FRAME_MAX: u32 = u32::MAX;
/// The body of a full frame where `split=` does not say otherwise.
const CHUNK: usize = 131_072 - FRAME_OVERHEAD;
/// Names that a server makes up, and what stands for them.
const MADE_UP: [(&str, &str); 2] = [("amq.gen-", "queue"), ("amq.ctag-", "tag")];
/// What every broker says of itself.
const OF_ITS_OWN: [&str; 2] = ["server-properties", "mechanisms"];

/// The lines of what was said.
///
/// # Errors
/// When it is no AMQP 0-9-1, or the lines would not say the same.
pub fn transcript_of(said: &[Said]) -> Result<String, String> {
    let mut writer = Writer::default();
    for said in said {
        writer.hear(said)?;
    }
    let text = writer.finish()?;
    verify(&text, said)?;
    Ok(text)
}

/// What the client or the server of the first connection says of itself in the handshake: its properties that are texts.
pub fn properties_of(said: &[Said], by: Side) -> BTreeMap<String, String> {
    let mut octets: Vec<u8> =
        said.iter().filter(|said| is_of(said, 1, by)).flat_map(|said| said.octets.clone()).collect();
    if by == Side::Client {
        octets.drain(..HEADER_OCTETS.min(octets.len()));
    }
    let frame = Frame::take(&mut octets).ok().flatten();
    let fields = frame.and_then(|frame| codec::decode_method(&frame.payload).ok()).map(|(_, fields)| fields);
    let tables = fields.into_iter().flatten().filter_map(|field| match field {
        Value::Table(entries) => Some(entries),
        _ => None,
    });
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let texts = tables.flatten().filter_map(|(name, typed)| match &typed.value {
        Value::Text(value) => Some((text(&name), text(value))),
        _ => None,
    });
    texts.collect()
}

fn is_of(said: &Said, connection: u32, by: Side) -> bool {
    said.connection == connection && said.by == by
}

/// One connection while its lines are written.
#[derive(Debug, Default)]
struct Talk {
    /// Octets of the client that are no whole frame yet.
    unread: Vec<u8>,
    has_header: bool,
    /// Frames of the client that are no whole message yet.
    frames: VecDeque<Frame>,
    server: Received,
    confirms: BTreeMap<u16, Confirms>,
    has_closed: bool,
}

/// The tags of a channel in confirm mode.
#[derive(Debug, Default, Clone, Copy)]
struct Confirms {
    /// The last that was published.
    published: i128,
    /// The last that was confirmed.
    heard: i128,
    /// The last that a line has said to be confirmed.
    said: i128,
}

#[derive(Debug, Default)]
struct Writer {
    text: String,
    talks: BTreeMap<u32, Talk>,
    /// What names that a server has made up are called in the transcript.
    names: BTreeMap<Vec<u8>, String>,
}

impl Writer {
    fn hear(&mut self, said: &Said) -> Result<(), String> {
        let mut talk = self.talks.remove(&said.connection).unwrap_or_default();
        let heard = match said.by {
            Side::Client if said.octets.is_empty() => {
                self.client_closes(said.connection, &mut talk);
                Ok(())
            }
            Side::Client => self.hear_client(said, &mut talk),
            Side::Server => self.hear_server(said, &mut talk),
        };
        self.talks.insert(said.connection, talk);
        heard
    }

    fn client_closes(&mut self, connection: u32, talk: &mut Talk) {
        self.confirm(connection, talk, None);
        if !std::mem::replace(&mut talk.has_closed, true) {
            self.line(connection, "C <close>");
        }
    }

    fn hear_client(&mut self, said: &Said, talk: &mut Talk) -> Result<(), String> {
        talk.unread.extend(&said.octets);
        if !talk.has_header {
            if talk.unread.len() < HEADER_OCTETS {
                return Ok(());
            }
            let header: Vec<u8> = talk.unread.drain(..HEADER_OCTETS).collect();
            self.line(said.connection, &format!("C <bytes \"{}\">", header.escape_ascii()));
            talk.has_header = true;
        }
        while let Some(frame) = Frame::take(&mut talk.unread)? {
            if frame.kind == FRAME_HEARTBEAT && frame.payload.is_empty() {
                self.line(said.connection, &format!("C frame heartbeat {}", frame.channel));
                continue;
            }
            talk.frames.push_back(frame);
            let channel = talk.frames[0].channel;
            if talk.frames.iter().any(|frame| frame.channel != channel) {
                return Err("frames of one channel stand among the content of another".to_owned());
            }
            if let Some((message, used)) = message_of(channel, &talk.frames)? {
                let frames: Vec<Frame> = talk.frames.drain(..used).collect();
                self.say(said.connection, talk, &message, &frames);
            }
        }
        Ok(())
    }

    fn say(&mut self, connection: u32, talk: &mut Talk, message: &Message, frames: &[Frame]) {
        match message.method.name {
            "confirm.select" => _ = talk.confirms.entry(message.channel).or_default(),
            "basic.publish" => {
                // Who has waited for all confirms may have done so on purpose; else they may come in any grouping later.
                if talk
                    .confirms
                    .get(&message.channel)
                    .is_some_and(|confirms| confirms.heard == confirms.published)
                {
                    self.confirm(connection, talk, Some(message.channel));
                }
                talk.confirms.entry(message.channel).and_modify(|confirms| confirms.published += 1);
            }
            _ => self.confirm(connection, talk, None),
        }
        talk.has_closed |= matches!(message.method.name, "connection.close" | "connection.close-ok");
        let octets: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let sizes = frames.iter().filter(|frame| frame.kind == FRAME_BODY).map(|frame| frame.payload.len());
        if encoded(message, sizes.clone()) != octets {
            let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            self.line(connection, &format!("C <bytes {digits}>"));
            return;
        }
        let mut line = format!("C {}", self.show(message));
        let mut sizes: Vec<usize> = sizes.collect();
        let last = sizes.pop().unwrap_or(0);
        if last > CHUNK || sizes.iter().any(|size| *size != CHUNK) {
            let sizes: Vec<String> = sizes.iter().chain(&[last]).map(usize::to_string).collect();
            let _ = write!(line, " split={}", sizes.join(","));
        }
        self.line(connection, &line);
    }

    fn hear_server(&mut self, said: &Said, talk: &mut Talk) -> Result<(), String> {
        talk.server.add(&said.octets);
        talk.server.sort(FRAME_MAX)?;
        while let Some(message) = talk.server.take_any()? {
            let ack = match (message.method.name, message.fields.as_slice()) {
                ("basic.ack", [Value::Number(tag), _]) => Some(*tag),
                _ => None,
            };
            if let Some(tag) = ack {
                // How confirms are grouped is up to the server: one line for all that come in a row.
                let confirms = talk.confirms.entry(message.channel).or_default();
                confirms.heard = confirms.heard.max(tag);
                continue;
            }
            self.confirm(said.connection, talk, Some(message.channel));
            talk.has_closed |= matches!(message.method.name, "connection.close" | "connection.close-ok");
            self.learn(&message);
            let line = format!("S {}", self.show(&message));
            self.line(said.connection, &line);
        }
        Ok(())
    }

    /// Writes the confirms that wait, of one channel or of all.
    fn confirm(&mut self, connection: u32, talk: &mut Talk, channel: Option<u16>) {
        for (own, confirms) in &mut talk.confirms {
            if confirms.heard > confirms.said && channel.is_none_or(|channel| channel == *own) {
                let (first, last) = (confirms.said + 1, confirms.heard);
                confirms.said = last;
                self.line(connection, &format!("S confirmed {own} {first}..{last}"));
            }
        }
    }

    /// Gives a name to what the server has made up.
    fn learn(&mut self, message: &Message) {
        for value in &message.fields {
            let Value::Text(text) = value else { continue };
            for (prefix, what) in MADE_UP {
                if text.starts_with(prefix.as_bytes()) && !self.names.contains_key(text) {
                    let count = self.names.values().filter(|name| name.starts_with(what)).count() + 1;
                    self.names.insert(text.clone(), format!("{what}{count}~{prefix}*"));
                }
            }
        }
    }

    /// The message as a line has it, with variables for what only this server would say. A name is bound by the first line
    /// that says it, which is one of the server's.
    fn show(&mut self, message: &Message) -> String {
        let mut shown = format!("{} {}", message.method.name, message.channel);
        for (field, value) in message.method.fields.iter().zip(&message.fields) {
            let text = if let Value::Text(text) = value { text.as_slice() } else { &[] };
            if OF_ITS_OWN.contains(&field.name) {
                let _ = write!(shown, " {}=*", field.name);
            } else if let Some(name) = self.names.get_mut(text) {
                let _ = write!(shown, " {}=${name}", field.name);
                name.truncate(name.find('~').unwrap_or(name.len()));
            } else if *value != Value::default_of(field.kind) {
                let _ = write!(shown, " {}={value}", field.name);
            }
        }
        let Some(content) = &message.content else { return shown };
        shown.push_str(" |");
        for (field, value) in spec::properties().iter().zip(&content.properties) {
            let Some(value) = value else { continue };
            let text = if let Value::Text(text) = value { text.as_slice() } else { &[] };
            let _ = match self.names.get(text) {
                Some(name) => write!(shown, " {}=${name}", field.name),
                None => write!(shown, " {}={value}", field.name),
            };
        }
        let _ = write!(shown, " | body={}", Value::Text(content.body.clone()));
        shown
    }

    fn line(&mut self, connection: u32, line: &str) {
        if connection != 1 {
            let _ = write!(self.text, "{connection}: ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn finish(mut self) -> Result<String, String> {
        for (connection, mut talk) in std::mem::take(&mut self.talks) {
            self.confirm(connection, &mut talk, None);
            if !talk.unread.is_empty() || !talk.frames.is_empty() || !talk.server.is_empty() {
                return Err(format!("connection {connection} ends within a frame or a message"));
            }
        }
        Ok(self.text)
    }
}

/// The octets of a message as a transcript says it, its body cut as the sizes say.
fn encoded(message: &Message, sizes: impl Iterator<Item = usize>) -> Vec<u8> {
    let channel = message.channel;
    let frame = |kind, payload| Frame { kind, channel, payload }.encode();
    let mut octets = frame(FRAME_METHOD, codec::encode_method(message.method, &message.fields));
    if let Some(content) = &message.content {
        octets.extend(frame(
            FRAME_HEADER,
            codec::encode_header(60, content.body.len() as u64, &content.properties),
        ));
        let mut rest = content.body.as_slice();
        for size in sizes {
            let (chunk, left) = rest.split_at(size);
            octets.extend(frame(FRAME_BODY, chunk.to_vec()));
            rest = left;
        }
    }
    octets
}

/// What somebody hears and somebody else looks at.
type Octets = Arc<Mutex<Vec<u8>>>;

/// A server that says what the recorded one said, and hears the client.
struct Playback {
    says: Vec<u8>,
    heard: Octets,
}

impl Peer for Playback {
    fn send(&mut self, octets: &[u8]) {
        self.heard.lock().extend(octets);
    }

    fn receive(&mut self, _timeout: Duration) -> Arrival {
        match std::mem::take(&mut self.says) {
            octets if octets.is_empty() => Arrival::Closed,
            octets => Arrival::Bytes(octets),
        }
    }
}

/// Plays the lines to a server that says the same, and compares what the client says.
fn verify(text: &str, said: &[Said]) -> Result<(), String> {
    let octets_of = |connection, by| -> Vec<u8> {
        said.iter().filter(|said| is_of(said, connection, by)).flat_map(|said| said.octets.clone()).collect()
    };
    let heard: Mutex<BTreeMap<u32, Octets>> = Mutex::default();
    let mut connect = |connection| -> Box<dyn Peer> {
        let own = Arc::clone(heard.lock().entry(connection).or_default());
        Box::new(Playback { says: octets_of(connection, Side::Server), heard: own })
    };
    run_transcript(text, Options::default(), &mut connect).map_err(|mismatch| mismatch.to_string())?;
    for (connection, heard) in heard.lock().iter() {
        let (heard, expected) = (heard.lock().clone(), octets_of(*connection, Side::Client));
        if heard != expected {
            let at = heard.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            return Err(format!("connection {connection}: other octets from the {at}th on"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(line: &str) -> Vec<u8> {
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let own = Arc::clone(&heard);
        let mut connect =
            |_| -> Box<dyn Peer> { Box::new(Playback { says: Vec::new(), heard: Arc::clone(&own) }) };
        run_transcript(line, Options::default(), &mut connect).unwrap();
        heard.lock().clone()
    }

    fn said(talk: &[(Side, &str)]) -> Vec<Said> {
        let one = |(by, line): &(Side, &str)| {
            let octets = if line.is_empty() { Vec::new() } else { frames_of(line) };
            Said { connection: 1, by: *by, octets }
        };
        talk.iter().map(one).collect()
    }

    const TALK: &[(Side, &str)] = &[
        (Side::Client, "C <bytes \"AMQP\\x00\\x00\\x09\\x01\">"),
        (Side::Server, "C connection.start 0 0 9 {product:str:Other} PLAIN en_US"),
        (Side::Client, "C connection.start-ok 0 {product:str:mine,version:str:1.0} PLAIN x en_US"),
        (Side::Client, "C queue.declare 1"),
        (Side::Server, "C queue.declare-ok 1 amq.gen-abc"),
        (
            Side::Client,
            "C basic.publish 1 routing-key=amq.gen-abc | reply-to=amq.gen-abc | body=hello split=2",
        ),
        (Side::Client, "C basic.publish 1 routing-key=q | | body=x"),
        (Side::Server, "C basic.ack 1 1"),
        (Side::Server, "C basic.ack 1 2"),
        (Side::Client, "C frame heartbeat 0"),
        (Side::Client, ""),
    ];

    #[test]
    fn a_talk_becomes_the_lines_that_say_it() {
        let said = said(TALK);
        let expected = "C <bytes \"AMQP\\x00\\x00\\t\\x01\">
S connection.start 0 version-minor=9 server-properties=* mechanisms=* locales=en_US
C connection.start-ok 0 client-properties={product:str:mine,version:str:1.0} mechanism=PLAIN response=x locale=en_US
C queue.declare 1
S queue.declare-ok 1 queue=$queue1~amq.gen-*
C basic.publish 1 routing-key=$queue1 | reply-to=$queue1 | body=hello split=2,3
C basic.publish 1 routing-key=q | | body=x
C frame heartbeat 0
S confirmed 1 1..2
C <close>
";
        assert_eq!(transcript_of(&said).unwrap(), expected);
        assert_eq!(properties_of(&said, Side::Server)["product"], "Other");
        assert_eq!(properties_of(&said, Side::Client)["version"], "1.0");
    }

    #[test]
    fn what_no_line_with_names_says_becomes_bytes() {
        // A bit that is set beyond those of the method.
        let odd = "C <bytes 01 00 01 00 00 00 05 00 55 00 0a 03 ce>";
        let text = transcript_of(&said(&[TALK[0], (Side::Client, odd), (Side::Client, "")])).unwrap();
        assert!(text.contains("C <bytes 010001000000050055000a03ce>"), "{text}");
    }

    #[test]
    fn half_a_frame_is_an_error() {
        assert!(transcript_of(&said(&[TALK[0], (Side::Client, "C <bytes 01 00>")])).is_err());
    }
}
