//! A broker's end of a connection that answers everything and writes down what it saw.
//!
//! Invariant: the notes say what the peer did, not how its octets were cut.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use warrenmq_protocol::{Connection, Event, Expired, Millis, Publish, Settings};
use warrenmq_wire::method::{self, AMQPValue, FieldTable, Method};
use warrenmq_wire::{basic, frame};

pub(crate) struct Host {
    pub(crate) connection: Connection,
    /// One line for each event.
    pub(crate) notes: Vec<String>,
    /// What the peer was answered.
    pub(crate) out: Vec<u8>,
    pub(crate) now: Millis,
    /// How often it was read directly.
    pub(crate) direct_reads: usize,
    rest: Vec<u8>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        frame_max: 131_072,
        frame_max_min: 4096,
        handshake_frame_max: 8192,
        channel_max: 2047,
        heartbeat: 60,
        handshake_timeout: 10_000,
        message_size_max: 16 * 1024 * 1024,
        assembly_octets_max: 64 * 1024 * 1024,
        content_room: 5,
    }
}

impl Host {
    pub(crate) fn new(settings: Settings) -> Host {
        let connection = Connection::new(Arc::new(settings), 0);
        Host { connection, notes: Vec::new(), out: Vec::new(), now: 0, direct_reads: 0, rest: Vec::new() }
    }

    /// One whose peer has finished the handshake with this frame size and heartbeat.
    pub(crate) fn open(settings: Settings, frame_max: u32, heartbeat: u16) -> Host {
        let mut host = Host::new(settings);
        host.read(&handshake(frame_max, heartbeat));
        assert!(host.connection.is_open(), "{:?}", host.notes);
        host.notes.clear();
        host.out.clear();
        host
    }

    /// One read of the socket.
    pub(crate) fn read(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        self.connection.received(self.now);
        let input = std::mem::take(&mut self.rest);
        let mut left = input.as_slice();
        while let Some(event) = self.connection.next(&mut left) {
            let note = note(&event);
            self.notes.push(note);
            answer(&mut self.connection, event, self.now, &mut self.out);
        }
        self.rest = left.to_vec();
    }

    /// Reads of these sizes, over and over.
    pub(crate) fn read_in_pieces(&mut self, mut octets: &[u8], sizes: &[usize]) {
        let mut sizes = sizes.iter().copied().cycle();
        while !octets.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, octets.len());
            let (piece, rest) = octets.split_at(size);
            self.read(piece);
            octets = rest;
        }
    }

    /// Reads of at most these sizes, over and over, each to where the connection wants it.
    pub(crate) fn read_directly(&mut self, mut octets: &[u8], sizes: &[usize]) {
        let mut sizes = sizes.iter().copied().cycle();
        while !octets.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, octets.len());
            let Some((into, room)) = self.connection.direct() else {
                let (piece, rest) = octets.split_at(size);
                self.read(piece);
                octets = rest;
                continue;
            };
            assert!(self.rest.is_empty() && into.capacity() - into.len() >= room, "room for {room}");
            let (piece, rest) = octets.split_at(size.min(room));
            into.extend_from_slice(piece);
            octets = rest;
            self.direct_reads += 1;
            let tail = self.connection.took_direct();
            self.read(&tail);
        }
    }

    /// Moves the clock to the next deadline and does what is due.
    pub(crate) fn sleep(&mut self) -> Option<Expired> {
        self.now = self.connection.timeout().expect("something is due");
        self.connection.handle_timeout(self.now, &mut self.out)
    }

    /// Octets of frames that are not whole.
    pub(crate) fn buffered(&self) -> usize {
        self.rest.len()
    }

    /// What was answered, one method each, as Rust prints it.
    pub(crate) fn answers(&mut self) -> Vec<String> {
        let out = std::mem::take(&mut self.out);
        let mut rest = out.as_slice();
        let mut answers = Vec::new();
        while let Some((found, used)) = frame::split(rest, usize::MAX).expect("good frames") {
            answers.push(match found.kind {
                frame::METHOD => describe(method::parse(found.payload).expect("our own method")),
                frame::HEARTBEAT => "heartbeat".to_owned(),
                kind => format!("frame {kind}"),
            });
            rest = &rest[used..];
        }
        answers
    }
}

/// Closes in the form `CODE TEXT (CLASS,METHOD)`, all else by name.
fn describe(found: Method) -> String {
    use method::{channel, connection};
    match found {
        Method::Connection(connection::AMQPMethod::Close(close)) => {
            format!(
                "connection: {} {} ({},{})",
                close.reply_code, close.reply_text, close.class_id, close.method_id
            )
        }
        Method::Channel(channel::AMQPMethod::Close(close)) => {
            format!(
                "channel: {} {} ({},{})",
                close.reply_code, close.reply_text, close.class_id, close.method_id
            )
        }
        other => {
            let (class, id) = method::method_ids(&other);
            method::method_name(class, id).unwrap_or("unknown").to_owned()
        }
    }
}

fn answer(connection: &mut Connection, event: Event<'_>, now: Millis, out: &mut Vec<u8>) {
    match event {
        Event::Hello => connection.send_start(FieldTable::default(), "PLAIN", out),
        Event::BadHeader => connection.refuse_header(out),
        Event::StartOk(start_ok) if start_ok.mechanism == "ASK" => connection.send_secure(b"who?", out),
        Event::StartOk(_) | Event::SecureOk(_) => connection.send_tune(out),
        Event::Open(_) => connection.open_ok(out),
        Event::UpdateSecret(_) => connection.update_secret_ok(out),
        Event::ChannelOpen(number) => connection.channel_open_ok(number, out),
        Event::ChannelClose(number) => connection.channel_closed(number, out),
        Event::Fault(fault) => connection.fail(now, &fault, out),
        Event::Close => connection.close_ok(out),
        _ => {}
    }
}

/// A message is the same whether it lay in the input or was put together.
fn note(event: &Event<'_>) -> String {
    match event {
        Event::Publish(publish) => note_publish(publish),
        Event::Assembled(message) => note_publish(&message.as_publish()),
        other => format!("{other:?}"),
    }
}

fn note_publish(publish: &Publish<'_>) -> String {
    let Publish { channel, route, mandatory, header, body } = publish;
    if body.len() > 10_000 {
        let (size, hash) = (body.len(), BuildHasherDefault::<DefaultHasher>::default().hash_one(body));
        return format!("publish on {channel}: {route:?} {mandatory} {header:?} {size} octets {hash:x}");
    }
    format!("publish on {channel}: {route:?} {mandatory} {header:?} {body:?}")
}

/// What a client says up to connection.open.
pub(crate) fn handshake(frame_max: u32, heartbeat: u16) -> Vec<u8> {
    let mut octets = frame::PROTOCOL_HEADER.to_vec();
    put_start_ok(&mut octets, "PLAIN", &[]);
    put_tune_ok(&mut octets, frame_max, heartbeat);
    put_open(&mut octets);
    octets
}

pub(crate) fn put_start_ok(out: &mut Vec<u8>, mechanism: &str, capabilities: &[&str]) {
    use method::connection::{AMQPMethod, StartOk};
    let mut has = FieldTable::default();
    for capability in capabilities {
        has.insert(short(capability), AMQPValue::Boolean(true));
    }
    let mut client_properties = FieldTable::default();
    client_properties.insert(short("capabilities"), AMQPValue::FieldTable(has));
    let start_ok = StartOk {
        client_properties,
        mechanism: short(mechanism),
        response: "\0guest\0guest".into(),
        locale: short("en_US"),
    };
    put(out, 0, Method::Connection(AMQPMethod::StartOk(start_ok)));
}

pub(crate) fn put_tune_ok(out: &mut Vec<u8>, frame_max: u32, heartbeat: u16) {
    use method::connection::{AMQPMethod, TuneOk};
    let tune_ok = TuneOk { channel_max: 2047, frame_max, heartbeat };
    put(out, 0, Method::Connection(AMQPMethod::TuneOk(tune_ok)));
}

pub(crate) fn put_open(out: &mut Vec<u8>) {
    use method::connection::{AMQPMethod, Open};
    put(out, 0, Method::Connection(AMQPMethod::Open(Open { virtual_host: short("/") })));
}

pub(crate) fn put_channel_open(out: &mut Vec<u8>, number: u16) {
    use method::channel::{AMQPMethod, Open};
    put(out, number, Method::Channel(AMQPMethod::Open(Open {})));
}

pub(crate) fn put_publish(out: &mut Vec<u8>, channel: u16, key: &[u8], mandatory: bool) {
    let mut route = Vec::new();
    basic::put_route(&mut route, b"x", key);
    basic::put_publish(out, channel, &route, mandatory);
}

/// The payload of a content header without properties.
pub(crate) fn header(body_size: u64) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0];
    payload.extend_from_slice(&body_size.to_be_bytes());
    payload.extend_from_slice(&[0, 0]);
    payload
}

pub(crate) fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).expect("a small frame").to_be_bytes());
    out.extend_from_slice(payload);
    out.push(frame::END);
}

pub(crate) fn put(out: &mut Vec<u8>, channel: u16, method: Method) {
    method::put(out, channel, &method).expect("a short method");
}

fn short(text: &str) -> method::ShortString {
    method::ShortString::try_new(text).expect("a short string")
}
