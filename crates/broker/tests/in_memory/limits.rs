//! Limits of vhosts and users, parameters, and the type of queues that do not say it.

use std::time::Duration;

use serde_json::{Map, Value, json};
use warrenmq_broker::definitions::{GlobalParameter, Parameter};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Arrival, Peer};

use crate::node::Node;
use crate::policies::Scene;

fn limits(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// What a new connection is told first.
fn greeting(scene: &Scene) -> Vec<u8> {
    let mut client = scene.node.connect();
    client.send(b"AMQP\0\0\x09\x01");
    match client.receive(Duration::ZERO) {
        Arrival::Bytes(octets) => octets,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_vhost_takes_no_more_queues_than_its_limit() {
    let mut scene = Scene::new();
    let broker = scene.node.broker();
    broker.set_vhost_limits("/", limits(json!({"max-queues": 1}))).expect("limits");
    scene.say(
        "C queue.declare 1 queue=a
         S queue.declare-ok 1 queue=a
         C queue.declare 1 queue=a
         S queue.declare-ok 1 queue=a
         C queue.declare 1 queue=b exclusive=true
         S channel.close 1 406 \"PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '/' (1) is reached\" by=queue.declare
         C channel.close-ok 1",
    );
    broker.set_vhost_limits("/", limits(json!({"max-queues": -1}))).expect("limits");
    scene.say(
        "C channel.open 1
         S channel.open-ok 1
         C queue.declare 1 queue=b
         S queue.declare-ok 1 queue=b",
    );
    broker.set_vhost_limits("/", limits(json!({"max-queues": 0}))).expect("limits");
    broker.clear_vhost_limits("/").expect("limits");
    assert!(broker.clear_vhost_limits("/").is_err());
    scene.say("C queue.declare 1 queue=c\nS queue.declare-ok 1 queue=c");
}

#[test]
fn connections_and_channels_end_where_their_limits_are() {
    let mut scene = Scene::new();
    let broker = scene.node.broker();
    broker.set_vhost_limits("/", limits(json!({"max-connections": 1}))).expect("limits");
    const OPENING: &str = "2: C <bytes \"AMQP\\x00\\x00\\x09\\x01\">
        2: S connection.start 0 version-minor=9 server-properties=* mechanisms=* locales=en_US
        2: C connection.start-ok 0 mechanism=PLAIN response=\"\\x00guest\\x00guest\" locale=en_US
        2: S connection.tune 0 channel-max=2047 frame-max=131072 heartbeat=60
        2: C connection.tune-ok 0 channel-max=2047 frame-max=131072 heartbeat=60
        2: C connection.open 0 virtual-host=/\n";
    let refused = |scene: &mut Scene, number: usize, text: &str| {
        let close = format!("2: S connection.close 0 530 \"NOT_ALLOWED - {text}\" by=connection.open\n");
        let lines = [OPENING, &close, "2: C connection.close-ok 0"].concat();
        scene.say(&lines.replace("2: ", &format!("{number}: ")));
    };
    refused(&mut scene, 2, "access to vhost '/' refused for user 'guest': connection limit (1) is reached");
    broker.set_vhost_limits("/", limits(json!({"max-connections": 2}))).expect("limits");
    broker.set_user_limits("guest", limits(json!({"max-connections": 1}))).expect("limits");
    refused(&mut scene, 3, "connection refused for user 'guest': user connection limit (1) is reached");
    broker.clear_user_limits("guest", Some("max-connections")).expect("limits");
    // What is closed does not count any more, whether its socket is gone or not.
    for name in [4, 5] {
        scene
            .say(&format!("{name}: open\n{name}: C connection.close 0 200\n{name}: S connection.close-ok 0"));
    }
    broker.set_user_limits("guest", limits(json!({"max-channels": 2}))).expect("limits");
    scene.say(
        "6: open
         6: C channel.open 1
         6: S channel.open-ok 1
         6: C channel.close 1 200
         6: S channel.close-ok 1
         6: C channel.open 7
         6: S channel.open-ok 7
         6: C channel.open 8
         6: S connection.close 0 530 \"NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of 2\"
         6: C connection.close-ok 0
         C channel.open 2
         S channel.open-ok 2",
    );
    assert_eq!(broker.user_limits("guest").expect("a user"), limits(json!({"max-channels": 2})));
    broker.clear_user_limits("guest", None).expect("limits");
    assert!(broker.set_user_limits("nobody", Map::new()).is_err());
}

#[test]
fn limits_and_parameters_come_back_and_go_from_broker_to_broker() {
    let store = MemoryDefinitions::new();
    let scene = Scene::on(&store);
    let broker = scene.node.broker();
    broker.set_vhost_limits("/", limits(json!({"max-queues": 7}))).expect("limits");
    broker.set_user_limits("guest", limits(json!({"max-channels": 9}))).expect("limits");
    let parameter = |component: &str, name: &str, value: Value| Parameter {
        component: component.to_owned(),
        vhost: "/".to_owned(),
        name: name.to_owned(),
        value,
    };
    let operator = json!({"pattern": "q", "definition": {"expires": 5}, "priority": 0});
    for parameter in [
        parameter("shovel", "s", json!({"src-uri": "amqp://"})),
        parameter("federation-upstream", "gone", json!(1)),
        parameter("operator_policy", "o", operator),
    ] {
        broker.set_parameter(parameter, scene.node.now()).expect("a parameter");
    }
    broker.clear_parameter("/", "federation-upstream", "gone", 0).expect("it is there");
    for (name, value) in
        [("cluster_name", json!("burrow")), ("own", json!([1, {"a": null}])), ("gone", json!(1))]
    {
        broker.set_global_parameter(GlobalParameter { name: name.to_owned(), value }).expect("a parameter");
    }
    broker.clear_global_parameter("gone").expect("it is there");
    let exported = broker.export_definitions();
    drop(scene);

    let other = Scene::new();
    let warnings = other.node.broker().load_definitions(&exported, other.node.now()).expect("definitions");
    assert_eq!(warnings, ["parameter 's' of component 'shovel' in vhost '/'"]);
    for scene in [Scene::on(&store), other] {
        let broker = scene.node.broker();
        assert_eq!(broker.vhost_limits("/").expect("a vhost"), limits(json!({"max-queues": 7})));
        assert_eq!(broker.user_limits("guest").expect("a user"), limits(json!({"max-channels": 9})));
        let names: Vec<String> =
            broker.parameters(None).iter().map(|own| format!("{}/{}", own.component, own.name)).collect();
        assert_eq!(names, ["operator_policy/o", "vhost-limits/limits", "shovel/s"]);
        let globals = broker.global_parameters();
        assert_eq!(globals.len(), 2);
        assert_eq!(globals[1].value, json!([1, {"a": null}]));
        assert!(broker.export_definitions() == exported);
        assert!(String::from_utf8_lossy(&greeting(&scene)).contains("burrow"));
    }
}

#[test]
fn what_is_no_parameter_is_refused_in_rabbitmqs_words() {
    let scene = Scene::new();
    let broker = scene.node.broker();
    let set = |component: &str, value: Value| {
        let (component, vhost, name) = (component.to_owned(), "/".to_owned(), "limits".to_owned());
        broker
            .set_parameter(Parameter { component, vhost, name, value }, 0)
            .expect_err("no parameter")
            .to_string()
    };
    assert_eq!(set("policy", json!({})), "policies may not be set using this method");
    assert_eq!(set("carrots", json!({})), "Validation failed\n\ncomponent carrots not found\n");
    assert_eq!(
        set("operator_policy", json!({"pattern": "", "definition": {"expires": 0}, "priority": 0})),
        "Validation failed\n\n0 is not a valid queue expiry\n"
    );
    assert_eq!(
        set("vhost-limits", json!({"max-queues": "many"})),
        "Validation failed\n\nmax-queues should be a number, actually was <<\"many\">>\n"
    );
    let refused =
        |queue_type| broker.set_default_queue_type("/", Some(queue_type)).expect_err("no type").to_string();
    assert_eq!(refused("stream"), "stream is not a valid queue type");
    assert_eq!(refused(""), "default_queue_type must not be an empty string");
}

const TYPES: &str = "C queue.declare 1 queue=q durable=true
    S queue.declare-ok 1 queue=q
    C queue.declare 1 queue=q durable=true arguments={x-queue-type:str:quorum}
    S queue.declare-ok 1 queue=q
    C queue.declare 1 queue=transient arguments={x-max-priority:int32:1}
    S queue.declare-ok 1 queue=transient
    C queue.declare 1 queue=exclusive durable=true exclusive=true arguments={x-max-priority:int32:1}
    S queue.declare-ok 1 queue=exclusive
    C queue.declare 1 queue=auto durable=true auto-delete=true arguments={x-max-priority:int32:1}
    S queue.declare-ok 1 queue=auto
    C queue.declare 1 queue=said durable=true arguments={x-queue-type:str:classic,x-max-priority:int32:1}
    S queue.declare-ok 1 queue=said
    C queue.declare 1 durable=true
    S channel.close 1 406 \"PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue\" by=queue.declare
    C channel.close-ok 1
    C channel.open 1
    S channel.open-ok 1
    C queue.declare 1 queue=said durable=true arguments={x-max-priority:int32:1}
    S channel.close 1 406 \"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'said' in vhost '/': received 'quorum' but current is 'classic'\" by=queue.declare
    C channel.close-ok 1
    C channel.open 1
    S channel.open-ok 1\n";

#[test]
fn queues_that_do_not_say_their_type_are_of_that_of_their_vhost_or_node() {
    Scene::of(Node::open_of_type("quorum")).say(TYPES);
    let mut scene = Scene::new();
    let broker = scene.node.broker();
    scene.say("C queue.declare 1 queue=old durable=true\nS queue.declare-ok 1 queue=old");
    broker.set_default_queue_type("/", Some("quorum")).expect("a type");
    scene.say(TYPES);
    // A queue keeps its type, also in an export; whoever declares it again without one means what is the default then.
    let exported = broker.export_definitions();
    let other = Scene::new();
    assert_eq!(
        other.node.broker().load_definitions(&exported, other.node.now()).expect("definitions"),
        [""; 0]
    );
    assert!(other.node.broker().export_definitions() == exported);
    assert!(
        String::from_utf8_lossy(&exported).matches("\"x-queue-type\": \"classic\"").count() == 2,
        "old, said"
    );
    broker.set_default_queue_type("/", None).expect("none");
    scene.say(
        "C queue.declare 1 queue=old durable=true
         S queue.declare-ok 1 queue=old
         C queue.declare 1 queue=q durable=true
         S channel.close 1 406 \"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received none but current is the value 'quorum' of type 'longstr'\" by=queue.declare
         C channel.close-ok 1",
    );
}
