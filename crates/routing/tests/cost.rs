//! What changes cost with many bindings: prints times, and fails only when a cost has become quadratic. Every
//! change is published as a clone, which the next change must not disturb, as the owner of a picture does.

use std::sync::Arc;
use std::time::{Duration, Instant};
use warrenmq_routing::{Binding, Destination, Exchange, ExchangeKind, Message, Name, QueueId, Topology};
use warrenmq_wire::method::{AMQPValue, FieldTable};

/// How many bindings; a debug build, which takes ten times as long, only shows that nothing is out of order.
const COUNT: u64 = if cfg!(debug_assertions) { 4_000 } else { 100_000 };

/// How the n-th of the bindings differs from the others.
type Shape = fn(u64) -> Binding;

#[test]
fn binds_and_unbinds_by_the_thousand() {
    let shapes: [(&str, Shape); 10] = [
        ("direct, one queue, many keys", |n| binding("amq.direct", 0, &format!("key.{n}"), None)),
        ("direct, many queues, one key", |n| binding("amq.direct", n, "key", None)),
        ("fanout, many queues", |n| binding("amq.fanout", n, "", None)),
        ("topic, one queue, many keys", |n| binding("amq.topic", 0, &format!("{}.{n}.*.end", n % 100), None)),
        ("topic, many queues, one key", |n| binding("amq.topic", n, "#.key", None)),
        ("headers, one queue, many values", |n| binding("amq.headers", 0, "", Some(n))),
        ("headers, many queues, one value", |n| binding("amq.headers", n, "", Some(0))),
        ("consistent hash, many queues", |n| binding("x-consistent-hash", n, "1", None)),
        ("consistent hash, one queue, many weights", |n| {
            binding("x-consistent-hash", 0, &n.to_string(), None)
        }),
        ("random, many queues", |n| binding("x-random", n, "", None)),
    ];
    for (label, shape) in shapes {
        let mut topology = Topology::new();
        for kind in [ExchangeKind::ConsistentHash, ExchangeKind::Random] {
            topology.declare_exchange(Exchange {
                name: kind.name().into(),
                kind,
                durable: false,
                auto_delete: false,
                internal: false,
                arguments: FieldTable::default(),
                alternate: None,
                delayed: None,
            });
        }
        for id in 0..COUNT {
            topology.add_queue(queue_name(id), QueueId(id));
        }
        let mut published = topology.clone();
        let bind = time(|n| {
            assert!(topology.bind(shape(n)));
            published = topology.clone();
        });
        let mut routed = Vec::new();
        let last = shape(COUNT - 1);
        let start = Instant::now();
        let keys = [&*last.routing_key];
        topology.route(&last.source, &Message::with_keys(&keys), &mut routed).expect("it is there");
        let route = start.elapsed();
        let unbind = time(|n| {
            assert!(topology.unbind(&shape(n)).0);
            published = topology.clone();
        });
        assert_eq!(published.bindings().count(), 0);
        println!("{label}: bind {bind:?}, unbind {unbind:?} each; route to {} {route:?}", routed.len());
    }
}

#[test]
fn queues_go_at_the_cost_of_their_own_bindings() {
    let mut topology = Topology::new();
    for id in 0..COUNT {
        topology.add_queue(queue_name(id), QueueId(id));
        assert!(topology.bind(binding("amq.direct", id, "key", None)));
        assert!(topology.bind(binding("amq.topic", id, "a.#", None)));
    }
    let remove = time(|id| {
        let removed = topology.remove_queue(&queue_name(id)).expect("it is there");
        assert_eq!(removed.bindings.len(), 2);
    });
    println!("remove a queue with two bindings: {remove:?} each");
}

/// The time that each of the steps takes on average.
fn time(mut step: impl FnMut(u64)) -> Duration {
    let start = Instant::now();
    (0..COUNT).for_each(&mut step);
    let each = start.elapsed() / u32::try_from(COUNT).expect("small");
    // Generous for a debug build on a busy machine; a scan of all bindings takes much longer.
    assert!(each < Duration::from_millis(2), "{each:?}");
    each
}

fn binding(source: &str, queue: u64, key: &str, header: Option<u64>) -> Binding {
    let mut arguments = FieldTable::default();
    if let Some(value) = header {
        arguments.insert("type".into(), AMQPValue::LongString("report".into()));
        arguments.insert("number".into(), AMQPValue::LongLongInt(value.cast_signed()));
    }
    Binding {
        source: source.into(),
        destination: Destination::Queue(queue_name(queue)),
        routing_key: Arc::from(key.as_bytes()),
        arguments,
    }
}

fn queue_name(id: u64) -> Name {
    format!("queue.{id}").into()
}
