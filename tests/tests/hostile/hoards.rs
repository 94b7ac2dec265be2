//! Very many of what is cheap one by one, and shapes that make a careless program call itself without end. None of it may hold
//! up anybody else for long.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use warrenmq_tests::frames;
use warrenmq_tests::{Client, Watched, wait_until};

/// How long another client may wait while the broker works on any of this; most of it is the slowness of unoptimized builds
/// on busy machines.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Exchanges or queues in a row. A call for each would need megabytes of stack.
const CHAIN: usize = 5000;

#[test]
fn consumers_by_the_thousand_on_one_connection() {
    const CHANNELS: u16 = 1000;
    const CONSUMERS: usize = 20;
    let mut broker = Watched::start("log = \"warn\"\n");
    let mut owner = Client::open(broker.address());
    owner.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    let hoarder = Client::open(broker.address());
    let opens: Vec<u8> = (2..=CHANNELS).flat_map(|channel| frames::method(channel, 20, 10, &[0])).collect();
    ask(&hoarder, &opens, usize::from(CHANNELS) - 1);
    let consume = |channel| frames::method(channel, 60, 20, b"\0\0\x01q\0\0\0\0\0\0").repeat(CONSUMERS);
    let consumers: Vec<u8> = (1..=CHANNELS).flat_map(consume).collect();
    let count = usize::from(CHANNELS) * CONSUMERS;
    ask(&hoarder, &consumers, count);
    owner.say(&format!(
        "C queue.declare 1 queue=q passive=true\nS queue.declare-ok 1 queue=q consumer-count={count}"
    ));
    owner.send(&frames::publish(1, "q", false, &[0, 0], b"x").repeat(1000));
    in_time(&mut broker, "a thousand messages for 20,000 consumers");
    drop(hoarder);
    in_time(&mut broker, "the end of a connection with 20,000 consumers");
    wait_until("all messages are back", || owner.ready("q") == 1000);
}

#[test]
fn queues_by_the_thousand_on_one_connection() {
    const QUEUES: usize = 5000;
    let mut broker = Watched::start("log = \"warn\"\n");
    let mut hoarder = Client::open(broker.address());
    // Exclusive, each with a name from the broker, each bound to a fanout exchange under that name.
    let declare = frames::queue_declare(1, "", 4, &frames::long(b""));
    let bind = frames::method(1, 50, 20, b"\0\0\0\x0aamq.fanout\0\0\0\0\0\0");
    ask(&hoarder, &[declare, bind].concat().repeat(QUEUES), 2 * QUEUES);
    in_time(&mut broker, "5000 queues");
    hoarder.say("C basic.publish 1 exchange=amq.fanout | | body=x");
    in_time(&mut broker, "a message to 5000 queues");
    drop(hoarder);
    in_time(&mut broker, "the end of a connection with 5000 queues");
    broker.check("5000 queues that are gone");
}

/// Through bindings, through alternates, and back to where the message came from.
#[test]
fn exchanges_in_a_row_and_in_a_circle() {
    let mut broker = Watched::start("log = \"warn\"\n");
    let mut client = Client::open(broker.address());
    let x = |number: usize| frames::short(format!("x{}", number % CHAIN).as_bytes());
    let declare = |number, arguments: &[u8]| {
        frames::method(
            1,
            40,
            10,
            &[&b"\0\0"[..], &x(number), b"\x06fanout\0", &frames::long(arguments)].concat(),
        )
    };
    let alternate = |number| [&b"\x12alternate-exchangeS"[..], &frames::long(&x(number)[1..])].concat();
    let declares: Vec<u8> = (0..CHAIN).flat_map(|number| declare(number, &alternate(number + 1))).collect();
    ask(&client, &declares, CHAIN);
    client.say("C basic.publish 1 exchange=x0 mandatory=true | | body=x\nS basic.return 1 312 NO_ROUTE exchange=x0 | | body=x");
    in_time(&mut broker, "alternates in a circle");

    let bind = |number| {
        frames::method(1, 40, 30, &[&b"\0\0"[..], &x(number + 1), &x(number), b"\0\0\0\0\0\0"].concat())
    };
    let binds: Vec<u8> = (0..CHAIN).flat_map(bind).collect();
    ask(&client, &binds, CHAIN);
    client.say(&format!(
        "C queue.declare 1 queue=end
        S queue.declare-ok 1 queue=end
        C queue.bind 1 queue=end exchange=x{}
        S queue.bind-ok 1
        C basic.publish 1 exchange=x0 | | body=x
        C basic.get 1 queue=end no-ack=true
        S basic.get-ok 1 delivery-tag=1 exchange=x0 | | body=x",
        CHAIN - 1
    ));
    in_time(&mut broker, "bindings in a circle");
}

/// The last queue goes, and with it everything that lived only for it.
#[test]
fn auto_delete_exchanges_in_a_row() {
    let mut broker = Watched::start("log = \"warn\"\n");
    let mut client = Client::open(broker.address());
    let x = |number: usize| frames::short(format!("x{number}").as_bytes());
    let link = |number: usize| {
        let declare =
            frames::method(1, 40, 10, &[&b"\0\0"[..], &x(number), b"\x06fanout\x04\0\0\0\0"].concat());
        let bind =
            |from: usize| frames::method(1, 40, 30, &[&b"\0\0"[..], &x(number), &x(from), &[0; 6]].concat());
        [declare, number.checked_sub(1).map(bind).unwrap_or_default()].concat()
    };
    let links: Vec<u8> = (0..CHAIN).flat_map(link).collect();
    ask(&client, &links, 2 * CHAIN - 1);
    client.say(&format!(
        "C queue.declare 1 queue=end
        S queue.declare-ok 1 queue=end
        C queue.bind 1 queue=end exchange=x{}
        S queue.bind-ok 1
        C queue.delete 1 queue=end
        S queue.delete-ok 1
        C exchange.declare 1 exchange=x0 passive=true
        S channel.close 1 404 \"NOT_FOUND - no exchange 'x0' in vhost '/'\" by=exchange.declare",
        CHAIN - 1
    ));
    in_time(&mut broker, "auto-delete exchanges in a row");
}

/// A message that expires at once goes from queue to queue.
#[test]
fn dead_letters_through_a_row_of_queues() {
    /// Its header x-death grows with each of them.
    const HOPS: usize = 1000;
    let mut broker = Watched::start("log = \"warn\"\n");
    let mut client = Client::open(broker.address());
    let declare = |number: usize| {
        let next = if number + 1 < HOPS { format!("d{}", number + 1) } else { "end".to_owned() };
        let next = frames::long(next.as_bytes());
        let ttl =
            &b"\x0dx-message-ttlI\0\0\0\0\x16x-dead-letter-exchangeS\0\0\0\0\x19x-dead-letter-routing-keyS"[..];
        frames::queue_declare(1, &format!("d{number}"), 0, &frames::long(&[ttl, &next].concat()))
    };
    let declares: Vec<u8> = (0..HOPS).flat_map(declare).collect();
    ask(&client, &declares, HOPS);
    client.say("C queue.declare 1 queue=end\nS queue.declare-ok 1 queue=end");
    client.say("C basic.publish 1 routing-key=d0 | | body=x");
    in_time(&mut broker, "a dead letter on its way");
    wait_until("it has arrived", || client.ready("end") == 1);
}

/// Patterns that a matcher which tries everything would need ages for.
#[test]
fn topic_patterns_with_very_many_wildcards() {
    let mut broker = Watched::start("");
    let mut client = Client::open(broker.address());
    client.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    let patterns = [
        "#.a.".repeat(50) + "b",
        "*.#.".repeat(60) + "b",
        "#.".repeat(120) + "b",
        "#.a.#.*.".repeat(30) + "b",
    ];
    for pattern in &patterns {
        client.say(&format!(
            "C queue.bind 1 queue=q exchange=amq.topic routing-key={pattern}\nS queue.bind-ok 1"
        ));
    }
    let keys = ["a.".repeat(120) + "a", "a.".repeat(120) + "b", ".".repeat(255), "a".repeat(255)];
    let started = Instant::now();
    for key in &keys {
        client.say(&format!("C basic.publish 1 exchange=amq.topic routing-key={key} | | body=x"));
    }
    client.say("C basic.get 1 queue=q no-ack=true\nS basic.get-ok 1 delivery-tag=* exchange=amq.topic routing-key=* message-count=* | | body=x");
    assert!(started.elapsed() < WAIT_MAX, "{:?}", started.elapsed());
    broker.check("patterns with very many wildcards");
}

/// Each key of the header CC is routed by itself; the queue gets the message once.
#[test]
fn a_message_with_very_many_keys() {
    let mut broker = Watched::start("");
    let mut client = Client::open(broker.address());
    client.say(
        "C queue.declare 1 queue=q
        S queue.declare-ok 1 queue=q
        C queue.bind 1 queue=q exchange=amq.topic routing-key=#.a.#.a.#.a.#
        S queue.bind-ok 1",
    );
    let keys = [&b"S"[..], &frames::long(b"a.a.a")].concat().repeat(10_000);
    let headers = frames::long(&[&b"\x02CCA"[..], &frames::long(&keys)].concat());
    let arguments = b"\0\0\x09amq.topic\x01k\0";
    let mut bytes = frames::method(1, 60, 40, arguments);
    bytes.extend(frames::header(1, 0, &[&[0x20, 0], &headers[..]].concat()));
    client.send(&bytes.repeat(20));
    in_time(&mut broker, "messages with 10,000 keys");
    assert_eq!(client.ready("q"), 20);
}

#[test]
fn a_transaction_without_end() {
    let mut broker = Watched::start("[limits]\ntransaction_octets_max = 1_000_000\n");
    let mut client = Client::open(broker.address());
    client.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q\nC tx.select 1\nS tx.select-ok 1");
    client.send(&frames::publish(1, "q", false, &[0, 0], &[b'x'; 100_000]).repeat(20));
    client.say("S connection.close 0 506 \"RESOURCE_ERROR - transaction is larger than transaction_octets_max (1000000)\" by=basic.publish");
    broker.check("a transaction that is too large");
}

/// Sends requests and reads as many method frames; none of them may be a close.
#[track_caller]
fn ask(client: &Client, requests: &[u8], answers: usize) {
    let (mut reading, mut writing) = (client.stream(), client.stream());
    reading.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket can have a timeout");
    let mut left = answers;
    std::thread::scope(|scope| {
        scope.spawn(move || writing.write_all(requests));
        let mut received = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let count = reading
                .read(&mut buffer)
                .unwrap_or_else(|error| panic!("{left} answers are missing: {error}"));
            received.extend(&buffer[..count]);
            let mut rest = received.as_slice();
            while let Some((frame, after)) = frames::split(rest) {
                rest = after;
                let is_close = matches!(frame.payload.first_chunk(), Some([0, 20, 0, 40] | [0, 10, 0, 50]));
                assert!(!is_close, "{}", frame.payload.escape_ascii());
                left -= 1;
            }
            received = rest.to_vec();
        }
    });
}

/// Another client is served, and soon.
#[track_caller]
fn in_time(broker: &mut Watched, after: &str) {
    let started = Instant::now();
    broker.check_serving(after);
    let elapsed = started.elapsed();
    println!("{after}: another client was served in {elapsed:?}");
    assert!(elapsed < WAIT_MAX, "{after}: another client waited {elapsed:?}");
}
