//! Data folders that something has damaged: the start is refused with the place and the way out, and after `warrenmq ctl store
//! salvage` everything is there that was not hit, in its order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{binary, publish_numbered, take_numbered, wait_until};

/// Of each queue.
const MESSAGES: u64 = 120;
/// Of each message, so that those of a queue are more than one block.
const OCTETS: usize = 3000;
const QUEUES: [&str; 2] = ["a", "b"];

/// How long messages lie in the journal of a broker that has nothing to do.
#[derive(Clone, Copy)]
enum Idle {
    Short,
    Long,
}

/// A folder with messages, and the options of its broker.
struct Folder {
    home: BrokerHome,
    options: [std::ffi::OsString; 2],
}

impl Folder {
    /// The broker has ended; in order, or by kill -9.
    fn with_messages(idle: Idle, killed: bool) -> Folder {
        let home = BrokerHome::new().expect("a temporary folder can be made");
        let time = if matches!(idle, Idle::Short) { 100 } else { 3_600_000 };
        // A broker makes nothing of a silence after less than a 32nd part of a file.
        let text = format!("[limits]\njournal_idle_ms = {time}\njournal_file_octets = 8388608\n");
        let file = home.write_file("warrenmq.toml", &text).expect("a configuration can be written");
        let folder = Folder { home, options: ["--config".into(), file.into()] };
        let broker = folder.start();
        for queue in QUEUES {
            assert_eq!(publish_numbered(broker.address(), queue, 0, MESSAGES, OCTETS), (MESSAGES, None));
        }
        if matches!(idle, Idle::Short) {
            let first = folder.home.data_dir().join("journal/0000000001.log");
            wait_until("the journal has moved on", || !first.exists());
        }
        match killed {
            true => broker.kill().expect("a process can be killed"),
            false => assert!(broker.stop(Duration::from_secs(5)).expect("it ends in time").success()),
        }
        folder
    }

    fn start(&self) -> BrokerProcess {
        BrokerProcess::start(binary(), &self.home, &self.options).expect("the broker starts")
    }

    /// The start is refused, with this in what the broker says.
    fn check_refusal(&self, expected: &str) {
        let mut broker =
            BrokerProcess::spawn(binary(), &self.home, &self.options).expect("the binary can be run");
        wait_until("the start is refused", || !broker.is_running().expect("the system tells"));
        let text = self.home.log_tail();
        assert!(text.contains(expected), "{text}\nwithout: {expected}");
        assert!(text.contains("warrenmq ctl store salvage "), "{text}");
    }

    fn ctl(&self, command: &str) -> Output {
        let mut ctl = Command::new(binary());
        ctl.args(["ctl", "store", command]).arg(self.home.data_dir());
        ctl.output().expect("the binary can be run")
    }

    /// Finds the damage and keeps what is whole.
    fn salvage(&self) {
        for (command, code) in [("check", 1), ("salvage", 0), ("check", 0)] {
            let output = self.ctl(command);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert_eq!(output.status.code(), Some(code), "{command}: {text}");
            println!("{command}:\n{text}");
        }
    }

    /// Starts the broker twice, with a kill -9 between, and says what the queues have then.
    fn messages(&self) -> Vec<Vec<u64>> {
        self.start().kill().expect("a process can be killed");
        let broker = self.start();
        assert_eq!(self.ctl("check").status.code(), Some(2), "not while a broker runs");
        let messages = QUEUES.iter().map(|queue| take_numbered(broker.address(), queue)).collect();
        // What is new after that is not taken for what was lost.
        assert_eq!(publish_numbered(broker.address(), "a", 1_000, 3, 100), (3, None));
        broker.kill().expect("a process can be killed");
        assert_eq!(take_numbered(self.start().address(), "a"), [1_000, 1_001, 1_002]);
        messages
    }

    fn segments(&self) -> Vec<PathBuf> {
        let queues = self.home.data_dir().join("queues");
        names(&queues).iter().filter(|queue| queue.is_dir()).flat_map(|queue| names(queue)).collect()
    }
}

/// What is in a folder, in order; nothing when it is not there.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    names.sort();
    names
}

fn hurt(file: &Path, injure: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = fs::read(file).expect("a file can be read");
    injure(&mut octets);
    fs::write(file, octets).expect("a file can be written");
}

/// Ascending, and not more than `lost` of all are missing; how many.
fn check(messages: &[Vec<u64>], lost: u64) -> u64 {
    let mut missing = 0;
    for queue in messages {
        assert!(queue.is_sorted() && queue.iter().all(|number| *number < MESSAGES), "{queue:?}");
        assert!(queue.windows(2).all(|pair| pair[0] < pair[1]), "twice: {queue:?}");
        missing += MESSAGES - queue.len() as u64;
    }
    assert!(missing <= lost, "{missing} are missing: {messages:?}");
    missing
}

#[test]
fn of_a_damaged_journal_every_other_record_comes_back() {
    let folder = Folder::with_messages(Idle::Long, true);
    let journal = names(&folder.home.data_dir().join("journal"));
    let file = journal.iter().find(|file| fs::read(file).is_ok_and(|octets| octets.len() > 1 << 20));
    let file = file.expect("there is a journal").clone();
    hurt(&file, |octets| octets[100_000] ^= 0x10);
    folder.check_refusal("is damaged at octet ");
    folder.salvage();
    assert_eq!(check(&folder.messages(), 1), 1);
}

#[test]
fn of_damaged_segments_every_other_block_comes_back() {
    let folder = Folder::with_messages(Idle::Short, true);
    let file = folder.segments()[0].clone();
    // In the header of the first block.
    hurt(&file, |octets| octets[50] ^= 0x10);
    folder.check_refusal(".seg is damaged at octet 32: ");
    folder.salvage();
    // A block is about 128 KiB.
    let missing = check(&folder.messages(), 50);
    assert!(missing > 0);
}

#[test]
fn queues_find_their_messages_again_when_the_definitions_are_rebuilt() {
    for idle in [Idle::Long, Idle::Short] {
        let folder = Folder::with_messages(idle, false);
        hurt(&folder.home.data_dir().join("definitions/db"), |octets| octets[..512].fill(0));
        folder.check_refusal("the definitions in ");
        folder.salvage();
        check(&folder.messages(), 0);
    }
}
