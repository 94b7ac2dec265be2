//! A publisher waits for consumers that are behind, and what ends its wait.

use warrenmq_broker::Limits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Conversation, Mode, Options, Target};

use crate::node::Node;

/// Connection 1 publishes more than the window to the queue of the consumer on connection 2, which can take one message. What it
/// says next is not read.
const WAITS: &str = "
    open
    C channel.open 1
    S channel.open-ok 1
    2: open
    2: C channel.open 1
    2: S channel.open-ok 1
    2: C queue.declare 1 queue=q
    2: S queue.declare-ok 1 queue=q
    2: C basic.qos 1 prefetch-count=1
    2: S basic.qos-ok 1
    2: C basic.consume 1 queue=q consumer-tag=c
    2: S basic.consume-ok 1 c
    C basic.publish 1 routing-key=q | | body=first
    2: S basic.deliver 1 c 1 routing-key=q | | body=first
    C basic.publish 1 routing-key=q | | body=\"x\"*3000
    C queue.declare 1 queue=other
    S <nothing>";

#[test]
fn the_wait_ends_when_nothing_is_to_be_waited_for() {
    let ends = [
        "2: C queue.purge 1 queue=q\n2: S queue.purge-ok 1 1",
        "2: C basic.ack 1 1\n2: S basic.deliver 1 c 2 routing-key=q | | body=\"x\"*3000",
        "2: C basic.cancel 1 c\n2: S basic.cancel-ok 1 c",
        "2: C channel.close 1 200 bye\n2: S channel.close-ok 1",
        "2: C <close>",
        "2: C queue.delete 1 queue=q\n2: S queue.delete-ok 1 1",
    ];
    for end in ends {
        // Far longer than a transcript waits for an answer.
        let limits = Limits { queue_window_octets: 1_000, queue_window_wait_ms: 60_000, ..Limits::default() };
        let node = Node::open_on(&SimDisk::new(), Box::new(MemoryDefinitions::new()), limits);
        let options = Options { mode: Mode::Whole, target: Target::Default };
        let mut talk = Conversation::new(options, move |_| Box::new(node.connect()));
        let goes_on = "S queue.declare-ok 1 queue=other";
        for lines in [WAITS, end, goes_on] {
            talk.say(lines).unwrap_or_else(|mismatch| panic!("{end}\n{mismatch}"));
        }
    }
}
