//! Exchanges that choose one destination: `x-consistent-hash`, `x-modulus-hash`, `x-random`, `x-local-random`. What is chosen
//! cannot be said by a model that does not repeat the hash, but what has to hold for every choice can.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use warrenmq_routing::{
    Binding, Dependence, Destination, Exchange, ExchangeKind, Message, QueueId, Topology, check_exchange,
};
use warrenmq_wire::content::{self, ContentHeader, flag};
use warrenmq_wire::method::{AMQPValue, FieldTable};
use warrenmq_wire::table::{self, RawTable};

const QUEUES: u64 = 12;
const KEYS: u64 = 300;

/// A destination and its key.
type Bind = (u64, u32);

fn topology(kind: ExchangeKind, arguments: FieldTable) -> Topology {
    let mut topology = Topology::new();
    topology.declare_exchange(Exchange {
        name: "x".into(),
        kind,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments,
        alternate: Some("amq.fanout".into()),
        delayed: None,
    });
    for id in 0..QUEUES {
        topology.add_queue(queue(id).into(), QueueId(id));
    }
    topology
}

fn queue(id: u64) -> String {
    format!("queue {id}")
}

fn binding((id, key): Bind) -> Binding {
    Binding {
        source: "x".into(),
        destination: Destination::Queue(queue(id).into()),
        routing_key: key.to_string().into_bytes().into(),
        arguments: FieldTable::default(),
    }
}

fn bound(kind: ExchangeKind, binds: &[Bind]) -> Topology {
    let mut topology = topology(kind, FieldTable::default());
    for bind in binds {
        topology.bind(binding(*bind));
    }
    topology
}

/// The queues of the n-th message.
fn route(topology: &Topology, number: u64) -> Vec<QueueId> {
    let key = number.to_string();
    let keys = [key.as_bytes()];
    // Any number will do, as long as all its bits are used.
    let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::new();
    topology.route("x", &Message { chance, ..Message::with_keys(&keys) }, &mut out).expect("it is there");
    out
}

/// How many of `messages` reach each queue.
fn shares(topology: &Topology, messages: u64) -> BTreeMap<QueueId, u64> {
    let mut shares = BTreeMap::new();
    for number in 0..messages {
        let queues = route(topology, number);
        assert_eq!(queues.len(), 1);
        *shares.entry(queues[0]).or_default() += 1;
    }
    shares
}

fn kind() -> impl Strategy<Value = ExchangeKind> {
    use ExchangeKind::{ConsistentHash, LocalRandom, ModulusHash, Random};
    prop::sample::select(&[ConsistentHash, ModulusHash, Random, LocalRandom][..])
}

fn binds(most: usize) -> impl Strategy<Value = Vec<Bind>> {
    prop::collection::vec((0..QUEUES, 1..5_u32), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A message goes to one of the queues that are bound, and nowhere only if none is. Which one depends on what is bound, not
    /// on how it came to be bound.
    #[test]
    fn one_of_those_that_are_bound(kind in kind(), steps in binds(40)) {
        let mut topology = topology(kind, FieldTable::default());
        let mut left: Vec<Bind> = Vec::new();
        for step in steps {
            // What is there already goes.
            if let Some(place) = left.iter().position(|bind| *bind == step) {
                left.remove(place);
                prop_assert!(topology.unbind(&binding(step)).0);
            } else {
                left.push(step);
                prop_assert!(topology.bind(binding(step)));
            }
        }
        left.sort_unstable_by_key(|(id, key)| (id ^ 5, u32::MAX - key));
        let again = bound(kind, &left);
        for number in 0..KEYS {
            let queues = route(&topology, number);
            prop_assert_eq!(queues.len(), usize::from(!left.is_empty()));
            prop_assert!(queues.iter().all(|queue| left.iter().any(|(id, _)| *id == queue.0)));
            prop_assert_eq!(queues, route(&again, number));
        }
    }

    /// A queue that comes takes its share, one that goes leaves its own; all other messages stay where they were.
    #[test]
    fn a_change_of_a_hash_ring_moves_its_share(old in binds(20), (id, weight) in (0..QUEUES, 1..5_u32)) {
        let old: Vec<Bind> = old.into_iter().filter(|(other, _)| *other != id).collect();
        let with: Vec<Bind> = old.iter().copied().chain([(id, weight)]).collect();
        let (old, with) = (bound(ExchangeKind::ConsistentHash, &old), bound(ExchangeKind::ConsistentHash, &with));
        for number in 0..KEYS {
            let now = route(&with, number);
            prop_assert!(now == [QueueId(id)] || now == route(&old, number));
        }
    }
}

/// Shares are those of the weights: the chi-square test at one per cent, for what a publisher may use as keys.
#[test]
fn a_hash_ring_spreads_by_weight() {
    const MESSAGES: u64 = 40_000;
    let weights: [Bind; 5] = [(0, 1), (1, 2), (2, 2), (3, 4), (4, 6)];
    let topology = bound(ExchangeKind::ConsistentHash, &weights);
    let keys: [fn(u64) -> String; 4] = [
        |number| number.to_string(),
        |number| format!("device.{number}.temperature"),
        |number| format!("{:032x}", u128::from(number) << 64),
        |number| char::from_u32(0x1_0000 + number as u32).into_iter().collect(),
    ];
    for key in keys {
        let mut shares = [0; 5];
        for number in 0..MESSAGES {
            let mut out = Vec::new();
            topology
                .route("x", &Message::with_keys(&[key(number).as_bytes()]), &mut out)
                .expect("it is there");
            shares[out[0].0 as usize] += 1;
        }
        let chi_square: f64 = weights
            .iter()
            .map(|(id, weight)| {
                let expected = MESSAGES as f64 * f64::from(*weight) / 15.0;
                (f64::from(shares[*id as usize]) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_square < 13.28, "{}: {shares:?}, chi-square {chi_square}", key(7));
    }
}

#[test]
fn equal_shares() {
    for kind in [ExchangeKind::ConsistentHash, ExchangeKind::ModulusHash, ExchangeKind::Random] {
        let binds: Vec<Bind> = (0..QUEUES).map(|id| (id, 1)).collect();
        for (queue, share) in shares(&bound(kind, &binds), 40_000) {
            assert!(share.abs_diff(40_000 / QUEUES) < 330, "{kind:?}: {queue:?} gets {share}");
        }
    }
}

/// As in RabbitMQ a queue that is bound twice has two chances, but one place in a hash ring; its first key gives the weight there.
#[test]
fn bound_twice() {
    let binds = [(0, 1), (0, 3), (1, 1)];
    let twice = shares(&bound(ExchangeKind::Random, &binds), 30_000)[&QueueId(0)];
    assert!(twice.abs_diff(20_000) < 500, "{twice}");
    let mut ring = bound(ExchangeKind::ConsistentHash, &binds);
    let once = shares(&ring, 30_000)[&QueueId(0)];
    assert!(once.abs_diff(15_000) < 500, "{once}");
    assert!(ring.unbind(&binding((0, 1))).0);
    let other = shares(&ring, 30_000)[&QueueId(0)];
    assert!(other.abs_diff(22_500) < 500, "{other}");
}

/// What is hashed decides, and nothing else; messages without it go the same way.
#[test]
fn what_is_hashed() {
    let all: Vec<Bind> = (0..QUEUES).map(|id| (id, 1)).collect();
    for (argument, value, dependence) in [
        ("hash-header", "h", Dependence::Headers),
        ("hash-property", "message_id", Dependence::Message),
        ("hash-property", "correlation_id", Dependence::Message),
        ("hash-property", "timestamp", Dependence::Message),
    ] {
        let mut arguments = FieldTable::default();
        arguments.insert(argument.into(), AMQPValue::LongString(value.into()));
        assert_eq!(check_exchange(ExchangeKind::ConsistentHash, &arguments), Ok(()));
        let mut topology = topology(ExchangeKind::ConsistentHash, arguments);
        for bind in &all {
            topology.bind(binding(*bind));
        }
        assert_eq!(topology.route_dependence("x"), dependence);
        let mut seen: Vec<_> =
            (0..100).map(|number| hashed(&topology, value, Some(number), number)).collect();
        let again: Vec<_> = (0..100).map(|number| hashed(&topology, value, Some(number), 7)).collect();
        assert_eq!(seen, again, "{value}");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len() as u64, QUEUES, "{value}");
        assert_eq!(hashed(&topology, value, None, 1), hashed(&topology, value, None, 2));
    }
    assert_eq!(bound(ExchangeKind::ConsistentHash, &all).route_dependence("x"), Dependence::Keys);
    assert_eq!(bound(ExchangeKind::ModulusHash, &all).route_dependence("x"), Dependence::Keys);
    assert_eq!(bound(ExchangeKind::Random, &all).route_dependence("x"), Dependence::Message);
}

/// The queue of a message that has the property or header `what` with this number, and everything else with another.
fn hashed(topology: &Topology, what: &str, value: Option<u64>, other: u64) -> Vec<QueueId> {
    let number = |name: &str| if name == what { value } else { Some(other) };
    let mut flags = 0;
    let mut properties = Vec::new();
    let mut headers = FieldTable::default();
    headers.insert("other".into(), AMQPValue::LongLongInt(other as i64));
    if let Some(value) = number("h") {
        headers.insert("h".into(), AMQPValue::LongLongInt(value as i64));
    }
    let mut wire = Vec::new();
    table::put(&mut wire, &headers).expect("small");
    for (flag, name) in [(flag::CORRELATION_ID, "correlation_id"), (flag::MESSAGE_ID, "message_id")] {
        if let Some(number) = number(name) {
            flags |= flag;
            let text = number.to_string();
            properties.push(text.len() as u8);
            properties.extend_from_slice(text.as_bytes());
        }
    }
    if let Some(number) = number("timestamp") {
        flags |= flag::TIMESTAMP;
        properties.extend_from_slice(&number.to_be_bytes());
    }
    let payload = [&[0, 60, 0, 0][..], &[0; 8], &u16::to_be_bytes(flags), &properties].concat();
    let header: ContentHeader<'_> = content::parse_header(&payload).expect("whole");
    assert_eq!(header.check(), Ok(()));
    let key = other.to_string();
    let message = Message {
        keys: &[key.as_bytes()],
        headers: Some(RawTable::parse(&wire).expect("just written").0),
        properties: Some(&header),
        chance: other,
        waits: false,
    };
    let mut out = Vec::new();
    topology.route("x", &message, &mut out).expect("it is there");
    out
}

/// Without a binding the alternate gets the message; bindings may lead to exchanges, and back.
#[test]
fn on_the_way() {
    let to = |source: &str, destination: Destination, key: &str| Binding {
        source: source.into(),
        destination,
        routing_key: Arc::from(key.as_bytes()),
        arguments: FieldTable::default(),
    };
    for kind in [ExchangeKind::ConsistentHash, ExchangeKind::ModulusHash, ExchangeKind::Random] {
        let mut topology = topology(kind, FieldTable::default());
        let seven = Destination::Queue(queue(7).into());
        assert!(topology.bind(to("amq.fanout", seven, "")));
        assert_eq!(route(&topology, 1), [QueueId(7)]);
        assert!(topology.bind(to("x", Destination::Exchange("amq.topic".into()), "1")));
        assert!(topology.bind(to("amq.topic", Destination::Exchange("x".into()), "#")));
        assert!(topology.bind(to("amq.topic", Destination::Queue(queue(2).into()), "#")));
        assert_eq!(route(&topology, 1), [QueueId(2)]);
    }
}
