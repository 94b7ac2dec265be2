//! What happens next, chosen from the seed.
//!
//! Invariant: clients only ask for what is allowed, so an error that the broker reports is a finding; the exceptions are a queue that
//! another client has deleted, and messages that the broker has to refuse.

use warrenmq_broker::Worker;
use warrenmq_testkit::disk::Operation;

use crate::bounds::{self, MESSAGE_OCTETS_MAX};
use crate::chooses::Chooses;
use crate::client::{Client, Mode};
use crate::draft;
use crate::message::{Message, User};
use crate::node::End;
use crate::op::{Ask, Number, Special, To, Verdict};
use crate::oracle::Ruling;
use crate::rng::Rng;
use crate::topology::{Kind, Name, Topology};
use crate::trace::Trace;
use crate::way::Gate;
use crate::world::{ALL, KEPT_MS, World};

/// Clients at the same time.
const CLIENTS_MAX: usize = 4;
/// Consumers of a channel.
const CONSUMERS_MAX: usize = 3;
/// Routing keys of the exchange that chooses.
const KEYS: usize = 4;

/// So many turns bring a client through its handshake, and a channel or two to it.
const HELLO_TURNS: usize = 8;
/// Seeds are multiplied by this for the second row of choices.
const MORE: u64 = 0xd134_2543_de82_ef95;
/// And by this for the third.
const LATEST: u64 = 0xaf25_1af3_b0f0_25b5;

/// A run that is under way.
#[derive(Debug)]
pub struct Scheduler {
    world: World,
    rng: Rng,
    /// Choices that were thought of later, so that the others stay as they were.
    more: Rng,
    /// Those that were thought of last, in half of the runs: the other half stays as it was.
    latest: Rng,
    is_heavy: bool,
    /// Half of what happens is about this queue.
    focus: Option<Name>,
    /// Clients say hello without delay.
    is_brisk: bool,
    /// Much comes back.
    is_undecided: bool,
    /// Many requests and replies.
    is_talkative: bool,
    /// The disk has a fault that the broker may not have met yet.
    has_trouble: bool,
}

impl Scheduler {
    /// The run of this seed.
    ///
    /// # Errors
    /// What went wrong.
    pub fn new(seed: u64, trace: Trace) -> Result<Scheduler, String> {
        let mut rng = Rng::new(seed);
        let mut more = Rng::new(seed.wrapping_mul(MORE));
        let mut latest = Rng::new(seed.wrapping_mul(LATEST));
        let mut topology = Topology::of(&mut rng, &mut more, &mut latest);
        let mut limits = bounds::limits(&mut rng, &mut more);
        if topology.is_late {
            limits.message_size_max = MESSAGE_OCTETS_MAX as u64;
        }
        // What is read ahead is not small: now and then messages are large enough for a queue to go beyond it.
        let is_heavy = rng.chance(1, 6);
        if is_heavy {
            // A close that stands behind a large message is not heard in time, and what it gives back is.
            topology.queues.iter_mut().for_each(|kind| kind.own.consumer_timeout = None);
        }
        let world = World::new(topology, limits, trace)?;
        let special: Vec<Name> = world.topology.free().into_iter().filter(|name| *name > 1).collect();
        let (is_brisk, is_undecided) = (more.chance(2, 3), more.chance(1, 3));
        let retries = |name: &&Name| world.topology.queues[**name].own.retry.is_some();
        let focus = more.pick(&special).copied().filter(|_| more.chance(2, 3));
        let focus = special.iter().find(retries).copied().filter(|_| is_undecided).or(focus);
        let is_talkative = world.topology.is_late && latest.chance(1, 3);
        Ok(Scheduler {
            world,
            rng,
            more,
            latest,
            is_heavy,
            focus,
            is_brisk,
            is_undecided,
            is_talkative,
            has_trouble: false,
        })
    }

    /// What has happened so far.
    pub fn trace(&self) -> String {
        self.world.trace.text()
    }

    /// The run, up to its end.
    ///
    /// # Errors
    /// What went wrong.
    pub fn run(&mut self) -> Ruling {
        let longer = if self.focus.is_some() { self.more.between(0, 300) } else { 0 };
        let actions = self.rng.between(20, 400) + longer;
        for _ in 0..actions {
            self.act()?;
        }
        self.come_to_rest()?;
        if self.rng.chance(2, 3) {
            let end = [End::PowerCut(self.rng.word()), End::Kill, End::Stop][self.rng.below(3)];
            self.end(end)?;
        }
        self.drain()?;
        self.world.oracle.drained()?;
        if self.rng.chance(1, 2) {
            let seed = self.rng.word();
            self.end(End::PowerCut(seed))?;
            // What was acknowledged last may have come back.
            self.drain()?;
            self.world.oracle.drained()?;
        }
        self.count_all()?;
        self.world.is_tidy()
    }

    fn act(&mut self) -> Ruling {
        let clients = self.world.clients.len();
        if clients == 0 || (clients < CLIENTS_MAX && self.rng.chance(1, 25)) {
            return self.connect();
        }
        let client = self.rng.below(clients);
        match self.rng.below(100) {
            0..50 => self.network(client),
            50..84 => self.ask(client),
            84..92 => self.steps(),
            92..94 => self.trouble(),
            94 => self.policy(),
            95..99 if self.has_unseen_use() || self.has_unseen_close() => self.steps(),
            95..99 => {
                let longest = [3, 30, 400][self.rng.below(3)];
                let mut milliseconds = self.rng.between(1, longest);
                if let Some(due) = self.world.oracle.next_wait()
                    && self.more.chance(1, 2)
                {
                    milliseconds = due;
                }
                if self.world.oracle.awaits_burial() && self.more.chance(1, 3) {
                    milliseconds += KEPT_MS;
                }
                self.world.advance(milliseconds);
                Ok(())
            }
            _ => self.world.cut(client),
        }
    }

    /// When a get that waits for the disk is a use of its queue, and keeps it from expiring, cannot be seen.
    fn has_unseen_use(&self) -> bool {
        let oracle = &self.world.oracle;
        let expires = |name: &Name| oracle.rules(*name).is_some_and(|rules| rules.expires.is_some());
        self.world.clients.iter().any(Client::waits_for_get) && oracle.existing().iter().any(expires)
    }

    /// A close that stands behind a commit-ok is not heard in time, and what it gives back is.
    fn has_unseen_close(&self) -> bool {
        let World { topology, clients, oracle, .. } = &self.world;
        topology.is_late && clients.iter().any(Client::waits_for_commit) && oracle.has_deadlines()
    }

    /// The storage works for a while.
    fn steps(&mut self) -> Ruling {
        let worker =
            [Worker::Commit, Worker::Commit, Worker::Write, Worker::Write, Worker::Read][self.rng.below(5)];
        let longest = [1, 3, 30][self.rng.below(3)];
        for _ in 0..self.rng.between(1, longest) {
            if !self.world.step(worker) {
                break;
            }
        }
        self.look_at_disk()
    }

    /// A broker that has met an error that ends it has ended.
    fn look_at_disk(&mut self) -> Ruling {
        if self.world.node.has_failed() {
            // What a failed sync has lost stays in the system's cache until power fails: another process would find it there, and
            // nothing tells it that it is not on disk. So nobody is asked to start on that.
            let seed = self.rng.word();
            self.end(End::PowerCut(seed))?;
        }
        Ok(())
    }

    /// Something goes wrong, now or soon.
    fn trouble(&mut self) -> Ruling {
        let disk = &self.world.node.disk;
        let after = self.rng.between(0, 12);
        let fault = match self.rng.below(10) {
            0..3 => {
                let seed = self.rng.word();
                return self.end(End::PowerCut(seed));
            }
            3 if !self.has_trouble => return self.end(End::Kill),
            4 if !self.has_trouble => return self.end(End::Stop),
            5 | 6 => {
                disk.freeze(disk.operations() + after);
                format!("the disk stops after {after} operations")
            }
            7 => {
                disk.set_free(self.rng.between(0, 4000));
                "the disk is almost full".to_owned()
            }
            which => {
                let others = [Operation::Write, Operation::Create, Operation::SyncDir][self.rng.below(3)];
                let operation = if which == 8 { Operation::Sync } else { others };
                disk.fail_once(operation, after);
                format!("the disk fails at {operation:?} number {after}")
            }
        };
        self.has_trouble = true;
        self.world.trace.add(|| fault);
        Ok(())
    }

    /// The broker ends, and starts again; now and then that is interrupted too.
    fn end(&mut self, end: End) -> Ruling {
        self.has_trouble = false;
        self.world.end(end)?;
        while self.rng.chance(1, 4) {
            let disk = &self.world.node.disk;
            disk.freeze(disk.operations() + self.rng.between(0, 10));
            let started = self.world.restart();
            let seed = self.rng.word();
            self.world.end(End::PowerCut(seed))?;
            self.world.trace.add(|| format!("the start was interrupted ({started:?})"));
        }
        self.world.node.disk.set_free(1 << 30);
        self.world.restart()
    }

    fn connect(&mut self) -> Ruling {
        let client = self.world.connect();
        self.choose_mode(client, 1);
        if self.rng.chance(1, 3) {
            self.world.plan(client, 2, Ask::OpenChannel);
            self.choose_mode(client, 2);
        }
        if self.is_brisk {
            for _ in 0..HELLO_TURNS {
                self.world.send(client);
                self.world.carry(client, usize::MAX);
                self.world.turn(client, ALL)?;
                while self.world.read(client) {}
            }
        }
        Ok(())
    }

    /// What is on its way to the broker and from it arrives.
    fn hurry(&mut self) -> Ruling {
        for client in 0..self.world.clients.len() {
            self.world.send(client);
            self.world.carry(client, usize::MAX);
            self.world.turn(client, ALL)?;
            while self.world.read(client) {}
        }
        Ok(())
    }

    fn choose_mode(&mut self, client: usize, channel: Number) {
        match self.rng.below(10) {
            0..5 => self.world.plan(client, channel, Ask::Confirm),
            5..7 => self.world.plan(client, channel, Ask::Tx),
            _ => {}
        }
    }

    /// Octets travel, or the broker has its turn.
    fn network(&mut self, client: usize) -> Ruling {
        if self.world.clients[client].is_closed {
            return self.world.cut(client);
        }
        if self.world.clients[client].has_todo() {
            self.world.send(client);
        }
        let link = &self.world.clients[client].link;
        let (on_the_way, can_read) = (link.on_the_way(), link.can_read());
        match self.rng.below(3) {
            0 if on_the_way > 0 => {
                let octets = if self.rng.chance(2, 3) { on_the_way } else { 1 + self.rng.below(on_the_way) };
                self.world.carry(client, octets);
            }
            1 if can_read => {
                for _ in 0..=self.rng.below(8) {
                    self.world.read(client);
                }
            }
            _ => {
                let limit = if self.rng.chance(1, 4) { 1 + self.rng.below(300) } else { ALL };
                self.world.turn(client, limit)?;
            }
        }
        Ok(())
    }

    /// A client asks for something.
    fn ask(&mut self, client: usize) -> Ruling {
        let known = &self.world.clients[client];
        let channels: Vec<Number> = known.channels.keys().copied().collect();
        let free = known.is_free();
        let Some(channel) = self.rng.pick(&channels).copied().filter(|_| free) else {
            return self.network(client);
        };
        if self.world.topology.is_late && self.latest.chance(1, if self.is_talkative { 2 } else { 12 }) {
            self.converse(client, channel);
        } else if self.world.topology.leads && self.latest.chance(1, 10) {
            self.reroute(client, channel);
        } else {
            self.ask_on(client, channel);
        }
        while self.world.clients[client].has_todo() && self.world.send(client) {}
        if self.is_talkative { self.hurry() } else { Ok(()) }
    }

    fn ask_on(&mut self, client: usize, channel: Number) {
        match self.rng.below(100) {
            0..41 => self.publish(client, channel),
            41 => self.bind(client, channel),
            42..70 => self.settle(client, channel),
            70..78 => self.consume(client, channel),
            78..86 => self.get(client, channel),
            86..92 => self.end_transaction(client, channel),
            92 => self.cancel(client, channel),
            93 => self.world.plan(client, channel, Ask::Recover),
            94..96 => {
                if let Some(name) = self.any_queue() {
                    self.world.plan(client, channel, Ask::Count(name));
                }
            }
            96 => self.purge(client, channel),
            97 => self.delete(client, channel),
            98 => {
                self.world.plan(client, channel, Ask::CloseChannel);
                self.world.plan(client, channel, Ask::OpenChannel);
                self.choose_mode(client, channel);
            }
            _ => {
                if self.rng.chance(1, 4) {
                    self.world.plan(client, 0, Ask::CloseConnection);
                }
            }
        }
    }

    fn any_queue(&mut self) -> Option<Name> {
        let any = self.rng.pick(&self.world.oracle.existing()).copied()?;
        let focus = self.focus.filter(|name| self.world.oracle.rules(*name).is_some());
        Some(focus.filter(|_| self.more.chance(1, 2)).unwrap_or(any))
    }

    fn kind(&self, name: Name) -> Kind {
        self.world.topology.queues[name]
    }

    fn publish(&mut self, client: usize, channel: Number) {
        if let Some(name) = self.world.topology.waits().filter(|_| self.rng.chance(1, 4)) {
            return self.publish_delayed(client, channel, name);
        }
        let to = self.destination();
        let persistent = self.rng.chance(5, 6);
        let ttl = [0, 10, 200][self.rng.below(3)];
        let expiration = self.rng.chance(1, 12).then_some(ttl);
        let draft = Message { persistent, expiration, ..Message::default() };
        for _ in 0..=self.rng.below(6) {
            let octets = match self.rng.below(20) {
                0..8 if self.is_heavy => self.rng.between(4_000, 40_000),
                0 => self.rng.between(1000, 9000),
                1..6 => self.rng.between(100, 600),
                _ => self.rng.between(0, 60),
            };
            let draft = Message { octets: octets as usize, priority: self.rng.below(5) as u8, ..draft };
            let draft = self.with_headers(draft, to);
            self.publish_one(client, channel, draft, to);
        }
    }

    /// In some runs messages say who has published them, ask for replies, or have to come back where nobody gets them.
    fn publish_one(&mut self, client: usize, channel: Number, mut draft: Message, to: To) {
        if self.world.topology.is_late {
            let impersonates = self.world.topology.impersonates;
            let (latest, may_refuse) = (&mut self.latest, !self.is_heavy);
            draft.user = match latest.below(300) {
                0 if may_refuse => Some(User::Other),
                0..20 if impersonates => Some(User::Other),
                0..40 => Some(User::Own),
                _ => None,
            };
            draft.asks = match self.world.clients[client].channels[&channel].gets_replies {
                Some(_) => latest.chance(1, 2),
                // A close that stands behind a large message is not heard in time.
                None => may_refuse && latest.chance(1, 600),
            };
            draft.mandatory = latest.chance(1, 3);
            if may_refuse && latest.chance(1, 600) {
                draft.octets = MESSAGE_OCTETS_MAX + 1 + latest.below(9);
            }
        }
        let message = self.world.new_message(draft);
        self.world.plan(client, channel, Ask::Publish(message, to));
    }

    /// A client begins to get replies, asks for some, or replies to what somebody has asked.
    fn converse(&mut self, client: usize, channel: Number) {
        let view = &self.world.clients[client].channels[&channel];
        let gets_replies = view.gets_replies.is_some();
        let may_begin = !gets_replies && view.consumers.len() < CONSUMERS_MAX;
        let (here, gone) = self.world.oracle.requesters();
        let requester =
            if self.latest.chance(5, 6) { self.latest.pick(&here) } else { self.latest.pick(&gone) };
        let longest = [0, 60, 600, 9000][self.latest.below(4)];
        let persistent = self.latest.chance(1, 2);
        let to = match requester.copied() {
            _ if may_begin && self.latest.chance(1, 3) => {
                let consumer = self.world.new_consumer();
                return self.world.plan(client, channel, Ask::ConsumeReplies(consumer));
            }
            Some(requester) if !gets_replies || self.latest.chance(1, 2) => To::Reply(requester),
            // Somebody is there who may reply.
            _ => match self.latest.pick(&self.world.oracle.consumed()) {
                Some(name) if !self.kind(*name).takes_dead => To::Queue(*name),
                _ => self.destination(),
            },
        };
        for _ in 0..=self.latest.below(4) {
            let octets = self.latest.between(0, longest) as usize;
            self.publish_one(client, channel, Message { octets, persistent, ..Message::default() }, to);
        }
        if self.latest.chance(2, 3) {
            self.end_transaction(client, channel);
        }
    }

    fn destination(&mut self) -> To {
        if self.world.topology.is_late && self.latest.chance(1, 10) {
            return To::Direct(1 + self.latest.below(self.world.topology.addressed() - 1));
        }
        if let Some(to) = self.late_destination() {
            return to;
        }
        if let Some(focus) = self.focus.filter(|_| self.more.chance(1, 2)) {
            return To::Queue(focus);
        }
        let name = 1 + self.rng.below(self.world.topology.addressed() - 1);
        match self.rng.below(9) {
            0..3 => To::Exchange(self.rng.below(self.world.topology.exchanges.len())),
            3 => To::Direct(name),
            4 | 5 if self.world.topology.history.is_some() => To::Remembering,
            _ => To::Queue(name),
        }
    }

    /// The exchanges of late runs, and the queues that one of them chooses.
    fn late_destination(&mut self) -> Option<To> {
        let (chooses, leads) = (self.world.topology.chooses.is_some(), self.world.topology.leads);
        if !(chooses || leads) || !self.latest.chance(3, 5) {
            return None;
        }
        let key = self.latest.below(KEYS) as u8;
        match self.latest.below(10) {
            0 => self.latest.pick(&self.world.topology.chosen()).map(|name| To::Queue(*name)),
            1..5 if chooses => Some(To::Choosing(key)),
            _ if leads => Some(To::Leading(key)),
            _ => Some(To::Choosing(key)),
        }
    }

    /// Some messages have headers that say where else they go, or that nobody is to keep them.
    fn with_headers(&mut self, draft: Message, to: To) -> Message {
        let free = self.world.topology.free();
        match to {
            To::Queue(_) if self.rng.chance(1, 8) => {
                let cc = self.rng.pick(&free).copied();
                let bcc = self.rng.pick(&free).copied().filter(|_| self.rng.chance(1, 2));
                Message { cc, bcc, ..draft }
            }
            To::Remembering => Message { no_store: self.rng.chance(1, 4), ..draft },
            To::Choosing(_) | To::Leading(_) => {
                let by_header = self.world.topology.chooses == Some(Chooses::Header);
                let hashed = (by_header && self.latest.chance(5, 6)).then(|| self.latest.below(KEYS) as u8);
                Message { hashed, no_store: self.latest.chance(1, 4), ..draft }
            }
            _ => draft,
        }
    }

    fn publish_delayed(&mut self, client: usize, channel: Number, name: Name) {
        let longest = [5, 50, 1000, 200_000, 20_000_000, 2_000_000_000][self.rng.below(6)];
        for _ in 0..=self.rng.below(6) {
            let (octets, delay) = (self.rng.between(0, 300) as usize, self.rng.between(1, longest));
            let draft = Message { octets, delay, persistent: true, ..Message::default() };
            self.publish_one(client, channel, draft, To::Delaying(name));
        }
    }

    /// A queue is declared, or bound to one of the exchanges that get their queues while messages pass.
    fn bind(&mut self, client: usize, channel: Number) {
        let Some(name) = self.rng.pick(&self.world.topology.free()).copied() else { return };
        if self.world.oracle.rules(name).is_none() {
            return self.world.plan_declare(client, channel, name);
        }
        let special = match self.world.topology.history {
            Some(_) if self.rng.chance(2, 3) => Special::Remembering,
            _ => Special::Direct,
        };
        // Nothing is to come to a queue twice.
        if special != Special::Remembering || self.world.topology.may_remember(name) {
            self.world.plan(client, channel, Ask::BindSpecial(special, name));
        }
    }

    /// An exchange leads to another one, or to a queue, or does so no more.
    fn reroute(&mut self, client: usize, channel: Number) {
        let topology = &self.world.topology;
        let way = self.latest.pick(&topology.ways()).copied();
        let exchange = self.latest.below(topology.exchanges.len());
        let name = self.latest.pick(&topology.exchanges[exchange]).copied();
        let (Some(way), Some(name)) = (way, name) else { return };
        let apart: Vec<Name> =
            topology.free().into_iter().filter(|name| topology.may_remember(*name)).collect();
        let remembers = self.latest.pick(&apart).copied().filter(|_| topology.history.is_some());
        let leading = Special::Leading;
        let ask = match (self.latest.below(14), remembers) {
            (0..4, _) => Ask::Lead(way),
            (4..7, _) => Ask::Unlead(way),
            (7, _) => Ask::Unbind(Gate::Exchange(exchange), name),
            (8, _) => Ask::Unbind(Gate::Special(leading), name),
            (9, _) => Ask::Unbind(Gate::Special(Special::Direct), name),
            (10, _) => Ask::BindSpecial(leading, name),
            (11 | 12, Some(name)) => Ask::BindSpecial(Special::Remembering, name),
            _ => Ask::Bind(exchange, name),
        };
        let is_there = match ask {
            Ask::Bind(_, name) | Ask::BindSpecial(_, name) => self.world.oracle.rules(name).is_some(),
            _ => true,
        };
        if is_there {
            self.world.plan(client, channel, ask);
        }
    }

    /// An operator changes a policy.
    fn policy(&mut self) -> Ruling {
        if self.world.topology.is_late {
            let change = self.world.settings.draw(&mut self.latest);
            self.world.set(change)?;
        }
        let Scheduler { world, rng, more, .. } = self;
        let (id, policy) = draft::policy(rng, more, &world.topology, &world.oracle.policies());
        let policy = policy.map(|mut policy| {
            if self.is_heavy && policy.rules.consumer_timeout.take().is_some() {
                policy.rules.expires = Some(4000);
            }
            policy
        });
        self.world.set_policy(id, policy)
    }

    fn settle(&mut self, client: usize, channel: Number) {
        let view = &self.world.clients[client].channels[&channel];
        let Some(tag) = self.rng.pick(&view.unsettled).copied() else { return };
        let verdict = match self.rng.below(10) {
            0..7 => Verdict::Ack,
            7 if view.mode != Mode::Tx => Verdict::Discard,
            _ => Verdict::Requeue,
        };
        let multiple = self.rng.chance(1, 2);
        let verdict = match verdict {
            Verdict::Ack if self.is_undecided && self.more.chance(3, 4) => Verdict::Requeue,
            verdict => verdict,
        };
        let verdict = match verdict {
            Verdict::Requeue if !multiple && self.more.chance(2, 3) => Verdict::Reject,
            verdict => verdict,
        };
        self.world.plan(client, channel, Ask::Settle { tag, multiple, verdict });
    }

    fn consume(&mut self, client: usize, channel: Number) {
        let Some(name) = self.any_queue() else { return };
        // Consumers that meet have to share.
        let name = match self.more.pick(&self.world.oracle.consumed()) {
            Some(met) if self.more.chance(1, 2) => *met,
            _ => name,
        };
        if self.world.clients[client].channels[&channel].consumers.len() < CONSUMERS_MAX {
            let prefetch = [0, 1, 2, 3, 10][self.rng.below(5)];
            let (consumer, no_ack) = (self.world.new_consumer(), self.rng.chance(1, 4));
            let longest = [10, 100, 1000][self.rng.below(3)];
            let timeout = self.rng.chance(1, 6).then(|| self.rng.between(1, longest));
            let timeout = timeout.filter(|_| !self.is_heavy);
            let kind = self.kind(name);
            // When a quorum queue lets another one take over depends on what is on its way.
            let is_equal = (kind.quorum && kind.single_active) || self.more.chance(1, 2);
            let priority = if is_equal { 0 } else { [-3, 1, 7][self.more.below(3)] };
            if self.set_prefetch(client, channel, kind, prefetch) {
                let ask = Ask::Consume { name, consumer, no_ack, timeout, priority };
                self.world.plan(client, channel, ask);
            }
        }
    }

    /// Before a queue is consumed: the prefetch of its consumer. In some runs the consumers of some channels share one, too, as long as
    /// nobody says another one. `false`: this queue does not know that.
    fn set_prefetch(&mut self, client: usize, channel: Number, kind: Kind, prefetch: u16) -> bool {
        let view = &self.world.clients[client].channels[&channel];
        let is_first = view.consumers.keys().all(|consumer| view.gets_replies == Some(*consumer));
        if view.shares && kind.quorum {
            return false;
        }
        if !view.shares || self.latest.chance(1, 8) {
            self.world.plan(client, channel, Ask::Prefetch(prefetch));
        }
        let may_begin = self.world.topology.is_late && is_first && !kind.quorum;
        if may_begin && self.latest.chance(1, 3) {
            let shared = [1, 2, 3, 5][self.latest.below(4)];
            self.world.plan(client, channel, Ask::Share(shared));
        }
        true
    }

    fn cancel(&mut self, client: usize, channel: Number) {
        let consumers: Vec<u32> =
            self.world.clients[client].channels[&channel].consumers.keys().copied().collect();
        if let Some(consumer) = self.rng.pick(&consumers).copied() {
            self.world.plan(client, channel, Ask::Cancel(consumer));
        }
    }

    fn get(&mut self, client: usize, channel: Number) {
        // Where one consumer is active, a get is refused.
        if let Some(name) = self.any_queue().filter(|name| !self.kind(*name).single_active) {
            let no_ack = self.rng.chance(1, 3);
            self.world.plan(client, channel, Ask::Get { name, no_ack });
        }
    }

    fn end_transaction(&mut self, client: usize, channel: Number) {
        if self.world.clients[client].channels[&channel].mode == Mode::Tx {
            if self.world.topology.is_late && self.latest.chance(1, 4) {
                // What it was routed to may go before it is over, or go and come again.
                self.delete(client, channel);
            }
            let ask = if self.rng.chance(4, 5) { Ask::Commit } else { Ask::Rollback };
            self.world.plan(client, channel, ask);
        }
    }

    fn purge(&mut self, client: usize, channel: Number) {
        // Dead letters may be on their way into their queue unseen: what a purge takes could not be told.
        if let Some(name) = self.any_queue().filter(|name| self.kind(*name).is_free()) {
            self.world.plan(client, channel, Ask::Purge(name));
        }
    }

    fn delete(&mut self, client: usize, channel: Number) {
        if let Some(name) = self.any_queue().filter(|name| self.kind(*name).is_free()) {
            self.world.plan(client, channel, Ask::Delete(name));
            if self.rng.chance(3, 4) {
                self.world.plan_declare(client, channel, name);
            }
        }
    }

    /// Nobody asks for more: everything that is under way comes to its end, and the clients leave.
    fn come_to_rest(&mut self) -> Ruling {
        if self.has_trouble {
            let seed = self.rng.word();
            self.end(End::PowerCut(seed))?;
        }
        self.world.rest_with_time()?;
        self.world.oracle.rests()?;
        while !self.world.clients.is_empty() {
            self.world.cut(0)?;
        }
        self.world.rest_with_time()
    }

    /// Reads every queue until nothing comes.
    fn drain(&mut self) -> Ruling {
        let prefetch = [0, 1, 7][self.rng.below(3)];
        let Scheduler { world, rng, latest, .. } = self;
        let shares = world.topology.is_late && latest.chance(1, 3);
        let shared = shares.then(|| [1, 3, 20][latest.below(3)]);
        world.drain(prefetch, shared, &mut || rng.chance(1, 5))
    }

    /// All queues are empty.
    fn count_all(&mut self) -> Ruling {
        let client = self.world.connect();
        for name in self.world.oracle.existing() {
            self.world.plan(client, 1, Ask::Count(name));
        }
        self.world.rest_with_time()?;
        self.world.oracle.rests()
    }
}
