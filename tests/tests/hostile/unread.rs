//! Clients that do not read what the broker has for them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_tests::frames;
use warrenmq_tests::{Client, Watched, wait_until};

const MIB: u64 = 1 << 20;
/// What may be on its way to one client that does not read: the broker's own buffers, and the system's for both ends of the
/// socket, which are no memory of the broker.
const ON_THE_WAY_MAX: u64 = 8 * MIB;

/// Of a socket that is not read; below the size of a segment it would not work at all.
const SMALL: usize = 128 << 10;

/// The backlog of a transient queue is in memory.
#[test]
fn a_consumer_that_never_reads_stops_nobody() {
    const BODY: usize = 8192;
    const COUNT: u64 = (1 << 30) / BODY as u64;
    let mut broker = Watched::start("");
    let mut owner = Client::open(broker.address());
    owner.say("C queue.declare 1 queue=big\nS queue.declare-ok 1 queue=big");
    let mut consumer = Client::open(broker.address());
    consumer.set_receive_buffer(SMALL);
    consumer.say("C basic.consume 1 queue=big consumer-tag=deaf\nS basic.consume-ok 1 consumer-tag=deaf");

    let started = Instant::now();
    let resident_max = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&broker, "big", BODY, COUNT));
        let mut resident_max = 0;
        while !publisher.is_finished() {
            resident_max = resident_max.max(broker.resident());
            thread::sleep(Duration::from_millis(20));
        }
        publisher.join().expect("the publisher finishes");
        resident_max
    });
    println!("published in {:?}, {} MiB resident at most", started.elapsed(), resident_max / MIB);
    assert!(resident_max < COUNT * BODY as u64 * 13 / 10 + 64 * MIB, "{} MiB", resident_max / MIB);
    broker.check_serving("1 GiB for a consumer that does not read");
    let handed_out = COUNT - owner.ready("big");
    println!("{handed_out} messages handed out");
    assert!(handed_out > 0 && handed_out * (BODY as u64) < ON_THE_WAY_MAX, "{handed_out} messages");

    drop(consumer);
    wait_until("everything is back", || owner.ready("big") == COUNT);
    owner.say(&format!("C queue.delete 1 queue=big\nS queue.delete-ok 1 message-count={COUNT}"));
    broker.check("the queue was deleted");
}

/// Each of them costs its own buffers and no more, whatever it has asked for.
#[test]
fn consumers_of_every_kind_that_never_read() {
    const BODY: usize = 4096;
    const COUNT: u64 = 32_768;
    let mut broker = Watched::start("");
    let mut owner = Client::open(broker.address());
    owner.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    let kinds =
        ["no-ack=true", "", "arguments={x-priority:int32:10}", "no-ack=true arguments={x-priority:int32:10}"];
    let mut consumers = Vec::new();
    for (number, options) in kinds.iter().chain(&kinds).enumerate() {
        let mut consumer = Client::open(broker.address());
        consumer.set_receive_buffer(SMALL);
        if number >= kinds.len() {
            consumer.say("C basic.qos 1 prefetch-count=65535 global=true\nS basic.qos-ok 1");
        }
        consumer.say(&format!(
            "C basic.consume 1 queue=q consumer-tag=c {options}\nS basic.consume-ok 1 consumer-tag=c"
        ));
        consumers.push(consumer);
    }
    publish(&broker, "q", BODY, COUNT);
    let handed_out = COUNT - owner.ready("q");
    println!("{handed_out} messages handed out");
    assert!(handed_out * (BODY as u64) < consumers.len() as u64 * ON_THE_WAY_MAX, "{handed_out} messages");
    broker.check_serving("consumers that do not read");

    // One that reads beside them gets on.
    let mut reader = Client::open(broker.address());
    reader.say("C basic.qos 1 prefetch-count=1\nS basic.qos-ok 1\nC basic.consume 1 queue=q consumer-tag=r\nS basic.consume-ok 1 consumer-tag=r");
    for tag in 1..=100 {
        reader.say(&format!(
            "S basic.deliver 1 r {tag} redelivered=* routing-key=q | | body=*\nC basic.ack 1 {tag}"
        ));
    }
    drop(reader);
    drop(consumers);
    // What was written to a consumer without acknowledgement is gone; all the rest comes back.
    wait_until("the unacked messages are back", || {
        owner.ready("q") + 4 * ON_THE_WAY_MAX / BODY as u64 > COUNT
    });
    owner.say("C queue.delete 1 queue=q\nS queue.delete-ok 1 message-count=*");
    broker.check("they have gone");
}

#[test]
fn a_consumer_that_neither_reads_nor_speaks_ends_with_the_heartbeats() {
    let mut broker = Watched::start("");
    let mut owner = Client::open(broker.address());
    owner.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    let mut consumer = Client::connect(broker.address());
    consumer.say("open heartbeat=1\nC channel.open 1\nS channel.open-ok 1");
    consumer.say("C basic.consume 1 queue=q consumer-tag=c\nS basic.consume-ok 1 consumer-tag=c");
    publish(&broker, "q", 100_000, 500);
    wait_until("its messages are back", || owner.ready("q") == 500);
    owner.say("C queue.delete 1 queue=q\nS queue.delete-ok 1 message-count=500");
    broker.check("a consumer that was given up");
}

/// Confirms of one channel are joined; those of many are not.
#[test]
fn a_publisher_that_never_reads_its_confirms() {
    const CHANNELS: u16 = 500;
    const ROUNDS: u64 = 2000;
    // A read is less than a round, so that each message has a confirm of its own.
    let mut broker = Watched::start("[limits]\nread_buffer_octets = 16_384\n");
    let mut publisher = Client::open(broker.address());
    for channel in 1..=CHANNELS {
        if channel > 1 {
            publisher.say(&format!("C channel.open {channel}\nS channel.open-ok {channel}"));
        }
        publisher.say(&format!("C confirm.select {channel}\nS confirm.select-ok {channel}"));
    }
    let round: Vec<u8> =
        (1..=CHANNELS).flat_map(|channel| frames::publish(channel, "", false, &[0, 0], b"")).collect();
    let mut confirmed = vec![0; usize::from(CHANNELS) + 1];
    never_read(&mut broker, &publisher, &round, ROUNDS, &mut |channel, payload| {
        // basic.ack: class, method, tag, multiple.
        let tag: [u8; 8] = payload[4..12].try_into().expect("a tag has eight octets");
        confirmed[usize::from(channel)] = u64::from_be_bytes(tag);
        confirmed[1..].iter().all(|tag| *tag == ROUNDS)
    });
}

#[test]
fn a_publisher_that_never_reads_its_returns() {
    const ROUNDS: u64 = 2000;
    let mut broker = Watched::start("");
    let mut publisher = Client::open(broker.address());
    publisher.say("C confirm.select 1\nS confirm.select-ok 1");
    let round = frames::publish(1, "nowhere", true, &[0, 0], &[b'x'; 50_000]);
    let (mut returns, mut confirmed) = (0, 0);
    never_read(&mut broker, &publisher, &round, ROUNDS, &mut |_, payload| {
        match payload.first_chunk() {
            Some([0, 60, 0, 50]) => returns += 1,
            Some([0, 60, 0, 80]) => {
                let tag: [u8; 8] = payload[4..12].try_into().expect("a tag has eight octets");
                confirmed = u64::from_be_bytes(tag);
                assert!(confirmed <= returns, "message {confirmed} was confirmed before it was returned");
            }
            _ => {}
        }
        confirmed == ROUNDS
    });
    assert_eq!(returns, ROUNDS);
}

#[test]
fn a_broker_that_stops_waits_for_nobody_who_does_not_read() {
    let broker = Watched::start("");
    let mut consumer = Client::open(broker.address());
    consumer.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    consumer.say("C basic.consume 1 queue=q consumer-tag=c\nS basic.consume-ok 1 consumer-tag=c");
    publish(&broker, "q", 100_000, 500);
    let mut reader = Client::open(broker.address());
    let started = Instant::now();
    assert!(broker.stop(Duration::from_secs(5)).success());
    println!("stopped in {:?}", started.elapsed());
    reader.say(
        "S connection.close 0 320 \"CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'\"\nS <close>",
    );
}

/// Publishes `rounds` times what is in `round` without reading: the broker has to stop reading at some point, and serve the
/// others all the same. Then reads until `seen`, which gets each method, says that it was the last, and all is in order again.
fn never_read(
    broker: &mut Watched,
    publisher: &Client,
    round: &[u8],
    rounds: u64,
    seen: &mut dyn FnMut(u16, &[u8]) -> bool,
) {
    /// A socket that has taken nothing for this long is not read at the other end.
    const STALL: Duration = Duration::from_secs(1);
    publisher.set_receive_buffer(SMALL);
    let mut other = Client::open(broker.address());
    let (mut writing, mut reading) = (publisher.stream(), publisher.stream());
    writing.set_write_timeout(Some(STALL)).expect("a socket can have a timeout");
    let total = round.len() as u64 * rounds;
    let mut sent = 0;
    while sent < total {
        match writing.write(&round[(sent % round.len() as u64) as usize..]) {
            Ok(count) => sent += count as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("after {sent} octets: {error}"),
        }
    }
    println!("stalled after {sent} of {total} octets, {} MiB above rest", broker.growth() / MIB);
    assert!(sent < total, "the broker has read {sent} octets, and nothing was read of it");
    assert!(broker.growth() < 32 * MIB, "{} MiB", broker.growth() / MIB);
    broker.check_serving("a publisher that does not read");
    other.say("C queue.declare 1 exclusive=true\nS queue.declare-ok 1 queue=$q");

    publisher.set_receive_buffer(MIB as usize);
    writing.set_write_timeout(Some(10 * STALL)).expect("a socket can have a timeout");
    let rest = thread::scope(|scope| {
        scope.spawn(move || {
            while sent < total {
                let count = writing.write(&round[(sent % round.len() as u64) as usize..]);
                sent += count.expect("the broker reads on") as u64;
            }
        });
        read_methods(&mut reading, seen)
    });
    assert!(rest.is_empty(), "{} octets after the last confirm", rest.len());
    broker.check("a publisher that has read at last");
}

/// Hands the payload of each method frame to `seen` with its channel until that says `true`; returns what was read beyond.
fn read_methods(stream: &mut TcpStream, seen: &mut dyn FnMut(u16, &[u8]) -> bool) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket can have a timeout");
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = stream.read(&mut buffer).expect("the broker goes on sending");
        assert!(count > 0, "the broker has closed the connection");
        bytes.extend(&buffer[..count]);
        let mut rest = bytes.as_slice();
        while let Some((frame, after)) = frames::split(rest) {
            rest = after;
            if frame.kind == frames::METHOD && seen(frame.channel, frame.payload) {
                return rest.to_vec();
            }
        }
        bytes = rest.to_vec();
    }
}

/// Publishes `count` messages to a queue on a connection of its own, and waits until the broker has taken all of them.
fn publish(broker: &Watched, queue: &str, body: usize, count: u64) {
    let mut publisher = Client::open(broker.address());
    let message = frames::publish(1, queue, false, &[0, 0], &vec![b'x'; body]);
    let at_once = (MIB / message.len() as u64).max(1);
    let block = message.repeat(at_once as usize);
    let mut left = count;
    while left > 0 {
        let now = left.min(at_once);
        publisher.send(&block[..message.len() * now as usize]);
        left -= now;
    }
    publisher.say("C connection.close 0 200\nS connection.close-ok 0");
}
