//! What a message costs in a queue: `cargo run --release -p warrenmq-queue --example cost`.
//!
//! Prints nanoseconds for each message, the least of several tries, and the memory of queues whose messages are on disk.

use std::hint::black_box;
use std::time::Instant;

use warrenmq_queue::{
    Consumer, Credit, Effects, PageRange, Picks, Place, Positions, Queue, Record, Run, RunBuilder, Settings,
    Stored,
};

const TRIES: usize = 9;
/// Messages of 16 octets that fit into one read of a socket.
const IN_A_RUN: u32 = 2400;

fn main() {
    // First, while the process is small.
    report_memory("ten million messages of 52 octets on disk", 10_000_000, 1);
    report_memory("a million messages of which every second is gone", 1_000_000, 2);
    report("runs of 2400 to one consumer, settled by run", runs_to_one(IN_A_RUN, 1));
    report(
        "runs of 2400 to one consumer, settled by run, 1000 runs outstanding",
        runs_to_one(IN_A_RUN, 1000),
    );
    report("single messages to one consumer, settled at once", runs_to_one(1, 1));
    report("single messages to one consumer, 1000 outstanding", runs_to_one(1, 1000));
    report("settling one by one, in order, 1000 outstanding", settle_one_by_one(1));
    report("settling one by one, out of order, 1000 outstanding", settle_one_by_one(7));
    report("round robin to 8 consumers, settled one by one", round_robin());
    report("a backlog of single messages, then drained by run", backlog());
    for (most, what) in [(0, "a plain queue"), (9, "ten priorities")] {
        for (like, mix) in [(1, "mixed"), (IN_A_RUN, "one in each run")] {
            report(&format!("a million in {what}, {mix}, then drained"), million(most, like));
        }
    }
}

/// Arguments choose some of them.
fn is_asked(what: &str) -> bool {
    std::env::args().skip(1).all(|word| what.contains(&word))
}

fn report(what: &str, mut once: impl FnMut() -> f64) {
    if !is_asked(what) {
        return;
    }
    let least = (0..TRIES).map(|_| once()).fold(f64::MAX, f64::min);
    println!("{least:8.2} ns  {what}");
}

/// A queue as a restart finds it, in pages of 128 KiB; one message of so many lives.
fn report_memory(what: &str, count: u64, one_of: usize) {
    if !is_asked(what) {
        return;
    }
    let before = resident_kib();
    let mut gone = Positions::new();
    (0..count).filter(|at| at % one_of as u64 != 0).for_each(|at| gone.insert(at, at));
    let in_a_page = 128 * 1024 / 52;
    let mut queue = Queue::new(Settings::default());
    for first in (0..count).step_by(in_a_page) {
        let count = (count - first).min(in_a_page as u64) as u32;
        let range = PageRange { first, count, transient: false, arrived: 0 };
        let (place, octets) = (Place(first, 0), u64::from(count) * 52);
        queue.restore_block(&Stored { place, level: 0, ranges: &[range], octets, messages: None }, &gone);
    }
    drop(gone);
    queue.restored(count, None);
    let kib = resident_kib().saturating_sub(before);
    println!("{kib:8} KiB {what} ({} are ready)", queue.ready());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Publish, deliver and settle; so many runs stay outstanding.
fn runs_to_one(count: u32, outstanding: u64) -> impl FnMut() -> f64 {
    let run = run_of(count);
    move || {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        consume(&mut queue, &mut effects);
        let (rounds, count) = (2_000_000 / u64::from(count).max(20), u64::from(count));
        let rounds = rounds + outstanding;
        let start = Instant::now();
        for round in 0..rounds {
            queue.publish(run.clone(), &mut effects);
            black_box(effects.deliveries.len());
            effects.deliveries.clear();
            if let Some(done) = (round + 1).checked_sub(outstanding) {
                queue.settle(done * count, done * count + count - 1, &mut effects);
            }
        }
        start.elapsed().as_nanos() as f64 / (rounds * count) as f64
    }
}

/// Only the settling is counted. With a step above 1 neighbours are never settled together.
fn settle_one_by_one(step: u64) -> impl FnMut() -> f64 {
    let run = run_of(1000);
    move || {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        consume(&mut queue, &mut effects);
        let (mut nanos, rounds) = (0, 200);
        for round in 0..rounds {
            queue.publish(run.clone(), &mut effects);
            effects.deliveries.clear();
            let start = Instant::now();
            for index in 0..1000 {
                let position = round * 1000 + index * step % 1000;
                queue.settle(position, position, &mut effects);
            }
            nanos += start.elapsed().as_nanos();
        }
        nanos as f64 / (rounds * 1000) as f64
    }
}

fn round_robin() -> impl FnMut() -> f64 {
    let run = run_of(IN_A_RUN);
    move || {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        for _ in 0..8 {
            consume(&mut queue, &mut effects);
        }
        let rounds = 100;
        let start = Instant::now();
        for _ in 0..rounds {
            queue.publish(run.clone(), &mut effects);
            for (_, delivery) in std::mem::take(&mut effects.deliveries) {
                let Picks::List(list) = &delivery.picks else { continue };
                for pick in list {
                    let position = delivery.first + u64::from(pick.index);
                    queue.settle(position, position, &mut effects);
                }
            }
        }
        start.elapsed().as_nanos() as f64 / f64::from(rounds * IN_A_RUN)
    }
}

fn backlog() -> impl FnMut() -> f64 {
    let run = run_of(1);
    move || {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        let count = 200_000;
        let start = Instant::now();
        for _ in 0..count {
            queue.publish(run.clone(), &mut effects);
        }
        consume(&mut queue, &mut effects);
        for (_, delivery) in std::mem::take(&mut effects.deliveries) {
            queue.settle(delivery.first, delivery.first + u64::from(delivery.count()) - 1, &mut effects);
        }
        start.elapsed().as_nanos() as f64 / f64::from(count)
    }
}

/// A million messages of ten priorities, so many of the same in a row, are published and then consumed.
fn million(max_priority: u8, like: u32) -> impl FnMut() -> f64 {
    let runs: Vec<Run> =
        (0..10).map(|run| run_with(IN_A_RUN, |at| ((run * IN_A_RUN + at) / like * 7 % 10) as u8)).collect();
    move || {
        let settings = Settings { max_priority, ..Settings::default() };
        let (mut queue, mut effects) = (Queue::new(settings), Effects::new());
        let rounds = 1_000_000 / IN_A_RUN;
        let start = Instant::now();
        for round in 0..rounds {
            // As a publishing connection does it.
            queue.publish(runs[round as usize % 10].clone().by_priority(max_priority), &mut effects);
        }
        consume(&mut queue, &mut effects);
        for (_, delivery) in std::mem::take(&mut effects.deliveries) {
            queue.settle(delivery.first, delivery.first + u64::from(delivery.count()) - 1, &mut effects);
        }
        start.elapsed().as_nanos() as f64 / f64::from(rounds * IN_A_RUN)
    }
}

fn consume(queue: &mut Queue, effects: &mut Effects) {
    let consumer =
        Consumer { exclusive: false, priority: 0, credit: Credit::Messages(None), window: i64::MAX / 2 };
    queue.consume(consumer, effects).expect("nobody is exclusive");
}

fn run_of(count: u32) -> Run {
    run_with(count, |_| 0)
}

fn run_with(count: u32, priority: impl Fn(u32) -> u8) -> Run {
    let mut builder = RunBuilder::new();
    for at in 0..count {
        builder.push(&Record {
            route: b"\x00\x05queue",
            hidden: b"",
            header: &[0; 14],
            body: &[0; 16],
            persistent: false,
            priority: Some(priority(at)),
            ttl: None,
            dead: false,
            due: None,
        });
    }
    builder.finish().expect("at least one message")
}
