//! Queues that are bound to an `x-recent-history` exchange while others publish to it.
//!
//! Invariant that is tested: a message that the history is long enough for is in every queue, whenever it was bound.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use warrenmq_broker::Commits;
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::transcript::{Arrival, Conversation, Options, Peer};

use crate::node::{Client, Node};

const QUEUES: usize = 15;
const MESSAGES: usize = 6000;
/// Messages of one read: a bind often falls into the midst of them.
const AT_ONCE: usize = 300;

/// A client that remembers all it hears.
struct Recorder {
    client: Client,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Peer for Recorder {
    fn send(&mut self, octets: &[u8]) {
        self.client.send(octets);
    }

    fn receive(&mut self, timeout: Duration) -> Arrival {
        let arrival = self.client.receive(timeout);
        if let Arrival::Bytes(octets) = &arrival {
            self.heard.lock().extend_from_slice(octets);
        }
        arrival
    }
}

fn talk(node: &Node, heard: &Arc<Mutex<Vec<u8>>>) -> Conversation {
    let (node, heard) = (node.clone(), Arc::clone(heard));
    let connect = move |_| -> Box<dyn Peer> {
        Box::new(Recorder { client: node.connect(), heard: Arc::clone(&heard) })
    };
    let mut talk = Conversation::new(Options::default(), connect);
    talk.say("open\nC channel.open 1\nS channel.open-ok 1").expect("a channel");
    talk
}

/// The numbers of the messages, in the order in which they came.
fn numbers(heard: &[u8]) -> Vec<usize> {
    let bodies = heard.windows(8).filter(|octets| octets[0] == b'<' && octets[7] == b'>');
    bodies.filter_map(|body| std::str::from_utf8(&body[1..7]).ok()?.parse().ok()).collect()
}

#[test]
fn nobody_who_is_bound_meanwhile_misses_a_message() {
    let node = Node::try_open(Box::new(MemoryDefinitions::new()), Commits::Threaded).expect("it opens");
    let (broker, begin, done) = (node.broker(), Barrier::new(2), AtomicBool::new(false));
    let mut reader = talk(&node, &Arc::default());
    reader
        .say(
            "C exchange.declare 1 exchange=x type=x-recent-history arguments={x-recent-history-length:int32:100000}
             S exchange.declare-ok 1",
        )
        .expect("an exchange");
    thread::scope(|scope| {
        scope.spawn(|| {
            let node = Node::beside(&broker);
            let mut publisher = talk(&node, &Arc::default());
            begin.wait();
            for first in (0..MESSAGES).step_by(AT_ONCE) {
                let mut lines = String::new();
                for number in first..first + AT_ONCE {
                    writeln!(lines, "C basic.publish 1 exchange=x | | body=\"<{number:06}>\"")
                        .expect("a string");
                }
                publisher.say(&lines).expect("publishes have no answer");
            }
            done.store(true, Ordering::SeqCst);
        });
        let node = Node::beside(&broker);
        let mut binder = talk(&node, &Arc::default());
        begin.wait();
        let mut meanwhile = 0;
        for queue in 0..QUEUES {
            let lines = format!(
                "C queue.declare 1 queue=q{queue}
                 S queue.declare-ok 1 queue=q{queue}
                 C queue.bind 1 queue=q{queue} exchange=x
                 S queue.bind-ok 1"
            );
            binder.say(&lines).expect("a bound queue");
            meanwhile += usize::from(!done.load(Ordering::SeqCst));
        }
        assert!(meanwhile > QUEUES / 4, "the publisher was done after {meanwhile} binds");
    });
    for queue in 0..QUEUES {
        let heard = Arc::default();
        let mut reader = talk(&node, &heard);
        let lines = format!(
            "C basic.consume 1 queue=q{queue} consumer-tag=c no-ack=true
             S basic.consume-ok 1 c
             S basic.deliver 1 c 1 exchange=x | | body=*"
        );
        reader.say(&lines).expect("a message at least");
        let mut numbers = numbers(&heard.lock());
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.iter().copied().eq(0..MESSAGES), "queue {queue}: {} are there", numbers.len());
    }
}
