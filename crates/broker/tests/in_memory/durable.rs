//! Messages that outlive the broker, on a disk that crashes.

use warrenmq_broker::{Limits, Worker};
use warrenmq_store::MemoryDefinitions;
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::transcript::{Options, Peer, run_transcript};

use crate::node::Node;

const CHANNEL: &str = "open\nC channel.open 1\nS channel.open-ok 1\n";

/// Everything leaves memory, files and blocks are tiny.
fn small() -> Limits {
    Limits {
        queue_memory_octets: 600,
        segment_block_octets: 300,
        segment_file_octets: 1000,
        journal_file_octets: 2000,
        journal_leftover_octets: 100,
        ..Limits::default()
    }
}

/// Runs each part on a broker of its own; between them the power fails, or the process is killed.
fn through_crashes(limits: &Limits, parts: &[&str]) {
    for seed in 0..20 {
        let definitions = MemoryDefinitions::new();
        let mut disk = SimDisk::new();
        for (number, lines) in parts.iter().enumerate() {
            let node = Node::open_on(&disk, Box::new(definitions.clone()), limits.clone());
            let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
            let text = format!("{CHANNEL}{lines}");
            if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
                panic!("seed {seed}, part {number}: {mismatch}\nin\n{text}");
            }
            let old = disk;
            disk = if seed == 0 { old.crash_process() } else { old.crash(seed) };
            drop(node);
        }
    }
}

#[test]
fn what_was_confirmed_comes_back_once_and_in_order() {
    let parts = [
        "C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=a
         C basic.publish 1 routing-key=q | delivery-mode=1 | body=transient
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=b
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=c
         S confirmed 1 1..4",
        "C basic.get 1 queue=q
         S basic.get-ok 1 1 redelivered=true message-count=2 routing-key=q | delivery-mode=2 | body=a
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true message-count=1 routing-key=q | delivery-mode=2 | body=b
         C tx.select 1
         S tx.select-ok 1
         C basic.ack 1 2
         C tx.commit 1
         S tx.commit-ok 1",
        "C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 redelivered=true message-count=1 routing-key=q | delivery-mode=2 | body=a
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true message-count=0 routing-key=q | delivery-mode=2 | body=c",
    ];
    through_crashes(&Limits::default(), &parts);
    through_crashes(&small(), &parts);
}

/// How many octets are there is known though they are on disk alone.
#[test]
fn a_queue_that_was_full_of_octets_is_full_after_a_restart() {
    let publish = format!("C basic.publish 1 routing-key=q | delivery-mode=2 | body={}\n", "x".repeat(50));
    let fill = format!(
        "C queue.declare 1 queue=q durable=true arguments={{x-max-length-bytes:int32:1000,x-overflow:str:reject-publish}}
         S queue.declare-ok 1 queue=q
         C confirm.select 1
         S confirm.select-ok 1
         {}S confirmed 1 1..20",
        publish.repeat(20)
    );
    let full = format!(
        "C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=y
         S basic.nack 1 1 multiple=* requeue=*
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 redelivered=* message-count=19 routing-key=q | delivery-mode=2 | body=*
         {publish}S basic.ack 1 2
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=y
         S basic.nack 1 3 multiple=* requeue=*"
    );
    through_crashes(&Limits::default(), &[&fill, &full]);
    through_crashes(&small(), &[&fill, &full]);
}

/// Bodies that lie in several frames, and are written to the disk from where they were read to.
#[test]
fn large_messages_come_back() {
    let parts = [
        "C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C queue.declare 1 queue=p durable=true
         S queue.declare-ok 1 queue=p
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=small
         C basic.publish 1 routing-key=q | delivery-mode=2 headers={CC:array:[str:p]} | body=\"abc\"*60000
         C basic.publish 1 routing-key=q | delivery-mode=2 expiration=\"1000000\" | body=\"defg\"*60000
         C basic.publish 1 routing-key=q | delivery-mode=1 | body=\"transient\"*30000
         S confirmed 1 1..4",
        "C basic.get 1 queue=q
         S basic.get-ok 1 1 redelivered=true message-count=2 routing-key=q | delivery-mode=2 | body=small
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true message-count=1 routing-key=q | delivery-mode=2 headers={CC:array:[str:p]} | body=\"abc\"*60000
         C basic.get 1 queue=q
         S basic.get-ok 1 3 redelivered=true routing-key=q | delivery-mode=2 expiration=\"1000000\" | body=\"defg\"*60000
         C basic.get 1 queue=p
         S basic.get-ok 1 4 redelivered=true routing-key=q | delivery-mode=2 headers={CC:array:[str:p]} | body=\"abc\"*60000",
    ];
    through_crashes(&Limits::default(), &parts);
    through_crashes(&small(), &parts);
}

#[test]
fn a_commit_moves_messages_in_one_step() {
    through_crashes(
        &small(),
        &[
            "C exchange.declare 1 exchange=x type=fanout durable=true
             S exchange.declare-ok 1
             C queue.declare 1 queue=dead durable=true
             S queue.declare-ok 1 queue=dead
             C queue.declare 1 queue=other durable=true
             S queue.declare-ok 1 queue=other
             C queue.bind 1 queue=dead exchange=x
             S queue.bind-ok 1
             C queue.bind 1 queue=other exchange=x
             S queue.bind-ok 1
             C queue.declare 1 queue=q durable=true arguments={x-dead-letter-exchange:str:x}
             S queue.declare-ok 1 queue=q
             C tx.select 1
             S tx.select-ok 1
             C basic.publish 1 routing-key=q | delivery-mode=2 | body=m
             C basic.publish 1 exchange=x | delivery-mode=2 | body=n
             C tx.commit 1
             S tx.commit-ok 1
             C basic.get 1 queue=q
             S basic.get-ok 1 1 redelivered=false message-count=0 routing-key=q | delivery-mode=2 | body=m
             C basic.reject 1 1 requeue=false
             C tx.commit 1
             S tx.commit-ok 1
             C basic.publish 1 routing-key=q | delivery-mode=2 | body=rolled
             C tx.rollback 1
             S tx.rollback-ok 1",
            "C queue.declare 1 queue=q passive=true
             S queue.declare-ok 1 queue=q message-count=0
             C queue.declare 1 queue=dead passive=true
             S queue.declare-ok 1 queue=dead message-count=2
             C queue.declare 1 queue=other passive=true
             S queue.declare-ok 1 queue=other message-count=2
             C basic.get 1 queue=dead
             S basic.get-ok 1 1 redelivered=true message-count=1 exchange=x | delivery-mode=2 | body=n",
        ],
    );
}

/// More than stays in memory: it is written, read back, acknowledged here and there, and comes back.
#[test]
fn a_long_queue_lives_on_disk() {
    let publish: String = (0..100)
        .map(|n| format!("C basic.publish 1 routing-key=q | delivery-mode=2 | body=message-{n:030}\n"))
        .collect();
    let first = format!(
        "C queue.declare 1 queue=q durable=true\nS queue.declare-ok 1 queue=q\nC confirm.select 1\nS confirm.select-ok 1\n{publish}S confirmed 1 1..100"
    );
    let get = |tag: u32, number: u32, left: u32| {
        format!(
            "C basic.get 1 queue=q\nS basic.get-ok 1 {tag} redelivered=true message-count={left} routing-key=q | delivery-mode=2 | body=message-{number:030}\n"
        )
    };
    // Every second one is acknowledged, and that is made sure by a commit.
    let mut second = String::from("C tx.select 1\nS tx.select-ok 1\n");
    for number in 0..100 {
        second.push_str(&get(number + 1, number, 99 - number));
        if number % 2 == 0 {
            second.push_str(&format!("C basic.ack 1 {}\n", number + 1));
        }
    }
    second.push_str("C tx.commit 1\nS tx.commit-ok 1\n");
    let third: String =
        (0..50).map(|index| get(index + 1, 2 * index + 1, 49 - index)).collect::<Vec<_>>().concat();
    let purge = "C queue.purge 1 queue=q\nS queue.purge-ok 1 50\nC tx.select 1\nS tx.select-ok 1\nC tx.commit 1\nS tx.commit-ok 1";
    through_crashes(&small(), &[&first, &second, &third, purge]);
}

/// A message is written once, however many queues it goes to.
#[test]
fn a_fanout_writes_its_message_once() {
    const QUEUES: u64 = 100;
    let disk = SimDisk::new();
    let node = Node::open_on(&disk, Box::new(MemoryDefinitions::new()), Limits::default());
    let run = |lines: &str| {
        let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
        let text = format!("{CHANNEL}{lines}");
        if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
            panic!("{mismatch}\nin\n{text}");
        }
    };
    let mut declare = String::from(
        "C exchange.declare 1 exchange=x type=fanout durable=true
         S exchange.declare-ok 1
        ",
    );
    for n in 0..QUEUES {
        declare.push_str(&format!(
            "C queue.declare 1 queue=q{n} durable=true
             S queue.declare-ok 1 queue=q{n}
             C queue.bind 1 queue=q{n} exchange=x
             S queue.bind-ok 1
            "
        ));
    }
    run(&declare);
    let before = disk.octets_written("journal");
    let body = "b".repeat(1024);
    run(&format!(
        "C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 exchange=x | delivery-mode=2 | body={body}
         S confirmed 1 1..1"
    ));
    let written = disk.octets_written("journal") - before;
    assert!((1024..=1536 + 40 * QUEUES).contains(&written), "{written} octets");
}

/// A page is written when all in it is gone. Until its place is given back a restart finds it, also when the file has left that told
/// what is gone.
#[test]
fn what_has_gone_before_it_was_written_stays_away() {
    let limits = Limits { queue_memory_octets: 0, ..small() };
    let (disk, definitions) = (SimDisk::new(), MemoryDefinitions::new());
    let node = Node::open_on(&disk, Box::new(definitions.clone()), limits.clone());
    let broker = node.broker();
    // Nobody writes meanwhile.
    let aside = Node::beside(&broker);
    let mut connect = |_| -> Box<dyn Peer> { Box::new(aside.connect()) };
    let body = "x".repeat(500);
    let publish = format!("C basic.publish 1 routing-key=p | delivery-mode=2 | body={body}\n");
    let text = format!(
        "{CHANNEL}C queue.declare 1 queue=p durable=true
         S queue.declare-ok 1 queue=p
         C queue.declare 1 queue=q durable=true
         S queue.declare-ok 1 queue=q
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=q | delivery-mode=2 | body={body}
         S basic.ack 1 1
         C basic.get 1 queue=q no-ack=true
         S basic.get-ok 1 1 routing-key=q | delivery-mode=2 | body={body}
         {}S confirmed 1 2..13",
        publish.repeat(12)
    );
    if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
        panic!("{mismatch}");
    }
    let first_file = |disk: &SimDisk| disk.files().iter().any(|(name, _)| name.ends_with("0000000001.log"));
    assert!(first_file(&disk));
    let text = format!(
        "{CHANNEL}C queue.declare 1 queue=q passive=true\nS queue.declare-ok 1 queue=q message-count=0\n"
    );
    let mut step = 0;
    while broker.step(Worker::Write, 1_000) {
        while broker.step(Worker::Commit, 1_000) {}
        step += 1;
        for seed in 0..4 {
            let left = if seed == 0 { disk.crash_process() } else { disk.crash(seed) };
            let node = Node::open_on(&left, Box::new(definitions.clone()), limits.clone());
            let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
            if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
                panic!("step {step}, seed {seed}: {mismatch}");
            }
        }
    }
    assert!(!first_file(&disk));
}

/// Nothing happens for a while: what is left on disk is what lives.
#[test]
fn an_idle_broker_takes_as_much_disk_as_its_messages() {
    let limits = Limits {
        queue_memory_octets: 8000,
        segment_block_octets: 4000,
        segment_file_octets: 20_000,
        journal_file_octets: 20_000,
        journal_leftover_octets: 500,
        ..Limits::default()
    };
    let disk = SimDisk::new();
    let definitions = MemoryDefinitions::new();
    let node = Node::open_on(&disk, Box::new(definitions.clone()), limits.clone());
    let mut client = String::from(
        "C queue.declare 1 queue=q durable=true\nS queue.declare-ok 1 queue=q\nC confirm.select 1\nS confirm.select-ok 1\n",
    );
    for n in 0..1000 {
        client
            .push_str(&format!("C basic.publish 1 routing-key=q | delivery-mode=2 | body=message-{n:030}\n"));
    }
    client.push_str(
        "S confirmed 1 1..1000\nC basic.consume 1 queue=q consumer-tag=c\nS basic.consume-ok 1 c\n",
    );
    for n in 0..1000 {
        client.push_str(&format!(
            "S basic.deliver 1 c {} routing-key=q | delivery-mode=2 | body=message-{n:030}\n",
            n + 1
        ));
    }
    for n in 0..1000 {
        if n % 2 == 0 {
            client.push_str(&format!("C basic.ack 1 {}\n", n + 1));
        }
    }
    let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
    let text = format!("{CHANNEL}{client}");
    if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
        panic!("{mismatch}");
    }
    node.pass(10_000);
    let octets = |folder: &str| -> u64 {
        disk.files().iter().filter(|(name, _)| name.starts_with(folder)).map(|(_, octets)| octets).sum()
    };
    // 12 octets of a record's head, route, header and body; 500 messages are left.
    let records = 500 * (12 + 3 + 15 + 38);
    assert!(octets("journal") < 1000, "{:?}", disk.files());
    assert!(octets("queues") < records * 5 / 4, "{} of {records}: {:?}", octets("queues"), disk.files());
    drop(node);
    let node = Node::open_on(&disk.crash_process(), Box::new(definitions), limits);
    let mut connect = |_| -> Box<dyn Peer> { Box::new(node.connect()) };
    let text = format!(
        "{CHANNEL}C queue.declare 1 queue=q passive=true\nS queue.declare-ok 1 queue=q message-count=500\n"
    );
    if let Err(mismatch) = run_transcript(&text, Options::default(), &mut connect) {
        panic!("{mismatch}");
    }
}

/// A quorum queue keeps what is transient and how often messages came back, however small its files are; what waited has waited.
#[test]
fn quorum_queues_know_how_often_messages_came_back() {
    let parts = [
        "C queue.declare 1 queue=q durable=true arguments={x-queue-type:str:quorum,x-delivery-limit:int32:3}
         S queue.declare-ok 1 queue=q
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=q | | body=a
         C basic.publish 1 routing-key=q | delivery-mode=2 | body=b
         C basic.publish 1 routing-key=q | delivery-mode=1 | body=c
         S confirmed 1 1..3
         C basic.get 1 queue=q
         S basic.get-ok 1 1 message-count=2 routing-key=q | | body=a
         C basic.get 1 queue=q
         S basic.get-ok 1 2 message-count=1 routing-key=q | delivery-mode=2 | body=b
         C basic.nack 1 2 requeue=true
         C basic.get 1 queue=q
         S basic.get-ok 1 3 redelivered=true message-count=1 routing-key=q | delivery-mode=2 headers={x-delivery-count:int64:1} | body=b
         C basic.nack 1 3 requeue=true
         C basic.reject 1 1 requeue=true
         C queue.declare 1 queue=rolls durable=true
         S queue.declare-ok 1 queue=rolls
         C basic.publish 1 routing-key=rolls | delivery-mode=2 | body=\"x\"*3000
         C basic.publish 1 routing-key=rolls | delivery-mode=2 | body=\"x\"*3000
         C basic.publish 1 routing-key=rolls | delivery-mode=2 | body=\"x\"*3000
         S confirmed 1 4..6",
        "C basic.get 1 queue=q
         S basic.get-ok 1 1 redelivered=true message-count=2 routing-key=q | headers={x-delivery-count:int64:1} | body=a
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true message-count=1 routing-key=q | delivery-mode=2 headers={x-delivery-count:int64:2} | body=b
         C basic.get 1 queue=q
         S basic.get-ok 1 3 redelivered=true routing-key=q | delivery-mode=1 | body=c
         C tx.select 1
         S tx.select-ok 1
         C basic.nack 1 2 requeue=true
         C tx.commit 1
         S tx.commit-ok 1",
        "C basic.get 1 queue=q
         S basic.get-ok 1 1 redelivered=true message-count=2 routing-key=q | headers={x-delivery-count:int64:1} | body=a
         C basic.get 1 queue=q
         S basic.get-ok 1 2 redelivered=true message-count=1 routing-key=q | delivery-mode=2 headers={x-delivery-count:int64:3} | body=b
         C basic.nack 1 2 requeue=true
         C basic.get 1 queue=q
         S basic.get-ok 1 3 redelivered=true routing-key=q | delivery-mode=1 | body=c
         C queue.declare 1 queue=q passive=true
         S queue.declare-ok 1 queue=q",
    ];
    through_crashes(&Limits::default(), &parts);
    through_crashes(&small(), &parts);
}
