//! The whole ways that are counted, as data: the rows of the table of workloads that need no clock.

use crate::Subject;
use crate::client::{Client, publish};
use crate::node::Node;
use crate::scene::{Consumer, Publisher, Scene};
use crate::source::Source;

/// What a scene is made from.
struct Plan {
    octets: usize,
    persistent: bool,
    confirms: bool,
    prefetch: u16,
    ack_every: u64,
    acks_alone: bool,
    publishers: usize,
    queues: usize,
    /// Consumers of each queue.
    consumers: usize,
    wiring: Wiring,
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
}

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
    batch: 2000,
};
const ACKED: Plan = Plan { confirms: true, prefetch: 1000, ack_every: 100, batch: 1000, ..PAIR };
const EACH: Plan = Plan { prefetch: 100, ack_every: 1, ..PAIR };

const EXCHANGE: &str = "exchange";
const BINDINGS: usize = 10_000;
const KEYS: usize = 1_000;
const HEADERS: usize = 100;

/// The whole ways.
pub(crate) fn subjects() -> Vec<Subject> {
    fn row(name: &'static str, about: &'static str, messages: u64, plan: &'static Plan) -> Subject {
        Subject { name, about, messages, ready: Box::new(|| Box::new(plan.scene())) }
    }
    vec![
        row("auto-ack-16", "16 octets, auto-ack", 200_000, &PAIR),
        row("auto-ack-1k", "1 KiB, auto-ack", 50_000, &Plan { octets: 1024, batch: 240, ..PAIR }),
        row("auto-ack-1m", "1 MB, auto-ack", 100, &Plan { octets: 1_000_000, batch: 2, ..PAIR }),
        row("confirm-ack", "16 octets, confirm window 1000, ack every 100, prefetch 1000", 200_000, &ACKED),
        row("ack-each", "16 octets, ack every message, prefetch 100, a hundred acks a read", 100_000, &EACH),
        row(
            "ack-each-alone",
            "16 octets, ack every message, prefetch 100, one ack a read",
            20_000,
            &Plan { acks_alone: true, ..EACH },
        ),
        row(
            "persistent",
            "1 KiB, persistent, confirm window 1000, ack every 100, prefetch 1000",
            50_000,
            &Plan { octets: 1024, persistent: true, ..ACKED },
        ),
        row(
            "8x8",
            "16 octets, 8 publishers, 8 auto-ack consumers, one queue",
            200_000,
            &Plan { publishers: 8, consumers: 8, ..PAIR },
        ),
        row(
            "fanout-10",
            "16 octets, fanout to 10 queues, per delivery",
            500_000,
            &Plan { queues: 10, wiring: Wiring::Fanout, ..PAIR },
        ),
        row("in-turn-10", "16 octets, 10 keys in turn to 10 queues", 200_000, &Plan { queues: 10, ..PAIR }),
        row(
            "in-turn-100",
            "16 octets, 100 keys in turn to 100 queues",
            200_000,
            &Plan { queues: 100, ..PAIR },
        ),
        row(
            "topic-10k",
            "16 octets, 10,000 topic bindings, 1,000 keys",
            100_000,
            &Plan { queues: 10, wiring: Wiring::Topic, ..PAIR },
        ),
        row(
            "headers-100",
            "16 octets, 100 headers bindings",
            100_000,
            &Plan { queues: 10, wiring: Wiring::Headers, ..PAIR },
        ),
    ]
}

impl Plan {
    fn scene(&self) -> Scene {
        let node = Node::open();
        let mut admin = Client::new(&node);
        for queue in 0..self.queues {
            admin.declare_queue(&name(queue), self.persistent);
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
            client.consume(&name(number % self.queues), self.prefetch);
            Consumer { client, ack_every: self.ack_every, acks_alone: self.acks_alone, acked: 0 }
        });
        let consumers = consumers.collect();
        let copies = if self.wiring == Wiring::Fanout { self.queues as u64 } else { 1 };
        Scene { node, publishers, consumers, batch: self.batch, copies, stores: self.persistent }
    }

    fn bind(&self, admin: &mut Client) {
        match self.wiring {
            Wiring::InTurn => {}
            Wiring::Fanout => {
                admin.declare_exchange(EXCHANGE, "fanout");
                (0..self.queues).for_each(|queue| admin.bind(&name(queue), EXCHANGE, "", &[]));
            }
            Wiring::Topic => {
                admin.declare_exchange(EXCHANGE, "topic");
                for number in 0..BINDINGS {
                    admin.bind(&name(number % self.queues), EXCHANGE, &pattern(number), &[]);
                }
            }
            Wiring::Headers => {
                admin.declare_exchange(EXCHANGE, "headers");
                for number in 0..HEADERS {
                    let wanted = [("x-match", "all"), ("kind", &*kind(number)), ("format", "text")];
                    admin.bind(&name(number % self.queues), EXCHANGE, "", &wanted);
                }
            }
        }
    }

    /// What each publisher sends in turn.
    fn messages(&self) -> Vec<Vec<u8>> {
        let with = |exchange: &str, key: &str, headers: &[(&str, &str)]| {
            publish(exchange, key, headers, self.octets, self.persistent)
        };
        match self.wiring {
            Wiring::InTurn => (0..self.queues).map(|queue| with("", &name(queue), &[])).collect(),
            Wiring::Fanout => vec![with(EXCHANGE, "", &[])],
            Wiring::Topic => (0..KEYS).map(|number| with(EXCHANGE, &key(number), &[])).collect(),
            Wiring::Headers => {
                let headers = |number| [("kind", kind(number)), ("format", "text".to_owned())];
                let message = |number: usize| {
                    let headers = headers(number);
                    with(EXCHANGE, "", &headers.each_ref().map(|(key, value)| (*key, &**value)))
                };
                (0..HEADERS).map(message).collect()
            }
        }
    }
}

fn name(queue: usize) -> String {
    format!("queue-{queue}")
}

fn kind(number: usize) -> String {
    format!("kind-{number}")
}

/// Of ten patterns six are words alone, three end in a wildcard, and one begins with one and matches none of the keys.
fn pattern(number: usize) -> String {
    let (site, device) = (number / 100, number % 100);
    match number % 10 {
        0..6 => format!("site-{site}.device-{device}.temperature"),
        6 | 7 => format!("site-{site}.device-{device}.*"),
        8 => format!("site-{site}.device-{device}.#"),
        _ if site % 2 == 0 => format!("*.device-{device}.alarm-{site}"),
        _ => format!("#.alarm-{site}.{device}"),
    }
}

/// Each matches one pattern; together they reach nine of ten queues.
fn key(number: usize) -> String {
    let number = number * 10 + number % 9;
    format!("site-{}.device-{}.temperature", number / 100, number % 100)
}
