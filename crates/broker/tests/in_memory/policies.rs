//! Policies: what they change for queues and exchanges that are there, and that they come back.

use serde_json::{Value, json};
use warrenmq_broker::policy::{ApplyTo, Policy, PolicyKind};
use warrenmq_broker::{Commits, Limits, ParameterError};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Conversation, Options};

use crate::node::Node;

/// A broker with a client that has an open channel.
pub(crate) struct Scene {
    pub(crate) node: Node,
    talk: Conversation,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        Scene::on(&MemoryDefinitions::new())
    }

    pub(crate) fn on(store: &MemoryDefinitions) -> Scene {
        Scene::of(Node::open(Box::new(store.clone()), Commits::Inline))
    }

    pub(crate) fn of(node: Node) -> Scene {
        let connecting = node.clone();
        let talk = Conversation::new(Options::default(), move |_| Box::new(connecting.connect()));
        let mut scene = Scene { node, talk };
        scene.say("open\nC channel.open 1\nS channel.open-ok 1");
        scene
    }

    pub(crate) fn say(&mut self, lines: &str) {
        self.talk.say(lines).unwrap_or_else(|mismatch| panic!("{mismatch}\nin\n{lines}"));
    }

    /// Sets a policy for queues and exchanges whose names begin with `name`.
    pub(crate) fn set(&self, kind: PolicyKind, name: &str, definition: Value) {
        let policy = policy(kind, name, definition);
        self.node.broker().set_policy(kind, policy, self.node.now()).expect("it is one");
    }

    fn clear(&self, kind: PolicyKind, name: &str) {
        self.node.broker().clear_policy(kind, "/", name, self.node.now()).expect("it is there");
    }
}

fn policy(kind: PolicyKind, name: &str, definition: Value) -> Policy {
    let Value::Object(definition) = definition else { panic!("not an object") };
    Policy::new(kind, "/", name, &format!("^{name}"), ApplyTo::All, 0, definition).expect("it is one")
}

/// Publishes messages with these bodies to the queue.
fn publish(queue: &str, bodies: &[&str]) -> String {
    bodies.iter().map(|body| format!("C basic.publish 1 routing-key={queue} | | body={body}\n")).collect()
}

fn declare(queue: &str, count: u32) -> String {
    format!(
        "C queue.declare 1 queue={queue} durable=true\nS queue.declare-ok 1 queue={queue} message-count={count}\n"
    )
}

#[test]
fn what_is_too_much_leaves_at_once_and_later_too() {
    let mut scene = Scene::new();
    scene.say(&[declare("q", 0), declare("dead", 0), publish("q", &["a", "b", "c", "d"])].concat());
    let dead = json!({"max-length": 2, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"});
    scene.set(PolicyKind::User, "q", dead);
    scene.say(&[declare("q", 2), declare("dead", 2), publish("q", &["e"]), declare("dead", 3)].concat());
    scene.say(
        "C basic.get 1 queue=q no-ack=true\nS basic.get-ok 1 1 routing-key=q message-count=1 | | body=d",
    );
    scene.set(PolicyKind::User, "q", json!({"max-length-bytes": 3}));
    scene.say(&[publish("q", &["f", "g", "h"]), declare("q", 3), declare("dead", 3)].concat());
    scene.clear(PolicyKind::User, "q");
    scene.say(&[publish("q", &["i", "j"]), declare("q", 5), declare("dead", 3)].concat());
}

/// What a policy has dropped is dropped, and what it has dead-lettered is where it went, also from disk and after a power cut.
#[test]
fn what_a_policy_did_to_messages_on_disk_is_done() {
    let small = Limits { queue_memory_octets: 600, segment_block_octets: 300, ..Limits::default() };
    for seed in 0..10 {
        let (definitions, disk) = (MemoryDefinitions::new(), SimDisk::new());
        let mut scene = Scene::of(Node::open_on(&disk, Box::new(definitions.clone()), small.clone()));
        scene.say(&[declare("q", 0), declare("dead", 0)].concat());
        scene.say("C confirm.select 1\nS confirm.select-ok 1");
        for n in 0..40 {
            let body = format!("body=\"{n:02}\"*30");
            scene.say(&format!("C basic.publish 1 routing-key=q | delivery-mode=2 | {body}"));
        }
        scene.say("S confirmed 1 1..40");
        scene.node.pass(500);
        let dead = json!({"max-length": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "dead"});
        scene.set(PolicyKind::User, "q", dead);
        scene.node.pass(500);
        scene.say(&[declare("q", 3), declare("dead", 37)].concat());
        let disk = if seed == 0 { disk.crash_process() } else { disk.crash(seed) };
        drop(scene);
        let mut scene = Scene::of(Node::open_on(&disk, Box::new(definitions.clone()), small.clone()));
        scene.say(&[declare("q", 3), declare("dead", 37)].concat());
        let get = |queue: &str, n: u32, left: u32| {
            let content = format!("headers=* delivery-mode=2 | body=\"{n:02}\"*30");
            format!(
                "C basic.get 1 queue={queue} no-ack=true
                 S basic.get-ok 1 * redelivered=* routing-key={queue} message-count={left} | {content}"
            )
        };
        scene.say(&get("dead", 0, 36));
        scene.say(&get("q", 37, 2).replace("headers=* ", ""));
        scene.say(&[publish("q", &["a", "b"]), declare("q", 3), declare("dead", 37)].concat());
    }
}

#[test]
fn an_operator_bounds_what_a_user_says() {
    let mut scene = Scene::new();
    scene.set(PolicyKind::User, "q", json!({"max-length": 3}));
    scene.say(&[declare("q", 0), publish("q", &["a", "b", "c", "d"]), declare("q", 3)].concat());
    scene.set(PolicyKind::Operator, "q", json!({"max-length": 1}));
    scene.say(&declare("q", 1));
    scene.set(PolicyKind::Operator, "q", json!({"max-length": 9}));
    scene.say(&[publish("q", &["a", "b", "c", "d"]), declare("q", 3)].concat());
    scene.clear(PolicyKind::User, "q");
    scene.say(&[publish("q", &["a", "b", "c", "d"]), declare("q", 7)].concat());
    let applied = scene.node.broker().queue_policy("/", "q").expect("it is there");
    assert_eq!(
        (applied.policy, applied.operator_policy.map(|policy| policy.name.clone())),
        (None, Some("q".into()))
    );
    assert_eq!(scene.node.broker().queue_policy("/", "none"), None);
}

#[test]
fn an_argument_and_a_policy_meet() {
    let mut scene = Scene::new();
    scene.set(
        PolicyKind::User,
        "q",
        json!({"max-length": 3, "dead-letter-exchange": "amq.fanout", "overflow": "reject-publish"}),
    );
    scene.say(
        "C queue.declare 1 queue=dead
         S queue.declare-ok 1 queue=dead
         C queue.declare 1 queue=q1 arguments={x-max-length:int32:1,x-overflow:str:drop-head,x-dead-letter-exchange:str:\"\"}
         S queue.declare-ok 1 queue=q1
         C queue.bind 1 queue=dead exchange=amq.fanout
         S queue.bind-ok 1",
    );
    scene.say(&publish("q1", &["a", "b"]));
    scene.say(
        "C queue.declare 1 queue=q1 passive=true
         S queue.declare-ok 1 queue=q1 message-count=1
         C queue.declare 1 queue=dead passive=true
         S queue.declare-ok 1 queue=dead message-count=0",
    );
}

#[test]
fn a_publisher_that_is_there_is_refused_from_then_on() {
    let mut scene = Scene::new();
    scene.say("C confirm.select 1\nS confirm.select-ok 1");
    scene.say(&[declare("q", 0), publish("q", &["a", "b"]), "S confirmed 1 1..2\n".to_owned()].concat());
    scene.set(PolicyKind::User, "q", json!({"max-length": 3, "overflow": "reject-publish"}));
    scene.say(
        "C basic.publish 1 routing-key=q | | body=c
         C basic.publish 1 routing-key=q | | body=d
         S basic.ack 1 3
         S basic.nack 1 4 multiple=* requeue=*",
    );
    scene.say(&declare("q", 3));
    scene.clear(PolicyKind::User, "q");
    scene.say(&[publish("q", &["e", "f"]), "S confirmed 1 5..6\n".to_owned(), declare("q", 5)].concat());
}

/// For quorum queues the policy says what a full queue does, and how often a message may come back.
#[test]
fn quorum_queues_follow_their_policies() {
    let mut scene = Scene::new();
    scene.say("C confirm.select 1\nS confirm.select-ok 1");
    scene.say(
        "C queue.declare 1 queue=q durable=true arguments={x-queue-type:str:quorum,x-max-length:int32:2,x-overflow:str:drop-head}
         S queue.declare-ok 1 queue=q
         C queue.declare 1 queue=dead durable=true
         S queue.declare-ok 1 queue=dead
         C basic.publish 1 routing-key=q | | body=a
         C basic.publish 1 routing-key=q | | body=b
         C basic.publish 1 routing-key=q | | body=c
         S confirmed 1 1..3",
    );
    let refuse = json!({"overflow": "reject-publish", "delivery-limit": 1, "dead-letter-exchange": "",
        "dead-letter-routing-key": "dead"});
    scene.set(PolicyKind::User, "q", refuse);
    scene.say(
        "C basic.publish 1 routing-key=q | | body=d
         S basic.nack 1 4 multiple=* requeue=*
         C basic.get 1 queue=q
         S basic.get-ok 1 1 routing-key=q message-count=1 | | body=b
         C basic.reject 1 1 requeue=true
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true routing-key=q message-count=1 | headers=* | body=b
         C basic.reject 1 2 requeue=true
         C queue.declare 1 queue=dead passive=true
         S queue.declare-ok 1 queue=dead message-count=1",
    );
    scene.clear(PolicyKind::User, "q");
    scene.say(
        "C basic.publish 1 routing-key=q | | body=e
         C basic.publish 1 routing-key=q | | body=f
         S confirmed 1 5..6
         C queue.declare 1 queue=q passive=true
         S queue.declare-ok 1 queue=q message-count=2
         C queue.declare 1 queue=dead passive=true
         S queue.declare-ok 1 queue=dead message-count=1",
    );
}

/// What was taken is not dropped because new messages are to be refused.
#[test]
fn a_queue_that_is_to_refuse_keeps_what_it_has() {
    let mut scene = Scene::new();
    scene.say("C confirm.select 1\nS confirm.select-ok 1");
    scene.say(&[declare("q", 0), publish("q", &["a", "b", "c"]), "S confirmed 1 1..3".to_owned()].concat());
    scene.set(PolicyKind::User, "q", json!({"max-length": 1, "overflow": "reject-publish"}));
    scene.say("C basic.publish 1 routing-key=q | | body=d\nS basic.nack 1 4 multiple=* requeue=*");
    scene.say(&declare("q", 3));
}

/// A file is taken in while the broker runs: what is there follows it.
#[test]
fn policies_of_a_file_reach_queues_that_are_there() {
    let mut scene = Scene::new();
    scene.say(&[declare("q", 0), publish("q", &["a", "b", "c"])].concat());
    let file = r#"{"vhosts": [{"name": "/"}], "policies": [
        {"vhost": "/", "name": "p", "pattern": "", "apply-to": "all", "definition": {"max-length": 1}, "priority": 0}]}"#;
    let warnings = scene.node.broker().load_definitions(file.as_bytes(), scene.node.now());
    assert_eq!(warnings.expect("definitions"), [""; 0]);
    scene.say(&declare("q", 1));
}

#[test]
fn times_to_live_come_and_go() {
    let mut scene = Scene::new();
    scene.say(&[declare("q", 0), publish("q", &["a"])].concat());
    scene.say("S <nothing 500>");
    scene.set(PolicyKind::User, "q", json!({"message-ttl": 1000}));
    scene.say(&[publish("q", &["b"]), declare("q", 2)].concat());
    scene.node.pass(1_100);
    scene.say(&declare("q", 0));
    scene.clear(PolicyKind::User, "q");
    scene.say(&publish("q", &["c"]));
    scene.node.pass(5_000);
    scene.say(&declare("q", 1));
    // A queue that was not used for long has its time from then on.
    scene.set(PolicyKind::User, "q", json!({"expires": 1000}));
    scene.node.pass(900);
    assert!(scene.node.broker().queue_policy("/", "q").is_some());
    scene.set(PolicyKind::User, "q", json!({"expires": 3000}));
    scene.node.pass(2_900);
    assert!(scene.node.broker().queue_policy("/", "q").is_some());
    scene.node.pass(200);
    assert!(scene.node.broker().queue_policy("/", "q").is_none());
}

#[test]
fn an_exchange_gets_and_loses_its_alternate() {
    let mut scene = Scene::new();
    scene.say(
        "C exchange.declare 1 exchange=x type=direct durable=true
         S exchange.declare-ok 1
         C exchange.declare 1 exchange=x-own type=direct arguments={alternate-exchange:str:amq.topic}
         S exchange.declare-ok 1
         C queue.declare 1 queue=q
         S queue.declare-ok 1 queue=q
         C queue.bind 1 queue=q exchange=amq.fanout
         S queue.bind-ok 1
         C basic.publish 1 exchange=x mandatory=true | | body=a
         S basic.return 1 312 NO_ROUTE exchange=x | | body=a",
    );
    scene.set(PolicyKind::User, "x", json!({"alternate-exchange": "amq.fanout"}));
    scene.say(
        "C basic.publish 1 exchange=x mandatory=true | | body=b
         C basic.publish 1 exchange=x-own mandatory=true | | body=c
         S basic.return 1 312 NO_ROUTE exchange=x-own | | body=c
         C exchange.declare 1 exchange=x-new type=direct
         S exchange.declare-ok 1
         C basic.publish 1 exchange=x-new mandatory=true | | body=d
         C queue.declare 1 queue=q passive=true
         S queue.declare-ok 1 queue=q message-count=2",
    );
    let applied = scene.node.broker().exchange_policy("/", "x").expect("it is there");
    assert_eq!(Value::Object(applied.definition()), json!({"alternate-exchange": "amq.fanout"}));
    scene.clear(PolicyKind::User, "x");
    scene.say("C basic.publish 1 exchange=x mandatory=true | | body=e\nS basic.return 1 312 NO_ROUTE exchange=x | | body=e");
}

#[test]
fn policies_come_back_and_go_from_broker_to_broker() {
    let store = MemoryDefinitions::new();
    let mut scene = Scene::on(&store);
    scene.say(
        "C exchange.declare 1 exchange=x type=direct durable=true
         S exchange.declare-ok 1
         C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q",
    );
    scene.set(PolicyKind::User, "q", json!({"max-length": 5, "ha-mode": "all"}));
    scene.set(PolicyKind::User, "x", json!({"alternate-exchange": "amq.fanout"}));
    scene.set(PolicyKind::User, "gone", json!({"max-length": 5}));
    scene.clear(PolicyKind::User, "gone");
    scene.set(PolicyKind::Operator, "q", json!({"max-length": 2}));
    let exported = scene.node.broker().export_definitions();
    drop(scene);

    let other = Scene::new();
    let warnings = other.node.broker().load_definitions(&exported, other.node.now()).expect("definitions");
    assert_eq!(warnings, ["key 'ha-mode' of policy 'q' in vhost '/'"]);
    for mut scene in [Scene::on(&store), other] {
        scene.say(
            "C queue.declare 1 queue=all
             S queue.declare-ok 1 queue=all
             C queue.bind 1 queue=all exchange=amq.fanout
             S queue.bind-ok 1
             C basic.publish 1 exchange=x mandatory=true | | body=b
             C queue.declare 1 queue=all passive=true
             S queue.declare-ok 1 queue=all message-count=1",
        );
        scene.say(&[publish("q", &["a", "b", "c"]), declare("q", 2)].concat());
        let broker = scene.node.broker();
        let names = |kind| {
            broker.policies(kind, Some("/")).iter().map(|policy| policy.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(PolicyKind::User), names(PolicyKind::Operator)),
            (vec!["q".into(), "x".into()], vec!["q".into()])
        );
        assert_eq!(broker.export_definitions(), exported);
    }
}

#[test]
fn what_cannot_be_set_or_cleared_is_refused() {
    let scene = Scene::new();
    let broker = scene.node.broker();
    let elsewhere =
        Policy { vhost: "v".to_owned(), ..policy(PolicyKind::User, "q", json!({"max-length": 1})) };
    let large = policy(PolicyKind::User, "q", json!({"dead-letter-exchange": "x".repeat(70_000)}));
    let refusals = [
        broker.set_policy(PolicyKind::User, elsewhere, 0),
        broker.clear_policy(PolicyKind::User, "v", "q", 0),
        broker.clear_policy(PolicyKind::Operator, "/", "q", 0),
        broker.set_policy(PolicyKind::User, large, 0),
    ];
    let texts = refusals.map(|refusal| refusal.expect_err("it is refused").to_string());
    assert_eq!(
        texts[..3],
        ["Virtual host 'v' does not exist", "Virtual host 'v' does not exist", "Parameter does not exist"]
    );
    assert!(texts[3].contains("65536"), "{}", texts[3]);
    assert!(broker.policies(PolicyKind::User, None).is_empty());
    let file = br#"{"vhosts": [{"name": "/"}],
        "policies": [{"vhost": "v", "name": "p", "pattern": "", "definition": {"expires": 1}}]}"#;
    let refused = broker.load_definitions(file, 0).expect_err("there is no such vhost").to_string();
    assert!(refused.contains("policy 'p' in vhost 'v': Virtual host 'v' does not exist"), "{refused}");
    assert!(matches!(broker.clear_global_parameter("g"), Err(ParameterError::Missing)));
}
