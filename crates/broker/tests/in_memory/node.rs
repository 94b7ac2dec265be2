//! A broker in one thread: its connections are buffers, its clock is a number.
//!
//! Invariant: after each call of a client everything that could happen without time passing has happened, on all connections;
//! sessions are driven as the server's driver does it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use warrenmq_broker::{Broker, Commits, Durability, Limits, Options, RestoreError, Session, Worker};
use warrenmq_store::{DefinitionStore, MemoryDefinitions};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Arrival, Peer};

/// Octets of one read.
const READ_OCTETS: usize = 128 * 1024;
/// Octets of one write.
const WRITE_OCTETS: usize = 128 * 1024;
/// How long a connection that was closed by its peer waits for the end of the stream.
const AWAIT_END_MS: u64 = 15_000;
/// More rounds than this without rest are a busy loop.
const ROUNDS_MAX: usize = 100_000;

/// A broker with its connections.
#[derive(Clone)]
pub(crate) struct Node {
    state: Rc<RefCell<State>>,
    failures: Arc<AtomicUsize>,
}

struct State {
    broker: Arc<Broker>,
    /// Nobody but the test moves messages.
    in_steps: bool,
    /// Sessions are told that more input is at hand.
    more_input: bool,
    now: u64,
    links: Vec<Option<Link>>,
    spare: Vec<u8>,
}

/// The broker's end of one connection.
struct Link {
    session: Option<Session>,
    /// What the client has sent and the session has not used.
    input: Vec<u8>,
    /// New input has come, or the session stopped although it had more.
    offer: bool,
    /// What the client has not read yet.
    output: Vec<u8>,
    /// Written everything and waits for the client to go.
    lingers_until: Option<u64>,
    shut: bool,
}

/// The client's end of one connection.
pub(crate) struct Client {
    node: Node,
    at: usize,
}

impl Node {
    /// A broker on what the store has, with RabbitMQ's defaults.
    pub(crate) fn open(store: Box<dyn DefinitionStore>, commits: Commits) -> Node {
        Node::try_open(store, commits).expect("the broker opens")
    }

    /// The same on a disk that the test has, with these limits.
    pub(crate) fn open_on(disk: &SimDisk, store: Box<dyn DefinitionStore>, limits: Limits) -> Node {
        Node::open_later(disk, store, limits, 1_000)
    }

    /// The same at a later time.
    pub(crate) fn open_later(
        disk: &SimDisk,
        store: Box<dyn DefinitionStore>,
        limits: Limits,
        now: u64,
    ) -> Node {
        let options = Options { limits, now, ..options() };
        Node::open_with(options, disk, store, Commits::Inline).expect("the broker opens")
    }

    /// A broker on which queues are of this type if they do not say it.
    pub(crate) fn open_of_type(queue_type: &str) -> Node {
        let options = Options { default_queue_type: queue_type.to_owned(), ..options() };
        let store = Box::new(MemoryDefinitions::new());
        Node::open_with(options, &SimDisk::new(), store, Commits::Inline).expect("the broker opens")
    }

    pub(crate) fn try_open(store: Box<dyn DefinitionStore>, commits: Commits) -> Result<Node, RestoreError> {
        Node::open_with(options(), &SimDisk::new(), store, commits)
    }

    fn open_with(
        options: Options,
        disk: &SimDisk,
        store: Box<dyn DefinitionStore>,
        commits: Commits,
    ) -> Result<Node, RestoreError> {
        let failures = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&failures);
        let now = options.now;
        let on_failure = Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let broker = Broker::open(options, store, Arc::new(disk.clone()), commits, on_failure)?;
        let in_steps = commits != Commits::Threaded;
        let state = State { broker, in_steps, more_input: false, now, links: Vec::new(), spare: Vec::new() };
        Ok(Node { state: Rc::new(RefCell::new(state)), failures })
    }

    /// Other connections to a broker that runs, for another thread.
    pub(crate) fn beside(broker: &Arc<Broker>) -> Node {
        let broker = Arc::clone(broker);
        let (links, spare) = (Vec::new(), Vec::new());
        let state = State { broker, in_steps: false, more_input: false, now: 1_000, links, spare };
        Node { state: Rc::new(RefCell::new(state)), failures: Arc::default() }
    }

    /// What the session of the last connection says about its input.
    pub(crate) fn octets_at_once(&self) -> usize {
        let state = self.state.borrow();
        let link = state.links.last().and_then(Option::as_ref).expect("a connection");
        link.session.as_ref().expect("it is open").octets_at_once()
    }

    /// How often the broker was told that definitions can no longer be written.
    pub(crate) fn failures(&self) -> &AtomicUsize {
        &self.failures
    }

    pub(crate) fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.state.borrow().broker)
    }

    /// From now on sessions are told that there is, or is not, more input than they get.
    pub(crate) fn expect_input(&self, more: bool) {
        let mut state = self.state.borrow_mut();
        let State { links, now, .. } = &mut *state;
        for session in links.iter_mut().flatten().filter_map(|link| link.session.as_mut()) {
            session.end_input(*now);
        }
        state.more_input = more;
        state.settle();
    }

    /// Lets time pass, in steps in which the storage has its turns.
    pub(crate) fn pass(&self, millis: u64) {
        let mut state = self.state.borrow_mut();
        let end = state.now + millis;
        while state.now < end {
            state.now += 100;
            state.settle();
        }
    }

    /// Lets time pass, from one thing that is due to the next.
    pub(crate) fn pass_quickly(&self, millis: u64) {
        let mut state = self.state.borrow_mut();
        let end = state.now + millis;
        while state.now < end {
            state.settle();
            state.now = state.next_deadline().map_or(end, |at| at.clamp(state.now + 1, end));
        }
        state.settle();
    }

    /// What time it is.
    pub(crate) fn now(&self) -> u64 {
        self.state.borrow().now
    }

    pub(crate) fn connect(&self) -> Client {
        let mut state = self.state.borrow_mut();
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let session = Some(state.broker.connect(peer, state.now));
        let (input, output) = (Vec::new(), Vec::new());
        state.links.push(Some(Link {
            session,
            input,
            offer: false,
            output,
            lingers_until: None,
            shut: false,
        }));
        Client { node: self.clone(), at: state.links.len() - 1 }
    }
}

impl State {
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.next_timer().is_some_and(|at| at <= self.now);
            if moved {
                self.broker.handle_timers(self.now);
            }
            for link in self.links.iter_mut().flatten() {
                moved |= link.turn(self.now, self.more_input, &mut self.spare);
            }
            if self.in_steps {
                for worker in [Worker::Commit, Worker::Write, Worker::Read] {
                    moved |= self.broker.step(worker, self.now);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    fn next_deadline(&self) -> Option<u64> {
        self.links.iter().flatten().filter_map(Link::deadline).chain(self.next_timer()).min()
    }

    fn next_timer(&self) -> Option<u64> {
        self.broker.next_timer(Waker::noop())
    }
}

impl Link {
    fn deadline(&self) -> Option<u64> {
        let session = self.session.as_ref()?;
        self.lingers_until.or_else(|| session.timeout())
    }

    /// One turn as the driver has it; says whether anything happened.
    fn turn(&mut self, now: u64, more_input: bool, spare: &mut Vec<u8>) -> bool {
        let Some(session) = &mut self.session else { return false };
        if let Some(until) = self.lingers_until {
            if now < until {
                return false;
            }
            self.end();
            return true;
        }
        session.lend(spare);
        let mut moved = session.inbox().is_notified();
        if moved {
            session.handle_inbox(now);
        }
        if self.offer && session.wants_input() && !session.is_finished() {
            moved = true;
            self.offer = read(session, now, more_input, &mut self.input);
        }
        if session.timeout().is_some_and(|at| now >= at) {
            moved = true;
            if session.handle_timeout(now).is_some() {
                self.end();
                return true;
            }
        }
        loop {
            session.fill(WRITE_OCTETS);
            let octets = session.transmit();
            if octets.is_empty() {
                break;
            }
            moved = true;
            let count = octets.len();
            self.output.extend_from_slice(octets);
            session.sent(now, count);
        }
        if session.is_finished() {
            moved = true;
            if session.awaits_end_of_input() {
                self.lingers_until = Some(now + AWAIT_END_MS);
            } else {
                self.end();
                return true;
            }
        }
        session.reclaim(spare);
        moved
    }

    fn end(&mut self) {
        self.session = None;
        self.shut = true;
    }

    fn take(&mut self) -> Option<Arrival> {
        if !self.output.is_empty() {
            return Some(Arrival::Bytes(std::mem::take(&mut self.output)));
        }
        self.shut.then_some(Arrival::Closed)
    }
}

/// One read; says whether there may be more to do without new input.
fn read(session: &mut Session, now: u64, more_input: bool, input: &mut Vec<u8>) -> bool {
    session.expect_input(more_input);
    if let Some((body, room)) = session.direct() {
        body.extend(input.drain(..room.min(input.len())));
        let next = session.took_direct();
        let used = session.handle_input(now, &next);
        input.splice(..0, next[used..].iter().copied());
        return !input.is_empty();
    }
    let mut used = session.handle_input(now, &input[..input.len().min(READ_OCTETS)]);
    if used == 0 && input.len() > READ_OCTETS && session.wants_input() {
        // A frame that is larger than a read.
        used = session.handle_input(now, input);
    }
    let is_cut = input.len() > READ_OCTETS && used > 0;
    input.drain(..used);
    !input.is_empty() && (is_cut || !session.wants_input())
}

impl Peer for Client {
    fn send(&mut self, bytes: &[u8]) {
        let mut state = self.node.state.borrow_mut();
        if let Some(link) = &mut state.links[self.at] {
            link.input.extend_from_slice(bytes);
            link.offer = true;
        }
        state.settle();
    }

    fn receive(&mut self, timeout: Duration) -> Arrival {
        let mut state = self.node.state.borrow_mut();
        let end = state.now + u64::try_from(timeout.as_millis()).expect("a short time");
        loop {
            state.settle();
            let arrival = state.links[self.at].as_mut().map_or(Some(Arrival::Closed), Link::take);
            if let Some(arrival) = arrival {
                return arrival;
            }
            if state.now >= end {
                return Arrival::Nothing;
            }
            state.now = state.next_deadline().map_or(end, |at| at.clamp(state.now + 1, end));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut state = self.node.state.borrow_mut();
        state.links[self.at] = None;
        state.settle();
    }
}

fn options() -> Options {
    Options {
        limits: Limits::default(),
        loopback_users: vec!["guest".to_owned()],
        default_user: "guest".to_owned(),
        default_pass: "guest".to_owned(),
        default_vhost: "/".to_owned(),
        cluster_name: "memory".to_owned(),
        product: "RabbitMQ".to_owned(),
        version: "3.13.7".to_owned(),
        seed: [7; 32],
        epoch_ms: 1_700_000_000_000,
        now: 1_000,
        durability: Durability::Fsync,
        default_queue_type: "classic".to_owned(),
    }
}
