//! Everything of a run: the broker, the clients, the oracle, and what can happen to them.
//!
//! Invariant: nothing happens by itself; whoever calls decides what is next.

use warrenmq_broker::policy::PolicyKind;
use warrenmq_broker::{Limits, Worker};

use crate::client::{Client, View};
use crate::link::Link;
use crate::message::Message;
use crate::node::{End, Node};
use crate::op::{Ask, Number, Op, Special, Verdict};
use crate::oracle::{Oracle, Ruling};
use crate::policy::{self, Policy, PolicyId};
use crate::settings::{Change, Settings};
use crate::topology::{GRAVEYARD, Topology, queue_name};
use crate::trace::Trace;
use crate::way::Gate;

/// Long enough for the journal to be emptied, and how often that is waited for.
const IDLE_MS: u64 = 250;
const IDLE_TURNS: usize = 6;
/// Files of a journal in which nothing lives. What is told again of each queue may take several of the smallest files; with more queues it
/// is more.
const LOGS_MAX: usize = 4;
/// A delayed message that is due has come after so long without work, though its exchange may hold one message in memory and looks again
/// only every few milliseconds while the disk is behind.
const LATE_MS: u64 = 100;
/// More rounds than this without rest are a busy loop.
const ROUNDS_MAX: usize = 20_000;
/// Deadlines that are further away are looks at what may be late.
const LOOKS_MS: u64 = 10_000;
/// Whatever is awaited has happened by then: the longest time between two looks, and the longest timeout.
const AWAITED_MS: u64 = 62_000;
/// A dead letter that somebody has refused is offered again by then.
pub const KEPT_MS: u64 = 11_001;
/// Time until the last of what waits is due is cut into so many parts, where there are many deadlines.
const WAITS_MAX: u64 = 2000;
/// At most so often is that waited for.
const KEPT_TURNS: usize = 300;
/// The last of these turns are for what is kept for certain.
const CERTAIN_TURNS: usize = 260;
/// Who reads quorum queues beside others that share a prefetch does it on this channel.
const APART: Number = 2;
/// Octets that are encoded at a time when nothing is to be cut up.
pub const ALL: usize = 1024;

/// The world of one run.
#[derive(Debug)]
pub struct World {
    /// The broker.
    pub node: Node,
    /// Clients that are connected.
    pub clients: Vec<Client>,
    /// The judge.
    pub oracle: Oracle,
    /// Queues and exchanges.
    pub topology: Topology,
    /// What has happened.
    pub trace: Trace,
    /// What is set beside policies.
    pub settings: Settings,
    /// Power has failed.
    was_cut: bool,
    next_link: u32,
    next_consumer: u32,
    spare: Vec<u8>,
}

impl World {
    /// A broker with all queues declared.
    ///
    /// # Errors
    /// What went wrong.
    pub fn new(topology: Topology, limits: Limits, trace: Trace) -> Result<World, String> {
        let mut oracle = Oracle::new(topology.clone());
        oracle.set_window(u64::from(limits.consumer_window_octets));
        let node = Node::start(limits)?;
        if topology.quorum_by_default {
            node.set_default_queue_type("quorum").map_err(|error| error.to_string())?;
        }
        if topology.impersonates {
            node.let_impersonate()?;
        }
        let (clients, spare) = (Vec::new(), Vec::new());
        let mut world = World {
            node,
            clients,
            oracle,
            topology,
            trace,
            settings: Settings::default(),
            was_cut: false,
            next_link: 1,
            next_consumer: 1,
            spare,
        };
        world.oracle.set_now(world.node.unix());
        world.trace.add(|| format!("{:?}", world.topology));
        let client = world.connect();
        for exchange in 0..world.topology.exchanges.len() {
            world.plan(client, 1, Ask::Exchange(exchange));
        }
        world.plan(client, 1, Ask::Special(Special::Direct));
        if world.topology.history.is_some() {
            world.plan(client, 1, Ask::Special(Special::Remembering));
        }
        if world.topology.small_grave().is_some() {
            world.plan(client, 1, Ask::Special(Special::Dying));
        }
        if world.topology.chooses.is_some() {
            world.plan(client, 1, Ask::Special(Special::Choosing));
        }
        if world.topology.leads {
            world.plan(client, 1, Ask::Special(Special::Leading));
        }
        for name in 0..world.topology.queues.len() {
            world.plan_declare(client, 1, name);
        }
        if let Some(name) = world.topology.small_grave() {
            world.plan(client, 1, Ask::BindSpecial(Special::Dying, GRAVEYARD));
            world.plan(client, 1, Ask::BindSpecial(Special::Dying, name));
        }
        if let Some(name) = world.topology.waits() {
            world.plan(client, 1, Ask::Special(Special::Delaying));
            world.plan(client, 1, Ask::BindSpecial(Special::Delaying, name));
        }
        for name in world.topology.chosen() {
            world.plan(client, 1, Ask::BindSpecial(Special::Choosing, name));
        }
        let leading = Gate::Special(Special::Leading);
        for way in world.topology.ways().into_iter().filter(|way| way.from == leading && way.to != leading) {
            world.plan(client, 1, Ask::Lead(way));
        }
        world.rest()?;
        Ok(world)
    }

    /// A new client, with channel 1 to be opened.
    pub fn connect(&mut self) -> usize {
        let link = Link::new(self.next_link, self.node.connect());
        self.trace.add(|| format!("client {} connects", self.next_link));
        self.next_link += 1;
        self.clients.push(Client::new(link));
        let client = self.clients.len() - 1;
        self.plan(client, 1, Ask::OpenChannel);
        client
    }

    /// A number for a new consumer.
    pub fn new_consumer(&mut self) -> u32 {
        self.next_consumer += 1;
        self.next_consumer
    }

    /// A new message, which gets its number.
    pub fn new_message(&mut self, message: Message) -> Message {
        self.oracle.register(message)
    }

    /// The client will ask for this when its turn has come.
    pub fn plan(&mut self, client: usize, channel: Number, ask: Ask) {
        self.clients[client].plan(Op { channel, ask });
    }

    /// Declares a queue and binds it to the exchanges that it belongs to.
    pub fn plan_declare(&mut self, client: usize, channel: Number, name: usize) {
        self.plan(client, channel, Ask::Declare(name));
        for exchange in 0..self.topology.exchanges.len() {
            if self.topology.exchanges[exchange].contains(&name) {
                self.plan(client, channel, Ask::Bind(exchange, name));
            }
        }
    }

    /// The client sends one operation that was planned.
    pub fn send(&mut self, client: usize) -> bool {
        let known = &mut self.clients[client];
        let Some(op) = known.send(&self.topology, self.oracle.addresses()) else { return false };
        let id = known.link.id();
        self.trace.add(|| format!("client {id} on {}: {:?}", op.channel, op.ask));
        true
    }

    /// So many octets of the client arrive.
    pub fn carry(&mut self, client: usize, octets: usize) {
        let link = &mut self.clients[client].link;
        link.carry(octets);
        self.trace.add(|| format!("{octets} octets of client {} arrive", link.id()));
    }

    /// The broker has its turn with a connection, encoding `limit` octets at a time.
    ///
    /// # Errors
    /// What the oracle says.
    pub fn turn(&mut self, client: usize, limit: usize) -> Result<bool, String> {
        let link = &mut self.clients[client].link;
        let id = link.id();
        let moved = link.turn(self.node.now(), limit, &mut self.spare, &mut self.oracle)?;
        if moved {
            self.trace.add(|| format!("the broker has its turn with client {id}"));
        }
        Ok(moved)
    }

    /// The client reads one thing that has come.
    pub fn read(&mut self, client: usize) -> bool {
        let known = &mut self.clients[client];
        let id = known.link.id();
        let Some(heard) = known.read() else { return false };
        self.trace.add(|| format!("client {id} reads on {}: {}", heard.channel, heard.said));
        true
    }

    /// A connection breaks, or is left after its close.
    ///
    /// # Errors
    /// What the oracle says.
    pub fn cut(&mut self, client: usize) -> Ruling {
        let mut known = self.clients.remove(client);
        self.trace.add(|| format!("the connection of client {} ends", known.link.id()));
        known.link.cut(self.node.now(), &mut self.oracle)
    }

    /// Time passes, and what is due is done.
    pub fn advance(&mut self, milliseconds: u64) {
        self.node.advance(milliseconds);
        self.oracle.set_now(self.node.unix());
        self.trace.add(|| format!("{milliseconds} ms pass"));
        self.timers();
    }

    /// The storage does one step of its work; says whether there may be more.
    pub fn step(&mut self, worker: Worker) -> bool {
        self.oracle.begin_call();
        let more = self.node.step(worker);
        if more {
            self.trace.add(|| format!("{worker:?}"));
        }
        more
    }

    /// The broker ends, with all its connections.
    ///
    /// # Errors
    /// What the oracle says, or the broker when it is stopped.
    pub fn end(&mut self, end: End) -> Ruling {
        self.trace
            .add(|| format!("the broker ends: {end:?} (disk operation {})", self.node.disk.operations()));
        if end == End::Stop {
            while !self.clients.is_empty() {
                self.cut(0)?;
            }
            self.node.end(end)?;
            self.oracle.stopped();
            return Ok(());
        }
        self.was_cut |= end != End::Kill;
        // First the disk: what sessions do when they go does not reach it.
        self.node.end(end)?;
        while !self.clients.is_empty() {
            self.cut(0)?;
        }
        self.oracle.crashed();
        Ok(())
    }

    /// The broker starts again.
    ///
    /// # Errors
    /// What it says.
    pub fn restart(&mut self) -> Ruling {
        self.trace.add(|| "the broker starts".to_owned());
        self.node.restart().map_err(|error| format!("the broker does not start: {error}"))?;
        self.check_settings()?;
        self.check_policies()
    }

    fn timers(&mut self) -> bool {
        let due = self.node.next_timer().is_some_and(|at| at <= self.node.now());
        if due {
            self.oracle.begin_call();
            self.node.handle_timers();
        }
        self.oracle.timers_ran();
        due
    }

    /// An operator sets a policy, or clears it.
    ///
    /// # Errors
    /// What the broker says.
    pub fn set_policy(&mut self, id: PolicyId, policy: Option<Policy>) -> Ruling {
        self.trace.add(|| format!("policy {id:?}: {policy:?}"));
        let done = match &policy {
            Some(policy) => self.node.set_policy(id.0, policy.set(id)),
            None => self.node.clear_policy(id.0, &policy::name(id)),
        };
        self.oracle.policy(id, policy);
        done.map_err(|error| format!("policy {id:?}: {error}"))
    }

    /// An operator sets something else, or clears it.
    ///
    /// # Errors
    /// What the broker says.
    pub fn set(&mut self, change: Change) -> Ruling {
        self.trace.add(|| format!("{change:?}"));
        self.node.set(&change).map_err(|error| format!("{change:?}: {error}"))?;
        self.settings.apply(change);
        self.check_settings()
    }

    /// What was set is there.
    fn check_settings(&self) -> Ruling {
        let there = self.node.settings().map_err(|error| error.to_string())?;
        if there != self.settings {
            return Err(format!("set are {there:?}, not {:?}", self.settings));
        }
        Ok(())
    }

    /// All policies are there, and those count for each queue that should.
    fn check_policies(&self) -> Ruling {
        for kind in [PolicyKind::User, PolicyKind::Operator] {
            let there = self.node.policies(kind);
            let meant = self.oracle.policies_of(kind);
            if !there.iter().map(AsRef::as_ref).eq(&meant) {
                return Err(format!("the policies are {there:?}, not {meant:?}"));
            }
        }
        for name in self.oracle.existing() {
            let there = self.node.queue_policy(&queue_name(name));
            let meant = self.oracle.policies_for(name).map(|id| id.map(policy::name));
            if there != Some(meant.clone()) {
                return Err(format!("for queue q{name} count {there:?}, not {meant:?}"));
            }
        }
        Ok(())
    }

    /// All that can happen without time passing and without anybody asking for more happens.
    ///
    /// # Errors
    /// What the oracle says, or that there is no rest.
    pub fn rest(&mut self) -> Ruling {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.timers();
            for worker in [Worker::Commit, Worker::Write, Worker::Read] {
                moved |= self.step(worker);
            }
            if self.node.has_failed() {
                return Err("the broker says that it cannot go on".to_owned());
            }
            for client in 0..self.clients.len() {
                moved |= self.send(client);
                let octets = self.clients[client].link.on_the_way();
                if octets > 0 {
                    self.carry(client, octets);
                    moved = true;
                }
                moved |= self.turn(client, ALL)?;
                while self.clients[client].link.can_read() {
                    self.read(client);
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
        Err("the broker does not come to rest".to_owned())
    }

    /// Rest, and what needs time for it gets time: publishers that wait for a queue, deliveries that are late.
    ///
    /// # Errors
    /// As for [`World::rest`].
    pub fn rest_with_time(&mut self) -> Ruling {
        let begun = self.node.now();
        for round in 0..ROUNDS_MAX as u64 {
            self.rest()?;
            let next = self.clients.iter().filter_map(|client| client.link.deadline()).min();
            // A session that looks now and then whether something is late waits for nothing.
            let is_awaited = |at: &u64| (1..LOOKS_MS).contains(&at.saturating_sub(self.node.now()));
            let Some(at) = next.filter(is_awaited).filter(|_| self.node.now() < begun + AWAITED_MS) else {
                break;
            };
            self.advance((at - self.node.now()).max(round));
        }
        Ok(())
    }

    /// Time passes until all that waits is due, and has come.
    fn wait_for_delayed(&mut self) -> Ruling {
        let last = self.oracle.last_due();
        // What is kept is offered again and again meanwhile, which is not to be waited for each time.
        let step = (last.saturating_sub(self.node.unix()) / WAITS_MAX).max(1);
        for _ in 0..ROUNDS_MAX {
            self.rest()?;
            let Some(left) = last.checked_sub(self.node.unix()).filter(|left| *left > 0) else { break };
            let next = self.node.next_timer().map_or(left, |at| at.saturating_sub(self.node.now()));
            let least = if self.topology.small_grave().is_some() { step.min(left) } else { 1 };
            self.advance(next.clamp(least, left));
        }
        // What came within a millisecond is looked at together, and what the disk was behind with a little later.
        let late = if self.topology.waits().is_some() { LATE_MS } else { 0 };
        for _ in 0..late {
            self.advance(1);
            self.rest()?;
        }
        self.oracle.all_has_come();
        Ok(())
    }

    /// Reads every queue until nothing comes. Nobody else is connected. All consumers may share a prefetch, but those of quorum queues,
    /// which do not know that.
    ///
    /// # Errors
    /// What the oracle says.
    pub fn drain(&mut self, prefetch: u16, shared: Option<u16>, no_ack: &mut dyn FnMut() -> bool) -> Ruling {
        self.wait_for_delayed()?;
        self.oracle.all_is_back();
        self.trace.add(|| "all queues are read".to_owned());
        let client = self.connect();
        self.plan(client, 1, Ask::Prefetch(prefetch));
        if let Some(shared) = shared {
            self.plan(client, 1, Ask::Share(shared));
            self.plan(client, APART, Ask::OpenChannel);
            self.plan(client, APART, Ask::Prefetch(prefetch));
        }
        for name in self.oracle.existing() {
            self.plan(client, 1, Ask::Count(name));
        }
        for name in self.oracle.existing() {
            let consumer = self.new_consumer();
            let is_apart = shared.is_some() && self.topology.queues[name].quorum;
            let ask = Ask::Consume { name, consumer, no_ack: no_ack(), timeout: None, priority: 0 };
            self.plan(client, if is_apart { APART } else { 1 }, ask);
        }
        let mut turns = KEPT_TURNS;
        loop {
            // Without time: nobody is late.
            self.rest()?;
            let channels = &self.clients[client].channels;
            if channels.len() != 1 + usize::from(shared.is_some()) {
                return Err("a reader has lost its channel".to_owned());
            }
            let last = |(number, view): (&Number, &View)| Some((*number, *view.unsettled.last()?));
            let held: Vec<(Number, u64)> = channels.iter().filter_map(last).collect();
            if held.is_empty() {
                // Now there is room for what was refused. What may be kept comes soon, or is not there.
                let may_come = turns > CERTAIN_TURNS && self.topology.small_grave().is_some();
                if turns == 0 || !(may_come || self.oracle.awaits_burial()) {
                    break;
                }
                turns -= 1;
                self.advance(KEPT_MS);
            }
            for (number, tag) in held {
                self.plan(client, number, Ask::Settle { tag, multiple: true, verdict: Verdict::Ack });
            }
        }
        self.oracle.rests()?;
        self.cut(client)
    }

    /// All queues are empty: after some time without work the disk is almost so, too.
    ///
    /// # Errors
    /// What is left on it.
    pub fn is_tidy(&mut self) -> Ruling {
        for _ in 0..IDLE_TURNS {
            self.advance(IDLE_MS);
            self.rest()?;
        }
        let files = self.node.disk.files();
        let is_segment = |path: &str| path.starts_with("queues/") && path.ends_with(".seg");
        // A power cut may leave files in which nothing is whole.
        if !self.was_cut
            && let Some((path, _)) = files.iter().find(|(path, _)| is_segment(path))
        {
            return Err(format!("all queues are empty, but {path} is there: {files:?}"));
        }
        let logs = files.iter().filter(|(path, _)| path.ends_with(".log")).count();
        if logs > LOGS_MAX + self.topology.chosen().len() {
            return Err(format!("the journal has {logs} files though nothing lives in it: {files:?}"));
        }
        Ok(())
    }
}
