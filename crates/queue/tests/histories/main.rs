//! Histories of commands against a model of plain lists: every small one, and many random ones.

mod choices;
mod disk;
mod model;
mod returns;
mod subject;

use choices::exhaust;
use model::START;
use proptest::collection::vec;
use proptest::prelude::*;
use subject::{Command, Draft, Subject};
use warrenmq_queue::{
    Back, Consumer, Credit, Effects, Kind, Overflow, Position, Queue, Retry, RetryWhen, Settings,
};

/// No window at all, but for the tests of windows.
const WIDE: i64 = i64::MAX / 2;
const READER: Consumer =
    Consumer { exclusive: false, priority: 0, credit: Credit::Messages(None), window: WIDE };

/// The consumers of small histories.
const READERS: [Consumer; 5] = [
    Consumer { credit: Credit::Messages(Some(1)), ..READER },
    READER,
    Consumer { credit: Credit::Pull, ..READER },
    Consumer { exclusive: true, credit: Credit::Messages(Some(2)), ..READER },
    Consumer { priority: 1, credit: Credit::Messages(Some(1)), ..READER },
];

const COMMANDS: usize = 5;
const CONSUMERS: usize = 2;
const MESSAGES: u64 = 3;

#[test]
fn every_small_history() {
    every_history_of(Settings { max_priority: 1, ..Settings::default() }, &READERS);
}

#[test]
fn every_small_history_with_limits() {
    let settings =
        Settings { message_ttl: Some(2), max_length: Some(2), dead_letters: true, ..Settings::default() };
    every_history_of(settings, &READERS[..2]);
    every_history_of(Settings { overflow: Overflow::RejectPublishDlx, ..settings }, &READERS[1..2]);
    every_history_of(Settings { expire_anywhere: true, ..settings }, &READERS[..1]);
}

#[test]
fn every_small_history_with_a_single_active_consumer() {
    let settings = Settings { single_active: true, ..Settings::default() };
    every_history_of(settings, &[READERS[0], READERS[2]]);
    every_history_of(Settings { kind: Kind::Quorum, ..settings }, &[READERS[0], READERS[4]]);
}

#[test]
fn every_small_history_of_what_comes_back() {
    let settings = Settings { kind: Kind::Quorum, ..Settings::default() };
    every_history_of(settings, &READERS[..2]);
    let limited = Settings { delivery_limit: Some(1), dead_letters: true, max_length: Some(2), ..settings };
    every_history_of(limited, &READERS[..1]);
    let retry = Some(Retry { when: RetryWhen::Failed, min: 1, max: Some(2) });
    every_history_of(Settings { retry, ..settings }, &READERS[..1]);
    every_history_of(Settings { retry, ..Settings::default() }, &READERS[..1]);
}

/// Three messages on a disk in one page or in three, and everything that may follow.
#[test]
fn every_small_history_on_a_disk() {
    let settings = Settings { recorded: true, ..Settings::default() };
    let runs = exhaust(|choices| {
        let mut subject = Subject::new(settings);
        let draft = Draft { priority: 0, padding: 0, ttl: None };
        subject.apply(&Command::Publish(vec![vec![draft]; 3]));
        if choices.choose(2) == 0 {
            subject.apply(&Command::Get(true));
        }
        subject.apply(&Command::PageOut(0, [1, 1000][choices.choose(2)]));
        for _ in 0..COMMANDS {
            let mut commands = small_disk_commands(&subject);
            let command = commands.swap_remove(choices.choose(commands.len()));
            subject.apply(&command);
        }
        subject.empty();
    });
    println!("{runs} histories");
}

fn small_disk_commands(subject: &Subject) -> Vec<Command> {
    let Subject { model, disk, .. } = subject;
    let mut commands = vec![Command::Get(false), Command::Restart(0, None)];
    match (disk.writing.is_empty(), disk.loads.is_empty()) {
        // The first and the last, which may overtake it.
        (false, _) => {
            commands.extend([Command::Answer(0, true), Command::Answer(0, false)]);
            commands.push(Command::Answer(disk.writing.len() - 1, true));
        }
        (true, false) => commands.push(Command::PageOut(0, 1000)),
        (true, true) => commands.extend([Command::Rewrite, Command::Checkpoint(START + 2, 1000)]),
    }
    if !disk.loads.is_empty() {
        commands.push(Command::Load(0));
    }
    if model.readers.is_empty() {
        commands.push(Command::Consume(READERS[0]));
    }
    if let Some(message) = model.unacked.first() {
        let at = message.position;
        commands.extend([Command::Settle(at, at), Command::Requeue(vec![(at, at)], Back::Failed)]);
    } else {
        commands.push(Command::Purge);
    }
    commands
}

fn every_history_of(settings: Settings, readers: &[Consumer]) {
    let runs = exhaust(|choices| {
        let mut subject = Subject::new(settings);
        for _ in 0..COMMANDS {
            let mut commands = small_commands(&subject, settings, readers);
            let command = commands.swap_remove(choices.choose(commands.len()));
            subject.apply(&command);
        }
        subject.empty();
    });
    println!("{runs} histories");
}

/// Everything that can be done next, within the bounds of a small history.
fn small_commands(subject: &Subject, settings: Settings, readers: &[Consumer]) -> Vec<Command> {
    let model = &subject.model;
    let mut commands = vec![Command::Get(true), Command::Get(false), Command::Purge, Command::Delete];
    if settings.message_ttl.is_some() || settings.retry.is_some() {
        commands.extend([Command::Sleep(1), Command::Sleep(2)]);
    }
    let left = MESSAGES - (model.published - START);
    for count in 1..=left {
        // The second message is above the others, where the queue knows priorities.
        let draft =
            |index| Draft { priority: u8::from(model.published + index == START + 1), padding: 0, ttl: None };
        commands.push(Command::Publish(vec![(0..count).map(draft).collect()]));
    }
    if model.readers.iter().flatten().count() < CONSUMERS {
        commands.extend(readers.iter().copied().map(Command::Consume));
    }
    for (slot, reader) in (0..).zip(&model.readers) {
        let Some(reader) = reader else { continue };
        commands.push(Command::Cancel(slot));
        match reader.consumer.credit {
            Credit::Pull => commands.extend([Command::Pull(slot, 1), Command::Pull(slot, 3)]),
            Credit::Messages(Some(_)) => commands.push(Command::Credit(slot, 1, 0)),
            Credit::Messages(None) => {}
        }
    }
    for message in &model.unacked {
        let at = message.position;
        commands.extend([Command::Settle(at, at), Command::Requeue(vec![(at, at)], Back::Failed)]);
        if settings.retry.is_some() {
            commands.push(Command::Requeue(vec![(at, at)], Back::Returned));
        }
    }
    if settings.dead_letters && !model.unacked.is_empty() {
        commands.push(Command::Discard(0, Position::MAX));
    }
    if model.unacked.len() > 1 {
        commands.push(Command::Requeue(vec![(0, Position::MAX)], Back::Unsent));
    }
    commands
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories(settings in settings(), numbers in vec(any::<u16>(), 0..300)) {
        let mut subject = Subject::new(settings);
        let mut numbers = numbers.into_iter();
        while numbers.len() > 0 {
            let command = large_command(&subject, &mut |count| usize::from(numbers.next().unwrap_or(0)) % count);
            subject.apply(&command);
        }
        subject.empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with a disk: pages are written, loaded, dropped, written again and restored at any moment.
    #[test]
    fn random_histories_on_a_disk(settings in settings(), numbers in vec(any::<u16>(), 0..400)) {
        // What is on the disk alone weighs what can be guessed, so limits in octets are not exact there.
        let settings = Settings { recorded: true, max_length_bytes: None, ..settings };
        let mut subject = Subject::new(settings);
        let mut numbers = numbers.into_iter();
        while numbers.len() > 0 {
            let choose = &mut |count| usize::from(numbers.next().unwrap_or(0)) % count;
            let command = if choose(2) == 0 {
                Some(large_command(&subject, choose))
            } else {
                disk_command(&subject, choose)
            };
            if let Some(command) = command {
                subject.apply(&command);
            }
        }
        subject.empty();
    }
}

/// What a disk and a restart do to a queue; `None` when there is nothing to do.
fn disk_command(subject: &Subject, choose: &mut dyn FnMut(usize) -> usize) -> Option<Command> {
    let (writing, loads) = (subject.disk.writing.len(), subject.disk.loads.len());
    let octets = [1, 100, 1000, 100_000];
    Some(match choose(16) {
        0..=2 => Command::PageOut([0, 0, 100, 1000][choose(4)], octets[choose(4)]),
        3 => Command::Checkpoint(START + choose(200) as u64, octets[choose(4)]),
        4..=7 if writing > 0 => Command::Answer(choose(writing), choose(6) > 0),
        8..=13 if loads > 0 => Command::Load(choose(loads)),
        14 => Command::Rewrite,
        15 => match choose(8) {
            0 => Command::Restart(0, None),
            1 => Command::Restart(0, Some(START + choose(60) as u64)),
            2 => Command::Restart(2 + choose(3) as u64, None),
            _ => return None,
        },
        _ => return None,
    })
}

/// Half of them plain: only there runs are handed out whole.
fn settings() -> impl Strategy<Value = Settings> {
    let overflow = prop_oneof![
        2 => Just(Overflow::DropHead),
        1 => Just(Overflow::RejectPublish),
        1 => Just(Overflow::RejectPublishDlx),
    ];
    let lengths = (proptest::option::of(0..30u64), proptest::option::of(0..600u64));
    let limits = (proptest::option::of(0..20u64), lengths, overflow, any::<bool>());
    let limits = prop_oneof![Just((None, (None, None), Overflow::DropHead, false)), limits];
    let flags = (any::<bool>(), proptest::bool::weighted(0.25));
    (0..4u8, limits, flags, returns()).prop_map(|(max_priority, limits, flags, returns)| {
        let (expire_anywhere, single_active) = flags;
        let (kind, delivery_limit, retry) = returns;
        let (message_ttl, (max_length, max_length_bytes), overflow, dead_letters) = limits;
        Settings {
            kind,
            delivery_limit,
            retry,
            max_priority,
            message_ttl,
            max_length,
            max_length_bytes,
            overflow,
            dead_letters,
            keep_dead: keeps(dead_letters, overflow),
            expire_anywhere: expire_anywhere && message_ttl.is_some(),
            single_active,
            recorded: max_priority % 2 == 0 && max_length_bytes.is_none(),
        }
    })
}

/// How messages come back: half of the queues are plain in this.
fn returns() -> impl Strategy<Value = (Kind, Option<u32>, Option<Retry>)> {
    let when = prop_oneof![Just(RetryWhen::All), Just(RetryWhen::Failed), Just(RetryWhen::Returned)];
    let bounds = (1..10u64, proptest::option::of(10..30u64));
    let retry = (when, bounds).prop_map(|(when, (min, max))| Retry { when, min, max });
    let any_kind = prop_oneof![1 => Just(Kind::Classic), 3 => Just(Kind::Quorum)];
    let limit = proptest::option::of(0..4u32);
    let some = (any_kind, limit, proptest::option::of(retry)).prop_map(|(kind, limit, retry)| match kind {
        Kind::Classic => (kind, None, retry),
        Kind::Quorum => (kind, limit, retry),
    });
    prop_oneof![Just((Kind::Classic, None, None)), some]
}

/// Any command; `choose` gives a number below its argument.
fn large_command(subject: &Subject, choose: &mut dyn FnMut(usize) -> usize) -> Command {
    let slots = subject.model.readers.len() + 1;
    match choose(20) {
        0..=4 => Command::Publish(vec![drafts(choose, 6); 1 + choose(2)]),
        // Enough small runs for a backlog, where they are copied together.
        5 => Command::Publish((0..choose(60)).map(|_| drafts(choose, 2)).collect()),
        6 | 7 => Command::Consume(consumer(choose)),
        8 => Command::Cancel(choose(slots) as u32),
        9 | 10 => Command::Credit(choose(slots) as u32, choose(5) as u32, 0),
        11 => Command::Recredit(choose(slots) as u32, credit(choose)),
        12 | 13 => Command::Pull(choose(slots) as u32, choose(8) as u32),
        14 => Command::Get(choose(2) == 0),
        15 | 16 => {
            let (first, last) = range(subject, choose);
            Command::Settle(first, last)
        }
        17 => {
            let ranges = (0..1 + choose(3)).map(|_| range(subject, choose)).collect();
            Command::Requeue(ranges, [Back::Unsent, Back::Returned, Back::Failed][choose(3)])
        }
        _ => match choose(12) {
            0 => Command::Delete,
            1 | 2 => Command::Purge,
            3..=6 => Command::Sleep(choose(12) as u64),
            7 | 8 => {
                let (first, last) = range(subject, choose);
                Command::Discard(first, last)
            }
            9 => Command::Configure(changed(subject, choose)),
            _ => Command::Get(true),
        },
    }
}

/// Where nothing is dropped for what is kept.
fn keeps(dead_letters: bool, overflow: Overflow) -> bool {
    dead_letters && overflow == Overflow::RejectPublish
}

/// Other settings, as a policy may make them. Times to live come only where there were some before: for other messages the queue
/// does not know so exactly when they came.
fn changed(subject: &Subject, choose: &mut dyn FnMut(usize) -> usize) -> Settings {
    let settings = subject.model.settings;
    let overflow = [Overflow::DropHead, Overflow::RejectPublish, Overflow::RejectPublishDlx][choose(3)];
    let mut maybe = |most: usize| (choose(2) == 0).then(|| choose(most) as u64);
    let message_ttl = settings.message_ttl.map(|_| maybe(30).unwrap_or(10));
    Settings {
        message_ttl,
        max_length: maybe(30),
        max_length_bytes: maybe(600).filter(|_| !settings.recorded),
        overflow,
        dead_letters: !settings.dead_letters,
        keep_dead: keeps(!settings.dead_letters, overflow),
        ..settings
    }
}

fn drafts(choose: &mut dyn FnMut(usize) -> usize, most: usize) -> Vec<Draft> {
    let count = 1 + choose(most);
    let priority = choose(6);
    // A message with its own time to live changes how a queue works for good: few of them.
    let ttl = (choose(40) == 39).then_some(count as u64);
    let draft = |index| Draft {
        ttl: ttl.filter(|_| index % 2 == 0),
        priority: ((priority + index / 2) % 6) as u8,
        // Now and then a run above the size that is copied.
        padding: if priority == 5 && index == 0 { 5000 } else { 0 },
    };
    (0..count).map(draft).collect()
}

fn consumer(choose: &mut dyn FnMut(usize) -> usize) -> Consumer {
    Consumer {
        exclusive: choose(8) == 7,
        priority: [0, 0, 0, 5, -1][choose(5)],
        credit: credit(choose),
        window: WIDE,
    }
}

fn credit(choose: &mut dyn FnMut(usize) -> usize) -> Credit {
    match choose(6) {
        0 => Credit::Pull,
        1 => Credit::Messages(None),
        some => Credit::Messages(Some([0, 1, 2, 7][some - 2])),
    }
}

/// Positions around those that are unacked, sometimes far beyond.
fn range(subject: &Subject, choose: &mut dyn FnMut(usize) -> usize) -> (Position, Position) {
    let unacked = &subject.model.unacked;
    let first = match choose(unacked.len() + 1) {
        0 => START + choose(10) as Position,
        some => unacked[some - 1].position,
    };
    (first, first + [0, 0, 1, 3, 20, 1000][choose(6)])
}

/// A window closes with the message that crosses it: what goes at once to a consumer that is alone is a run.
#[test]
fn windows_hold_consumers_back() {
    for alone in [true, false] {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        let reader = Consumer { window: 1, ..READER };
        let slot = queue.consume(reader, &mut effects).expect("nobody is exclusive");
        if !alone {
            queue.consume(reader, &mut effects).expect("nobody is exclusive");
        }
        for first in [0, 10] {
            queue.publish(subject::run_of(first..first + 10, 100), &mut effects);
        }
        let counts: Vec<u32> = effects.deliveries.drain(..).map(|(_, delivery)| delivery.count()).collect();
        assert_eq!(counts, if alone { vec![10] } else { vec![1, 1] });
        queue.check();
        // Still below zero: nothing goes.
        queue.credit(slot, 0, 100, &mut effects);
        assert!(effects.is_empty());
        queue.credit(slot, 0, 10_000, &mut effects);
        let rest: u32 = effects.deliveries.drain(..).map(|(_, delivery)| delivery.count()).sum();
        assert_eq!(u64::from(rest) + queue.ready(), if alone { 10 } else { 18 });
        queue.check();
    }
}

/// A consumer that pulls and whose window is full is told again once it is open; pulling up to the limit, it comes back by
/// itself.
#[test]
fn windows_hold_pulls_back() {
    let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
    let reader = Consumer { credit: Credit::Pull, window: 1, ..READER };
    let slot = queue.consume(reader, &mut effects).expect("nobody is exclusive");
    for number in 0..3 {
        queue.publish(subject::run_of(number..number + 1, 100), &mut effects);
    }
    assert_eq!(std::mem::take(&mut effects.hungry), [slot]);
    assert_eq!(queue.pull(slot, 3, &mut effects), 1);
    queue.hand_out(&mut effects);
    queue.credit(slot, 0, 100, &mut effects);
    assert_eq!(effects.hungry, [], "the window is not open yet");
    queue.credit(slot, 0, 100, &mut effects);
    assert_eq!(std::mem::take(&mut effects.hungry), [slot]);
    assert_eq!(queue.pull(slot, 1, &mut effects), 1);
    queue.credit(slot, 0, 1000, &mut effects);
    assert_eq!(effects.hungry, [], "its own limit was reached");
    assert_eq!(queue.pull(slot, 2, &mut effects), 1);
    queue.publish(subject::run_of(3..4, 0), &mut effects);
    assert_eq!(effects.hungry, [slot]);
}

/// Credit in messages is not pulled.
#[test]
fn only_those_who_pull_can() {
    let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
    let reader = Consumer { credit: Credit::Messages(Some(0)), ..READER };
    let slot = queue.consume(reader, &mut effects).expect("nobody is exclusive");
    queue.publish(subject::run_of(0..1, 0), &mut effects);
    assert_eq!(queue.pull(slot, 1, &mut effects), 0);
    assert!(effects.is_empty());
}

/// A message that nobody settles holds up nothing: what is settled behind it is forgotten.
#[test]
fn one_stuck_message_is_one_message() {
    for from_the_end in [false, true] {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        queue.consume(READER, &mut effects).expect("nobody is exclusive");
        let last = 20_000;
        for number in 0..=last {
            queue.publish(subject::run_of(number..number + 1, 0), &mut effects);
            if number > 0 && !from_the_end {
                queue.settle(number, number, &mut effects);
            }
        }
        queue.check();
        assert_eq!(queue.unacked(), if from_the_end { last + 1 } else { 1 });
        if from_the_end {
            (1..=last).rev().for_each(|number| queue.settle(number, number, &mut effects));
        }
        queue.check();
        assert_eq!(queue.unacked(), 1);
        assert!(queue.resident() < 100);
        queue.settle(0, 0, &mut effects);
        assert_eq!((queue.unacked(), queue.resident()), (0, 0));
        queue.check();
    }
}
