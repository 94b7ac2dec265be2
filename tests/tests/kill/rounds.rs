//! The rounds: each is one life of the broker, with everybody at work until it is killed or has been drained.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{End, Link, Random, binary, frames};

use super::churn::{self, Churn};
use super::consumer::{Consumer, Habit, get_messages, move_messages};
use super::drain::{Sorted, drain};
use super::oracle::Oracle;
use super::publisher::{Committer, Publisher};
use super::scene::{self, Scene};

/// How long a broker may take to end in order.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);

/// Queues in the order in which they are drained: where messages move to comes after where they come from.
const QUEUES: [&str; 12] = [
    "work", "fan-a", "fan-b", "prio", "auto", "dl-src", "dl-dst", "move-src", "move-dst", "tx-a", "tx-b",
    "backlog",
];
/// Nobody reads it before the end.
const BACKLOG: &str = "backlog";
/// What is in these depends on what was moved here.
const MOVED_TO: [&str; 2] = ["dl-dst", "move-dst"];
/// Gets what it holds by itself.
const AUTOMATIC: &str = "auto";

const CONSUMERS: [Consumer; 8] = [
    Consumer { queue: "work", habit: Habit::Return },
    Consumer { queue: "work", habit: Habit::Return },
    Consumer { queue: "work", habit: Habit::Return },
    Consumer { queue: "fan-a", habit: Habit::Acknowledge },
    Consumer { queue: "fan-b", habit: Habit::Return },
    Consumer { queue: "prio", habit: Habit::Return },
    Consumer { queue: "auto", habit: Habit::Automatic },
    Consumer { queue: "dl-src", habit: Habit::Reject },
];

/// The data folder and all that is known of it.
#[derive(Debug)]
pub(crate) struct World {
    home: Option<BrokerHome>,
    oracle: Mutex<Oracle>,
    random: Random,
    publishers: Vec<Publisher>,
    committer: Committer,
    churn: Churn,
    is_declared: bool,
    /// What the last broker was started with.
    configuration: usize,
}

/// What brokers are started with, by turns at random: all defaults; so little memory and so small files that messages leave
/// memory and files of the journal go all the time; and confirms that do not wait for the disk, which a kill does not touch.
const CONFIGURATIONS: [&str; 3] = [
    "",
    "[limits]
    message_memory_octets = 262144
    queue_memory_octets = 65536
    journal_file_octets = 1048576
    journal_leftover_octets = 4096
    journal_idle_ms = 100
    segment_file_octets = 262144
    segment_block_octets = 16384",
    "durability = \"os\"
    [limits]
    queue_memory_octets = 524288
    journal_file_octets = 2097152
    journal_idle_ms = 500",
];

/// How a broker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Kill,
    Stop,
}

impl World {
    /// An empty folder.
    pub(crate) fn new(seed: u64) -> Self {
        let mut oracle = Oracle::default();
        oracle.automatic(AUTOMATIC);
        oracle.moves("dl-src", "dl-dst");
        oracle.moves("move-src", "move-dst");
        let default = |queues: &'static [&'static str]| ("", queues[0]);
        let publisher = |stream, queues, limit| Publisher::new(stream, default(queues), queues, limit);
        let publishers = vec![
            publisher(1, &["work"], 1500),
            publisher(3, &["work"], 1500),
            Publisher::new(5, ("fan", ""), &["fan-a", "fan-b"], 1000),
            publisher(2, &["prio"], 1000),
            publisher(7, &["auto"], 1000),
            publisher(4, &["dl-src"], 500),
            publisher(6, &["move-src"], 500),
            publisher(8, &[BACKLOG], 1500),
        ];
        World {
            home: Some(BrokerHome::new().expect("a temporary folder can be made")),
            oracle: Mutex::new(oracle),
            random: Random::new(seed),
            publishers,
            committer: Committer { targets: vec![("tx-a", 10, 1), ("tx-b", 12, 1)], limit: 200 },
            churn: Churn::default(),
            is_declared: false,
            configuration: 0,
        }
    }

    /// Everybody works until the broker is killed, which may also happen while it starts.
    pub(crate) fn play_and_kill(&mut self, round: u32) {
        if self.is_declared && self.random.below(5) == 0 {
            let pause = Duration::from_millis(self.random.below(250));
            let broker = self.spawn();
            thread::sleep(pause);
            broker.kill().expect("a process can be killed");
            self.oracle().killed(Instant::now());
        }
        let time = Duration::from_millis(200 + self.random.below(1800));
        let (broker, started) = self.start(round);
        self.play(broker, time, Ending::Kill);
        self.report(round, &format!("start {started:?}, killed after {time:?}"));
    }

    /// Everybody comes to an end in order; then all queues but the long one are emptied and compared with what must be there.
    pub(crate) fn play_and_drain(&mut self, round: u32) {
        let time = Duration::from_millis(500 + self.random.below(1000));
        let (broker, started) = self.start(round);
        let broker = self.play(broker, time, Ending::Stop);
        self.drain(&broker, |queue| queue != BACKLOG);
        let ending = if self.random.below(2) == 0 { Ending::Kill } else { Ending::Stop };
        self.end(broker, ending);
        self.report(round, &format!("start {started:?}, drained, ended by {ending:?}"));
    }

    /// Empties everything, and looks whether it stays empty when the broker has ended in order.
    pub(crate) fn finish(mut self) {
        let (broker, started) = self.start(0);
        self.drain(&broker, |_| true);
        self.end(broker, Ending::Stop);
        self.report(0, &format!("start {started:?}, all drained"));
        let (broker, started) = self.start(0);
        self.end(broker, Ending::Stop);
        self.report(0, &format!("start {started:?}, all empty"));
    }

    fn oracle(&self) -> std::sync::MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self) -> &BrokerHome {
        self.home.as_ref().expect("invariant: the folder is given away only by a failure")
    }

    /// Starts a broker, with whatever configuration.
    fn spawn(&mut self) -> BrokerProcess {
        if std::env::var_os("WARRENMQ_KILL_COPY").is_some() {
            let data = self.home().data_dir();
            let script = "rm -rf \"$1.before\"; cp -a \"$1\" \"$1.before\"";
            // Before the first start there is nothing.
            let _ = Command::new("sh").args(["-c", script, "sh"]).arg(data).output();
        }
        self.configuration = self.random.below(CONFIGURATIONS.len() as u64) as usize;
        let text = CONFIGURATIONS[self.configuration];
        let file = self.home().write_file("warrenmq.toml", text).expect("a configuration can be written");
        let arguments = ["--config".as_ref(), file.as_os_str()];
        BrokerProcess::spawn(binary(), self.home(), arguments).expect("the broker can be started")
    }

    /// Starts a broker and looks whether everything is as it was. Says how long the start took.
    fn start(&mut self, round: u32) -> (BrokerProcess, Duration) {
        let mut broker = self.spawn();
        let before = Instant::now();
        if let Err(error) = broker.wait_until_it_accepts(self.home()) {
            self.oracle().violation("the broker", &error.to_string());
            self.report(round, "not started");
        }
        let scene = Scene::new(broker.address(), &self.oracle);
        // It accepts connections before it serves them.
        scene.note("the first connection", Link::open(scene.address).map(drop));
        let started = before.elapsed();
        let looked = look(&scene, &mut self.churn, !self.is_declared);
        scene.note("the look after the start", looked);
        self.is_declared = true;
        (broker, started)
    }

    /// Everybody works for a while; with [`Ending::Stop`] they are at rest afterwards, and otherwise the broker is killed.
    fn play(&mut self, mut broker: BrokerProcess, time: Duration, ending: Ending) -> BrokerProcess {
        let random = &mut self.random;
        let mut scene = Scene::new(broker.address(), &self.oracle);
        scene.is_restless = random.below(2) == 0;
        let scene = &scene;
        let mut killed = Instant::now();
        let mut seeds = || Random::new(random.below(u64::MAX));
        thread::scope(|scope| {
            for publisher in &mut self.publishers {
                let mut random = seeds();
                scope.spawn(move || {
                    let result = publisher.run(scene, &mut random);
                    scene.note(&format!("publisher {}", publisher.stream), result);
                });
            }
            for consumer in CONSUMERS {
                let mut random = seeds();
                scope.spawn(move || {
                    scene.note(&format!("consumer of {}", consumer.queue), consumer.run(scene, &mut random));
                });
            }
            let (committer, churn) = (&mut self.committer, &mut self.churn);
            let mut random = seeds();
            scope.spawn(move || scene.note("committer", committer.run(scene, &mut random)));
            let mut random = seeds();
            scope.spawn(move || scene.note("churn", churn.run(scene, &mut random)));
            let mut random = seeds();
            scope.spawn(move || {
                scene.note("mover", move_messages(scene, ("move-src", "move-dst"), &mut random));
            });
            let mut random = seeds();
            scope.spawn(move || scene.note("getter", get_messages(scene, "work", &mut random)));
            thread::sleep(time);
            if !broker.is_running().expect("the system knows its processes") {
                scene.oracle().violation("the broker", "has ended by itself");
            }
            match ending {
                Ending::Kill => {
                    scene.kill();
                    killed = Instant::now();
                    broker.kill_now().expect("a process can be killed");
                }
                Ending::Stop => scene.end(),
            }
        });
        if ending == Ending::Kill {
            self.oracle().killed(killed);
        }
        broker
    }

    /// Empties queues and compares.
    fn drain(&self, broker: &BrokerProcess, is_drained: impl Fn(&str) -> bool) {
        let scene = Scene::new(broker.address(), &self.oracle);
        let mut seen = HashMap::new();
        for queue in QUEUES.into_iter().filter(|queue| is_drained(queue)) {
            let sorted = match queue {
                "prio" => Sorted::ByPriority,
                "dl-dst" => Sorted::Not,
                _ => Sorted::ByPublisher,
            };
            match drain(&scene, queue, sorted) {
                Ok(messages) => drop(seen.insert(queue.to_owned(), messages)),
                Err(end) => scene.note(queue, Err(end)),
            }
        }
        let is_seen = |queue: &str, message| seen.get(queue).is_some_and(|seen| seen.contains(&message));
        self.oracle().check_transactions(is_seen);
    }

    fn end(&self, broker: BrokerProcess, ending: Ending) {
        if ending == Ending::Kill {
            let at = Instant::now();
            broker.kill().expect("a process can be killed");
            return self.oracle().killed(at);
        }
        match broker.stop(STOP_TIME_MAX) {
            Ok(status) if status.success() => self.oracle().stopped(),
            other => self.oracle().violation("the broker", &format!("{other:?} instead of an end in order")),
        }
    }

    /// One line for a round. Ends the test when something is wrong.
    fn report(&mut self, round: u32, what: &str) {
        if self.home().log().contains("panicked") {
            self.oracle().violation("the broker", "has panicked");
        }
        let (delivered, returned, known) = self.oracle().counts();
        let with = self.configuration;
        println!(
            "round {round}: {what}, configuration {with}; {delivered} delivered, {returned} came back, {known} known"
        );
        let violations = self.oracle().violations();
        if violations.is_empty() {
            return;
        }
        let tail = self.home().log_tail();
        let folder = self.home.take().map(BrokerHome::keep);
        panic!("round {round}:\n{}\nlog:\n{tail}\nthe folder is kept: {folder:?}", violations.join("\n"));
    }
}

/// Before anything is done: each queue holds as many messages as it must. In an empty broker everything is declared first.
fn look(scene: &Scene<'_>, churn: &mut Churn, is_empty: bool) -> Result<(), End> {
    let mut link = Link::open(scene.address)?;
    if is_empty {
        declare_all(&mut link)?;
    }
    for queue in QUEUES {
        let (mut least, most) = scene.oracle().bounds(queue);
        // Messages that were being moved, or on their way to a consumer that acknowledges by receiving, may not be here.
        if MOVED_TO.contains(&queue) || queue == AUTOMATIC {
            least = 0;
        }
        churn::check_count(scene, &mut link, queue, least..=most)?;
    }
    churn.check(scene, &mut link)
}

/// All that is there from the first round on.
fn declare_all(link: &mut Link) -> Result<(), End> {
    let text = |key: &str, value: &str| {
        [&frames::short(key.as_bytes())[..], b"S", &frames::long(value.as_bytes())].concat()
    };
    for queue in QUEUES {
        let arguments = match queue {
            "prio" => [&frames::short(b"x-max-priority")[..], b"B\x04"].concat(),
            "dl-src" => {
                [text("x-dead-letter-exchange", ""), text("x-dead-letter-routing-key", "dl-dst")].concat()
            }
            _ => Vec::new(),
        };
        scene::declare(link, queue, &arguments)?;
    }
    scene::declare_exchange(link, "fan", "fanout")?;
    scene::declare_exchange(link, churn::EXCHANGE, "direct")?;
    scene::bind(link, "fan-a", "fan", "", false)?;
    scene::bind(link, "fan-b", "fan", "", false)
}
