//! Playing a script on one broker, step by step; after each step it is waited until nothing more comes of it.
//!
//! How that is known: a method that is answered goes through each channel behind the step, then a passive declare through each
//! queue, then again one through each channel, which comes behind what the queues have sent. That is done until a round brings
//! nothing new, twice at least, because a passive declare may overtake a publish on its way to the queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::aliases::Aliases;
use super::client::Client;
use super::onlooker::Onlooker;
use super::script::{Action, QUORUM, Script, Step, field, is_set, method, text_of};
use super::turns::Turns;
use super::view::{Event, Played, View};
use crate::transcript::codec::{Frame, hex};
use crate::transcript::received::Message;
use crate::transcript::value::Value;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it is waited for an answer to what may have none: a frame that is not whole, say.
const DOUBT_TIME: Duration = Duration::from_millis(400);
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(200);
/// Methods after which one look is enough.
const MOVES_NOTHING: [&str; 8] = [
    "exchange.declare",
    "exchange.bind",
    "queue.declare",
    "queue.bind",
    "basic.qos",
    "confirm.select",
    "tx.select",
    "channel.open",
];
/// Rounds after a step: at least, and at most where messages go in circles.
const ROUNDS: std::ops::Range<u32> = 2..40;
/// What expires in scripts does so after 1500 ms, and they wait for 2120 ms: steps between waits must be much faster.
const SEGMENT_TIME_MAX: Duration = Duration::from_millis(440);
/// Where nothing is waited for, nothing may have expired at the end.
const UNWAITED_TIME_MAX: Duration = Duration::from_millis(1200);

/// Whoever plays scripts on one broker, one after the other.
pub(crate) struct Player {
    address: SocketAddr,
    turns: Turns,
    onlooker: Option<Onlooker>,
}

/// One script that is being played.
struct Play<'a> {
    address: SocketAddr,
    turns: &'a Turns,
    onlooker: &'a mut Onlooker,
    aliases: Aliases,
    clients: BTreeMap<u32, Client>,
    view: View,
    /// What the view of an earlier step has said of queues and exchanges.
    states: BTreeMap<String, String>,
    /// Waited for after each round, where haste has been seen to matter.
    patience: Duration,
    /// There are quorum queues: they take in what has been written and synced to disk, and a passive declare does not wait for that.
    has_log: bool,
}

impl Player {
    /// For the broker at `address`; it is connected to when the first script is played.
    pub(crate) fn new(address: SocketAddr, turns: Turns) -> Self {
        Player { address, turns, onlooker: None }
    }

    /// Plays a script. `prefix` stands for `@`.
    ///
    /// # Errors
    /// When the broker cannot be reached or does not answer the onlooker.
    pub(crate) fn play(
        &mut self,
        script: &Script,
        prefix: &str,
        patience: Duration,
    ) -> Result<Played, String> {
        let mut onlooker = match self.onlooker.take() {
            Some(onlooker) => onlooker,
            None => Onlooker::connect(self.address)?,
        };
        let mut play = Play {
            address: self.address,
            turns: &self.turns,
            onlooker: &mut onlooker,
            aliases: Aliases::new(prefix),
            clients: BTreeMap::new(),
            view: View::default(),
            states: BTreeMap::new(),
            patience,
            has_log: script.has_quorum_queues(),
        };
        let played = play.all(script)?;
        play.clients.into_values().for_each(Client::finish);
        onlooker.clear()?;
        self.onlooker = Some(onlooker);
        Ok(played)
    }
}

impl Play<'_> {
    fn all(&mut self, script: &Script) -> Result<Played, String> {
        let mut played = Played::default();
        let time_max = if script.waits() { SEGMENT_TIME_MAX } else { UNWAITED_TIME_MAX };
        let is_timed = script.is_timed();
        let is_slow = |begun: Instant| is_timed && begun.elapsed() > time_max;
        let mut begun = Instant::now();
        for step in &script.steps {
            let is_wait = matches!(step.action, Action::Wait(_));
            played.was_slow |= is_wait && is_slow(begun);
            if let Action::Wait(milliseconds) = step.action {
                thread::sleep(Duration::from_millis(milliseconds));
            }
            let turn = self.turns.take(is_timed);
            self.step(step)?;
            drop(turn);
            played.views.push(std::mem::take(&mut self.view));
            if is_wait {
                begun = Instant::now();
            }
        }
        played.was_slow |= is_slow(begun);
        Ok(played)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let number = step.connection;
        match &step.action {
            Action::Say(message) => {
                if message.channel != 0 && message.method.name != "channel.open" {
                    self.open(number, message.channel)?;
                }
                self.say(number, message)?;
            }
            Action::Blurt(message) => self.say(number, message)?,
            Action::Frame { kind, channel, payload } => {
                let frame = Frame { kind: *kind, channel: *channel, payload: payload.clone() };
                let line = format!("C frame {kind} {channel} {}", Value::Text(payload.clone()));
                self.open(number, *channel)?;
                if let Some(client) = self.clients.get_mut(&number) {
                    client.channels.entry(*channel).or_default().is_busy = true;
                }
                self.send(number, &frame.encode(), line)?;
            }
            Action::Bytes(bytes) => self.send(number, bytes, format!("C <bytes {}>", hex(bytes)))?,
            Action::Leave => {
                if let Some(client) = self.clients.get_mut(&number).filter(|client| client.is_alive) {
                    client.leave(&mut self.view);
                }
            }
            // It is over; what came meanwhile is looked at now.
            Action::Wait(_) => {}
        }
        self.settle(if self.is_done(step) { 1 } else { ROUNDS.start })
    }

    /// Whether nothing can be on its way any more: the step was a method that moves no message and was answered.
    fn is_done(&self, step: &Step) -> bool {
        // A binding to an exchange that remembers brings what it has kept.
        let remembers = |message: &Message| {
            ["exchange", "source"].iter().any(|name| text_of(message, name).starts_with("@h"))
        };
        let moves_nothing = step
            .action
            .message()
            .is_some_and(|message| MOVES_NOTHING.contains(&message.method.name) && !remembers(message));
        let is_end = |event: &Event| match event {
            Event::Heard(message, _) => ["channel.close", "connection.close"].contains(&message.method.name),
            Event::Closed(_) | Event::Silent(_) => true,
            Event::Said(_) => false,
        };
        moves_nothing && !self.view.events.iter().any(|(_, event)| is_end(event))
    }

    /// The client of a connection, which is made anew when it has ended.
    fn client(&mut self, number: u32) -> Result<&mut Client, String> {
        if self.clients.get(&number).is_none_or(|client| !client.is_alive) {
            self.clients.insert(number, Client::connect(number, self.address)?);
            self.view.events.push((number, Event::Said("open".to_owned())));
        }
        self.clients.get_mut(&number).ok_or_else(|| "invariant: it was just made".to_owned())
    }

    fn open(&mut self, number: u32, channel: u16) -> Result<(), String> {
        if !self.client(number)?.has_open(channel) {
            self.say(number, &method(&format!("channel.open {channel}")))?;
        }
        Ok(())
    }

    /// Says a method and waits until it has been looked at.
    fn say(&mut self, number: u32, message: &Message) -> Result<(), String> {
        let channel = message.channel;
        self.client(number)?;
        let mut message = message.clone();
        self.resolve_tag(number, &mut message);
        self.mind(&message);
        let Some(client) = self.clients.get_mut(&number) else { return Ok(()) };
        let was_open = client.has_open(channel);
        client.say(&message, &self.aliases, &mut self.view);
        match message.method.name {
            "channel.open" if !was_open => {
                self.wait(number, |client| client.has_open(channel), ANSWER_TIME_MAX)
            }
            "channel.close" if was_open => {
                self.wait(number, |client| !client.has_open(channel), ANSWER_TIME_MAX)
            }
            "connection.close" => self.wait(number, |_| false, ANSWER_TIME_MAX),
            // RabbitMQ refuses a method that comes before the commit is done.
            "tx.commit" if was_open => {
                let is_done = |client: &Client| {
                    client.channels.get(&channel).is_none_or(|state| !state.is_open || !state.is_committing)
                };
                self.wait(number, is_done, ANSWER_TIME_MAX);
            }
            _ if was_open && client.channels.get(&channel).is_some_and(|state| !state.is_busy) => {
                client.synchronise(channel);
                let is_done =
                    |client: &Client| client.channels.get(&channel).is_none_or(|state| state.syncs_due == 0);
                self.wait(number, is_done, ANSWER_TIME_MAX);
            }
            _ => self.wait(number, |_| false, DOUBT_TIME),
        }
        Ok(())
    }

    /// A negative delivery tag counts what the channel holds.
    fn resolve_tag(&self, number: u32, message: &mut Message) {
        let settles = ["basic.ack", "basic.nack", "basic.reject"].contains(&message.method.name);
        let channel = self.clients.get(&number).and_then(|client| client.channels.get(&message.channel));
        if let (true, Some(Value::Number(tag)), Some(channel)) =
            (settles, field(message, "delivery-tag"), channel)
        {
            let resolved = channel.resolve(*tag, is_set(message, "multiple"));
            if let Some(value) = super::script::field_mut(message, "delivery-tag") {
                *value = Value::Number(resolved.max(0));
            }
        }
    }

    /// What this method may create is looked at from now on.
    fn mind(&mut self, message: &Message) {
        let name = |field| text_of(message, field);
        let object = match message.method.name {
            "queue.declare" => format!("queue {}", name("queue")),
            "exchange.declare" => format!("exchange {}", name("exchange")),
            _ => return,
        };
        // Other names are not the script's own: all scripts share them.
        if object.contains(" @") {
            let own = self.aliases.to_broker(object.as_bytes());
            let counts_consumers = !name("queue").starts_with(QUORUM);
            self.onlooker.mind(&String::from_utf8_lossy(&own), counts_consumers);
        }
    }

    fn send(&mut self, number: u32, bytes: &[u8], line: String) -> Result<(), String> {
        self.client(number)?;
        if let Some(client) = self.clients.get_mut(&number) {
            client.send(bytes, line, &mut self.view);
        }
        self.wait(number, |_| false, DOUBT_TIME);
        Ok(())
    }

    /// Hears one client until it is done or has ended. That nothing comes is seen, too, when something was due.
    fn wait(&mut self, number: u32, is_done: impl Fn(&Client) -> bool, time_max: Duration) {
        let deadline = Instant::now() + time_max;
        let Some(client) = self.clients.get_mut(&number) else { return };
        while client.is_alive && !is_done(client) {
            if Instant::now() > deadline {
                if time_max == ANSWER_TIME_MAX {
                    self.view.events.push((number, Event::Silent("no answer".to_owned())));
                }
                return;
            }
            client.hear(READ_WAIT.min(time_max), &mut self.aliases, &mut self.view);
        }
    }

    /// Waits until nothing more comes of what was said.
    fn settle(&mut self, rounds_min: u32) -> Result<(), String> {
        for round in 0..ROUNDS.end {
            if self.has_log {
                self.onlooker.pass_log()?;
            }
            let changes = self.onlooker.look()?;
            let mut news = changes.len();
            for (object, state) in changes {
                let object = self.aliases.to_script(object.as_bytes());
                self.view.objects.insert(String::from_utf8_lossy(&object).into_owned(), state);
            }
            thread::sleep(self.patience);
            news += self.synchronise();
            if round + 1 >= rounds_min && news == 0 {
                break;
            }
        }
        // What has changed and changed back is as it was: how often it was looked at meanwhile does not count.
        self.view.objects.retain(|object, state| self.states.get(object) != Some(state));
        self.states.extend(self.view.objects.clone());
        self.await_confirms();
        for channel in self.clients.values_mut().flat_map(|client| client.channels.values_mut()) {
            channel.end_step();
        }
        Ok(())
    }

    /// One answered method through every channel; returns how much came besides the answers.
    fn synchronise(&mut self) -> usize {
        let mut news = 0;
        for client in self.clients.values_mut().filter(|client| client.is_alive) {
            let open: Vec<u16> = client
                .channels
                .iter()
                .filter(|(_, state)| state.is_open)
                .map(|(channel, _)| *channel)
                .collect();
            open.into_iter().for_each(|channel| client.synchronise(channel));
            client.flush();
        }
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        for (number, client) in &mut self.clients {
            while client.is_alive && client.channels.values().any(|channel| channel.syncs_due > 0) {
                news += client.hear(READ_WAIT, &mut self.aliases, &mut self.view);
                if Instant::now() > deadline {
                    self.view.events.push((*number, Event::Silent("no answer to channel.flow".to_owned())));
                    client.channels.values_mut().for_each(|channel| channel.syncs_due = 0);
                }
            }
        }
        news
    }

    /// A confirm may have to wait for a disk.
    fn await_confirms(&mut self) {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        for (number, client) in &mut self.clients {
            while client.is_alive && client.channels.values().any(|channel| channel.awaits_confirms()) {
                client.hear(READ_WAIT, &mut self.aliases, &mut self.view);
                if Instant::now() > deadline {
                    self.view.events.push((*number, Event::Silent("no confirm".to_owned())));
                    return;
                }
            }
        }
    }
}
