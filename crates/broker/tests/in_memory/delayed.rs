//! Messages that wait at an exchange: when they come, in which order, over restarts, and what operators see of them.

use std::sync::Arc;

use warrenmq_broker::{Limits, PendingMessage, Worker};
use warrenmq_store::{Entry, Journal, JournalOptions, MemoryDefinitions, scan};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Conversation, Options, Peer};

use crate::node::Node;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Unix time of the node's 0.
const EPOCH: u64 = 1_700_000_000_000;

/// A node with one client, a delayed exchange `d` and a durable queue `q` that is bound to it.
struct Stage {
    disk: SimDisk,
    definitions: MemoryDefinitions,
    limits: Limits,
    node: Node,
    client: Conversation,
    /// The last delivery tag.
    tag: u64,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        let (disk, definitions) = (SimDisk::new(), MemoryDefinitions::new());
        let node = Node::open_on(&disk, Box::new(definitions.clone()), limits.clone());
        let client = client_of(&node);
        let mut stage = Stage { disk, definitions, limits, node, client, tag: 0 };
        stage.say(
            "C exchange.declare 1 exchange=d type=x-delayed-message durable=true arguments={x-delayed-type:str:direct}
             S exchange.declare-ok 1
             C queue.declare 1 queue=q durable=true
             S queue.declare-ok 1 queue=q
             C queue.bind 1 queue=q exchange=d routing-key=k
             S queue.bind-ok 1",
        );
        stage
    }

    /// Messages leave memory at once, and slots of more than three are parted.
    fn small() -> Limits {
        Limits {
            queue_memory_octets: 60,
            delayed_memory_octets: 4096,
            delayed_loaded_max: 3,
            segment_block_octets: 300,
            segment_file_octets: 1000,
            journal_file_octets: 4000,
            journal_leftover_octets: 100,
            ..Limits::default()
        }
    }

    fn say(&mut self, lines: &str) {
        if let Err(mismatch) = self.client.say(lines) {
            panic!("{mismatch}\nin\n{lines}");
        }
    }

    fn publish(&mut self, body: &str, delay: u64) {
        self.say(&format!(
            "C basic.publish 1 exchange=d routing-key=k | delivery-mode=2 headers={{x-delay:int64:{delay}}} | body={body}"
        ));
    }

    fn pass(&self, millis: u64) {
        self.node.pass_quickly(millis);
    }

    /// Passes up to a time of the node.
    fn pass_to(&self, now: u64) {
        self.pass(now - self.node.now());
    }

    #[track_caller]
    fn expect_ready(&mut self, count: usize) {
        let lines = format!(
            "C queue.declare 1 queue=q durable=true passive=true\nS queue.declare-ok 1 queue=q message-count={count}"
        );
        if let Err(mismatch) = self.client.say(&lines) {
            panic!("at {}: {mismatch}", self.node.now());
        }
    }

    /// Takes everything from the queue, which is these bodies in this order.
    #[track_caller]
    fn expect_all(&mut self, bodies: &[String]) {
        for (number, body) in bodies.iter().enumerate() {
            let (tag, left) = (self.tag + 1, bodies.len() - 1 - number);
            self.tag = tag;
            let lines = format!(
                "C basic.get 1 queue=q no-ack=true
                 S basic.get-ok 1 {tag} redelivered=* exchange=d routing-key=k message-count={left} | delivery-mode=2 headers=* | body={body}"
            );
            if let Err(mismatch) = self.client.say(&lines) {
                panic!("message {number}: {mismatch}");
            }
        }
    }

    fn pending(&self) -> u64 {
        self.node.broker().delayed_exchanges().iter().map(|exchange| exchange.pending).sum()
    }

    /// Files of buckets: their numbers have the highest bit set.
    fn buckets_on_disk(&self) -> Vec<String> {
        let files = self.disk.files().into_iter().map(|(path, _)| path);
        let is_bucket = |path: &String| {
            path.strip_prefix("queues/").is_some_and(|rest| matches!(rest.as_bytes()[0], b'8'..=b'f'))
        };
        files.filter(is_bucket).collect()
    }

    fn listed(&self, after: u64, limit: usize) -> Vec<PendingMessage> {
        let broker = self.node.broker();
        broker
            .delayed_messages("/", "d", after, limit)
            .expect("the disk is read")
            .expect("the exchange is there")
    }

    /// The power fails, or the process ends (`None`), and it is started again after some time.
    fn crash(self, seed: Option<u64>, after: u64) -> Stage {
        // Whatever was said before is on disk by then.
        self.pass(SECOND);
        let Stage { disk, definitions, limits, node, client, .. } = self;
        let now = node.now() + after;
        let disk = seed.map_or_else(|| disk.crash_process(), |seed| disk.crash(seed));
        drop((client, node));
        let node = Node::open_later(&disk, Box::new(definitions.clone()), limits.clone(), now);
        let client = client_of(&node);
        Stage { disk, definitions, limits, node, client, tag: 0 }
    }
}

fn client_of(node: &Node) -> Conversation {
    let peers = node.clone();
    let connect = move |_| -> Box<dyn Peer> { Box::new(peers.connect()) };
    let mut client = Conversation::new(Options::default(), connect);
    client.say("open\nC channel.open 1\nS channel.open-ok 1").expect("a channel opens");
    client
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Due times with bodies, in the order in which the messages are to come.
#[derive(Default)]
struct Expected(Vec<(u64, usize, String)>);

impl Expected {
    fn publish(&mut self, stage: &mut Stage, delay: u64) {
        let number = self.0.len();
        let body = format!("m{number}");
        self.0.push((stage.node.now() + delay, number, body.clone()));
        stage.publish(&body, delay);
    }

    fn due(&self, now: u64) -> usize {
        self.0.iter().filter(|(due, ..)| *due <= now).count()
    }

    fn times(&self) -> Vec<u64> {
        let mut times: Vec<u64> = self.0.iter().map(|(due, ..)| *due).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    fn bodies(&mut self) -> Vec<String> {
        self.0.sort();
        self.0.iter().map(|(.., body)| body.clone()).collect()
    }
}

fn both() -> [Limits; 2] {
    [Limits::default(), Stage::small()]
}

#[test]
fn they_come_when_they_are_due_and_not_before() {
    for limits in both() {
        let mut stage = Stage::new(limits.clone());
        let mut expected = Expected::default();
        let delays = [
            5,
            50,
            50,
            999,
            SECOND,
            1_001,
            3 * SECOND,
            MINUTE,
            119 * SECOND,
            2 * MINUTE,
            121 * SECOND,
            HOUR,
            2 * HOUR,
            2 * HOUR + 1,
            3 * HOUR + 17,
            DAY,
            5 * DAY,
            5 * DAY + 1,
            40 * DAY,
            365 * DAY,
        ];
        for delay in delays {
            expected.publish(&mut stage, delay);
        }
        stage.expect_ready(0);
        assert_eq!(stage.pending(), delays.len() as u64);
        let on_disk = stage.buckets_on_disk().len();
        for at in expected.times() {
            stage.pass_to(at - 1);
            stage.expect_ready(expected.due(at - 1));
            stage.pass_to(at);
            stage.expect_ready(expected.due(at));
        }
        assert_eq!(stage.pending(), 0);
        stage.expect_all(&expected.bodies());
        stage.pass(2 * DAY);
        assert!(on_disk > 0 || limits.queue_memory_octets > 60);
        assert_eq!(stage.buckets_on_disk(), [""; 0]);
    }
}

#[test]
fn random_delays_in_order_and_in_time() {
    for (seed, limits) in [(1, Limits::default()), (2, Stage::small()), (3, Stage::small())] {
        let mut random = Random(seed);
        let mut stage = Stage::new(limits);
        let mut expected = Expected::default();
        for _ in 0..150 {
            let most = [300, 5 * SECOND, 10 * MINUTE, 10 * HOUR, 20 * DAY][random.below(5) as usize];
            let delay = 1 + random.below(most);
            expected.publish(&mut stage, delay);
            if random.below(3) == 0 {
                stage.pass(random.below(40));
            }
        }
        for at in expected.times().into_iter().filter(|at| *at > stage.node.now()).collect::<Vec<_>>() {
            stage.pass_to(at);
            // One that was published less than a millisecond before it is due may come a millisecond later.
            stage.expect_ready(expected.due(at));
        }
        stage.expect_all(&expected.bodies());
    }
}

#[test]
fn very_many_in_one_moment_come_in_order() {
    let mut stage = Stage::new(Limits { delayed_loaded_max: 20, ..Stage::small() });
    let mut expected = Expected::default();
    for number in 0..400 {
        expected.publish(&mut stage, 5 * SECOND + number % 4);
        if number % 100 == 99 {
            // Near enough that its slot is looked at already.
            stage.pass(SECOND);
        }
    }
    let last = *expected.times().last().expect("there are some");
    stage.pass_to(last + 10);
    stage.expect_ready(400);
    assert_eq!(stage.pending(), 0);
}

#[test]
fn they_survive_crashes_at_any_time() {
    for seed in 0..12 {
        let mut random = Random(100 + seed);
        let limits = if seed % 2 == 0 { Stage::small() } else { Limits::default() };
        let mut stage = Stage::new(limits);
        stage.say("C confirm.select 1\nS confirm.select-ok 1");
        let mut expected = Expected::default();
        for _ in 0..60 {
            let most = [2 * SECOND, 3 * MINUTE, 4 * HOUR, 9 * DAY][random.below(4) as usize];
            expected.publish(&mut stage, 1 + random.below(most));
        }
        stage.say("S confirmed 1 1..60");
        for round in 0..6 {
            stage.pass([10, SECOND, MINUTE, HOUR, DAY, 3 * DAY][random.below(6) as usize]);
            let down = [1, 5 * SECOND, 5 * MINUTE, 5 * HOUR][random.below(4) as usize];
            stage = stage.crash((round % 2 == 0).then_some(seed), down);
        }
        // What was due meanwhile takes a few turns.
        stage.pass(10);
        let now = stage.node.now();
        stage.expect_ready(expected.due(now));
        for at in expected.times().into_iter().filter(|at| *at > now).collect::<Vec<_>>() {
            stage.pass_to(at);
            stage.expect_ready(expected.due(at));
        }
        assert_eq!(stage.pending(), 0);
        stage.pass(DAY);
        stage.expect_all(&expected.bodies());
    }
}

/// A checkpoint may copy a message to the end of the journal that leaves its slot meanwhile, and a crash may come before that is said
/// again behind the copy.
#[test]
fn a_copy_that_is_younger_than_its_settlement_is_no_second_message() {
    let mut stage = Stage::new(Limits::default());
    stage.publish("once", 50);
    stage.pass(10);
    let found = scan(&stage.disk).expect("the journal is whole");
    let waits = found.publishes.iter().find(|publish| publish.queues[0].0 >= 1 << 63).expect("it waits");
    let (queues, count, arrived) = (Box::from(&*waits.queues), waits.count, waits.arrived);
    let copy = Entry::Publish { queues, count, arrived, records: found.read(waits).expect("it is there") };
    stage = stage.crash(None, 1);
    stage.expect_ready(1);
    let oldest = |disk: &SimDisk| {
        let files = disk.files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.starts_with("journal/") && path.ends_with(".log")).min()
    };
    let settled_in = oldest(&stage.disk).expect("there is a journal");

    let restart = |stage: Stage, copies: &[Entry]| {
        let Stage { disk, definitions, limits, node, client, .. } = stage;
        let (disk, now) = (disk.crash_process(), node.now() + 1);
        drop((client, node));
        if !copies.is_empty() {
            let found = scan(&disk).expect("the journal is whole");
            let options = JournalOptions::default();
            let journal = Journal::begin(Arc::new(disk.clone()), options, &found).expect("it goes on");
            let end = journal.append(copies.to_vec(), true);
            while journal.durable() < end {
                journal.step(0).expect("the disk works");
            }
        }
        let node = Node::open_later(&disk, Box::new(definitions.clone()), limits.clone(), now);
        let client = client_of(&node);
        Stage { disk, definitions, limits, node, client, tag: 0 }
    };
    stage = restart(stage, &[copy]);
    stage.expect_ready(1);
    // The file with the settlement goes, and that with the copy is still there.
    let (broker, mut now) = (stage.node.broker(), stage.node.now());
    while oldest(&stage.disk).as_ref() == Some(&settled_in) {
        now += 100;
        assert!(now < MINUTE, "the file stays");
        for worker in [Worker::Commit, Worker::Write] {
            broker.step(worker, now);
        }
    }
    drop(broker);
    stage = restart(stage, &[]);
    stage.pass(SECOND);
    stage.expect_ready(1);
}

#[test]
fn what_was_due_while_the_broker_was_down_comes_in_the_order_of_its_time() {
    for limits in both() {
        let mut stage = Stage::new(limits);
        let mut expected = Expected::default();
        for delay in
            [6 * DAY, 90 * MINUTE, 3 * HOUR, 70 * SECOND, 20, 6 * DAY - 1, 26 * HOUR, 5 * MINUTE, 90 * MINUTE]
        {
            expected.publish(&mut stage, delay);
        }
        let mut stage = stage.crash(None, 8 * DAY);
        stage.pass(5);
        stage.expect_all(&expected.bodies());
        assert_eq!(stage.pending(), 0);
    }
}

#[test]
fn messages_and_exchanges_that_do_not_survive() {
    let mut stage = Stage::new(Limits::default());
    stage.say(
        "C exchange.declare 1 exchange=t type=x-delayed-message arguments={x-delayed-type:str:fanout}
         S exchange.declare-ok 1
         C queue.bind 1 queue=q exchange=t
         S queue.bind-ok 1
         C basic.publish 1 exchange=t | delivery-mode=2 headers={x-delay:int32:60000} | body=lost
         C basic.publish 1 exchange=d routing-key=k | headers={x-delay:int32:60000} | body=kept
         C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q",
    );
    assert_eq!(stage.pending(), 2);
    let mut stage = stage.crash(None, SECOND);
    assert_eq!(stage.pending(), 1, "a transient message waits as long as its exchange is durable");
    stage.pass(MINUTE);
    stage.say(
        "C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 exchange=d routing-key=k | headers={x-delay:int64:-60000} | body=kept",
    );
}

#[test]
fn a_deleted_exchange_takes_all_of_it_along() {
    for limits in both() {
        let mut stage = Stage::new(limits);
        for number in 0..40 {
            stage.publish(&format!("m{number}"), 100 + number * HOUR);
        }
        stage.say("C exchange.delete 1 exchange=d\nS exchange.delete-ok 1");
        assert_eq!((stage.pending(), stage.node.broker().delayed_exchanges()), (0, vec![]));
        stage.pass(SECOND);
        assert_eq!(stage.buckets_on_disk(), [""; 0]);
        stage.pass(3 * DAY);
        stage.expect_ready(0);
        let mut stage = stage.crash(Some(3), SECOND);
        stage.say(
            "C exchange.declare 1 exchange=d type=x-delayed-message durable=true arguments={x-delayed-type:str:direct}
             S exchange.declare-ok 1",
        );
        assert_eq!(stage.pending(), 0, "it is another exchange");
    }
}

#[test]
fn what_waits_is_listed_in_pages() {
    for limits in both() {
        let mut random = Random(9);
        let mut stage = Stage::new(limits);
        let mut expected = Expected::default();
        for _ in 0..70 {
            let most = [SECOND, MINUTE, 30 * HOUR, 9 * DAY][random.below(4) as usize];
            expected.publish(&mut stage, 500 + random.below(most));
        }
        for _ in 0..3 {
            let (mut after, mut seen) = (0, Vec::new());
            loop {
                let page = stage.listed(after, 7);
                let Some(last) = page.last() else { break };
                after = last.id;
                seen.extend(page);
            }
            let now = stage.node.now();
            let waits: Vec<u64> = {
                let mut due: Vec<u64> =
                    expected.0.iter().map(|(due, ..)| *due).filter(|due| *due > now).collect();
                due.sort_unstable();
                due
            };
            assert_eq!(seen.iter().map(|message| message.due_ms - EPOCH).collect::<Vec<_>>(), waits);
            assert_eq!(stage.pending(), waits.len() as u64);
            assert!(seen.iter().all(|message| message.routing_key == b"k" && message.published_to == b"d"));
            assert!(seen.iter().all(|message| (2..4).contains(&message.body_octets)));
            stage.pass(20 * HOUR);
        }
        assert_eq!(
            stage.node.broker().delayed_messages("/", "amq.direct", 0, 9).expect("nothing is read"),
            None
        );
    }
}

#[test]
fn a_message_that_was_cancelled_never_comes() {
    for limits in both() {
        let mut stage = Stage::new(limits);
        let mut expected = Expected::default();
        for delay in [300, 400, 90 * SECOND, 91 * SECOND, HOUR, HOUR + 1, DAY, 10 * DAY, 10 * DAY + 1] {
            expected.publish(&mut stage, delay);
        }
        let cancel = |stage: &Stage, id: u64| {
            stage.node.broker().cancel_delayed("/", "d", id, stage.node.now()).expect("the disk is read")
        };
        let listed = stage.listed(0, 100);
        assert_eq!(listed.len(), 9);
        // The ids stay when messages move.
        stage.pass(310);
        for at in [2, 4, 7] {
            assert!(cancel(&stage, listed[at].id));
            assert!(!cancel(&stage, listed[at].id), "it is gone");
        }
        stage.pass(30);
        assert!(cancel(&stage, listed[1].id), "it is sorted already");
        assert!(!cancel(&stage, listed[0].id), "it has come");
        assert_eq!(stage.pending(), 4);
        let mut stage = stage.crash(Some(1), SECOND);
        assert_eq!(stage.pending(), 4);
        stage.pass(9 * DAY);
        assert!(!cancel(&stage, listed[5].id));
        stage.pass(2 * DAY);
        let left: Vec<String> = [0, 3, 5, 6, 8].map(|at| format!("m{at}")).to_vec();
        stage.expect_all(&left);
    }
}
