//! Connections that begin something and never end it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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

/// How many connections are wanted at once.
const CROWD: u64 = 10_000;
/// Descriptors that the rest of this program may need meanwhile.
const SPARE: u64 = 200;
/// What one of them may cost: the largest frame of a handshake, and what belongs to a connection.
const COST_MAX: u64 = 16 << 10;

#[test]
fn ten_thousand_connections_that_never_finish_their_handshake() {
    let mut broker = Watched::start("log = \"warn\"\n[limits]\nhandshake_timeout_ms = 8_000\n");
    let count = raise_open_files().saturating_sub(SPARE).min(CROWD);
    println!("{count} connections");
    let crowd: Vec<TcpStream> = (0..count).map(|number| stranger(broker.address(), number)).collect();
    broker.check_serving("strangers, while they are there");
    let growth = broker.growth();
    println!("{} KiB each", growth / 1024 / count);
    assert!(growth < count * COST_MAX + (32 << 20), "{} MiB for {count} connections", growth >> 20);
    let deadline = Instant::now() + Duration::from_secs(25);
    crowd.into_iter().for_each(|stream| wait_for_end(stream, deadline));
    broker.check("strangers that were closed");
}

/// A connection that says nothing, a protocol header, or almost the largest frame of a handshake.
fn stranger(address: SocketAddr, number: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the broker accepts");
    let header: &[u8] = b"AMQP\0\0\x09\x01";
    let bytes = match number % 3 {
        0 => Vec::new(),
        1 => header.to_vec(),
        _ => [header, &[1, 0, 0, 0, 0, 0x1f, 0xf0], &[0; 8000]].concat(),
    };
    stream.write_all(&bytes).expect("a socket takes some bytes");
    stream
}

fn wait_for_end(mut stream: TcpStream, deadline: Instant) {
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("a socket can have a timeout");
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("a connection was not closed: {error}"),
        }
    }
}

/// As many open files as the system lets this process have; says how many those are.
fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}
