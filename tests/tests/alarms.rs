//! The disk of the data folder runs low: publishers wait, everything else goes on.

use std::fs::{self, File};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{Client, binary, wait_until};

const GIB: u64 = 1 << 30;

#[test]
fn a_limit_above_what_is_free_blocks_publishers_from_the_start() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let limit = ["--disk-free-limit", "100000GB"];
    let broker = BrokerProcess::start(binary(), &home, limit).expect("the broker starts");
    let mut client = Client::connect(broker.address());
    // Heartbeats go on, and that the client's are not read is not held against it.
    client.say(
        "open heartbeat=1 capabilities=connection.blocked
        C channel.open 1
        S channel.open-ok 1
        C queue.declare 1 queue=q durable=true
        S queue.declare-ok 1 queue=q
        C basic.consume 1 queue=q consumer-tag=c
        S basic.consume-ok 1 c
        S <nothing>
        C basic.publish 1 routing-key=q | | body=a
        S connection.blocked 0 \"low on disk\"
        S <nothing 3000>",
    );
    let mut other = Client::open(broker.address());
    assert_eq!(other.ready("q"), 0);
    let log = home.log();
    assert!(log.contains("Free disk space is insufficient. Free bytes: "), "{log}");
    assert!(log.contains(". Limit: 100000000000000\n"), "{log}");
    assert!(log.contains("disk resource limit alarm set"), "{log}");
    // Blocked clients do not hold the stop up: their close-ok is read.
    let stopped = std::thread::spawn(move || broker.stop(Duration::from_secs(5)));
    let end = "S connection.close 0 320 *\nC connection.close-ok 0\nS <close>";
    client.say(end);
    other.say(end);
    assert!(stopped.join().expect("no panic").expect("the broker ends in time").success());
}

#[test]
fn publishers_go_on_when_there_is_space_again() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let path = home.write_file("filler", "").expect("the folder can be written to");
    // What the build of the binary has written is still on its way: it would take from what is free, and hold up the broker's log.
    let program = binary();
    rustix::fs::sync();
    let numbers = statvfs(&path).expect("the system tells what is free");
    let free = numbers.f_bavail * numbers.f_frsize;
    if free < 4 * GIB {
        eprintln!("skipped: a disk with 4 GiB to spare is needed");
        return;
    }
    // Other programs write, too: what is between the limit and what is free has to be more than that.
    let limit = ["--disk-free-limit".to_owned(), (free - GIB).to_string()];
    let broker = BrokerProcess::start(program, &home, limit).expect("the broker starts");
    let mut client = Client::connect(broker.address());
    client.say(
        "open capabilities=connection.blocked
        C channel.open 1
        S channel.open-ok 1
        C confirm.select 1
        S confirm.select-ok 1
        C queue.declare 1 queue=q
        S queue.declare-ok 1 queue=q
        C basic.publish 1 routing-key=q | | body=before
        S basic.ack 1 1",
    );
    let filler = File::options().write(true).open(&path).expect("it was made");
    if let Err(error) = fallocate(&filler, FallocateFlags::empty(), 0, 2 * GIB) {
        eprintln!("skipped: the file system does not reserve space: {error}");
        return;
    }
    wait_until("the alarm is set", || home.log().contains("alarm set"));
    client.say(
        "C basic.publish 1 routing-key=q | | body=a\nS connection.blocked 0 \"low on disk\"\nS <nothing>",
    );
    let mut other = Client::open(broker.address());
    other.say("C basic.get 1 queue=q no-ack=true\nS basic.get-ok 1 1 routing-key=q | | body=before");
    drop(filler);
    fs::remove_file(&path).expect("removed");
    wait_until("the alarm is cleared", || home.log().contains("alarm cleared: 1 connections go on"));
    client.say("S connection.unblocked 0\nS basic.ack 1 2");
    assert_eq!(other.ready("q"), 1);
}
