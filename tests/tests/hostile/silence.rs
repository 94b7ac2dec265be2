//! Connections that begin something and never end it.

use std::time::{Duration, Instant};

use warrenmq_tests::{Client, Watched};

use crate::handshake::{HEADER, START, START_OK, TUNE, TUNE_OK};

/// How far a client gets before it falls silent.
const BEGINNINGS: &[(&str, &[&str])] = &[
    ("nothing", &[]),
    ("half a protocol header", &["C <bytes \"AMQP\">"]),
    ("a protocol header", &[HEADER, START]),
    ("half the head of a frame", &[HEADER, START, "C <bytes 01 00>"]),
    ("half a frame", &[HEADER, START, "C <bytes 01 0000 00000100 000a000b>"]),
    ("the login", &[HEADER, START, START_OK, TUNE]),
    ("tune-ok", &[HEADER, START, START_OK, TUNE, TUNE_OK]),
];

#[test]
fn a_handshake_that_stops_halfway_ends_with_its_time() {
    const TIME: Duration = Duration::from_millis(1500);
    let mut broker = Watched::start("[limits]\nhandshake_timeout_ms = 1500\n");
    let begin = |(name, steps): &(&'static str, &[&str])| {
        let started = Instant::now();
        let mut client = Client::connect(broker.address());
        client.say(&steps.join("\n"));
        (*name, started, client)
    };
    let clients: Vec<_> = BEGINNINGS.iter().map(begin).collect();
    for (name, started, mut client) in clients {
        println!("{name}");
        client.say("S <close>");
        // The broker's clock began when it accepted, which may have been a moment before or after.
        assert!(started.elapsed() > TIME / 2, "{name}: {:?}", started.elapsed());
    }
    broker.check("handshakes that stop halfway");
}

#[test]
fn half_a_frame_and_silence_ends_with_the_heartbeats() {
    let mut broker = Watched::start("");
    let started = Instant::now();
    let mut client = Client::connect(broker.address());
    client.say("open heartbeat=1\nC channel.open 1\nS channel.open-ok 1\nC <bytes 01 0001 00001000 0032000a0000>\nS <close>");
    let elapsed = started.elapsed();
    assert!(elapsed > Duration::from_millis(1500) && elapsed < Duration::from_secs(5), "{elapsed:?}");
    broker.check("half a frame");
}
