//! Good conversations with octets changed at random: nothing that a client sends makes a thread of the broker panic.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use warrenmq_tests::frames;
use warrenmq_tests::{Client, Random, Watched};

const CONVERSATIONS: u64 = 1000;
/// Requests of one conversation.
const LENGTH: u64 = 30;
/// One octet in so many is changed; 0 changes none.
const RATES: [u64; 4] = [0, 1000, 200, 40];

#[test]
fn octets_changed_at_random() {
    let mut broker = Watched::start("log = \"error\"\n");
    let mut owner = Client::open(broker.address());
    for queue in 0..QUEUES {
        let bytes = frames::queue_declare(1, &format!("m{queue}"), 0, &frames::long(ARGUMENTS));
        owner.send(&bytes);
        owner.say(&format!("S queue.declare-ok 1 queue=m{queue}"));
    }
    for seed in 1..=CONVERSATIONS {
        let mut random = Random::new(seed);
        let mut bytes: Vec<u8> = (0..LENGTH).flat_map(|_| request(&mut random, seed / 4 % 3)).collect();
        let rate = RATES[(seed % 4) as usize];
        if rate > 0 {
            for byte in &mut bytes {
                if random.below(rate) == 0 {
                    *byte = random.below(256) as u8;
                }
            }
        }
        let mut stream = open(&broker, seed);
        // The broker may have closed the connection in the middle.
        let _ = stream.write_all(&bytes);
        if random.below(2) == 0 {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            let _ = stream.read_to_end(&mut Vec::new());
        }
        if seed % 50 == 0 {
            broker.check_serving(&format!("conversation {seed}"));
        }
    }
    for queue in 0..QUEUES {
        owner.say(&format!("C queue.delete 1 queue=m{queue}\nS queue.delete-ok 1 message-count=*"));
    }
    broker.check("conversations with changed octets");
}

/// Most connections have their handshake and two channels behind them.
fn open(broker: &Watched, seed: u64) -> std::net::TcpStream {
    let mut client = Client::connect(broker.address());
    if seed % 8 != 7 {
        client.say("open\nC channel.open 1\nS channel.open-ok 1\nC channel.open 2\nS channel.open-ok 2");
    }
    client.stream()
}

/// Queues that all conversations share.
const QUEUES: u64 = 3;

/// One request on channel 1 or 2, mostly one that keeps its channel open. `mode` is for both channels of a conversation.
fn request(random: &mut Random, mode: u64) -> Vec<u8> {
    let channel = 1 + random.below(2) as u16;
    let queue = frames::short(format!("m{}", random.below(QUEUES)).as_bytes());
    let exchange = ["amq.direct", "amq.topic", "amq.headers", "amq.fanout"][random.below(4) as usize];
    let exchange = frames::short(exchange.as_bytes());
    let table = frames::long(HEADERS);
    let bits = random.below(8) as u8;
    let tag = if random.below(20) == 0 { random.below(50) } else { 0 }.to_be_bytes();
    let method = |class, id, parts: &[&[u8]]| frames::method(channel, class, id, &parts.concat());
    match random.below(30) {
        0 => [method(20, 40, &[&[0, 200, 0, 0, 0, 0, 0]]), method(20, 10, &[&[0]])].concat(),
        1 if random.below(10) == 0 => method(20, 41, &[]),
        2 => method(50, 10, &[&[0, 0], &queue, &[0], &frames::long(ARGUMENTS)]),
        3 => method(50, 10, &[&[0, 0, 0, 4], &frames::long(b"")]),
        4 | 5 => method(50, 20, &[&[0, 0], &queue, &exchange, b"\x03#.k", &[0], &table]),
        6 => method(50, 50, &[&[0, 0], &queue, &exchange, b"\x03#.k", &table]),
        7 => method(40, 30, &[&[0, 0], b"\x0aamq.fanout", &exchange, b"\x01#", &[bits & 1], &table]),
        8 => method(50, 30, &[&[0, 0], &queue, &[bits & 1]]),
        9 => method(60, 10, &[&[0, 0, 0, 0, 0], &[bits, bits & 1]]),
        10 | 11 => method(60, 20, &[&[0, 0], &queue, &[0], &[bits & 0b1010], &table]),
        12 if random.below(4) == 0 => method(60, 20, &[&[0, 0], &queue, b"\x01a", &[2], &frames::long(b"")]),
        13 => method(60, 30, &[b"\x01a", &[bits & 1]]),
        14 | 15 => method(60, 70, &[&[0, 0], &queue, &[bits & 1]]),
        16 => method(60, 80, &[&tag, &[1]]),
        17 => method(60, 120, &[&tag, &[1 | bits & 2]]),
        18 => method(60, 110, &[&[1]]),
        19 if mode == 1 => method(85, 10, &[&[0]]),
        19 | 20 if mode == 2 => method(90, 10 * (1 + u16::from(bits) % 3), &[]),
        _ => {
            let mut bytes = method(60, 40, &[&[0, 0], &exchange, b"\x03a.k", &[bits & 1]]);
            let body = vec![b'b'; random.below(300) as usize];
            bytes.extend(frames::header(channel, body.len() as u64, &[&[0x20, 0], &table[..]].concat()));
            if !body.is_empty() {
                bytes.extend(frames::frame(frames::BODY, channel, &body));
            }
            bytes
        }
    }
}

/// Entries of a table, one of each type.
const HEADERS: &[u8] = b"\x01aS\0\0\0\x02xy\x01bt\x01\x01cb\x7f\x01dB\xff\x01es\xff\xfe\x01fu\xff\xfe\x01gI\xff\xff\xff\xfd\
    \x01hi\xff\xff\xff\xfd\x01il\xff\xff\xff\xff\xff\xff\xff\xfc\x01jT\0\0\0\0\0\0\0\x09\x01kA\0\0\0\x03Vt\x01\x01lF\0\0\0\x03\x01mV\x01nV\x01oD\x02\0\0\0\x09";
/// Entries of another table: x-max-length, x-max-priority.
const ARGUMENTS: &[u8] = b"\x0cx-max-lengthI\0\0\0\x64\x0ex-max-priorityb\x03";
