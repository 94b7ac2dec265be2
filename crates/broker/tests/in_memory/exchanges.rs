//! Exchanges that choose, and exchanges that remember: what a transcript cannot say, because it is a matter of chance, of many messages
//! or of a restart.

use std::fmt::Write;

use warrenmq_broker::{Commits, Limits};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Conversation, Options};

use crate::node::Node;

const QUEUES: usize = 4;
const MESSAGES: u64 = 400;

/// A client with an open channel.
struct Client {
    talk: Conversation,
    counts: usize,
}

impl Client {
    fn new(node: &Node) -> Client {
        let node = node.clone();
        let talk = Conversation::new(Options::default(), move |_| Box::new(node.connect()));
        let mut client = Client { talk, counts: 0 };
        client.say("open\nC channel.open 1\nS channel.open-ok 1");
        client
    }

    fn say(&mut self, lines: &str) {
        self.talk.say(lines).unwrap_or_else(|mismatch| panic!("{mismatch}\nin\n{lines}"));
    }

    fn declare_queues(&mut self, options: &str) {
        for queue in 0..QUEUES {
            self.say(&format!(
                "C queue.declare 1 queue=q{queue} {options}\nS queue.declare-ok 1 queue=q{queue}"
            ));
        }
    }

    fn bind_queues(&mut self, exchange: &str, key: &str) {
        for queue in 0..QUEUES {
            let names = format!("queue=q{queue} exchange={exchange} routing-key={key}");
            self.say(&format!("C queue.bind 1 {names}\nS queue.bind-ok 1"));
        }
    }

    /// Messages of each queue.
    fn counts(&mut self) -> Vec<u64> {
        let count = |queue| {
            self.counts += 1;
            let name = format!("count{}", self.counts);
            let declare = format!("C queue.declare 1 queue=q{queue} passive=true");
            self.say(&format!("{declare}\nS queue.declare-ok 1 queue=q{queue} message-count=${name}"));
            self.talk.number(&name).expect("it was bound")
        };
        (0..QUEUES).map(count).collect()
    }
}

fn node() -> Node {
    Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline)
}

/// Each queue has its quarter of the messages, and each message is in one. The standard deviation is 9.
fn assert_spread(counts: &[u64], what: &str) {
    assert_eq!(counts.iter().sum::<u64>(), MESSAGES, "{what}");
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{what}: {counts:?}");
}

/// Messages that look alike to what a publisher remembers of routes: key and headers are the same.
#[test]
fn what_depends_on_more_than_key_and_headers_is_not_remembered() {
    let ways = [
        ("x-random", "", "1", ""),
        ("x-local-random", "", "\"\"", ""),
        ("x-consistent-hash", "hash-property:str:message_id", "1", "message-id=$n"),
        ("x-consistent-hash", "hash-property:str:correlation_id", "1", "correlation-id=$n"),
        ("x-consistent-hash", "hash-property:str:timestamp", "1", "timestamp=$n"),
        ("x-consistent-hash", "hash-header:str:h", "1", "headers={h:int64:$n}"),
    ];
    for (kind, arguments, key, properties) in ways {
        // Directly, through a binding, and as an alternate.
        for (first, with) in [("x", ""), ("amq.topic", ""), ("first", "headers={a:int32:1}")] {
            if with.is_empty() || !properties.starts_with("headers") {
                let what = format!("{first} {kind} {arguments} {with}");
                let mut client = Client::new(&node());
                client.declare_queues("");
                client.say(&format!(
                    "C exchange.declare 1 exchange=x type={kind} arguments={{{arguments}}}
                     S exchange.declare-ok 1
                     C exchange.declare 1 exchange=first type=direct arguments={{alternate-exchange:str:x}}
                     S exchange.declare-ok 1
                     C exchange.bind 1 destination=x source=amq.topic routing-key=#
                     S exchange.bind-ok 1"
                ));
                client.bind_queues("x", key);
                let mut lines = String::new();
                for number in 0..MESSAGES {
                    let properties = properties.replace("$n", &number.to_string());
                    writeln!(
                        lines,
                        "C basic.publish 1 exchange={first} routing-key=k | {properties} {with} | body=m"
                    )
                    .expect("a string");
                }
                client.say(&lines);
                assert_spread(&client.counts(), &what);
            }
        }
    }
}

/// By key a hash ring is remembered like a direct exchange, and a change of its bindings is seen.
#[test]
fn many_keys() {
    let mut client = Client::new(&node());
    client.declare_queues("");
    client.say("C exchange.declare 1 exchange=x type=x-consistent-hash\nS exchange.declare-ok 1");
    client.bind_queues("x", "3");
    let mut lines = String::new();
    for key in 0..MESSAGES {
        writeln!(lines, "C basic.publish 1 exchange=x routing-key=k{key} | | body=m").expect("a string");
    }
    client.say(&lines);
    let before = client.counts();
    assert_spread(&before, "keys");
    client.say("C queue.unbind 1 queue=q0 exchange=x routing-key=3\nS queue.unbind-ok 1");
    client.say(&lines);
    let after = client.counts();
    assert_eq!(after[0], before[0]);
    // What the others had they get again, and more.
    assert!((1..QUEUES).all(|queue| after[queue] > 2 * before[queue]), "{before:?} {after:?}");
    assert_eq!(after.iter().sum::<u64>(), 2 * MESSAGES);
}

#[test]
fn dead_letters_go_through_them() {
    for (kind, arguments, key) in [
        ("x-random", "", "1"),
        ("x-consistent-hash", "hash-property:str:message_id", "1"),
        ("x-consistent-hash", "", "1"),
        ("x-modulus-hash", "", "1"),
    ] {
        let mut client = Client::new(&node());
        client.declare_queues("");
        client.say(&format!(
            "C exchange.declare 1 exchange=x type={kind} arguments={{{arguments}}}
             S exchange.declare-ok 1
             C queue.declare 1 queue=dying arguments={{x-dead-letter-exchange:str:x,x-max-length:int32:0}}
             S queue.declare-ok 1 queue=dying
             C queue.bind 1 queue=dying exchange=amq.topic routing-key=#
             S queue.bind-ok 1"
        ));
        client.bind_queues("x", key);
        let mut lines = String::new();
        for number in 0..MESSAGES {
            let rest = format!("routing-key=k{number} | message-id=m{number} | body=m");
            writeln!(lines, "C basic.publish 1 exchange=amq.topic {rest}").expect("a string");
        }
        client.say(&lines);
        assert_spread(&client.counts(), kind);
    }
}

#[test]
fn a_history_keeps_dead_letters() {
    let mut client = Client::new(&node());
    client.say(
        "C exchange.declare 1 exchange=x type=x-recent-history
         S exchange.declare-ok 1
         C queue.declare 1 queue=dying arguments={x-dead-letter-exchange:str:x,x-max-length:int32:0}
         S queue.declare-ok 1 queue=dying
         C basic.publish 1 routing-key=dying | | body=m
         C queue.declare 1 queue=late
         S queue.declare-ok 1 queue=late
         C queue.bind 1 queue=late exchange=x
         S queue.bind-ok 1
         C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 1 exchange=x routing-key=dying | headers=* | body=m
         C basic.get 1 queue=late no-ack=true
         S basic.get-empty 1",
    );
}

/// What is published in a transaction is routed, and kept, at once; it reaches queues at the commit.
#[test]
fn a_history_does_not_wait_for_the_commit() {
    let mut client = Client::new(&node());
    client.say(
        "C exchange.declare 1 exchange=x type=x-recent-history
         S exchange.declare-ok 1
         C queue.declare 1 queue=early
         S queue.declare-ok 1 queue=early
         C queue.declare 1 queue=late
         S queue.declare-ok 1 queue=late
         C queue.bind 1 queue=early exchange=x
         S queue.bind-ok 1
         C channel.open 2
         S channel.open-ok 2
         C tx.select 2
         S tx.select-ok 2
         C basic.publish 2 exchange=x routing-key=k | | body=m
         C tx.rollback 2
         S tx.rollback-ok 2
         C queue.bind 1 queue=late exchange=x
         S queue.bind-ok 1
         C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 1 exchange=x routing-key=k | | body=m
         C basic.get 1 queue=early no-ack=true
         S basic.get-empty 1",
    );
}

#[test]
fn a_history_has_a_limit_in_octets() {
    let limits = Limits { recent_history_octets: 1000, ..Limits::default() };
    let node = Node::open_on(&SimDisk::new(), Box::new(MemoryDefinitions::new()), limits);
    let mut client = Client::new(&node);
    client.say(
        "C exchange.declare 1 exchange=x type=x-recent-history
         S exchange.declare-ok 1
         C basic.publish 1 exchange=x | | body=\"a\"*400
         C basic.publish 1 exchange=x | | body=\"b\"*400
         C basic.publish 1 exchange=x | | body=\"c\"*400
         C queue.declare 1 queue=late
         S queue.declare-ok 1 queue=late
         C queue.bind 1 queue=late exchange=x
         S queue.bind-ok 1
         C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 1 exchange=x message-count=1 | | body=\"b\"*400
         C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 2 exchange=x | | body=\"c\"*400
         C basic.publish 1 exchange=x | | body=\"d\"*2000
         C queue.purge 1 queue=late
         S queue.purge-ok 1 1
         C queue.bind 1 queue=late exchange=x routing-key=again
         S queue.bind-ok 1
         C basic.get 1 queue=late no-ack=true
         S basic.get-empty 1",
    );
}

/// Durable exchanges come back with their bindings, and each key goes where it went; what was kept was in memory, but what was
/// handed over from it is as durable as any message.
#[test]
fn after_a_restart() {
    let definitions = MemoryDefinitions::new();
    let disk = SimDisk::new();
    let open = |disk: &SimDisk| Node::open_on(disk, Box::new(definitions.clone()), Limits::default());
    let first = open(&disk);
    let mut client = Client::new(&first);
    // Queues are numbered as they are made, and made again in the order of their names.
    for queue in (0..QUEUES).rev() {
        let name = format!("queue=q{queue}");
        client.say(&format!("C queue.declare 1 {name} durable=true\nS queue.declare-ok 1 {name}"));
    }
    for kind in ["x-consistent-hash", "x-modulus-hash", "x-random", "x-local-random", "x-recent-history"] {
        let declare = format!("C exchange.declare 1 exchange={kind} type={kind} durable=true");
        client.say(&format!("{declare}\nS exchange.declare-ok 1"));
    }
    client.bind_queues("x-consistent-hash", "2");
    client.bind_queues("x-modulus-hash", "any");
    client.bind_queues("x-random", "any");
    client.bind_queues("x-local-random", "\"\"");
    let mut places = Vec::new();
    for kind in ["x-consistent-hash", "x-modulus-hash"] {
        for key in 0..20 {
            client.say(&format!("C basic.publish 1 exchange={kind} routing-key={key} | | body=m"));
            places.push(client.counts());
        }
    }
    for _ in 0..20 {
        client.say("C basic.publish 1 exchange=x-random | | body=m");
        client.say("C basic.publish 1 exchange=x-local-random | | body=m");
    }
    client.say(
        "C basic.publish 1 exchange=x-recent-history | delivery-mode=2 | body=kept
         C queue.declare 1 queue=late durable=true
         S queue.declare-ok 1 queue=late
         C queue.bind 1 queue=late exchange=x-recent-history
         S queue.bind-ok 1
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=late | delivery-mode=2 | body=last
         S confirmed 1 1..1",
    );
    let disk = disk.crash_process();
    drop(client);
    drop(first);
    let mut client = Client::new(&open(&disk));
    let mut again = Vec::new();
    for kind in ["x-consistent-hash", "x-modulus-hash"] {
        for key in 0..20 {
            client.say(&format!("C basic.publish 1 exchange={kind} routing-key={key} | | body=m"));
            again.push(client.counts());
        }
    }
    assert_eq!(again, places);
    for _ in 0..20 {
        client.say("C basic.publish 1 exchange=x-random mandatory=true | | body=m");
        client.say("C basic.publish 1 exchange=x-local-random mandatory=true | | body=m");
    }
    assert_eq!(client.counts().iter().sum::<u64>(), 80);
    client.say(
        "C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 1 exchange=x-recent-history redelivered=true message-count=1 | delivery-mode=2 | body=kept
         C basic.get 1 queue=late no-ack=true
         S basic.get-ok 1 2 redelivered=true routing-key=late | delivery-mode=2 | body=last
         C queue.bind 1 queue=late exchange=x-recent-history routing-key=again
         S queue.bind-ok 1
         C basic.get 1 queue=late no-ack=true
         S basic.get-empty 1",
    );
}

/// A file as RabbitMQ exports it.
const FILE: &str = r#"{
    "exchanges": [
        {"name":"ring","vhost":"/","type":"x-consistent-hash","durable":true,"auto_delete":false,"internal":false,
         "arguments":{"hash-header":"h"}},
        {"name":"shards","vhost":"/","type":"x-modulus-hash","durable":true,"auto_delete":false,"internal":false,"arguments":{}},
        {"name":"chance","vhost":"/","type":"x-random","durable":true,"auto_delete":false,"internal":false,"arguments":{}},
        {"name":"near","vhost":"/","type":"x-local-random","durable":true,"auto_delete":false,"internal":false,"arguments":{}},
        {"name":"recent","vhost":"/","type":"x-recent-history","durable":true,"auto_delete":false,"internal":false,
         "arguments":{"x-recent-history-length":1}}
    ],
    "queues": [{"name":"q","vhost":"/","durable":true,"auto_delete":false,"arguments":{}}],
    "bindings": [
        {"source":"ring","vhost":"/","destination":"q","destination_type":"queue","routing_key":"10","arguments":{}},
        {"source":"ring","vhost":"/","destination":"q","destination_type":"queue","routing_key":"ten","arguments":{}},
        {"source":"near","vhost":"/","destination":"q","destination_type":"queue","routing_key":"k","arguments":{}},
        {"source":"chance","vhost":"/","destination":"q","destination_type":"queue","routing_key":"","arguments":{}}
    ]
}"#;

#[test]
fn a_definitions_file_has_them() {
    let node = node();
    let warnings = node.broker().load_definitions(FILE.as_bytes(), 1_000).expect("definitions");
    assert_eq!(
        warnings,
        [
            "binding from 'ring' to 'q' in vhost '/' left out: The binding key must be an integer: <<\"ten\">>",
            "binding from 'near' to 'q' in vhost '/' left out: Non empty binding 'k' key not permitted",
        ]
    );
    Client::new(&node).say(
        "C basic.publish 1 exchange=ring | headers={h:str:v} | body=1
         C basic.publish 1 exchange=chance | | body=2
         C basic.publish 1 exchange=recent | | body=3
         C basic.publish 1 exchange=recent | | body=4
         C queue.bind 1 queue=q exchange=recent
         S queue.bind-ok 1
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 exchange=ring message-count=2 | headers={h:str:v} | body=1
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 2 exchange=chance message-count=1 | | body=2
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 3 exchange=recent | | body=4",
    );
    let exported = node.broker().export_definitions();
    let other = self::node();
    assert_eq!(other.broker().load_definitions(&exported, 1_000).expect("definitions"), [""; 0]);
    assert_eq!(other.broker().export_definitions(), exported);
    let bad = FILE.replace("hash-header", "hash-property");
    let refused = self::node().broker().load_definitions(bad.as_bytes(), 1_000).expect_err("a property h");
    assert_eq!(refused.to_string(), "definition refused: PRECONDITION_FAILED - Unsupported property: h");
}
