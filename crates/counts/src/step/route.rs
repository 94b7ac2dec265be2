//! Exchange, key and headers to queues, as a publisher has it that does not remember routes.
//!
//! Maps are seeded anew in each process and each topology, and how many of a map's keys meet in a place depends on its seed: the
//! same messages are routed in many topologies, whose mean stands still.

use std::sync::Arc;

use warrenmq_routing::{Binding, Destination, Exchange, ExchangeKind, Message, QueueId, Topology};
use warrenmq_wire::method::FieldTable;
use warrenmq_wire::table::{self, RawTable};

use crate::Work;
use crate::meter::in_the_count;
use crate::whole;
use crate::wiring::{self, KEYS, KINDS, PATTERNS};

const EXCHANGE: &str = "exchange";
const QUEUES: usize = 10;

/// Messages that are routed one after the other, in one topology after the other.
pub(super) struct Route {
    topologies: Vec<Topology>,
    next: usize,
    /// Key, and headers in wire form.
    messages: Vec<(Vec<u8>, Vec<u8>)>,
    found: Vec<QueueId>,
}

/// 100 bindings and keys.
pub(super) fn direct(topologies: usize) -> Route {
    let mut route = Route::new(ExchangeKind::Direct, topologies);
    for number in 0..KINDS {
        route.bind(number, &wiring::key(number), &FieldTable::default());
        route.messages.push((wiring::key(number).into_bytes(), Vec::new()));
    }
    route
}

/// 10,000 bindings, 1,000 keys.
pub(super) fn topic(topologies: usize) -> Route {
    let mut route = Route::new(ExchangeKind::Topic, topologies);
    for number in 0..PATTERNS {
        route.bind(number, &wiring::pattern(number), &FieldTable::default());
    }
    route.messages.extend((0..KEYS).map(|number| (wiring::key(number).into_bytes(), Vec::new())));
    route
}

/// 100 bindings, 100 headers.
pub(super) fn headers(topologies: usize) -> Route {
    let mut route = Route::new(ExchangeKind::Headers, topologies);
    for number in 0..KINDS {
        let mut wanted = wiring::headers(number).to_vec();
        wanted.push(("x-match", "all".to_owned()));
        route.bind(number, "", &whole::table(&wanted));
        let mut octets = Vec::new();
        table::put(&mut octets, &whole::table(&wiring::headers(number))).expect("a short table");
        route.messages.push((Vec::new(), octets));
    }
    route
}

impl Route {
    fn new(kind: ExchangeKind, topologies: usize) -> Route {
        let topologies = (0..topologies).map(|_| topology(kind)).collect();
        Route { topologies, next: 0, messages: Vec::new(), found: Vec::new() }
    }

    fn bind(&mut self, number: usize, key: &str, arguments: &FieldTable) {
        for topology in &mut self.topologies {
            let bound = topology.bind(Binding {
                source: EXCHANGE.into(),
                destination: Destination::Queue(wiring::queue(number % QUEUES).into()),
                routing_key: Arc::from(key.as_bytes()),
                arguments: arguments.clone(),
            });
            assert!(bound, "each binding is another");
        }
    }
}

impl Work for Route {
    fn work(&mut self) -> u64 {
        let Route { topologies, next, messages, found } = self;
        let topology = &topologies[*next];
        *next = (*next + 1) % topologies.len();
        let mut routed = 0;
        in_the_count(|| {
            for (key, headers) in &*messages {
                let headers = RawTable::parse(headers).ok().map(|(headers, _)| headers);
                found.clear();
                let message = Message { keys: &[key], headers, ..Message::default() };
                topology.route(EXCHANGE, &message, found).expect("the exchange is there");
                routed += found.len();
            }
        });
        assert_eq!(routed, messages.len(), "each reaches one queue");
        messages.len() as u64
    }
}

fn topology(kind: ExchangeKind) -> Topology {
    let mut topology = Topology::new();
    topology.declare_exchange(Exchange {
        name: EXCHANGE.into(),
        kind,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
        alternate: None,
        delayed: None,
    });
    for queue in 0..QUEUES {
        topology.add_queue(wiring::queue(queue).into(), QueueId(queue as u64));
    }
    topology
}
