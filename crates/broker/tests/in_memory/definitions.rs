//! What a broker finds when it opens on the definitions of the one before.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use warrenmq_broker::Commits;
use warrenmq_broker::definitions::Record;
use warrenmq_store::{Change, DefinitionStore, KeyValue, MemoryDefinitions};
use warrenmq_testkit::transcript::{Options, Peer, run_transcript};

use crate::node::Node;

const CHANNEL: &str = "open\nC channel.open 1\nS channel.open-ok 1\n";

/// A user with a vhost of its own, as an operator would load them.
const USER: &str = r#"{
    "vhosts": [{"name": "warren"}],
    "users": [{"name": "rabbit", "password": "carrot", "tags": "management"}],
    "permissions": [
        {"user": "rabbit", "vhost": "warren", "configure": "^r", "write": ".*", "read": ".*"}
    ]
}"#;

fn open(store: &MemoryDefinitions) -> Node {
    Node::open(Box::new(store.clone()), Commits::Inline)
}

/// Runs a transcript that begins with an open channel 1 on a fresh connection, which is closed at its end.
fn run(node: &Node, lines: &str) {
    let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
    let text = format!("{CHANNEL}{lines}");
    if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
        panic!("{mismatch}\nin\n{text}");
    }
}

fn content(store: &MemoryDefinitions) -> Vec<KeyValue> {
    store.clone().load().expect("it is in memory")
}

/// Runs `lines` on a new broker, opens another one on what it has left, and runs `after` there.
fn reopened(lines: &str, after: &str) {
    let store = MemoryDefinitions::new();
    run(&open(&store), lines);
    let left = content(&store);
    run(&open(&store), after);
    // A broker that only looks changes nothing.
    run(&open(&store), "");
    assert!(left.len() >= 3, "at least the default vhost, user and permissions");
}

#[test]
fn durable_exchanges_queues_and_bindings_come_back() {
    reopened(
        "C exchange.declare 1 exchange=x type=topic durable=true arguments={alternate-exchange:str:y}
         S exchange.declare-ok 1
         C exchange.declare 1 exchange=y type=fanout durable=true internal=true
         S exchange.declare-ok 1
         C queue.declare 1 queue=q durable=true arguments={x-max-priority:int32:5}
         S queue.declare-ok 1 queue=q
         C queue.declare 1 queue=other durable=true auto-delete=true
         S queue.declare-ok 1 queue=other
         C queue.bind 1 queue=q exchange=x routing-key=a.# arguments={n:int32:1}
         S queue.bind-ok 1
         C queue.bind 1 queue=other exchange=y
         S queue.bind-ok 1
         C exchange.bind 1 destination=x source=amq.direct routing-key=a.b
         S exchange.bind-ok 1",
        "C exchange.declare 1 exchange=x type=topic durable=true arguments={alternate-exchange:str:y}
         S exchange.declare-ok 1
         C exchange.declare 1 exchange=y type=fanout durable=true internal=true
         S exchange.declare-ok 1
         C queue.declare 1 queue=q durable=true arguments={x-max-priority:int32:5}
         S queue.declare-ok 1 queue=q
         C queue.declare 1 queue=other durable=true auto-delete=true
         S queue.declare-ok 1 queue=other
         C basic.publish 1 exchange=amq.direct routing-key=a.b | | body=both
         C basic.publish 1 exchange=x routing-key=b | | body=alternate
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 exchange=amq.direct routing-key=a.b | | body=both
         C basic.get 1 queue=q no-ack=true
         S basic.get-empty 1
         C basic.get 1 queue=other no-ack=true
         S basic.get-ok 1 2 exchange=x routing-key=b | | body=alternate",
    );
}

#[test]
fn what_is_not_durable_does_not_come_back() {
    reopened(
        "C exchange.declare 1 exchange=x type=fanout durable=true
         S exchange.declare-ok 1
         C exchange.declare 1 exchange=transient type=fanout
         S exchange.declare-ok 1
         C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C queue.declare 1 queue=transient
         S queue.declare-ok 1 queue=transient
         C queue.declare 1 queue=exclusive durable=true exclusive=true
         S queue.declare-ok 1 queue=exclusive
         C queue.bind 1 queue=transient exchange=x
         S queue.bind-ok 1
         C queue.bind 1 queue=exclusive exchange=x
         S queue.bind-ok 1
         C queue.bind 1 queue=q exchange=transient
         S queue.bind-ok 1
         C exchange.bind 1 destination=transient source=x
         S exchange.bind-ok 1
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=message",
        "C queue.declare 1 queue=q passive=true
         S queue.declare-ok 1 queue=q
         C exchange.declare 1 exchange=transient type=fanout durable=true
         S exchange.declare-ok 1
         C queue.declare 1 queue=transient durable=true
         S queue.declare-ok 1 queue=transient
         C queue.declare 1 queue=exclusive durable=true
         S queue.declare-ok 1 queue=exclusive
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 exchange=x mandatory=true | | body=1
         S basic.return 1 312 NO_ROUTE exchange=x | | body=1
         S basic.ack 1 1
         C basic.publish 1 exchange=transient mandatory=true | | body=2
         S basic.return 1 312 NO_ROUTE exchange=transient | | body=2
         S basic.ack 1 2",
    );
}

#[test]
fn users_and_their_vhosts_come_back() {
    let store = MemoryDefinitions::new();
    let warnings = open(&store).broker().load_definitions(USER.as_bytes(), 1_000).expect("definitions");
    assert_eq!(warnings, [""; 0]);
    run(
        &open(&store),
        "2: open user=rabbit password=carrot vhost=warren
         2: C channel.open 1
         2: S channel.open-ok 1
         2: C queue.declare 1 queue=r durable=true
         2: S queue.declare-ok 1 queue=r
         2: C queue.declare 1 queue=q durable=true
         2: S channel.close 1 403 \"ACCESS_REFUSED - configure access to queue 'q' in vhost 'warren' refused for user 'rabbit'\" by=queue.declare
         2: C channel.close-ok 1",
    );
    // `r` is in the vhost of that user and nowhere else.
    run(
        &open(&store),
        "C queue.declare 1 queue=r passive=true
         S channel.close 1 404 \"NOT_FOUND - no queue 'r' in vhost '/'\" by=queue.declare
         C channel.close-ok 1
         2: open user=rabbit password=carrot vhost=warren
         2: C channel.open 1
         2: S channel.open-ok 1
         2: C queue.declare 1 queue=r passive=true
         2: S queue.declare-ok 1 queue=r",
    );
}

/// The tag `impersonator` lets a user publish in another one's name (<https://www.rabbitmq.com/docs/validated-user-id>).
#[test]
fn impersonators_set_any_user_id() {
    for (tags, answer) in [
        ("impersonator", "S basic.ack 1 1"),
        (
            "management",
            "S channel.close 1 406 \"PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'rabbit'\" by=basic.publish",
        ),
    ] {
        let node = open(&MemoryDefinitions::new());
        let file = USER.replace("management", tags);
        node.broker().load_definitions(file.as_bytes(), 1_000).expect("definitions");
        let lines = "open user=rabbit password=carrot vhost=warren
             C channel.open 1
             S channel.open-ok 1
             C confirm.select 1
             S confirm.select-ok 1
             C basic.publish 1 exchange=amq.direct | user-id=other | body=1"
            .lines()
            .chain([answer])
            .map(|line| format!("2: {}", line.trim()));
        run(&node, &lines.collect::<Vec<_>>().join("\n"));
    }
}

/// A queue with dead letters reads from itself and writes to their exchange: its declare needs both permissions (RabbitMQ's
/// `rabbit_channel`, queue.declare).
#[test]
fn dead_letters_need_permissions() {
    let node = open(&MemoryDefinitions::new());
    let narrow =
        USER.replace(r#""write": ".*""#, r#""write": "^w""#).replace(r#""read": ".*""#, r#""read": "^r""#);
    node.broker().load_definitions(narrow.as_bytes(), 1_000).expect("definitions");
    let declare = |queue: &str, exchange: &str| {
        format!("2: C queue.declare 1 queue={queue} arguments={{x-dead-letter-exchange:str:{exchange}}}")
    };
    let refused = |text: &str| {
        format!(
            "2: S channel.close 1 403 \"ACCESS_REFUSED - {text} in vhost 'warren' refused for user 'rabbit'\" by=queue.declare
             2: C channel.close-ok 1
             2: C channel.open 1
             2: S channel.open-ok 1"
        )
    };
    run(
        &node,
        &[
            "2: open user=rabbit password=carrot vhost=warren".to_owned(),
            "2: C channel.open 1".to_owned(),
            "2: S channel.open-ok 1".to_owned(),
            declare("r", "elsewhere"),
            refused("write access to exchange 'elsewhere'"),
            declare("r", "writable"),
            "2: S queue.declare-ok 1 queue=r".to_owned(),
        ]
        .join("\n"),
    );
}

/// Each of these declares durable things and ends with none of them, in one of the ways in which things go.
const DELETIONS: [(&str, &str); 7] = [
    (
        "a queue takes its bindings along",
        "C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C queue.bind 1 queue=q exchange=amq.topic routing-key=a
         S queue.bind-ok 1
         C queue.bind 1 queue=q exchange=amq.topic routing-key=b arguments={k:str:v}
         S queue.bind-ok 1
         C queue.delete 1 queue=q
         S queue.delete-ok 1",
    ),
    (
        "an exchange takes its bindings along, in both directions",
        "C exchange.declare 1 exchange=x type=direct durable=true
         S exchange.declare-ok 1
         C exchange.bind 1 destination=x source=amq.fanout
         S exchange.bind-ok 1
         C exchange.bind 1 destination=amq.fanout source=x routing-key=k
         S exchange.bind-ok 1
         C exchange.delete 1 exchange=x
         S exchange.delete-ok 1",
    ),
    (
        "bindings go one by one",
        "C exchange.bind 1 destination=amq.fanout source=amq.direct routing-key=k
         S exchange.bind-ok 1
         C exchange.bind 1 destination=amq.fanout source=amq.direct routing-key=k arguments={a:int32:1}
         S exchange.bind-ok 1
         C exchange.unbind 1 destination=amq.fanout source=amq.direct routing-key=k
         S exchange.unbind-ok 1
         C exchange.unbind 1 destination=amq.fanout source=amq.direct routing-key=k arguments={a:int32:1}
         S exchange.unbind-ok 1",
    ),
    (
        "auto-delete exchanges go with the last binding from them, along a chain",
        "C exchange.declare 1 exchange=x type=direct durable=true auto-delete=true
         S exchange.declare-ok 1
         C exchange.declare 1 exchange=y type=direct durable=true auto-delete=true
         S exchange.declare-ok 1
         C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C exchange.bind 1 destination=y source=x routing-key=k
         S exchange.bind-ok 1
         C queue.bind 1 queue=q exchange=y routing-key=k
         S queue.bind-ok 1
         C queue.delete 1 queue=q
         S queue.delete-ok 1",
    ),
    (
        "an auto-delete queue goes with its last consumer",
        "C queue.declare 1 queue=q durable=true auto-delete=true
         S queue.declare-ok 1 queue=q
         C queue.bind 1 queue=q exchange=amq.topic routing-key=a
         S queue.bind-ok 1
         C basic.consume 1 queue=q consumer-tag=a
         S basic.consume-ok 1 a
         C basic.cancel 1 a
         S basic.cancel-ok 1 a",
    ),
    (
        "an auto-delete queue goes when the connection of its consumer does",
        "C queue.declare 1 queue=q durable=true auto-delete=true
         S queue.declare-ok 1 queue=q
         C basic.consume 1 queue=q consumer-tag=a
         S basic.consume-ok 1 a
         C <close>",
    ),
    (
        "a queue that expires",
        "C queue.declare 1 queue=q durable=true arguments={x-expires:int32:50}
         S queue.declare-ok 1 queue=q
         C queue.bind 1 queue=q exchange=amq.topic routing-key=a
         S queue.bind-ok 1
         S <nothing 100>",
    ),
];

#[test]
fn what_is_deleted_is_deleted_in_the_store() {
    for (name, lines) in DELETIONS {
        let store = MemoryDefinitions::new();
        let node = open(&store);
        let (before, commits) = (content(&store), store.commits());
        run(&node, lines);
        assert!(content(&store) == before, "{name}: something is left");
        assert!(store.commits() > commits + 1, "{name}: nothing was stored");
        drop(node);
        open(&store);
    }
}

#[test]
fn no_declaration_succeeds_on_a_store_that_fails() {
    let store = MemoryDefinitions::new();
    let node = open(&store);
    store.fail_after(1);
    run(
        &node,
        "C queue.declare 1 queue=last durable=true
         S queue.declare-ok 1 queue=last
         C queue.declare 1 queue=q durable=true
         S connection.close 0 541 ~INTERNAL_ERROR*stored* by=queue.declare
         C connection.close-ok 0
         2: open
         2: C channel.open 1
         2: S channel.open-ok 1
         2: C queue.declare 1 queue=transient
         2: S queue.declare-ok 1 queue=transient
         2: C exchange.declare 1 exchange=x type=direct durable=true
         2: S connection.close 0 541 ~INTERNAL_ERROR*stored* by=exchange.declare
         2: C connection.close-ok 0",
    );
    assert_eq!(node.failures().load(Ordering::SeqCst), 1, "who runs the broker hears of it once");
    assert!(node.broker().close().is_err());
}

#[test]
fn a_store_that_fails_at_the_start_refuses_it() {
    let store = MemoryDefinitions::new();
    store.fail_after(0);
    assert!(Node::try_open(Box::new(store.clone()), Commits::Inline).is_err());
    let mut damaged = MemoryDefinitions::new();
    let change = warrenmq_store::Change::Put { key: b"no such kind".to_vec(), value: Vec::new() };
    damaged.commit(&[change]).expect("it is in memory");
    let refusal = Node::try_open(Box::new(damaged), Commits::Inline).err().map(|error| error.to_string());
    assert!(
        refusal
            .is_some_and(|text| text.starts_with("the definitions store holds a record that cannot be read"))
    );
}

/// The numbers of the stored queues, by name.
fn queue_numbers(store: &MemoryDefinitions) -> BTreeMap<String, u64> {
    let records =
        content(store).into_iter().map(|(key, value)| Record::decode(&key, &value).expect("a record"));
    records
        .filter_map(|record| match record {
            Record::Queue(queue) => Some((queue.name, queue.id)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_queue_keeps_its_number_and_no_other_gets_it() {
    let store = MemoryDefinitions::new();
    let declare =
        |name| format!("C queue.declare 1 queue={name} durable=true\nS queue.declare-ok 1 queue={name}\n");
    let delete = |name| format!("C queue.delete 1 queue={name}\nS queue.delete-ok 1\n");
    // Transient queues have numbers too, although nobody stores them.
    let transient = "C queue.declare 1 queue=t\nS queue.declare-ok 1 queue=t\n";
    let lines = [declare("a"), transient.to_owned(), declare("b"), delete("a"), declare("a")].concat();
    run(&open(&store), &lines);
    let numbers = queue_numbers(&store);
    assert_eq!(numbers.values().copied().collect::<Vec<_>>(), [4, 3]);
    run(&open(&store), &[delete("b"), declare("b"), declare("c")].concat());
    let after = queue_numbers(&store);
    assert_eq!(after["a"], numbers["a"]);
    assert_eq!((after["b"], after["c"]), (5, 6));
}

#[test]
fn queues_of_the_time_before_numbers_get_one_that_stays() {
    let mut store = MemoryDefinitions::new();
    run(&open(&store), "C queue.declare 1 queue=new durable=true\nS queue.declare-ok 1 queue=new\n");
    let old = |name: &str| Change::Put {
        key: [b"\x05\0\0\0\x01/\0\0\0\x01", name.as_bytes()].concat(),
        value: b"\x01\x01\0\0\0\0".to_vec(),
    };
    store.commit(&[old("a"), old("b")]).expect("it is in memory");
    assert_eq!(queue_numbers(&store), [("a", 0), ("b", 0), ("new", 1)].map(|(n, id)| (n.into(), id)).into());
    open(&store);
    let numbers = queue_numbers(&store);
    assert_eq!(numbers, [("a", 2), ("b", 3), ("new", 1)].map(|(n, id)| (n.into(), id)).into());
    open(&store);
    assert_eq!(queue_numbers(&store), numbers);
    // Two queues under one number would share their messages.
    let twice = Change::Put {
        key: b"\x05\0\0\0\x01/\0\0\0\x01c".to_vec(),
        value: b"\x02\x01\0\0\0\0\0\0\0\x02\0\0\0\0".to_vec(),
    };
    store.commit(&[twice]).expect("it is in memory");
    let error = Node::try_open(Box::new(store), Commits::Inline).err().expect("it is refused").to_string();
    assert!(error.contains("'a'") && error.contains("'c'") && error.contains("number, 2"), "{error}");
}
