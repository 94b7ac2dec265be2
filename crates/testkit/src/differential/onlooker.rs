//! Somebody who looks at the queues and exchanges of a script from a connection of its own, by passive declares: what is there,
//! how many messages are ready, how many consumers there are. Asking also makes sure that the queues have worked off what came
//! before.
//!
//! Invariant: each object has a channel of its own, so that one that is not there disturbs no other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::script::{method, number_of};
use crate::transcript::connection::Connection;
use crate::transcript::received::Message;
use crate::transcript::step::OpenOptions;
use crate::transcript::{ANSWER_TIME_MAX, Mode, TcpPeer};

/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(200);

/// The onlooker of one script after the other.
pub(crate) struct Onlooker {
    connection: Connection,
    /// By name: `queue q` or `exchange e`.
    objects: BTreeMap<String, Object>,
    /// Channels that are open and not in use, and the next one that was never opened.
    free: Vec<u16>,
    next: u16,
    /// A quorum queue of its own, and the channel that publishes to it.
    log: Option<(u16, Message)>,
}

/// Numbers the onlookers of this process.
static ONLOOKERS: AtomicU32 = AtomicU32::new(0);

struct Object {
    channel: Option<u16>,
    /// Whether it is of interest how many consumers it has.
    counts_consumers: bool,
    /// What was last seen; `None` for what is not there.
    state: Option<String>,
}

impl Onlooker {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let peer = TcpPeer::connect(address).map_err(|error| error.to_string())?;
        let mut connection = Connection::new(Box::new(peer), Mode::Together);
        connection.open(&OpenOptions::default())?;
        Ok(Onlooker { connection, objects: BTreeMap::new(), free: Vec::new(), next: 1, log: None })
    }

    /// Waits until quorum queues have taken in what came before: what they take in goes through one log, so it is there when a message
    /// to a queue of the onlooker's own is.
    pub(crate) fn pass_log(&mut self) -> Result<(), String> {
        let (channel, message) = match self.log.take() {
            Some(log) => log,
            None => {
                let channel = self.new_channel()?;
                let number = ONLOOKERS.fetch_add(1, Ordering::Relaxed);
                let queue = format!("differential-log-{}-{number}", std::process::id());
                let arguments = "x-queue-type:str:quorum,x-max-length:int32:0";
                let declare =
                    format!("queue.declare {channel} queue={queue} durable=true arguments={{{arguments}}}");
                for text in [declare, format!("confirm.select {channel}")] {
                    self.say(&method(&text));
                    self.hear(Instant::now() + ANSWER_TIME_MAX)?;
                }
                (channel, method(&format!("basic.publish {channel} routing-key={queue} | | body=x")))
            }
        };
        self.say(&message);
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        while !self.hear(deadline)?.iter().any(|answer| answer.channel == channel) {}
        self.log = Some((channel, message));
        Ok(())
    }

    /// From now on this object is looked at, too: it may have come into being.
    pub(crate) fn mind(&mut self, object: &str, counts_consumers: bool) {
        let unknown = Object { channel: None, counts_consumers, state: None };
        let known = self.objects.entry(object.to_owned()).or_insert(unknown);
        known.state.get_or_insert_default();
    }

    /// Looks at all that may be there; returns what is otherwise than before.
    pub(crate) fn look(&mut self) -> Result<BTreeMap<String, String>, String> {
        let names: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, object)| object.state.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let mut waiting = BTreeMap::new();
        for name in names {
            let channel = self.channel_of(&name)?;
            self.say(&question(&name, channel));
            waiting.insert(channel, name);
        }
        let mut changes = BTreeMap::new();
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        while !waiting.is_empty() {
            for answer in self.hear(deadline)? {
                let Some(name) = waiting.remove(&answer.channel) else { continue };
                let state = self.state(&answer, &name);
                let object = self.objects.get_mut(&name).ok_or("invariant: it was asked for")?;
                if object.state.as_ref() != Some(&state) {
                    changes.insert(name.clone(), state.clone());
                }
                let is_gone = state == GONE;
                object.state = Some(state).filter(|_| !is_gone);
            }
        }
        Ok(changes)
    }

    /// Deletes all that is there and forgets it: one after the other, as RabbitMQ 3.10 may crash when two exchanges that are bound
    /// to each other are deleted at once.
    pub(crate) fn clear(&mut self) -> Result<(), String> {
        let is_there = |object: &Object| object.state.is_some();
        let there = self.objects.iter().filter(|(_, object)| is_there(object));
        for name in there.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let channel = self.channel_of(&name)?;
            let (kind, own) = name.split_once(' ').ok_or("invariant: a kind and a name")?;
            self.say(&named(&format!("{kind}.delete {channel}"), kind, own));
            let deadline = Instant::now() + ANSWER_TIME_MAX;
            for answer in self.hear(deadline)? {
                self.state(&answer, &name);
            }
        }
        let channels = std::mem::take(&mut self.objects).into_values().filter_map(|object| object.channel);
        self.free.extend(channels);
        Ok(())
    }

    fn channel_of(&mut self, name: &str) -> Result<u16, String> {
        if let Some(Object { channel: Some(channel), .. }) = self.objects.get(name) {
            return Ok(*channel);
        }
        let channel = match self.free.pop() {
            Some(channel) => channel,
            None => self.new_channel()?,
        };
        if let Some(object) = self.objects.get_mut(name) {
            object.channel = Some(channel);
        }
        Ok(channel)
    }

    fn new_channel(&mut self) -> Result<u16, String> {
        let channel = self.next;
        self.connection.open_channel(channel)?;
        self.next += 1;
        Ok(channel)
    }

    /// What an answer says; a channel that was closed is opened again.
    fn state(&mut self, answer: &Message, name: &str) -> String {
        match answer.method.name {
            "queue.declare-ok" => {
                let count = |field| number_of(answer, field);
                let ready = format!("{} ready", count("message-count"));
                if self.objects.get(name).is_some_and(|object| object.counts_consumers) {
                    format!("{ready}, {} consumers", count("consumer-count"))
                } else {
                    ready
                }
            }
            "channel.close" => {
                self.say(&method(&format!("channel.close-ok {}", answer.channel)));
                if let Some(object) = self.objects.get_mut(name) {
                    object.channel = None;
                }
                // A number can be used again as soon as the server has read close-ok, which comes before the new open.
                if self.connection.open_channel(answer.channel).is_ok() {
                    self.free.push(answer.channel);
                }
                match number_of(answer, "reply-code") {
                    404 => GONE.to_owned(),
                    code => format!("refused with {code}"),
                }
            }
            _ => "there".to_owned(),
        }
    }

    fn say(&mut self, message: &Message) {
        self.connection.send_message(message, &[]);
    }

    fn hear(&mut self, deadline: Instant) -> Result<Vec<Message>, String> {
        loop {
            let arrived =
                self.connection.arrived(READ_WAIT)?.ok_or("the onlooker's connection was closed")?;
            if let Some(close) = arrived.iter().find(|message| message.channel == 0) {
                return Err(format!("the onlooker got {close}"));
            }
            if !arrived.is_empty() {
                return Ok(arrived);
            }
            if Instant::now() > deadline {
                return Err("the onlooker got no answer".to_owned());
            }
        }
    }
}

impl Drop for Onlooker {
    /// Its queue goes with it.
    fn drop(&mut self) {
        if let Some((channel, message)) = self.log.take() {
            let queue = super::script::text_of(&message, "routing-key");
            self.say(&method(&format!("queue.delete {channel} queue={queue}")));
            // A broker that is gone has nothing to clear away.
            let _ = self.hear(Instant::now() + READ_WAIT);
        }
    }
}

/// What is not there.
const GONE: &str = "gone";

fn question(name: &str, channel: u16) -> Message {
    match name.split_once(' ') {
        Some(("queue", own)) => named(&format!("queue.declare {channel} passive=true"), "queue", own),
        Some((_, own)) => {
            named(&format!("exchange.declare {channel} type=direct passive=true"), "exchange", own)
        }
        None => unreachable!("invariant: {name} is a kind and a name"),
    }
}

/// A method with a name in the field `field`.
fn named(text: &str, field: &str, name: &str) -> Message {
    let mut message = method(text);
    if let Some(value) = super::script::field_mut(&mut message, field) {
        *value = crate::transcript::value::Value::Text(name.as_bytes().to_vec());
    }
    message
}
