//! Publishes that wait for more input which is at hand, and what ends that.

use warrenmq_broker::Commits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Conversation, Mode, Options, Target};

use crate::node::Node;

const OPENED: &str = "
    open
    C channel.open 1
    S channel.open-ok 1
    2: open
    2: C channel.open 1
    2: S channel.open-ok 1
    2: C queue.declare 1 queue=q
    2: S queue.declare-ok 1 queue=q
    2: C basic.consume 1 queue=q consumer-tag=c no-ack=true
    2: S basic.consume-ok 1 c";
const HELD: &str = "
    C basic.publish 1 routing-key=q | | body=held
    2: S <nothing>";
const DELIVERED: &str = "2: S basic.deliver 1 c 1 routing-key=q | | body=held";

/// What is held goes to its queue when there is no more input, before any other method, with the connection, and when the picture
/// changes by which it was routed.
#[test]
fn what_waits_for_more_input_is_not_forgotten() {
    let ends = [
        "",
        "C queue.declare 1 queue=other\nS queue.declare-ok 1 queue=other",
        "C channel.close 1 200 bye\nS channel.close-ok 1",
        "C <close>",
        "2: C queue.declare 1 queue=other\n2: S queue.declare-ok 1 queue=other
         C basic.publish 1 routing-key=nowhere | | body=",
    ];
    for end in ends {
        let node = Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline);
        let broker = node.clone();
        let options = Options { mode: Mode::Whole, target: Target::Default };
        let mut talk = Conversation::new(options, move |_| Box::new(broker.connect()));
        let mut say = |lines: &str| {
            talk.say(lines).unwrap_or_else(|mismatch| panic!("{end}\n{mismatch}"));
        };
        say(OPENED);
        node.expect_input(true);
        say(HELD);
        if end.is_empty() {
            node.expect_input(false);
        } else {
            say(end);
        }
        say(DELIVERED);
    }
}

/// It was long enough, or enough has gathered.
#[test]
fn what_waits_for_more_input_does_not_wait_for_ever() {
    let node = Node::open(Box::new(MemoryDefinitions::new()), Commits::Inline);
    let broker = node.clone();
    let options = Options { mode: Mode::Whole, target: Target::Default };
    let mut talk = Conversation::new(options, move |_| Box::new(broker.connect()));
    talk.say(OPENED).unwrap();
    node.expect_input(true);
    // That there is nothing takes a transcript longer to see than publishes wait.
    talk.say(HELD).unwrap();
    talk.say("C basic.publish 1 routing-key=q | | body=late").unwrap();
    talk.say(DELIVERED).unwrap();
    talk.say("C basic.publish 1 routing-key=q | | body=\"x\"*20000").unwrap();
    talk.say("2: S basic.deliver 1 c 2 routing-key=q | | body=late").unwrap();
    talk.say("2: S basic.deliver 1 c 3 routing-key=q | | body=\"x\"*20000").unwrap();
}
