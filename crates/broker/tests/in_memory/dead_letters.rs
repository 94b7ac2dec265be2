//! Dead letters of `x-dead-letter-strategy` `at-least-once`: they stay in their queue until all others have them.

use serde_json::json;
use warrenmq_broker::Limits;
use warrenmq_broker::policy::PolicyKind;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;

use crate::node::Node;
use crate::policies::Scene;

/// Longer than a dead letter waits until it is tried again.
const LONG_MS: u64 = 11_000;

/// Declares `q`, whose dead letters go to the exchange `x`.
const DECLARE: &str = "C exchange.declare 1 exchange=x type=fanout durable=true
     S exchange.declare-ok 1
     C queue.declare 1 queue=dead durable=true
     S queue.declare-ok 1 queue=dead
     C queue.declare 1 queue=q durable=true arguments={x-queue-type:str:quorum,x-dead-letter-exchange:str:x,x-dead-letter-strategy:str:at-least-once,x-overflow:str:reject-publish}
     S queue.declare-ok 1 queue=q";
const REJECT: &str = "C basic.publish 1 routing-key=q | | body=a
     C basic.get 1 queue=q
     S basic.get-ok 1 1 routing-key=q | | body=a
     C basic.reject 1 1";
const BIND: &str = "C queue.bind 1 queue=dead exchange=x
     S queue.bind-ok 1";

fn count(queue: &str, count: u32) -> String {
    format!(
        "C queue.declare 1 queue={queue} passive=true\nS queue.declare-ok 1 queue={queue} message-count={count}\n"
    )
}

/// Gets the one message of a queue, which has died once for this reason.
fn get_dead(queue: &str, tag: u64, reason: &str, body: &str) -> String {
    let death = format!(
        "x-death:array:[table:{{count:int64:1,reason:str:{reason},queue:str:q,time:timestamp:*,exchange:str:\"\",routing-keys:array:[str:q]}}]"
    );
    let ends = ["first", "last"].map(|end| {
        format!("x-{end}-death-exchange:str:\"\",x-{end}-death-queue:str:q,x-{end}-death-reason:str:{reason}")
    });
    format!(
        "C basic.get 1 queue={queue} no-ack=true
         S basic.get-ok 1 {tag} exchange=x routing-key=q | headers={{{death},{}}} | body={body}\n",
        ends.join(",")
    )
}

#[test]
fn without_a_route_they_wait_for_one() {
    let mut scene = Scene::new();
    scene.say(&[DECLARE, "\n", REJECT].concat());
    scene.say(&count("q", 0));
    scene.node.pass(LONG_MS);
    scene.say("C queue.purge 1 queue=q\nS queue.purge-ok 1 message-count=0");
    scene.say(BIND);
    scene.say(&count("dead", 0));
    scene.node.pass(LONG_MS);
    scene.say(&get_dead("dead", 2, "rejected", "a"));
    scene.node.pass(5 * LONG_MS);
    scene.say(&[count("q", 0), count("dead", 0)].concat());
}

#[test]
fn an_exchange_that_is_missing_may_come() {
    let mut scene = Scene::new();
    scene.say(&[DECLARE, "\nC exchange.delete 1 exchange=x\nS exchange.delete-ok 1\n", REJECT].concat());
    scene.node.pass(LONG_MS);
    scene.say("C exchange.declare 1 exchange=x type=fanout\nS exchange.declare-ok 1");
    scene.say(BIND);
    scene.node.pass(LONG_MS);
    scene.say(&get_dead("dead", 2, "rejected", "a"));
}

/// Nobody has it twice because another one was full.
#[test]
fn all_queues_get_them_together() {
    let mut scene = Scene::new();
    scene.say(&[DECLARE, "\n", BIND].concat());
    scene.say(
        "C queue.declare 1 queue=full arguments={x-max-length:int32:1,x-overflow:str:reject-publish}
         S queue.declare-ok 1 queue=full
         C queue.bind 1 queue=full exchange=x
         S queue.bind-ok 1
         C basic.publish 1 routing-key=full | | body=first",
    );
    scene.say(REJECT);
    scene.node.pass(LONG_MS);
    scene.say(&count("dead", 0));
    scene.say(
        "C basic.get 1 queue=full no-ack=true
         S basic.get-ok 1 2 routing-key=full | | body=first",
    );
    scene.node.pass(LONG_MS);
    scene.say(&[get_dead("dead", 3, "rejected", "a"), get_dead("full", 4, "rejected", "a")].concat());
    scene.node.pass(LONG_MS);
    scene.say(&[count("dead", 0), count("full", 0)].concat());
}

#[test]
fn expired_and_returned_ones_wait_too() {
    let mut scene = Scene::new();
    scene.say(DECLARE);
    scene.set(PolicyKind::User, "q", json!({"message-ttl": 1000, "delivery-limit": 0}));
    scene.say("C basic.publish 1 routing-key=q | | body=a");
    scene.node.pass(1_100);
    scene.say(
        "C basic.publish 1 routing-key=q | | body=b
         C basic.get 1 queue=q
         S basic.get-ok 1 1 routing-key=q | | body=b
         C basic.reject 1 1 requeue=true",
    );
    scene.say(&[count("q", 0), BIND.to_owned()].concat());
    scene.node.pass(LONG_MS);
    scene.say(&count("dead", 2));
    scene.say("C queue.delete 1 queue=q\nS queue.delete-ok 1");
}

/// Without `reject-publish` they leave when they die.
#[test]
fn a_queue_that_drops_keeps_no_dead_letters() {
    let mut scene = Scene::new();
    scene.say(&[&DECLARE.replace(",x-overflow:str:reject-publish", ""), "\n", REJECT, "\n", BIND].concat());
    scene.node.pass(LONG_MS);
    scene.say(&count("dead", 0));
    scene.say(
        "C basic.publish 1 routing-key=q | | body=b
         C basic.get 1 queue=q
         S basic.get-ok 1 2 routing-key=q | | body=b
         C basic.reject 1 2",
    );
    scene.say(&get_dead("dead", 3, "rejected", "b"));
}

/// What waits when the power goes is ready again, and what has arrived stays where it is.
#[test]
fn a_crash_loses_none_and_doubles_none() {
    for seed in 0..20 {
        let definitions = MemoryDefinitions::new();
        let mut disk = SimDisk::new();
        let open =
            |disk: &SimDisk| Scene::of(Node::open_on(disk, Box::new(definitions.clone()), Limits::default()));
        let crash = |disk: SimDisk| if seed == 0 { disk.crash_process() } else { disk.crash(seed) };
        let confirmed = "C confirm.select 1\nS confirm.select-ok 1\n";
        let mut scene = open(&disk);
        scene.say(
            &[DECLARE, "\n", confirmed, &REJECT.replacen("body=a", "body=a\nS confirmed 1 1..1", 1)].concat(),
        );
        // A restart knows that the queue was declared, and what was confirmed behind the reject.
        scene.say("C basic.publish 1 routing-key=q | | body=b\nS confirmed 1 2..2");
        disk = crash(disk);
        drop(scene);
        let mut scene = open(&disk);
        scene.say(&[&count("q", 2), BIND].concat());
        scene.say(
            "C basic.get 1 queue=q
             S basic.get-ok 1 1 redelivered=true routing-key=q message-count=1 | | body=a
             C basic.reject 1 1",
        );
        scene.say(&[&count("dead", 1), confirmed].concat());
        scene.say("C basic.publish 1 routing-key=q | | body=c\nS confirmed 1 1..1");
        disk = crash(disk);
        drop(scene);
        let mut scene = open(&disk);
        scene.say(&count("q", 2));
        scene.node.pass(LONG_MS);
        scene.say(&count("q", 2));
    }
}
