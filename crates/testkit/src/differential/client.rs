//! One client of a script: a connection, what it knows of its channels, and what it has seen in this step.
//!
//! Invariant: it answers a close of the server at once with close-ok, and says nothing else by itself but synchronising methods,
//! which are in no view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::aliases::Aliases;
use super::channel::Channel;
use super::script::{is_set, map_texts, method, number_of, text_of};
use super::view::{Event, View};
use crate::transcript::connection::Connection;
use crate::transcript::received::Message;
use crate::transcript::step::OpenOptions;
use crate::transcript::value::Value;
use crate::transcript::{Mode, TcpPeer};

/// What the clients of scripts say that they can.
const CAPABILITIES: [&str; 3] = ["basic.nack", "consumer_cancel_notify", "publisher_confirms"];

/// A client that has a connection or had one.
pub(crate) struct Client {
    number: u32,
    connection: Connection,
    pub(crate) is_alive: bool,
    pub(crate) channels: BTreeMap<u16, Channel>,
}

impl Client {
    /// Connects, and shakes hands.
    pub(crate) fn connect(number: u32, address: SocketAddr) -> Result<Self, String> {
        let peer = TcpPeer::connect(address).map_err(|error| error.to_string())?;
        let mut connection = Connection::new(Box::new(peer), Mode::Together);
        let capabilities = CAPABILITIES.map(str::to_owned).to_vec();
        connection.open(&OpenOptions { capabilities, ..OpenOptions::default() })?;
        Ok(Client { number, connection, is_alive: true, channels: BTreeMap::new() })
    }

    /// Whether methods may be said on this channel.
    pub(crate) fn has_open(&self, channel: u16) -> bool {
        self.is_alive && self.channels.get(&channel).is_some_and(|channel| channel.is_open)
    }

    /// Says a method of a script.
    pub(crate) fn say(&mut self, message: &Message, aliases: &Aliases, view: &mut View) {
        let said = map_texts(message, &|text| aliases.to_broker(text));
        self.connection.send_message(&said, &[]);
        self.channels.entry(message.channel).or_default().said(message);
        view.events.push((self.number, Event::Said(format!("C {message}"))));
    }

    /// Sends bytes; the line says in a transcript what they are.
    pub(crate) fn send(&mut self, bytes: &[u8], line: String, view: &mut View) {
        self.connection.send(bytes);
        view.events.push((self.number, Event::Said(line)));
    }

    /// Goes away without a word.
    pub(crate) fn leave(&mut self, view: &mut View) {
        self.connection.drop_peer();
        self.end(view);
        view.events.push((self.number, Event::Said("C <close>".to_owned())));
    }

    /// Hands over what was said; it is also done before anything is heard.
    pub(crate) fn flush(&mut self) {
        self.connection.flush();
    }

    /// Says a method that changes nothing and is answered, on a channel that is open.
    pub(crate) fn synchronise(&mut self, channel: u16) {
        if let Some(state) =
            self.channels.get_mut(&channel).filter(|channel| channel.is_open && !channel.is_busy)
        {
            state.syncs_due += 1;
            self.connection.send_message(&method(&format!("channel.flow {channel} true")), &[]);
        }
    }

    /// Takes what has come, after at most `wait`; returns how much it was.
    pub(crate) fn hear(&mut self, wait: Duration, aliases: &mut Aliases, view: &mut View) -> usize {
        if !self.is_alive {
            return 0;
        }
        match self.connection.arrived(wait) {
            Ok(Some(messages)) => {
                messages.into_iter().filter(|message| self.take(message, aliases, view)).count()
            }
            Ok(None) => self.lost(String::new(), view),
            Err(error) => self.lost(error, view),
        }
    }

    /// Ends in good order, without a look at what comes.
    pub(crate) fn finish(mut self) {
        if self.is_alive {
            self.connection.send_message(&method("connection.close 0 200"), &[]);
            let deadline = std::time::Instant::now() + Duration::from_secs(2);
            while std::time::Instant::now() < deadline {
                match self.connection.arrived(Duration::from_millis(100)) {
                    Ok(Some(messages)) if !messages.iter().any(|message| message.channel == 0) => {}
                    _ => break,
                }
            }
        }
    }

    /// One method; true when it is something that the script has to do with.
    fn take(&mut self, message: &Message, aliases: &mut Aliases, view: &mut View) -> bool {
        for name in ["queue", "consumer-tag"] {
            aliases.learn(text_of(message, name).as_bytes());
        }
        let reply_to = message.content.as_ref().and_then(|content| content.property("reply-to"));
        if let Some(Value::Text(name)) = reply_to {
            aliases.learn_reply(name);
        }
        let message = map_texts(message, &|text| aliases.to_script(text));
        let channel = self.channels.entry(message.channel).or_default();
        let mut source = String::new();
        match message.method.name {
            "channel.flow-ok" if channel.syncs_due > 0 => {
                channel.syncs_due -= 1;
                return false;
            }
            "basic.ack" | "basic.nack" => {
                self.take_confirm(&message, view);
                return true;
            }
            "channel.open-ok" => *channel = Channel::opened(),
            "channel.close" | "channel.close-ok" => *channel = Channel::default(),
            "basic.deliver" => source = channel.source(&message),
            _ => {}
        }
        channel.heard(&message);
        view.events.push((self.number, Event::Heard(message.clone(), source)));
        match message.method.name {
            "channel.close" => self.answer(&format!("channel.close-ok {}", message.channel), view),
            "connection.close" => {
                self.answer("connection.close-ok 0", view);
                self.connection.drop_peer();
                self.end(view);
            }
            "connection.close-ok" => self.end(view),
            _ => {}
        }
        true
    }

    fn take_confirm(&mut self, message: &Message, view: &mut View) {
        let channel = self.channels.entry(message.channel).or_default();
        let tag = number_of(message, "delivery-tag") as u64;
        let confirmed = channel.confirm(tag, is_set(message, "multiple"));
        if confirmed.is_empty() {
            // Nothing waits for it: that is a mistake of the server, and shown as it came.
            view.events.push((self.number, Event::Heard(message.clone(), String::new())));
        }
        let refused = message.method.name == "basic.nack";
        let confirms = view.confirms.entry((self.number, message.channel)).or_default();
        confirms.extend(confirmed.into_iter().map(|tag| (tag, refused)));
    }

    fn answer(&mut self, text: &str, view: &mut View) {
        self.connection.send_message(&method(text), &[]);
        self.connection.flush();
        view.events.push((self.number, Event::Said(format!("C {text}"))));
    }

    fn lost(&mut self, error: String, view: &mut View) -> usize {
        self.end(view);
        view.events.push((self.number, Event::Closed(error)));
        1
    }

    fn end(&mut self, view: &mut View) {
        let mut stakes = BTreeSet::new();
        for queue in self.channels.values().flat_map(Channel::stakes) {
            if !stakes.insert(queue.clone()) {
                view.left_at_once.insert(queue);
            }
        }
        self.is_alive = false;
        self.channels.clear();
    }
}
