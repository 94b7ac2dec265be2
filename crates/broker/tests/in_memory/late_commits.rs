//! A store that commits late: what a client is told of definitions waits for them, and what waits shares a commit.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use warrenmq_broker::Commits;
use warrenmq_store::{Change, DefinitionError, DefinitionStore, KeyValue, MemoryDefinitions};
use warrenmq_testkit::transcript::{Arrival, Peer};
use warrenmq_wire::frame;
use warrenmq_wire::method::{self, Method, ShortString, basic_cold, channel, connection, exchange, queue};

use crate::node::{Client, Node};

/// Real time for the thread that commits; far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time of the broker's clock for what must not come.
const A_WHILE: Duration = Duration::from_secs(1);

/// Commits when it is told to, one commit each time.
#[derive(Clone, Default)]
struct LateDefinitions {
    inner: MemoryDefinitions,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Default)]
struct Gate {
    /// Commits that may go on; `None` lets all pass.
    permits: Option<u32>,
    /// A commit stands before the gate.
    waits: bool,
}

impl DefinitionStore for LateDefinitions {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        let (gate, told) = &*self.gate;
        let mut gate = gate.lock();
        gate.waits = true;
        told.notify_all();
        while gate.permits == Some(0) {
            told.wait(&mut gate);
        }
        gate.waits = false;
        gate.permits = gate.permits.map(|permits| permits - 1);
        drop(gate);
        self.inner.commit(changes)
    }
}

/// Who decides when the store commits; lets everything pass in the end, also that of a test that fails.
struct Keeper(LateDefinitions);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.open_gate();
    }
}

impl Keeper {
    fn commits(&self) -> u64 {
        self.0.inner.commits()
    }

    fn close_gate(&self) {
        self.0.gate.0.lock().permits = Some(0);
    }

    fn open_gate(&self) {
        self.0.gate.0.lock().permits = None;
        self.0.gate.1.notify_all();
    }

    /// Until a commit stands before the gate: whatever comes now is of the next one.
    fn await_commit(&self) {
        let (gate, told) = &*self.0.gate;
        let mut gate = gate.lock();
        while !gate.waits {
            assert!(!told.wait_for(&mut gate, PATIENCE).timed_out(), "nothing is committed");
        }
    }

    fn permit_one(&self) {
        *self.0.gate.0.lock().permits.get_or_insert(0) += 1;
        self.0.gate.1.notify_all();
    }
}

/// A client that speaks in methods and hears their ids.
struct Talker {
    client: Client,
    heard: Vec<u8>,
}

impl Talker {
    /// Opens the connection and channel 1.
    fn new(node: &Node) -> Talker {
        let mut talker = Talker { client: node.connect(), heard: Vec::new() };
        talker.client.send(&frame::PROTOCOL_HEADER);
        let start_ok = connection::StartOk {
            client_properties: method::FieldTable::default(),
            mechanism: short("PLAIN"),
            response: "\0guest\0guest".into(),
            locale: short("en_US"),
        };
        talker.say(0, Method::Connection(connection::AMQPMethod::StartOk(start_ok)));
        let tune_ok = connection::TuneOk { channel_max: 10, frame_max: 4096, heartbeat: 0 };
        talker.say(0, Method::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
        let open = connection::Open { virtual_host: short("/") };
        talker.say(0, Method::Connection(connection::AMQPMethod::Open(open)));
        talker.say(1, Method::Channel(channel::AMQPMethod::Open(channel::Open {})));
        assert_eq!(talker.hear(A_WHILE), [(10, 10), (10, 30), (10, 41), (20, 11)]);
        talker
    }

    fn say(&mut self, channel: u16, method: Method) {
        let mut octets = Vec::new();
        method::put(&mut octets, channel, &method).expect("a short method");
        self.client.send(&octets);
    }

    fn declare(&mut self, name: &str, durable: bool) {
        let declare = queue::Declare {
            queue: short(name),
            passive: false,
            durable,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: method::FieldTable::default(),
        };
        self.say(1, Method::Queue(queue::AMQPMethod::Declare(declare)));
    }

    fn bind(&mut self, name: &str) {
        let bind = queue::Bind {
            queue: short(name),
            exchange: short("amq.direct"),
            routing_key: short("k"),
            nowait: false,
            arguments: method::FieldTable::default(),
        };
        self.say(1, Method::Queue(queue::AMQPMethod::Bind(bind)));
    }

    /// Ids of the methods that come within `time` of the broker's clock.
    fn hear(&mut self, time: Duration) -> Vec<(u16, u16)> {
        while let Arrival::Bytes(bytes) = self.client.receive(time) {
            self.heard.extend(bytes);
        }
        let mut ids = Vec::new();
        let mut rest = self.heard.as_slice();
        while let Some((found, used)) = frame::split(rest, usize::MAX).expect("good frames") {
            if found.kind == frame::METHOD {
                ids.push(method::ids(found.payload).expect("a method"));
            }
            rest = &rest[used..];
        }
        self.heard = rest.to_vec();
        ids
    }

    /// The same, but real time passes until there are `count`.
    fn await_ids(&mut self, count: usize) -> Vec<(u16, u16)> {
        let start = Instant::now();
        let mut ids = self.hear(Duration::ZERO);
        while ids.len() < count {
            assert!(start.elapsed() < PATIENCE, "only {ids:?} came");
            thread::yield_now();
            ids.extend(self.hear(Duration::ZERO));
        }
        ids
    }
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).expect("a short string")
}

const QUEUE_DECLARE_OK: (u16, u16) = (50, 11);
const BIND_OK: (u16, u16) = (50, 21);
const EXCHANGE_DECLARE_OK: (u16, u16) = (40, 11);
const GET_EMPTY: (u16, u16) = (60, 72);

/// A broker whose store waits from now on, and how many commits it has made so far.
fn late_node() -> (Node, Keeper, u64) {
    let store = LateDefinitions::default();
    let node = Node::open(Box::new(store.clone()), Commits::Threaded);
    let start = Instant::now();
    while node.broker().definitions_version() == 0 {
        assert!(start.elapsed() < PATIENCE, "the defaults are not stored");
        thread::yield_now();
    }
    let keeper = Keeper(store);
    keeper.close_gate();
    let commits = keeper.commits();
    (node, keeper, commits)
}

#[test]
fn pipelined_declarations_wait_and_share_a_commit() {
    let (node, keeper, commits) = late_node();
    let mut talker = Talker::new(&node);
    talker.declare("first", true);
    keeper.await_commit();
    for name in ["a", "b", "c"] {
        talker.declare(name, true);
        talker.bind(name);
    }
    assert_eq!(talker.hear(A_WHILE), [], "nothing is on disk");
    keeper.permit_one();
    assert_eq!(talker.await_ids(1), [QUEUE_DECLARE_OK], "the first is");
    keeper.await_commit();
    assert_eq!(talker.hear(A_WHILE), [], "the others are not");
    keeper.permit_one();
    assert_eq!(talker.await_ids(6), [[QUEUE_DECLARE_OK, BIND_OK]; 3].concat());
    assert_eq!(keeper.commits(), commits + 2);
    keeper.open_gate();
}

#[test]
fn what_comes_after_a_held_answer_waits_behind_it() {
    let (node, keeper, _) = late_node();
    let mut talker = Talker::new(&node);
    talker.declare("transient", false);
    assert_eq!(talker.hear(A_WHILE), [QUEUE_DECLARE_OK]);
    talker.declare("durable", true);
    let get = basic_cold::Get { queue: short("transient"), no_ack: true };
    talker.say(1, Method::Basic(basic_cold::AMQPMethod::Get(get)));
    assert_eq!(talker.hear(A_WHILE), []);
    // Others do not wait for it.
    let mut other = Talker::new(&node);
    other.declare("transient", false);
    assert_eq!(other.hear(A_WHILE), [QUEUE_DECLARE_OK]);
    keeper.open_gate();
    assert_eq!(talker.await_ids(2), [QUEUE_DECLARE_OK, GET_EMPTY]);
}

/// A declaration of what is there already is a promise all the same.
#[test]
fn who_repeats_a_declaration_waits_too() {
    let (node, keeper, commits) = late_node();
    let mut first = Talker::new(&node);
    let mut second = Talker::new(&node);
    let exchange = exchange::Declare {
        exchange: short("x"),
        kind: short("direct"),
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments: method::FieldTable::default(),
    };
    for talker in [&mut first, &mut second] {
        talker.declare("q", true);
        talker.bind("q");
        talker.say(1, Method::Exchange(exchange::AMQPMethod::Declare(exchange.clone())));
        assert_eq!(talker.hear(A_WHILE), []);
    }
    keeper.open_gate();
    for talker in [&mut first, &mut second] {
        assert_eq!(talker.await_ids(3), [QUEUE_DECLARE_OK, BIND_OK, EXCHANGE_DECLARE_OK]);
    }
    assert!(keeper.commits() <= commits + 2, "the second had nothing to store");
}

/// And so is the deletion of what is gone already.
#[test]
fn who_repeats_a_deletion_waits_too() {
    let (node, keeper, _) = late_node();
    let mut first = Talker::new(&node);
    let mut second = Talker::new(&node);
    keeper.open_gate();
    first.declare("q", true);
    assert_eq!(first.await_ids(1), [QUEUE_DECLARE_OK]);
    keeper.close_gate();
    for talker in [&mut first, &mut second] {
        let delete = queue::Delete { queue: short("q"), if_unused: false, if_empty: false, nowait: false };
        talker.say(1, Method::Queue(queue::AMQPMethod::Delete(delete)));
        assert_eq!(talker.hear(A_WHILE), []);
    }
    keeper.open_gate();
    for talker in [&mut first, &mut second] {
        assert_eq!(talker.await_ids(1), [(50, 41)]);
    }
}
