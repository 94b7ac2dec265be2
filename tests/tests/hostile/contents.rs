//! Contents that are not what they say: of another length, without an end, with properties that are none.

use warrenmq_tests::frames::{self, BODY};
use warrenmq_tests::{Client, Watched};

/// What a client says on channel 1 after `basic.publish 1 routing-key=c`, and what the broker answers.
const CONTENTS: &[(&str, &str)] = &[
    (
        "a body longer than announced",
        "C frame header 1 size=3\nC frame body 1 \"abcd\"\n\
         S connection.close 0 501 \"FRAME_ERROR - content body frame exceeds remaining content size\" by=basic.publish",
    ),
    (
        "a body where none was announced",
        "C frame header 1 size=0\nC frame body 1 \"a\"\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected method frame, got non method frame instead\"",
    ),
    (
        "a method before the end of the body",
        "C frame header 1 size=3\nC frame body 1 \"ab\"\nC basic.qos 1 prefetch-count=1\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected content body, got non content body frame instead\" by=basic.publish",
    ),
    (
        "a second header",
        "C frame header 1 size=3\nC frame header 1 size=3\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected content body, got non content body frame instead\" by=basic.publish",
    ),
    (
        "no header",
        "C frame body 1 \"abc\"\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead\" by=basic.publish",
    ),
    (
        "a header of another class",
        "C frame header 1 class=50 size=3\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead\" by=basic.publish",
    ),
    (
        "a body of 4 GiB",
        "C frame header 1 size=4294967296\n\
         S connection.close 0 501 \"FRAME_ERROR - content body size 4294967296 exceeds maximum allowed size 536870912\" by=basic.publish",
    ),
    (
        "a body of 16 EiB",
        "C frame header 1 size=18446744073709551615\n\
         S connection.close 0 501 \"FRAME_ERROR - content body size 18446744073709551615 exceeds maximum allowed size 536870912\" by=basic.publish",
    ),
    (
        "a body above the limit of messages",
        "C frame header 1 size=134217729\n\
         S channel.close 1 406 \"PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728\" by=basic.publish",
    ),
    (
        "a header without flags",
        "C frame 2 1 \"\\x00\\x3c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"\nS connection.close 0 501 ~FRAME_ERROR*",
    ),
    (
        "properties that are announced and missing",
        "C frame 2 1 \"\\x00\\x3c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xff\\xfc\"\n\
         S connection.close 0 502 ~SYNTAX_ERROR* by=basic.publish",
    ),
    (
        "properties that are there and not announced",
        "C frame 2 1 \"\\x00\\x3c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00more\"\n\
         S connection.close 0 502 ~SYNTAX_ERROR* by=basic.publish",
    ),
    (
        "headers with a type that is none",
        "C frame 2 1 \"\\x00\\x3c\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x20\\x00\\x00\\x00\\x00\\x03\\x01kz\"\n\
         S connection.close 0 502 ~SYNTAX_ERROR* by=basic.publish",
    ),
    ("silence after the method", "S <nothing 20>"),
    ("silence after the header", "C frame header 1 size=3\nS <nothing 20>"),
    ("silence in the body", "C frame header 1 size=3\nC frame body 1 \"ab\"\nS <nothing 20>"),
];

/// Not UTF-8 where RabbitMQ does not look, and empty frames in a body: all of it arrives as it was sent.
const PASSED_ON: &str = "\
C basic.publish 1 routing-key=c | correlation-id=\"\\xff\" content-type=\"\\xc3\" headers={\"\\xfe\":str:\"\\xfd\"} | body=\"\\x00\\xff\"
C frame method basic.publish 1 routing-key=c
C frame header 1 size=2
C frame body 1
C frame body 1 \"a\"
C frame body 1
C frame body 1 \"b\"
C basic.get 1 queue=c no-ack=true
S basic.get-ok 1 delivery-tag=1 routing-key=c message-count=1 | correlation-id=\"\\xff\" content-type=\"\\xc3\" headers={\"\\xfe\":str:\"\\xfd\"} | body=\"\\x00\\xff\"
C basic.get 1 queue=c no-ack=true
S basic.get-ok 1 delivery-tag=2 routing-key=c | | body=ab
C exchange.bind 1 destination=amq.fanout source=amq.topic routing-key=#
S exchange.bind-ok 1
C queue.bind 1 queue=c exchange=amq.fanout
S queue.bind-ok 1
C basic.publish 1 exchange=amq.topic routing-key=\"\\xff.\\xfe\" | | body=x
C basic.get 1 queue=c no-ack=true
S basic.get-ok 1 delivery-tag=3 exchange=amq.topic routing-key=\"\\xff.\\xfe\" | | body=x";

#[test]
fn what_is_not_whole_or_not_right_is_never_queued() {
    let mut broker = Watched::start("");
    let mut owner = Client::open(broker.address());
    owner.say("C queue.declare 1 queue=c\nS queue.declare-ok 1 queue=c");
    for (name, script) in CONTENTS {
        println!("{name}");
        let mut client = Client::open(broker.address());
        client.say("C frame method basic.publish 1 routing-key=c");
        client.say(script);
        drop(client);
        broker.check(name);
        let expected = u64::from(*name == "a body where none was announced");
        assert_eq!(owner.ready("c"), expected, "{name}");
        owner.say(&format!("C queue.purge 1 queue=c\nS queue.purge-ok 1 message-count={expected}"));
    }
    owner.say(PASSED_ON);
}

/// What a body will need is what its publisher says; what it gets is what has come.
#[test]
fn announced_bodies_cost_nothing_before_they_come() {
    let mut broker = Watched::start("");
    let mut client = Client::open(broker.address());
    let openings: Vec<u8> = (2..=2000).flat_map(|channel| frames::method(channel, 20, 10, &[0])).collect();
    let answers: String = (2..=2000).map(|channel| format!("S channel.open-ok {channel}\n")).collect();
    client.send(&openings);
    client.say(&answers);
    for channel in 1..=2000 {
        let method = frames::method(channel, 60, 40, b"\0\0\0\x01c\0");
        let announced = frames::header(channel, 128 << 20, &[0, 0]);
        client.send(&[method, announced, frames::frame(BODY, channel, b"x")].concat());
    }
    client.say("S <nothing 200>");
    broker.check("2000 bodies of 128 MiB that are announced");
}

#[test]
fn a_body_in_very_small_frames_arrives_whole() {
    let mut broker = Watched::start("");
    let mut client = Client::open(broker.address());
    client.say("C queue.declare 1 queue=c\nS queue.declare-ok 1 queue=c");
    let frames: Vec<u8> = (0..100_000).flat_map(|_| frames::frame(BODY, 1, b"x")).collect();
    client.say("C frame method basic.publish 1 routing-key=c\nC frame header 1 size=100000");
    client.send(&frames);
    client.say(
        "C basic.get 1 queue=c no-ack=true\n\
         S basic.get-ok 1 delivery-tag=1 routing-key=c | | body=\"x\"*100000",
    );
    broker.check("a body in 100,000 frames");
}

#[test]
fn unfinished_bodies_of_a_connection_have_a_limit_together() {
    let mut broker = Watched::start("[limits]\nassembly_octets_max = 1_000_000\n");
    let mut client = Client::open(broker.address());
    for channel in 2..=4 {
        client.say(&format!("C channel.open {channel}\nS channel.open-ok {channel}"));
    }
    for channel in 1..=4 {
        client.say(&format!(
            "C frame method basic.publish {channel} routing-key=c\nC frame header {channel} size=16777216"
        ));
        (0..3).for_each(|_| client.send(&frames::frame(BODY, channel, &[b'x'; 100_000])));
    }
    client.say(
        "S connection.close 0 506 \"RESOURCE_ERROR - too many octets in unfinished messages on this connection\" by=basic.publish",
    );
    broker.check("more unfinished bodies than one connection may have");
}
