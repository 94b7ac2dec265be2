//! What comes before connection.open-ok: other protocols on the port, steps that are wrong or in the wrong order.

use warrenmq_tests::frames::{self, METHOD};
use warrenmq_tests::{Client, Watched};

/// Anything but AMQP gets the header that would be right, and the socket is closed.
const OTHER_PROTOCOLS: &[(&str, &str)] = &[
    ("HTTP", "\"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n\""),
    ("a long HTTP request", "\"POST / HTTP/1.1\\r\\n\\r\\n........\"*20000"),
    ("a TLS hello", "16 0301 0200 01 0001fc 0303 0000000000000000"),
    ("an old SSL hello", "80 2e 01 0002 0015 0000 0010 010080"),
    ("SSH", "\"SSH-2.0-OpenSSH_9.2p1\\r\\n\""),
    ("a PROXY header", "\"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\\r\\n\""),
    ("zeros", "\"\\x00\"*1000"),
    ("AMQP 1.0", "\"AMQP\\x00\\x01\\x00\\x00\""),
    ("AMQP 1.0 with TLS", "\"AMQP\\x02\\x01\\x00\\x00\""),
    ("AMQP 0-8", "\"AMQP\\x01\\x01\\x08\\x00\""),
    ("a frame instead of a header", "01 0001 00000005 0014000a00 ce"),
];

// The steps of a good handshake.
pub(crate) const HEADER: &str = "C <bytes \"AMQP\\x00\\x00\\x09\\x01\">";
pub(crate) const START: &str =
    "S connection.start 0 version-minor=9 server-properties=* mechanisms=* locales=en_US";
pub(crate) const START_OK: &str =
    "C connection.start-ok 0 mechanism=PLAIN response=\"\\x00guest\\x00guest\" locale=en_US";
pub(crate) const TUNE: &str = "S connection.tune 0 channel-max=2047 frame-max=131072 heartbeat=60";
pub(crate) const TUNE_OK: &str = "C connection.tune-ok 0 channel-max=2047 frame-max=131072";

/// What a client says after connection.start and before anybody knows who it is. RabbitMQ does not explain itself to
/// strangers: the socket is closed after 3 s.
const BEFORE_LOGIN: &[(&str, &str)] = &[
    ("a frame above the 8 KiB of a handshake", "C <bytes 01 0000 00002001>"),
    ("a frame of 4 GiB", "C <bytes 01 0000 ffffffff>"),
    ("a wrong end octet", "C <bytes 01 0000 00000005 0014000a00 cf>"),
    ("the header once more", "C <bytes \"AMQP\\x00\\x00\\x09\\x01\">"),
    ("channel.open", "C channel.open 1"),
    ("a heartbeat on a channel", "C frame heartbeat 1"),
    ("a body", "C frame body 1 \"abc\""),
    ("connection.open", "C connection.open 0 virtual-host=/"),
    ("connection.tune-ok", "C connection.tune-ok 0 channel-max=2047 frame-max=131072"),
    (
        "an unknown method on channel 0",
        "C frame 1 0 \"\\x00\\x63\\x00\\x0a\"\nS connection.close 0 503 ~COMMAND_INVALID*\nC connection.close-ok 0",
    ),
    ("a mechanism that is not UTF-8", "C connection.start-ok 0 mechanism=\"\\xff\" response=x locale=en_US"),
    (
        "a mechanism longer than its frame",
        "C frame 1 0 \"\\x00\\x0a\\x00\\x0b\\x00\\x00\\x00\\x00\\xffPLAIN\"",
    ),
    ("no response", "C connection.start-ok 0 mechanism=PLAIN locale=en_US"),
    ("a response without zeros", "C connection.start-ok 0 mechanism=PLAIN response=guest locale=en_US"),
    ("a response of zeros", "C connection.start-ok 0 mechanism=PLAIN response=\"\\x00\"*5000 locale=en_US"),
    (
        "a user that is not UTF-8",
        "C connection.start-ok 0 mechanism=PLAIN response=\"\\x00\\xff\\x00\\xfe\" locale=en_US",
    ),
    (
        "AMQPLAIN that is no table",
        "C connection.start-ok 0 mechanism=AMQPLAIN response=\"\\xff\\xff\\xff\" locale=en_US",
    ),
];

/// What an authenticated client says instead of a good tune-ok or open, and what it is told.
const BEFORE_OPEN: &[(&str, &str)] = &[
    (
        "no limit of frames",
        "C connection.tune-ok 0 channel-max=2047\n\
         S connection.close 0 530 \"NOT_ALLOWED - negotiated frame_max = 0 is higher than the maximum allowed value (131072)\" by=connection.tune",
    ),
    (
        "frames of one octet",
        "C connection.tune-ok 0 channel-max=2047 frame-max=1\n\
         S connection.close 0 530 \"NOT_ALLOWED - negotiated frame_max = 1 is lower than the minimum allowed value (4096)\" by=connection.tune",
    ),
    (
        "65535 channels",
        "C connection.tune-ok 0 channel-max=65535 frame-max=131072\n\
         S connection.close 0 530 \"NOT_ALLOWED - negotiated channel_max = 65535 is higher than the maximum allowed value (2047)\" by=connection.tune",
    ),
    ("a frame above 8 KiB", "C <bytes 01 0000 00002001>\nS <close>"),
    (
        "tune-ok twice",
        "C connection.tune-ok 0 channel-max=2047 frame-max=131072\nC connection.tune-ok 0 channel-max=2047 frame-max=131072\nS connection.close 0 504 ~CHANNEL_ERROR*opening by=connection.tune-ok",
    ),
    (
        "channel.open too early",
        "C connection.tune-ok 0 channel-max=2047 frame-max=131072\nC channel.open 1\nS connection.close 0 505 ~UNEXPECTED_FRAME*",
    ),
    (
        "a vhost that is not UTF-8",
        "C connection.tune-ok 0 channel-max=2047 frame-max=131072\nC connection.open 0 virtual-host=\"\\xff\"\n\
         S connection.close 0 501 \"FRAME_ERROR - Malformed UTF-8 in shortstr\"",
    ),
];

#[test]
fn other_protocols_are_told_which_one_is_spoken_here() {
    let mut broker = Watched::start("");
    for (name, bytes) in OTHER_PROTOCOLS {
        println!("{name}");
        let mut client = Client::connect(broker.address());
        client.say(&format!("C <bytes {bytes}>\nS <bytes \"AMQP\\x00\\x00\\x09\\x01\">\nS <close>"));
        broker.check(name);
    }
}

#[test]
fn strangers_are_not_answered_and_soon_gone() {
    let mut broker = Watched::start("");
    let mut closing = Vec::new();
    // The table is what comes first in connection.start-ok.
    let nested = frames::frame(METHOD, 0, &[&b"\0\x0a\0\x0b"[..], &frames::nested_tables(1100)].concat());
    let nested: String = nested.iter().map(|byte| format!("{byte:02x}")).collect();
    let nested = format!("C <bytes {nested}>");
    let built = [("client-properties 1100 tables deep", nested.as_str())];
    for (name, script) in BEFORE_LOGIN.iter().chain(&built) {
        println!("{name}");
        let mut client = Client::connect(broker.address());
        client.say(&format!("{HEADER}\n{START}\n{script}"));
        broker.check(name);
        closing.push((name, client));
    }
    for (name, mut client) in closing {
        println!("{name}: the socket");
        client.say("S <close>");
    }
}

#[test]
fn bad_tunings_and_steps_out_of_order_are_refused() {
    let mut broker = Watched::start("");
    for (name, script) in BEFORE_OPEN {
        println!("{name}");
        let mut client = Client::connect(broker.address());
        client.say(&format!("{HEADER}\n{START}\n{START_OK}\n{TUNE}\n{script}"));
        broker.check(name);
    }
    let mut client = Client::connect(broker.address());
    client.say(&format!(
        "{HEADER}\n{START}\n{START_OK}\n{TUNE}\n{TUNE_OK}\nC connection.open 0 virtual-host=/"
    ));
    client.say("S connection.open-ok 0");
}
