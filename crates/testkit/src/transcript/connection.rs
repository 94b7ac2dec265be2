//! One connection of a running transcript: what it sends, what it waits for, and the handshake behind `open`.

use std::time::{Duration, Instant};

use super::codec::{self, FRAME_BODY, FRAME_HEADER, FRAME_METHOD, FRAME_OVERHEAD, Frame};
use super::peer::{Arrival, Peer};
use super::received::{Message, Received};
use super::spec;
use super::step::OpenOptions;
use super::value::{Typed, Value};
use super::{ANSWER_TIME_MAX, Mode};

/// The header of AMQP 0-9-1.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Of frames while a connection has not been tuned by `open`.
const FRAME_MAX_DEFAULT: u32 = 131_072;
const REPLY_SUCCESS: i128 = 200;

/// A connection and what is known of its state.
pub(crate) struct Connection {
    /// `None` once the client has gone away.
    peer: Option<Box<dyn Peer>>,
    mode: Mode,
    /// What was said and not handed over yet.
    gathered: Vec<u8>,
    received: Received,
    frame_max: u32,
    /// Between open-ok and close.
    is_open: bool,
}

impl Connection {
    pub(crate) fn new(peer: Box<dyn Peer>, mode: Mode) -> Self {
        let received = Received::default();
        let (peer, gathered) = (Some(peer), Vec::new());
        Connection { peer, mode, gathered, received, frame_max: FRAME_MAX_DEFAULT, is_open: false }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let Some(peer) = &mut self.peer else { return };
        match self.mode {
            Mode::Whole => peer.send(bytes),
            Mode::ByteByByte => bytes.iter().for_each(|byte| peer.send(&[*byte])),
            Mode::Together => self.gathered.extend_from_slice(bytes),
        }
    }

    /// Hands over what was gathered.
    pub(crate) fn flush(&mut self) {
        if let Some(peer) = self.peer.as_mut().filter(|_| !self.gathered.is_empty()) {
            peer.send(&self.gathered);
        }
        self.gathered.clear();
    }

    pub(crate) fn send_frame(&mut self, kind: u8, channel: u16, payload: Vec<u8>) {
        self.send(&Frame { kind, channel, payload }.encode());
    }

    /// Sends a method and, when there is one, its content; `split` are the sizes of its first body frames.
    pub(crate) fn send_message(&mut self, message: &Message, split: &[usize]) {
        let payload = codec::encode_method(message.method, &message.fields);
        self.send_frame(FRAME_METHOD, message.channel, payload);
        if let Some(content) = &message.content {
            let header = codec::encode_header(60, content.body.len() as u64, &content.properties);
            self.send_frame(FRAME_HEADER, message.channel, header);
            let mut rest = content.body.as_slice();
            let mut sizes = split.iter().copied();
            while !rest.is_empty() {
                let size = sizes.next().unwrap_or(self.frame_max as usize - FRAME_OVERHEAD).min(rest.len());
                let (chunk, left) = rest.split_at(size);
                self.send_frame(FRAME_BODY, message.channel, chunk.to_vec());
                rest = left;
            }
        }
        self.note(message);
    }

    /// The client goes away.
    pub(crate) fn drop_peer(&mut self) {
        self.flush();
        self.peer = None;
        self.is_open = false;
    }

    /// The next method on `channel`; an error says what came instead.
    pub(crate) fn next_message(&mut self, channel: u16) -> Result<Message, String> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            self.received.sort(self.frame_max)?;
            if let Some(message) = self.received.take_message(channel)? {
                self.note(&message);
                return Ok(message);
            }
            if channel != 0 && self.received.has_connection_close() {
                return Err(self.instead("the server closed the connection"));
            }
            self.fill(deadline)?;
        }
    }

    /// The next `count` bytes, before any frame is made of them.
    pub(crate) fn next_bytes(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            if let Some(bytes) = self.received.take_bytes(count) {
                return Ok(bytes);
            }
            self.fill(deadline)?;
        }
    }

    /// All methods that are there after at most `wait`, in their order on each channel; `None` when the server has closed the
    /// socket. An error says what came that is no frame.
    pub(crate) fn arrived(&mut self, wait: Duration) -> Result<Option<Vec<Message>>, String> {
        let deadline = Instant::now() + wait;
        loop {
            let mut messages = Vec::new();
            self.received.sort(self.frame_max)?;
            while let Some(message) = self.received.take_any()? {
                self.note(&message);
                messages.push(message);
            }
            if !messages.is_empty() {
                return Ok(Some(messages));
            }
            match self.receive(deadline) {
                Arrival::Bytes(bytes) => self.received.add(&bytes),
                Arrival::Closed => return Ok(None),
                Arrival::Nothing => return Ok(Some(messages)),
            }
        }
    }

    /// Waits until the server has closed the socket; an error when it says something more before.
    pub(crate) fn expect_close(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            self.received.sort(self.frame_max)?;
            if !self.received.is_empty() {
                return Err(self.instead("the server spoke"));
            }
            match self.receive(deadline) {
                Arrival::Closed => {
                    self.is_open = false;
                    return Ok(());
                }
                Arrival::Bytes(bytes) => self.received.add(&bytes),
                Arrival::Nothing => return Err("the socket is still open".to_owned()),
            }
        }
    }

    /// Listens for `time`; an error when anything but heartbeats comes or the server closes the socket.
    pub(crate) fn expect_nothing(&mut self, time: Duration) -> Result<(), String> {
        let deadline = Instant::now() + time;
        loop {
            self.received.sort(self.frame_max)?;
            if !self.received.is_empty() {
                return Err(self.instead("the server spoke"));
            }
            match self.receive(deadline) {
                Arrival::Bytes(bytes) => self.received.add(&bytes),
                Arrival::Closed => return Err("the server closed the socket".to_owned()),
                Arrival::Nothing => return Ok(()),
            }
        }
    }

    /// The handshake, from the protocol header to connection.open-ok.
    pub(crate) fn open(&mut self, options: &OpenOptions) -> Result<(), String> {
        self.send(PROTOCOL_HEADER);
        self.expect_method("connection.start")?;
        self.send_method("connection.start-ok", start_ok(options));
        let tune = self.expect_method("connection.tune")?;
        let proposed = |index: usize| match tune.fields[index] {
            Value::Number(number) => number,
            _ => 0,
        };
        let channel_max = options.channel_max.map_or(proposed(0), i128::from);
        let frame_max = options.frame_max.map_or(proposed(1), i128::from);
        let tuned = [channel_max, frame_max, options.heartbeat.into()].map(Value::Number);
        self.send_method("connection.tune-ok", tuned.to_vec());
        self.frame_max = u32::try_from(frame_max).unwrap_or(FRAME_MAX_DEFAULT);
        let vhost = Value::Text(options.vhost.clone().into_bytes());
        self.send_method("connection.open", vec![vhost, Value::Text(Vec::new()), Value::Bool(false)]);
        self.expect_method("connection.open-ok").map(drop)
    }

    /// Opens a channel.
    pub(crate) fn open_channel(&mut self, channel: u16) -> Result<(), String> {
        let method = spec::method_by_name("channel.open").expect("invariant: this method is known");
        let fields = vec![Value::Text(Vec::new())];
        self.send_message(&Message { method, channel, fields, content: None }, &[]);
        self.next_message(channel).map(drop)
    }

    /// Ends the connection in good order when it still is open; an error when something waits that no step has looked at.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.received.sort(self.frame_max)?;
        if self.peer.is_none() {
            return Ok(());
        }
        if self.is_open {
            let fields = [Value::Number(REPLY_SUCCESS), Value::Text(Vec::new())];
            self.send_method("connection.close", [fields, [Value::Number(0), Value::Number(0)]].concat());
            self.expect_method("connection.close-ok")?;
        }
        if self.received.is_empty() {
            Ok(())
        } else {
            Err(self.instead("no step has expected what the server sent"))
        }
    }

    /// `what`, followed by all that waits.
    fn instead(&self, what: &str) -> String {
        format!("{what}:\n{}", self.received.describe())
    }

    fn send_method(&mut self, name: &str, fields: Vec<Value>) {
        let method = spec::method_by_name(name).expect("invariant: the handshake uses known methods");
        self.send_message(&Message { method, channel: 0, fields, content: None }, &[]);
    }

    fn expect_method(&mut self, name: &str) -> Result<Message, String> {
        let message = self.next_message(0)?;
        if message.method.name == name { Ok(message) } else { Err(format!("S {message}")) }
    }

    /// Keeps track of whether the connection has to be closed at the end.
    fn note(&mut self, message: &Message) {
        match message.method.name {
            "connection.open-ok" => self.is_open = true,
            "connection.close" | "connection.close-ok" => self.is_open = false,
            _ => {}
        }
    }

    fn receive(&mut self, deadline: Instant) -> Arrival {
        self.flush();
        let left = deadline.saturating_duration_since(Instant::now());
        match &mut self.peer {
            Some(_) if left.is_zero() => Arrival::Nothing,
            Some(peer) => peer.receive(left),
            None => Arrival::Closed,
        }
    }

    /// Reads on, or says why nothing more will come.
    fn fill(&mut self, deadline: Instant) -> Result<(), String> {
        match self.receive(deadline) {
            Arrival::Bytes(bytes) => {
                self.received.add(&bytes);
                Ok(())
            }
            Arrival::Closed => Err(self.instead("the server closed the socket; before that, unread")),
            Arrival::Nothing => Err(self.instead("nothing arrived; still unread")),
        }
    }
}

fn start_ok(options: &OpenOptions) -> Vec<Value> {
    let mut properties = Vec::new();
    if !options.capabilities.is_empty() {
        let yes = Typed { tag: b't', value: Value::Bool(true) };
        let capabilities =
            options.capabilities.iter().map(|name| (name.clone().into_bytes(), yes.clone())).collect();
        properties.push((b"capabilities".to_vec(), Typed { tag: b'F', value: Value::Table(capabilities) }));
    }
    let response = format!("\0{}\0{}", options.user, options.password);
    let texts = ["PLAIN", &response, "en_US"].map(|text| Value::Text(text.into()));
    std::iter::once(Value::Table(properties)).chain(texts).collect()
}
