//! Who is blocked by an alarm, what still passes, and how it ends.

use std::time::Duration;

use warrenmq_broker::Commits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Arrival, Conversation, Mode, Options, Peer, Target};

use crate::node::Node;

/// Lines said while an alarm is as it is set here.
enum Then {
    Set,
    Clear,
    Say(&'static str),
}

use Then::{Clear, Say, Set};

const OPEN: &str = "
    open capabilities=connection.blocked
    C channel.open 1
    S channel.open-ok 1
    C queue.declare 1 queue=q
    S queue.declare-ok 1 queue=q
    C confirm.select 1
    S confirm.select-ok 1
    2: open capabilities=connection.blocked
    2: C channel.open 1
    2: S channel.open-ok 1";

#[test]
fn a_publisher_waits_and_goes_on() {
    play(&[
        Say("C basic.publish 1 routing-key=q | | body=before\nS basic.ack 1 1"),
        Set,
        Say("S <nothing>
            C queue.declare 1 queue=q
            S queue.declare-ok 1 queue=q message-count=1
            C basic.get 1 queue=q no-ack=true
            S basic.get-ok 1 1 routing-key=q | | body=before
            C basic.publish 1 routing-key=q | | body=a
            S connection.blocked 0 \"low on disk\"
            C basic.publish 1 routing-key=q | | body=\"\"
            C queue.declare 1 queue=q
            S <nothing 5000>
            2: C queue.declare 1 queue=q
            2: S queue.declare-ok 1 queue=q
            2: S <nothing>"),
        Clear,
        Say("S connection.unblocked 0
            S confirmed 1 2..3
            S queue.declare-ok 1 queue=q message-count=2
            2: S <nothing>
            C basic.publish 1 routing-key=q | | body=b
            S basic.ack 1 4"),
    ]);
}

#[test]
fn what_is_under_way_to_a_blocked_connection_leaves() {
    play(&[
        Say("C basic.consume 1 queue=q consumer-tag=c
            S basic.consume-ok 1 c"),
        Set,
        Say("C basic.publish 1 routing-key=q | | body=a
            S connection.blocked 0 \"low on disk\""),
        Clear,
        Say("S connection.unblocked 0
            S& basic.deliver 1 c 1 routing-key=q | | body=a
            S& basic.ack 1 1
            2: C basic.publish 1 routing-key=q | | body=b
            S basic.deliver 1 c 2 routing-key=q | | body=b"),
    ]);
}

#[test]
fn consumers_go_on() {
    play(&[
        Say("2: C basic.qos 1 prefetch-count=1
            2: S basic.qos-ok 1
            2: C basic.consume 1 queue=q consumer-tag=c
            2: S basic.consume-ok 1 c
            C basic.publish 1 routing-key=q | | body=a
            C basic.publish 1 routing-key=q | | body=b
            S confirmed 1 1..2
            2: S basic.deliver 1 c 1 routing-key=q | | body=a"),
        Set,
        Say("C basic.publish 1 routing-key=q | | body=c
            S connection.blocked 0 \"low on disk\"
            2: C basic.ack 1 1
            2: S basic.deliver 1 c 2 routing-key=q | | body=b
            2: C basic.ack 1 2
            2: S <nothing>"),
        Clear,
        Say("S connection.unblocked 0
            S confirmed 1 3..3
            2: S basic.deliver 1 c 3 routing-key=q | | body=c"),
    ]);
}

#[test]
fn a_connection_of_the_time_of_the_alarm_is_blocked_when_it_publishes() {
    play(&[
        Set,
        Say("3: open capabilities=connection.blocked
            3: C channel.open 1
            3: S channel.open-ok 1
            3: C confirm.select 1
            3: S confirm.select-ok 1
            3: C basic.publish 1 routing-key=q | | body=a
            3: S connection.blocked 0 \"low on disk\"
            3: S <nothing>"),
        Clear,
        Say("3: S connection.unblocked 0\n3: S confirmed 1 1..1"),
    ]);
}

#[test]
fn a_client_that_cannot_hear_it_is_not_read() {
    play(&[
        Say("3: open
            3: C channel.open 1
            3: S channel.open-ok 1"),
        Set,
        Say("3: C basic.publish 1 routing-key=q | | body=a
            3: C queue.declare 1 queue=q
            3: S <nothing>
            C queue.declare 1 queue=q
            S queue.declare-ok 1 queue=q"),
        Clear,
        Say("3: S queue.declare-ok 1 queue=q message-count=1"),
    ]);
}

#[test]
fn an_alarm_in_the_middle_of_a_message() {
    play(&[
        Say("C frame method basic.publish 1 routing-key=q
            C frame header 1 class=60 size=4
            C frame body 1 \"ab\""),
        Set,
        Say("S <nothing>
            C frame body 1 \"cd\"
            S connection.blocked 0 \"low on disk\""),
        Clear,
        Say("S connection.unblocked 0
            S basic.ack 1 1
            C basic.get 1 queue=q no-ack=true
            S basic.get-ok 1 1 routing-key=q | | body=abcd"),
    ]);
}

#[test]
fn the_next_alarm_is_told_again() {
    play(&[
        Set,
        Set,
        Say("C basic.publish 1 routing-key=q | | body=a
            S connection.blocked 0 \"low on disk\""),
        Clear,
        Clear,
        Set,
        // The end is told, and what it had sent meets the next alarm.
        Say("S connection.unblocked 0
            S connection.blocked 0 \"low on disk\"
            S <nothing>"),
        Clear,
        Say("S connection.unblocked 0\nS basic.ack 1 1"),
    ]);
}

#[test]
fn a_transaction_commits_what_it_has() {
    play(&[
        Say("2: C tx.select 1
            2: S tx.select-ok 1
            2: C basic.publish 1 routing-key=q | | body=a"),
        Set,
        Say("2: C tx.commit 1
            2: S tx.commit-ok 1
            2: C basic.publish 1 routing-key=q | | body=b
            2: S connection.blocked 0 \"low on disk\""),
        Clear,
        Say("2: S connection.unblocked 0
            2: C tx.commit 1
            2: S tx.commit-ok 1
            C queue.declare 1 queue=q
            S queue.declare-ok 1 queue=q message-count=2"),
    ]);
}

#[test]
fn a_stop_of_the_broker_is_answered_by_blocked_connections() {
    let node = play(&[
        Set,
        Say("C basic.publish 1 routing-key=q | | body=a
            S connection.blocked 0 \"low on disk\""),
    ]);
    assert_eq!(node.broker().alarms().blocked_connections(), 0, "who goes leaves the list");
    let mut talk = conversation(&node, Mode::Whole);
    let publish = "C basic.publish 1 routing-key=q | | body=a\nS connection.blocked 0 \"low on disk\"";
    talk.say(OPEN).and_then(|()| talk.say(publish)).expect("it is blocked");
    assert_eq!(node.broker().alarms().blocked_connections(), 1);
    node.broker().close_connections("bye");
    let end = "S connection.close 0 320 \"CONNECTION_FORCED - bye\"\nC connection.close-ok 0\nS <close>";
    talk.say(end).expect("close-ok is read");
    assert_eq!(node.broker().alarms().blocked_connections(), 0);
}

#[test]
fn a_client_learns_from_the_capabilities_that_it_may_be_told() {
    let node = node();
    let mut client = node.connect();
    client.send(b"AMQP\x00\x00\x09\x01");
    let Arrival::Bytes(start) = client.receive(Duration::from_secs(1)) else { panic!("no connection.start") };
    let capability = b"\x12connection.blockedt\x01";
    assert!(start.windows(capability.len()).any(|window| window == capability));
}

/// Plays it with the client's frames whole and byte by byte; returns the node of the last time, without connections.
fn play(acts: &[Then]) -> Node {
    let mut last = node();
    for mode in [Mode::Whole, Mode::ByteByByte] {
        let node = node();
        let mut talk = conversation(&node, mode);
        talk.say(OPEN).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        for act in acts {
            match act {
                Set => node.broker().alarms().set_disk(),
                Clear => node.broker().alarms().clear_disk(),
                Say(lines) => {
                    talk.say(lines).unwrap_or_else(|mismatch| panic!("{mode:?}: {mismatch}\nin {lines}"))
                }
            }
        }
        drop(talk);
        last = node;
    }
    last
}

fn node() -> Node {
    Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline)
}

fn conversation(node: &Node, mode: Mode) -> Conversation {
    let node = node.clone();
    let options = Options { mode, target: Target::Default };
    Conversation::new(options, move |_| Box::new(node.connect()))
}
