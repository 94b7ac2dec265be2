//! A broker that is held up for longer than heartbeats may be missing, by a machine that sleeps or swaps, say.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use warrenmq_tests::{Client, start_broker};

/// Until all threads of the broker have stopped.
const STOP_TIME: Duration = Duration::from_millis(300);
/// More than two heartbeat intervals of a second.
const STALL: Duration = Duration::from_millis(2200);

#[test]
fn what_came_meanwhile_counts() {
    let (broker, _home) = start_broker();
    let pid = Pid::from_raw(i32::try_from(broker.pid()).expect("a process id")).expect("a process id");
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(broker.address())).collect();
    for client in &mut clients {
        client.say("open heartbeat=1\nC channel.open 1\nS channel.open-ok 1");
    }
    kill_process(pid, Signal::STOP).expect("it runs");
    thread::sleep(STOP_TIME);
    for client in &mut clients {
        client.say("C frame heartbeat 0");
    }
    thread::sleep(STALL);
    kill_process(pid, Signal::CONT).expect("it is there");
    for client in &mut clients {
        client.say("C queue.declare 1 queue=q\nS queue.declare-ok 1 queue=q");
    }
}
