//! What a session says about input that is nothing but acknowledgements of one message each.

use warrenmq_broker::Commits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Conversation, Mode, Options, Target};

use crate::node::Node;

/// Octets of a basic.ack frame.
const ACK: usize = 21;

/// A consumer has been sent four messages. The `<...>` are filled in by the cases.
const DELIVERED: &str = "
    open
    C channel.open 1
    S channel.open-ok 1
    C queue.declare 1 queue=q
    S queue.declare-ok 1 queue=q
    <before>
    C basic.consume 1 queue=q consumer-tag=c
    S basic.consume-ok 1 c
    C basic.publish 1 routing-key=q | | body=1
    C basic.publish 1 routing-key=q | | body=2
    C basic.publish 1 routing-key=q | | body=3
    C basic.publish 1 routing-key=q | | body=4
    S basic.deliver 1 c 1 routing-key=q | | body=1
    S basic.deliver 1 c 2 routing-key=q | | body=2
    S basic.deliver 1 c 3 routing-key=q | | body=3
    S basic.deliver 1 c 4 routing-key=q | | body=4
    <last>";

#[test]
fn a_quarter_of_the_prefetch_had_better_come_at_once() {
    let qos_100 = "C basic.qos 1 prefetch-count=100\nS basic.qos-ok 1";
    let shared = "C basic.qos 1 prefetch-count=40 global=true\nS basic.qos-ok 1";
    let shared_and_own = "C basic.qos 1 prefetch-count=16\nS basic.qos-ok 1
        C basic.qos 1 prefetch-count=40 global=true\nS basic.qos-ok 1";
    let cases = [
        (qos_100, "C basic.ack 1 1", 25 * ACK),
        (qos_100, "C basic.ack 1 3", 25 * ACK),
        (qos_100, "C basic.ack 1 1 multiple=true", 25 * ACK),
        (shared, "C basic.ack 1 1", 10 * ACK),
        (shared_and_own, "C basic.ack 1 1", 4 * ACK),
        ("C basic.qos 1 prefetch-count=8\nS basic.qos-ok 1", "C basic.ack 1 1", 2 * ACK),
        ("C basic.qos 1 prefetch-count=7\nS basic.qos-ok 1", "C basic.ack 1 1", 0),
        ("C basic.qos 1 prefetch-count=4\nS basic.qos-ok 1", "C basic.ack 1 1", 0),
        ("C basic.qos 1 prefetch-count=1000\nS basic.qos-ok 1", "C basic.ack 1 1", 64 * ACK),
        ("", "C basic.ack 1 1", 64 * ACK),
        // One frame for several messages: there will not be a frame for each of the prefetch.
        (qos_100, "C basic.ack 1 2 multiple=true", 0),
        // Anything else means that the client may wait for an answer.
        (qos_100, "C basic.nack 1 1", 0),
        (qos_100, "C basic.reject 1 1 requeue=false", 0),
        (qos_100, "C basic.ack 1 9\nS channel.close 1 406 * 60 80", 0),
        (qos_100, "C basic.ack 1 1\nC frame heartbeat 0", 0),
        (qos_100, "C basic.ack 1 1\nC basic.publish 1 routing-key=nowhere | | body=1", 0),
        (qos_100, "C basic.ack 1 1\nC basic.qos 1\nS basic.qos-ok 1", 0),
        // It is settled at the commit.
        (qos_100, "C tx.select 1\nS tx.select-ok 1\nC basic.ack 1 1", 0),
    ];
    for (before, last, expected) in cases {
        let node = Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline);
        let options = Options { mode: Mode::Whole, target: Target::Default };
        let client = node.clone();
        let mut talk = Conversation::new(options, move |_| Box::new(client.connect()));
        let lines = DELIVERED.replace("<before>", before).replace("<last>", last);
        talk.say(&lines).unwrap_or_else(|mismatch| panic!("{before} {last}\n{mismatch}"));
        assert_eq!(node.octets_at_once(), expected, "{before}: {last}");
    }
}
