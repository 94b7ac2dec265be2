//! More connections than there is room for.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use warrenmq_tests::{Client, Watched, wait_until};

use crate::handshake::{HEADER, START, START_OK, TUNE, TUNE_OK};

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

/// A system that refuses more open files refuses new connections, and nothing else.
#[test]
fn more_connections_than_open_files() {
    let mut broker = Watched::start_with_open_files(60, "log = \"warn\"\n");
    let mut owner = Client::open(broker.address());
    let crowd: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(broker.address()).expect("the system accepts")).collect();
    wait_until("the broker is out of files", || broker.log().contains("could not be accepted"));
    owner.say(
        "C queue.declare 1 queue=d durable=true
        S queue.declare-ok 1 queue=d
        C confirm.select 1
        S confirm.select-ok 1
        C basic.publish 1 routing-key=d | | body=x
        S confirmed 1 1..1
        C queue.delete 1 queue=d
        S queue.delete-ok 1 message-count=1",
    );
    drop(crowd);
    broker.check("more connections than open files");
}

#[test]
fn more_connections_than_the_configuration_allows() {
    let mut broker = Watched::start("[limits]\nconnection_max = 10\n");
    let mut clients: Vec<Client> = (0..10).map(|_| Client::open(broker.address())).collect();
    let mut refused = Client::connect(broker.address());
    refused.say(&[HEADER, START, START_OK, TUNE, TUNE_OK, "C connection.open 0 virtual-host=/"].join("\n"));
    refused.say("S connection.close 0 530 \"NOT_ALLOWED - connection refused: node connection limit (10) is reached\" by=connection.open\nC connection.close-ok 0\nS <close>");
    clients.pop();
    wait_until("there is room again", || Client::connect(broker.address()).try_say("open").is_ok());
    // The broker sees some of them go before the next one comes, however busy the machine.
    drop(clients);
    broker.check("a connection too many");
}
