//! Definitions are on disk when the broker says so: whatever was answered before a kill -9 is there after the next start, and
//! what was deleted is not.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{Client, Random, binary, config_folder, frames, restart_broker, start_broker};

const ROUNDS: usize = 10;
/// Connections that declare at the same time: their changes share the disk's syncs.
const CLIENTS: usize = 2;
/// Of one client in one round.
const OPERATIONS: usize = 300;

/// Something that may be there or not; the number is part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    /// The durable queue `qN`, with an argument.
    Queue(usize),
    /// The durable exchange `xN`.
    Exchange(usize),
    /// From `xN` to `qN` with the key `kN`.
    Binding(usize),
    /// From `amq.topic` to `xN` with the key `kN`.
    Link(usize),
}

/// A request, with what it makes true or false once it is answered.
#[derive(Debug, Clone)]
struct Operation {
    bytes: Vec<u8>,
    effects: Vec<(Fact, bool)>,
}

/// What is known of the broker; a fact that is not in it may be so or so.
type Known = BTreeMap<Fact, bool>;

#[test]
fn everything_that_was_answered_outlives_kill_9() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let mut random = Random::new(1);
    let mut known = Known::new();
    for round in 0..ROUNDS {
        let broker = restart_broker(&home);
        check(&broker, &known, round);
        let stop_after = random.below(OPERATIONS as u64) as usize;
        let batches: Vec<Vec<Operation>> =
            (0..CLIENTS).map(|client| operations((round * CLIENTS + client) * OPERATIONS)).collect();
        let answered = declare_until_killed(broker, &batches, stop_after);
        println!("round {round}: killed after {stop_after}, {answered:?} answered, {} facts", known.len());
        for (operations, answered) in batches.iter().zip(answered) {
            let effects = |operations: &[Operation]| {
                operations.iter().flat_map(|o| o.effects.clone()).collect::<Vec<_>>()
            };
            known.extend(effects(&operations[..answered]));
            for (fact, _) in effects(&operations[answered..]) {
                known.remove(&fact);
            }
        }
    }
    let broker = restart_broker(&home);
    check(&broker, &known, ROUNDS);
    assert!(broker.stop(Duration::from_secs(5)).expect("the broker ends in time").success());
    check(&restart_broker(&home), &known, ROUNDS);
    assert!(known.len() > OPERATIONS, "{} facts are too few to show anything", known.len());
}

/// Declares a queue and an exchange, binds them, and now and then undoes something of before; numbers from `first` on.
fn operations(first: usize) -> Vec<Operation> {
    let mut operations = Vec::new();
    for number in (first..).take(OPERATIONS) {
        let at = number - first;
        operations.extend([
            declare_queue(number),
            declare_exchange(number),
            bind(number, false),
            link(number),
        ]);
        // What is undone was made a while ago, and not undone before: 3 and 5 meet at 15.
        if at % 3 == 2 {
            operations.push(bind(number - 2, true));
        }
        if at % 5 == 4 {
            operations.push(delete_queue(number - 3));
        }
        if operations.len() >= OPERATIONS {
            operations.truncate(OPERATIONS);
            break;
        }
    }
    operations
}

fn declare_queue(number: usize) -> Operation {
    let arguments = frames::long(&[&b"\x0cx-max-lengthI"[..], &(number as u32 + 1).to_be_bytes()].concat());
    let bytes = frames::queue_declare(1, &format!("q{number}"), DURABLE, &arguments);
    Operation { bytes, effects: vec![(Fact::Queue(number), true)] }
}

fn declare_exchange(number: usize) -> Operation {
    let name = frames::short(format!("x{number}").as_bytes());
    let arguments = [&[0, 0], &name[..], b"\x06direct", &[DURABLE], &[0; 4]].concat();
    Operation { bytes: frames::method(1, 40, 10, &arguments), effects: vec![(Fact::Exchange(number), true)] }
}

/// queue.bind or queue.unbind, which has no bit for no-wait.
fn bind(number: usize, undo: bool) -> Operation {
    let names = [format!("q{number}"), format!("x{number}"), format!("k{number}")];
    let names = names.map(|name| frames::short(name.as_bytes())).concat();
    let (method, rest) = if undo { (50, &[0; 4][..]) } else { (20, &[0; 5][..]) };
    let bytes = frames::method(1, 50, method, &[&[0, 0], &names[..], rest].concat());
    Operation { bytes, effects: vec![(Fact::Binding(number), !undo)] }
}

fn link(number: usize) -> Operation {
    let names = [format!("x{number}"), "amq.topic".to_owned(), format!("k{number}")];
    let names = names.map(|name| frames::short(name.as_bytes())).concat();
    let bytes = frames::method(1, 40, 30, &[&[0, 0], &names[..], &[0; 5]].concat());
    Operation { bytes, effects: vec![(Fact::Link(number), true)] }
}

fn delete_queue(number: usize) -> Operation {
    let name = frames::short(format!("q{number}").as_bytes());
    let bytes = frames::method(1, 50, 40, &[&[0, 0], &name[..], &[0]].concat());
    Operation { bytes, effects: vec![(Fact::Queue(number), false), (Fact::Binding(number), false)] }
}

/// The bit of queue.declare and exchange.declare.
const DURABLE: u8 = 2;

/// Each batch is sent at once on a connection of its own. The broker is killed when the first client has seen `stop_after`
/// answers. Says how many each has seen until its connection ended.
fn declare_until_killed(broker: BrokerProcess, batches: &[Vec<Operation>], stop_after: usize) -> Vec<usize> {
    let clients: Vec<Client> = batches.iter().map(|_| Client::open(broker.address())).collect();
    let streams: Vec<TcpStream> = clients.iter().map(Client::stream).collect();
    let first = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut counts = Vec::new();
        for (index, (stream, operations)) in streams.into_iter().zip(batches).enumerate() {
            let first = &first;
            counts.push(scope.spawn(move || {
                let count = |answered| {
                    if index == 0 {
                        first.store(answered, Ordering::Relaxed)
                    }
                };
                pipeline(stream, operations, count)
            }));
        }
        while first.load(Ordering::Relaxed) < stop_after && !counts[0].is_finished() {
            thread::yield_now();
        }
        broker.kill().expect("a process can be killed");
        counts.into_iter().map(|count| count.join().expect("a client does not panic")).collect()
    })
}

/// Sends the operations without waiting for answers, and counts these until the connection ends.
fn pipeline(mut stream: TcpStream, operations: &[Operation], count: impl Fn(usize)) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket can have a timeout");
    let mut writing = stream.try_clone().expect("a socket can be duplicated");
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    let mut answered = 0;
    thread::scope(|scope| {
        // One by one, so that they are not all in the same commit. An error: the broker was killed meanwhile.
        scope.spawn(move || operations.iter().try_for_each(|operation| writing.write_all(&operation.bytes)));
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            received.extend(&buffer[..read]);
            let mut rest = received.as_slice();
            while let Some((frame, after)) = frames::split(rest) {
                rest = after;
                let request = &operations[answered].bytes[7..11];
                let expected = [request[0], request[1], request[2], request[3] + 1];
                assert_eq!(frame.payload[..4], expected, "the answer to operation {answered}");
                answered += 1;
            }
            received = rest.to_vec();
            count(answered);
        }
    });
    answered
}

/// Looks for everything that is known.
fn check(broker: &BrokerProcess, known: &Known, round: usize) {
    let mut client = Client::open(broker.address());
    // Missing queues and exchanges close their channel.
    let absent = |kind: &str, name: &str| {
        let text = format!("NOT_FOUND - no {kind} '{name}' in vhost '/'");
        format!(
            "S channel.close 1 404 \"{text}\" by={kind}.declare\nC channel.close-ok 1\nC channel.open 1\nS channel.open-ok 1"
        )
    };
    let is = |fact| known.get(&fact).copied();
    for (fact, there) in known {
        let script = match *fact {
            Fact::Queue(n) if *there => format!(
                "C queue.declare 1 queue=q{n} passive=true\nS queue.declare-ok 1 queue=q{n}\n\
                 C queue.declare 1 queue=q{n} durable=true arguments={{x-max-length:int32:{}}}\nS queue.declare-ok 1 queue=q{n}",
                n + 1
            ),
            Fact::Queue(n) => {
                format!("C queue.declare 1 queue=q{n} passive=true\n{}", absent("queue", &format!("q{n}")))
            }
            Fact::Exchange(n) if *there => format!(
                "C exchange.declare 1 exchange=x{n} passive=true\nS exchange.declare-ok 1\n\
                 C exchange.declare 1 exchange=x{n} type=direct durable=true\nS exchange.declare-ok 1"
            ),
            Fact::Exchange(n) => {
                format!(
                    "C exchange.declare 1 exchange=x{n} passive=true\n{}",
                    absent("exchange", &format!("x{n}"))
                )
            }
            Fact::Binding(n) if *there => routed(&format!("x{n}"), n),
            // Through the topic exchange it takes both.
            Fact::Link(n) if *there && is(Fact::Binding(n)) == Some(true) => routed("amq.topic", n),
            Fact::Binding(n) if is(Fact::Exchange(n)) == Some(true) => format!(
                "C basic.publish 1 exchange=x{n} routing-key=k{n} mandatory=true | | body=b\n\
                 S basic.return 1 312 NO_ROUTE exchange=x{n} routing-key=k{n} | | body=b"
            ),
            Fact::Binding(_) | Fact::Link(_) => continue,
        };
        println!("round {round}: {fact:?} is to be {there}");
        client.say(&script);
    }
}

fn routed(exchange: &str, number: usize) -> String {
    format!(
        "C basic.publish 1 exchange={exchange} routing-key=k{number} mandatory=true | | body=b\n\
         C basic.get 1 queue=q{number} no-ack=true\n\
         S basic.get-ok 1 delivery-tag=* exchange={exchange} routing-key=k{number} | | body=b"
    )
}

#[test]
fn what_was_loaded_from_a_file_outlives_kill_9() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let file = config_folder().join("definitions.sample.json");
    let broker = BrokerProcess::start(binary(), &home, ["--load-definitions".as_ref(), file.as_os_str()])
        .expect("the broker starts with the sample");
    // It serves nobody before everything is loaded, and on disk.
    Client::connect(broker.address()).say("open user=shop-admin password=change-me vhost=shop");
    broker.kill().expect("a process can be killed");

    let broker = restart_broker(&home);
    let mut app = Client::connect(broker.address());
    app.say(
        "open user=shop-app password=change-me vhost=shop
        C channel.open 1
        S channel.open-ok 1
        C basic.publish 1 exchange=orders routing-key=order.created.eu mandatory=true | | body=order
        C basic.get 1 queue=orders.new no-ack=true
        S basic.get-ok 1 delivery-tag=1 exchange=orders routing-key=order.created.eu | | body=order
        C queue.delete 1 queue=orders.new
        S channel.close 1 403 ~ACCESS_REFUSED*queue*orders.new*shop-app* by=queue.delete",
    );
    let mut admin = Client::connect(broker.address());
    admin.say(
        "open user=shop-admin password=change-me vhost=shop
        C channel.open 1
        S channel.open-ok 1
        C basic.get 1 queue=orders.audit no-ack=true
        S basic.get-ok 1 delivery-tag=1 exchange=orders routing-key=order.created.eu | | body=order
        C queue.unbind 1 queue=orders.audit exchange=orders routing-key=#
        S queue.unbind-ok 1
        C basic.publish 1 exchange=orders routing-key=order.lost mandatory=true | | body=lost
        C basic.get 1 queue=orders.lost no-ack=true
        S basic.get-ok 1 delivery-tag=2 exchange=orders routing-key=order.lost | | body=lost",
    );
    broker.kill().expect("a process can be killed");
    let broker = restart_broker(&home);
    Client::connect(broker.address()).say(
        "open user=shop-admin password=change-me vhost=shop
        C channel.open 1
        S channel.open-ok 1
        C basic.publish 1 exchange=orders routing-key=order.lost mandatory=true | | body=lost
        C basic.get 1 queue=orders.lost no-ack=true
        S basic.get-ok 1 delivery-tag=1 exchange=orders routing-key=order.lost | | body=lost",
    );
}

#[test]
fn what_is_not_durable_is_gone() {
    let (broker, home) = start_broker();
    let mut client = Client::open(broker.address());
    client.say(
        "C queue.declare 1 queue=kept durable=true
        S queue.declare-ok 1 queue=kept
        C queue.declare 1 queue=lost
        S queue.declare-ok 1 queue=lost
        C queue.declare 1 queue=mine durable=true exclusive=true
        S queue.declare-ok 1 queue=mine
        C exchange.declare 1 exchange=lost type=fanout
        S exchange.declare-ok 1
        C queue.bind 1 queue=kept exchange=lost
        S queue.bind-ok 1",
    );
    broker.kill().expect("a process can be killed");
    let broker = restart_broker(&home);
    let mut client = Client::open(broker.address());
    client.say(
        "C queue.declare 1 queue=kept passive=true
        S queue.declare-ok 1 queue=kept
        C exchange.declare 1 exchange=lost type=topic durable=true
        S exchange.declare-ok 1
        C basic.publish 1 exchange=lost mandatory=true | | body=b
        S basic.return 1 312 NO_ROUTE exchange=lost | | body=b",
    );
    for queue in ["lost", "mine"] {
        client.say(&format!(
            "C queue.declare 1 queue={queue} passive=true
            S channel.close 1 404 \"NOT_FOUND - no queue '{queue}' in vhost '/'\" by=queue.declare
            C channel.close-ok 1
            C channel.open 1
            S channel.open-ok 1"
        ));
    }
}

#[test]
fn a_folder_belongs_to_one_process() {
    let (broker, home) = start_broker();
    let second = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.data_dir())
        .output()
        .expect("the binary can be run");
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr);
    let is_one_line = message.lines().count() == 1 && message.contains("is in use by another running broker");
    assert!(is_one_line && message.contains(&*home.data_dir().to_string_lossy()), "{message}");
    Client::open(broker.address())
        .say("C queue.declare 1 queue=q durable=true\nS queue.declare-ok 1 queue=q");
    broker.kill().expect("a process can be killed");
    let third = restart_broker(&home);
    Client::open(third.address()).say("C queue.declare 1 queue=q passive=true\nS queue.declare-ok 1 queue=q");
}
