//! Every short history of a small alphabet, ended at every operation of its disk in several ways.
//!
//! Invariant: one run is one history with one end; it is judged by the oracle as the runs of seeds are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use warrenmq_broker::{Limits, Worker};
use warrenmq_testkit::disk::Crash;

use crate::bounds;
use crate::message::Message;
use crate::node::End;
use crate::op::{Ask, Number, To, Verdict};
use crate::oracle::Ruling;
use crate::topology::{Kind, Topology};
use crate::trace::Trace;
use crate::world::{ALL, World};

/// One letter of the alphabet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A message to queue a, up to its confirm.
    Publish,
    /// A message to queues a and b, up to its confirm.
    Fanout,
    /// One message to each queue in a transaction, up to its commit-ok.
    Commit,
    /// The head of a is fetched, and in a transaction acknowledged and published to b, up to its commit-ok.
    Move,
    /// The head of a is fetched and acknowledged.
    Ack,
    /// The head of a is fetched and comes back.
    Requeue,
    /// a is purged.
    Purge,
    /// The storage works a little.
    Step,
    /// Nothing happens for so long that the journal is emptied.
    Idle,
}

const ALPHABET: [Letter; 9] = [
    Letter::Publish,
    Letter::Fanout,
    Letter::Commit,
    Letter::Move,
    Letter::Ack,
    Letter::Requeue,
    Letter::Purge,
    Letter::Step,
    Letter::Idle,
];

const ENDS: [End; 4] =
    [End::Kill, End::Cut(Crash::LosesAll), End::Cut(Crash::Keeps { permille: 500 }), End::PowerCut(7)];

const CONFIRMS: Number = 1;
const TRANSACTIONS: Number = 2;
const READS: Number = 3;
const A: usize = 0;
const B: usize = 1;
const BODY_OCTETS: usize = 40;

/// Runs all histories of up to `length` letters. Says how many runs that were.
///
/// # Errors
/// The first that fails, with what happened in it.
pub fn run(length: u32) -> Result<u64, String> {
    let count: usize = (1..=length).map(|length| ALPHABET.len().pow(length)).sum();
    let (next, runs) = (AtomicUsize::new(0), AtomicU64::new(0));
    let failure: Mutex<Option<String>> = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        break;
                    }
                    match all_ends(&history(number)) {
                        Ok(more) => drop(runs.fetch_add(more, Ordering::Relaxed)),
                        Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                    }
                }
            });
        }
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(runs.into_inner()), Err)
}

/// The history with this number: first those of one letter, then those of two, and so on.
fn history(mut number: usize) -> Vec<Letter> {
    let mut length = 1;
    while number >= ALPHABET.len().pow(length) {
        number -= ALPHABET.len().pow(length);
        length += 1;
    }
    let mut letters = Vec::new();
    for _ in 0..length {
        letters.push(ALPHABET[number % ALPHABET.len()]);
        number /= ALPHABET.len();
    }
    letters
}

fn all_ends(history: &[Letter]) -> Result<u64, String> {
    let operations =
        play(history, None, Trace::default()).map_err(|error| format!("{history:?}: {}", error.0))?;
    let mut runs = 1;
    for operation in 0..=operations {
        for end in ENDS {
            runs += 1;
            if play(history, Some((operation, end)), Trace::default()).is_err()
                && let Err((error, trace)) = play(history, Some((operation, end)), Trace::keeping(200))
            {
                return Err(format!("{history:?}, ended after {operation} by {end:?}: {error}\n{trace}"));
            }
        }
    }
    Ok(runs)
}

/// One run; says how many operations of the disk it took without an end.
fn play(history: &[Letter], end: Option<(u64, End)>, trace: Trace) -> Result<u64, (String, String)> {
    let mut world = match World::new(topology(), limits(), trace) {
        Ok(world) => world,
        Err(error) => return Err((error, String::new())),
    };
    let before = world.node.disk.operations();
    if let Some((operation, _)) = end {
        world.node.disk.freeze(before + operation);
    }
    let ruling =
        begin(&mut world).and_then(|()| history.iter().try_for_each(|letter| spell(&mut world, *letter)));
    let operations = world.node.disk.operations() - before;
    let ruling = match end {
        Some((_, end)) => ruling.and_then(|()| judge(&mut world, end)),
        None => ruling,
    };
    ruling.map(|()| operations).map_err(|error| (error, world.trace.text()))
}

fn judge(world: &mut World, end: End) -> Ruling {
    world.end(end)?;
    world.restart()?;
    world.drain(0, None, &mut || false)?;
    world.oracle.drained()
}

fn begin(world: &mut World) -> Ruling {
    let client = world.connect();
    world.plan(client, CONFIRMS, Ask::Confirm);
    world.plan(client, TRANSACTIONS, Ask::OpenChannel);
    world.plan(client, TRANSACTIONS, Ask::Tx);
    world.plan(client, READS, Ask::OpenChannel);
    travel(world)
}

fn spell(world: &mut World, letter: Letter) -> Ruling {
    // A broker that has said that it cannot go on is not asked any more.
    if world.node.has_failed() {
        return Ok(());
    }
    world.trace.add(|| format!("{letter:?}"));
    match letter {
        Letter::Publish => publish(world, CONFIRMS, To::Queue(A)),
        Letter::Fanout => publish(world, CONFIRMS, To::Exchange(0)),
        Letter::Commit => {
            publish(world, TRANSACTIONS, To::Queue(A));
            publish(world, TRANSACTIONS, To::Queue(B));
            let client = world.clients.len() - 1;
            world.plan(client, TRANSACTIONS, Ask::Commit);
        }
        Letter::Move => {
            fetch(world, TRANSACTIONS, Verdict::Ack)?;
            publish(world, TRANSACTIONS, To::Queue(B));
            let client = world.clients.len() - 1;
            world.plan(client, TRANSACTIONS, Ask::Commit);
        }
        Letter::Ack => return fetch(world, READS, Verdict::Ack),
        Letter::Requeue => return fetch(world, READS, Verdict::Requeue),
        Letter::Purge => world.plan(world.clients.len() - 1, READS, Ask::Purge(A)),
        Letter::Step => {
            for worker in [Worker::Write, Worker::Commit, Worker::Write, Worker::Read] {
                world.step(worker);
            }
        }
        Letter::Idle => {
            world.step(Worker::Write);
            world.advance(300);
            for worker in [Worker::Write, Worker::Commit, Worker::Commit, Worker::Write, Worker::Write] {
                world.step(worker);
            }
        }
    }
    travel(world)?;
    if matches!(letter, Letter::Publish | Letter::Fanout | Letter::Commit | Letter::Move) {
        while world.step(Worker::Commit) {}
        travel(world)?;
    }
    Ok(())
}

fn publish(world: &mut World, channel: Number, to: To) {
    let message = world.new_message(Message { octets: BODY_OCTETS, persistent: true, ..Message::default() });
    world.plan(world.clients.len() - 1, channel, Ask::Publish(message, to));
}

fn fetch(world: &mut World, channel: Number, verdict: Verdict) -> Ruling {
    let client = world.clients.len() - 1;
    world.plan(client, channel, Ask::Get { name: A, no_ack: false });
    travel(world)?;
    world.step(Worker::Read);
    travel(world)?;
    let known = &world.clients[client];
    let tag = known.channels.get(&channel).and_then(|view| view.unsettled.first()).copied();
    if let Some(tag) = tag.filter(|_| known.is_free()) {
        world.plan(client, channel, Ask::Settle { tag, multiple: false, verdict });
    }
    travel(world)
}

/// Everything on the wire arrives; the storage does nothing.
fn travel(world: &mut World) -> Ruling {
    let client = world.clients.len() - 1;
    loop {
        let mut moved = world.send(client);
        let octets = world.clients[client].link.on_the_way();
        if octets > 0 {
            world.carry(client, octets);
            moved = true;
        }
        moved |= world.turn(client, ALL)?;
        while world.clients[client].link.can_read() {
            world.read(client);
            moved = true;
        }
        if !moved {
            return Ok(());
        }
    }
}

fn topology() -> Topology {
    let plain = Kind { durable: true, ..Kind::default() };
    Topology { queues: vec![plain, plain], exchanges: vec![vec![A, B]], ..Topology::default() }
}

fn limits() -> Limits {
    Limits {
        message_memory_octets: 0,
        queue_memory_octets: 128,
        // Each record by itself.
        journal_group_octets: 1,
        journal_file_octets: 512,
        journal_leftover_octets: 100,
        segment_file_octets: 512,
        segment_block_octets: 100,
        ..bounds::small()
    }
}
