//! The whole ways that are counted, as data: the rows of the table of workloads that need no clock.

use super::client::{Client, publish};
use super::node::Node;
use super::scene::{Consumer, Counted, Publisher, Scene};
use super::source::Source;
use crate::Subject;
use crate::wiring::{self, KEYS, KINDS, PATTERNS};

/// What a scene is made from.
struct Plan {
    octets: usize,
    persistent: bool,
    confirms: bool,
    /// 0 is no limit.
    prefetch: u16,
    /// 0 is auto-ack.
    ack_every: u64,
    acks_alone: bool,
    publishers: usize,
    queues: usize,
    /// Consumers of each queue.
    consumers: usize,
    wiring: Wiring,
    counted: Counted,
    /// Messages that a publisher sends before the consumers have their turn.
    batch: u64,
}

/// How messages come to queues.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wiring {
    /// By the default exchange, to one queue after the other.
    InTurn,
    /// Each to all queues.
    Fanout,
    /// By a topic exchange with 10,000 bindings, with 1,000 different keys, each to one queue.
    Topic,
    /// By a headers exchange with 100 bindings, with 100 different headers, each to one queue.
    Headers,
    /// By the default exchange to one queue, each with another header: no message has the front of one before it.
    Unlike,
}

/// More different messages than a connection remembers.
const UNLIKE: u64 = 10_000;

/// 16 octets from one publisher by one queue to one auto-ack consumer. Two thousand messages are about a read.
const PAIR: Plan = Plan {
    octets: 16,
    persistent: false,
    confirms: false,
    prefetch: 0,
    ack_every: 0,
    acks_alone: false,
    publishers: 1,
    queues: 1,
    consumers: 1,
    wiring: Wiring::InTurn,
    counted: Counted::All,
    batch: 2000,
};
const ACKED: Plan = Plan { confirms: true, prefetch: 1000, ack_every: 100, batch: 1000, ..PAIR };
const EACH: Plan = Plan { prefetch: 100, ack_every: 1, ..PAIR };

const EXCHANGE: &str = "exchange";

/// Name, what it is, messages of a measurement, plan.
type Row = (&'static str, &'static str, u64, Plan);

/// The two halves of a broker that a publisher does not wait for, as steps.
const STEPS: [Row; 3] = [
    ("deliver", "inbox to deliver frames, 16 octets", 20_000, Plan { counted: Counted::Deliver, ..PAIR }),
    (
        "deliver-1k",
        "inbox to deliver frames, 1 KiB",
        10_000,
        Plan { octets: 1024, batch: 240, counted: Counted::Deliver, ..PAIR },
    ),
    (
        "settle",
        "basic.ack of one message, a thousand in a read",
        20_000,
        Plan { ack_every: 1, batch: 1000, counted: Counted::Settle, ..PAIR },
    ),
];

const WAYS: [Row; 14] = [
    ("auto-ack-16", "16 octets, auto-ack", 20_000, PAIR),
    ("auto-ack-1k", "1 KiB, auto-ack", 10_000, Plan { octets: 1024, batch: 240, ..PAIR }),
    ("auto-ack-1m", "1 MB, auto-ack", 40, Plan { octets: 1_000_000, batch: 2, ..PAIR }),
    ("confirm-ack", "16 octets, confirm window 1000, ack every 100, prefetch 1000", 20_000, ACKED),
    ("ack-each", "16 octets, ack every message, prefetch 100, a hundred acks in a read", 20_000, EACH),
    (
        "ack-each-alone",
        "16 octets, ack every message, prefetch 100, one ack in a read",
        10_000,
        Plan { acks_alone: true, ..EACH },
    ),
    (
        "persistent",
        "1 KiB, persistent, confirm window 1000, ack every 100, prefetch 1000",
        10_000,
        Plan { octets: 1024, persistent: true, ..ACKED },
    ),
    (
        "8x8",
        "16 octets, 8 publishers, 8 auto-ack consumers, one queue",
        32_000,
        Plan { publishers: 8, consumers: 8, ..PAIR },
    ),
    (
        "fanout-10",
        "16 octets, fanout to 10 queues; for each delivery",
        100_000,
        Plan { queues: 10, wiring: Wiring::Fanout, ..PAIR },
    ),
    ("in-turn-10", "16 octets, 10 keys in turn to 10 queues", 20_000, Plan { queues: 10, ..PAIR }),
    ("in-turn-100", "16 octets, 100 keys in turn to 100 queues", 20_000, Plan { queues: 100, ..PAIR }),
    (
        "topic-10k",
        "16 octets, 10,000 topic bindings, 1,000 keys in turn to 10 queues",
        10_000,
        Plan { queues: 10, wiring: Wiring::Topic, ..PAIR },
    ),
    (
        "headers-100",
        "16 octets, 100 headers bindings, 100 headers in turn to 10 queues",
        10_000,
        Plan { queues: 10, wiring: Wiring::Headers, ..PAIR },
    ),
    (
        "unlike",
        "16 octets, auto-ack, each with a header of its own",
        100_000,
        Plan { wiring: Wiring::Unlike, ..PAIR },
    ),
];

/// Steps that take sessions.
pub(crate) fn steps() -> impl Iterator<Item = Subject> {
    STEPS.into_iter().map(subject)
}

/// The whole ways.
pub(crate) fn ways() -> impl Iterator<Item = Subject> {
    WAYS.into_iter().map(subject)
}

fn subject((name, about, messages, plan): Row) -> Subject {
    Subject { name, about, messages, ready: Box::new(move || Box::new(plan.scene())) }
}

impl Plan {
    fn scene(&self) -> Scene {
        let node = Node::open();
        let mut admin = Client::new(&node);
        for queue in 0..self.queues {
            admin.declare_queue(&wiring::queue(queue), self.persistent);
        }
        self.bind(&mut admin);
        let messages = self.messages();
        let publishers = (0..self.publishers).map(|_| {
            let mut client = Client::new(&node);
            if self.confirms {
                client.select_confirms();
            }
            Publisher { client, source: Source::new(&messages), confirms: self.confirms, published: 0 }
        });
        let publishers = publishers.collect();
        let consumers = (0..self.queues * self.consumers).map(|number| {
            let mut client = Client::new(&node);
            client.consume(&wiring::queue(number % self.queues), self.ack_every == 0, self.prefetch);
            Consumer { client, ack_every: self.ack_every, acks_alone: self.acks_alone, acked: 0 }
        });
        let consumers = consumers.collect();
        let copies = if self.wiring == Wiring::Fanout { self.queues as u64 } else { 1 };
        Scene {
            node,
            publishers,
            consumers,
            batch: self.batch,
            copies,
            stores: self.persistent,
            counted: self.counted,
        }
    }

    fn bind(&self, admin: &mut Client) {
        match self.wiring {
            Wiring::InTurn | Wiring::Unlike => {}
            Wiring::Fanout => {
                admin.declare_exchange(EXCHANGE, "fanout");
                (0..self.queues).for_each(|queue| admin.bind(&wiring::queue(queue), EXCHANGE, "", &[]));
            }
            Wiring::Topic => {
                admin.declare_exchange(EXCHANGE, "topic");
                for number in 0..PATTERNS {
                    admin.bind(&wiring::queue(number % self.queues), EXCHANGE, &wiring::pattern(number), &[]);
                }
            }
            Wiring::Headers => {
                admin.declare_exchange(EXCHANGE, "headers");
                for number in 0..KINDS {
                    let [kind, format] = wiring::headers(number);
                    let wanted = [("x-match", "all".to_owned()), kind, format];
                    admin.bind(&wiring::queue(number % self.queues), EXCHANGE, "", &wanted);
                }
            }
        }
    }

    /// What each publisher sends in turn.
    fn messages(&self) -> Vec<Vec<u8>> {
        let with = |exchange: &str, key: &str, headers: &[(&str, String)]| {
            publish(exchange, key, headers, self.octets, self.persistent)
        };
        match self.wiring {
            Wiring::InTurn => (0..self.queues).map(|queue| with("", &wiring::queue(queue), &[])).collect(),
            Wiring::Unlike => {
                (0..UNLIKE).map(|number| with("", &wiring::queue(0), &[("id", number.to_string())])).collect()
            }
            Wiring::Fanout => vec![with(EXCHANGE, "", &[])],
            Wiring::Topic => (0..KEYS).map(|number| with(EXCHANGE, &wiring::key(number), &[])).collect(),
            Wiring::Headers => {
                (0..KINDS).map(|number| with(EXCHANGE, "", &wiring::headers(number))).collect()
            }
        }
    }
}
