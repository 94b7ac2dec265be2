//! What must hold for any sequence of operations on several connections of one broker. The fuzz target and the ordinary tests
//! of the broker both include this folder, so that a finding becomes a file in the corpus and is checked for ever.
//!
//! An input is read as operations, two octets each with their arguments behind; where it ends, the broker is looked at once
//! more: every message that a client has not disposed of is in its queue, in its place, once.

mod ledger;
mod line;

use std::net::SocketAddr;
use std::sync::Arc;

use warrenmq_broker::{Broker, Commits, Durability, Limits, Options};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;

use ledger::{Asked, Ledger, Reaction};
use line::{Line, octets};

/// Connections at most.
const LINES: usize = 3;
/// Channels of each.
const CHANNELS: u8 = 2;
/// Queues, `q0` and so on.
const QUEUES: usize = 2;
/// More rounds than this without rest are a busy loop.
const ROUNDS_MAX: usize = 10_000;

/// Runs an input to its end.
pub(crate) fn sessions(data: &[u8]) {
    let mut world = World::new();
    let mut input = Input { left: data };
    while let (Some(code), Some(place)) = (input.next(), input.next()) {
        world.operate(code, place, &mut input);
    }
    world.finish();
}

struct Input<'a> {
    left: &'a [u8],
}

impl Input<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    /// The next octet, 0 when there is none.
    fn octet(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }
}

struct World {
    broker: Arc<Broker>,
    lines: [Option<Line>; LINES],
    ledger: Ledger,
    now: u64,
}

impl World {
    fn new() -> World {
        // Windows so small that they close all the time.
        let limits = Limits { consumer_window_octets: 600, queue_window_octets: 2000, ..Limits::default() };
        let options = Options {
            limits,
            loopback_users: Vec::new(),
            default_user: "guest".to_owned(),
            default_pass: "guest".to_owned(),
            default_vhost: "/".to_owned(),
            cluster_name: "fuzz".to_owned(),
            product: "RabbitMQ".to_owned(),
            version: "3.13.7".to_owned(),
            seed: [7; 32],
            epoch_ms: 0,
            now: 0,
            durability: Durability::Fsync,
            default_queue_type: "classic".to_owned(),
        };
        let store = Box::new(MemoryDefinitions::new());
        let broker =
            Broker::open(options, store, Arc::new(SimDisk::new()), Commits::Inline, Arc::new(|_| {}))
                .expect("a new broker opens");
        World { broker, lines: [const { None }; LINES], ledger: Ledger::new(LINES, QUEUES), now: 0 }
    }

    /// `place` names connection, channel and queue.
    fn operate(&mut self, code: u8, place: u8, input: &mut Input<'_>) {
        let at = usize::from(place & 3) % LINES;
        let channel = u16::from((place >> 2) % CHANNELS) + 1;
        let queue = usize::from(place >> 3) % QUEUES;
        let asked = Asked { at, channel, queue, ..Asked::default() };

        if self.lines[at].is_none() {
            self.connect(at);
        } else if !self.ledger.is_open(at, channel) {
            self.say(asked, &octets::channel_open(channel));
            self.ledger.open_channel(at, channel);
        } else if self.ledger.is_unfinished(at, channel) {
            self.finish_message(asked, code);
        } else {
            self.on_channel(code, asked, input);
        }
        self.rest(at);
        self.ledger.check();
    }

    fn connect(&mut self, at: usize) {
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let mut line = Line::new(self.broker.connect(peer, self.now));
        line.say(&octets::handshake());
        self.lines[at] = Some(line);
        self.ledger.connect(at);
    }

    fn say(&mut self, asked: Asked, octets: &[u8]) {
        let at = asked.at;
        self.ledger.asked = asked;
        if let Some(line) = &mut self.lines[at] {
            line.say(octets);
        }
    }

    /// An operation on a channel that is open.
    fn on_channel(&mut self, code: u8, asked: Asked, input: &mut Input<'_>) {
        let Asked { at, channel, queue, .. } = asked;
        match code % 20 {
            0..=3 => self.publish(asked, input),
            4 | 5 => self.consume(asked, input),
            6 | 7 => self.settle(asked, input),
            8 => {
                let no_ack = input.octet().is_multiple_of(2);
                let may_fail = !self.ledger.exists(queue);
                self.say(Asked { no_ack, may_fail, ..asked }, &octets::get(channel, queue, no_ack));
            }
            9 => {
                let (count, global) = (input.octet() % 5, input.octet().is_multiple_of(2));
                self.ledger.qos(at, channel, u64::from(count), global);
                self.say(asked, &octets::qos(channel, count.into(), global));
            }
            10 => {
                self.ledger.recover(at, channel);
                self.say(asked, &octets::recover(channel));
            }
            11 => {
                let tag = tag_of(input.octet());
                self.ledger.cancel(at, channel, &tag);
                self.say(asked, &octets::cancel(channel, &tag));
            }
            12 | 13 => {
                self.say(asked, &octets::declare(channel, queue));
                self.ledger.declare(queue);
            }
            14 => {
                let may_fail = !self.ledger.exists(queue);
                self.say(Asked { may_fail, ..asked }, &octets::purge(channel, queue));
            }
            15 => self.say(asked, &octets::delete(channel, queue)),
            16 => {
                self.ledger.leave_channel(at, channel);
                self.say(asked, &octets::channel_close(channel));
            }
            17 => self.leave(at, input.octet()),
            18 => {
                let begun = input.octet() % 3;
                let number = self.ledger.begin_message(at, channel, queue, begun);
                self.say(asked, &octets::unfinished(channel, queue, number, begun));
            }
            _ => {
                let garbage = octets::garbage(channel, input.octet());
                self.say(Asked { may_fail: true, ..asked }, &garbage);
            }
        }
    }

    fn publish(&mut self, asked: Asked, input: &mut Input<'_>) {
        let Asked { at, channel, queue, .. } = asked;
        let shape = input.octet();
        let (count, mandatory, pieces) = (shape % 8 + 1, shape & 8 != 0, usize::from(shape >> 4));
        let size = usize::from(input.octet());
        let mut said = Vec::new();
        for _ in 0..count {
            let number = self.ledger.publish(at, channel, queue, mandatory);
            octets::publish(&mut said, channel, queue, number, mandatory, size, pieces);
        }
        self.say(asked, &said);
    }

    fn consume(&mut self, asked: Asked, input: &mut Input<'_>) {
        let Asked { at, channel, queue, .. } = asked;
        let shape = input.octet();
        let (no_ack, exclusive) = (shape & 8 != 0, shape & 0x30 == 0x30);
        let tag = tag_of(shape);
        let said = octets::consume(channel, queue, &tag, no_ack, exclusive);
        let may_fail = !self.ledger.may_consume(at, channel, queue, &tag, exclusive);
        self.say(Asked { no_ack, exclusive, may_fail, ..asked }, &said);
    }

    /// ack, nack and reject, mostly of what is outstanding.
    fn settle(&mut self, asked: Asked, input: &mut Input<'_>) {
        let Asked { at, channel, .. } = asked;
        let (shape, which) = (input.octet(), input.octet());
        let (multiple, requeue) = (shape & 1 != 0, shape & 2 != 0);
        let tag = if shape & 0xE0 == 0xE0 { which.into() } else { self.ledger.some_tag(at, channel, which) };
        let (multiple, requeue, said) = match (shape >> 2) % 3 {
            0 => (multiple, false, octets::ack(channel, tag, multiple)),
            1 => (multiple, requeue, octets::nack(channel, tag, multiple, requeue)),
            _ => (false, requeue, octets::reject(channel, tag, requeue)),
        };
        let known = self.ledger.settle(at, channel, tag, multiple, requeue);
        self.say(Asked { may_fail: !known, ..asked }, &said);
    }

    /// The rest of a message comes, or something else, which is the end of the connection.
    fn finish_message(&mut self, asked: Asked, code: u8) {
        let Asked { at, channel, .. } = asked;
        if code.is_multiple_of(4) {
            self.say(Asked { may_fail: true, ..asked }, &octets::recover(channel));
        } else if let Some((number, begun)) = self.ledger.finish_message(at, channel) {
            self.say(asked, &octets::rest_of_message(channel, number, begun));
        }
    }

    /// The client goes: with a word, or without.
    fn leave(&mut self, at: usize, how: u8) {
        self.ledger.leave(at);
        if how.is_multiple_of(2) {
            self.lines[at] = None;
        } else if let Some(line) = &mut self.lines[at] {
            line.say(&octets::connection_close());
        }
    }

    /// Lets everything happen that can, and enters what clients hear: first the one that has acted, so that the others'
    /// messages are explained by what it was told.
    fn rest(&mut self, acting: usize) {
        loop {
            self.drive();
            let mut answered = false;
            for at in (0..LINES).map(|step| (acting + step) % LINES) {
                let Some(line) = &mut self.lines[at] else { continue };
                let mut leaves = line.is_over();
                for said in line.hear() {
                    match self.ledger.hear(at, said) {
                        Reaction::Nothing => {}
                        Reaction::Answer(octets) => {
                            line.say(&octets);
                            answered = true;
                        }
                        Reaction::Leave => leaves = true,
                    }
                }
                if leaves {
                    self.ledger.leave(at);
                    self.lines[at] = None;
                    answered = true;
                }
            }
            if !answered {
                break;
            }
        }
        self.ledger.settled();
    }

    fn drive(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for line in self.lines.iter_mut().flatten() {
                moved |= line.turn(self.now);
            }
            if moved {
                continue;
            }
            // A publisher waits for a moment.
            match self.lines.iter().flatten().filter_map(Line::waits_until).min() {
                Some(at) => self.now = at.max(self.now + 1),
                None => return,
            }
        }
        panic!("the broker does not come to rest");
    }

    /// All go, and one comes and takes what is left.
    fn finish(mut self) {
        for at in 0..LINES {
            self.lines[at] = None;
            self.ledger.leave(at);
        }
        self.connect(0);
        self.say(Asked { channel: 1, ..Asked::default() }, &octets::channel_open(1));
        self.ledger.open_channel(0, 1);
        self.rest(0);
        for queue in (0..QUEUES).filter(|queue| self.ledger.exists(*queue)).collect::<Vec<_>>() {
            // One more than there may be: it has to be empty then.
            for _ in 0..=self.ledger.ready(queue) {
                let asked = Asked { channel: 1, queue, no_ack: true, ..Asked::default() };
                self.say(asked, &octets::get(1, queue, true));
                self.rest(0);
            }
        }
        assert_eq!(self.ledger.left(), 0, "messages are missing");
        self.lines = [const { None }; LINES];
        assert_eq!(self.broker.connection_count(), 0);
    }
}

/// One of four consumer tags.
fn tag_of(octet: u8) -> String {
    format!("t{}", octet % 4)
}
