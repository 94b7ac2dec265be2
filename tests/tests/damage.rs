//! Files of the journal that are not as the broker left them: what a crash can do to them is cut and reported, and the rest is
//! there; anything else stops the start with the place and the way out. The layout is that of `docs/internals/storage-format.md`.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};
use warrenmq_tests::{binary, publish_numbered, take_numbered, wait_until};

/// Messages; each is a record of the journal, since each is confirmed before the next is published.
const MESSAGES: u64 = 20;
/// Octets of the header of a file.
const HEADER: usize = 64;

/// A folder whose broker was killed when it had confirmed all messages.
fn killed() -> BrokerHome {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let broker = start(&home);
    assert_eq!(publish_numbered(broker.address(), "q", 0, MESSAGES, 100), (MESSAGES, None));
    broker.kill().expect("a process can be killed");
    home
}

/// A broker that does not move messages out of the journal while a test looks at it.
fn start(home: &BrokerHome) -> BrokerProcess {
    BrokerProcess::start(binary(), home, arguments(home)).expect("the broker starts")
}

fn arguments(home: &BrokerHome) -> [std::ffi::OsString; 2] {
    let text = "[limits]\njournal_idle_ms = 3600000\n";
    let file = home.write_file("warrenmq.toml", text).expect("a configuration can be written");
    ["--config".into(), file.into()]
}

/// What a broker says that does not start.
fn refusal(home: &BrokerHome) -> String {
    let output = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.data_dir())
        .args(arguments(home))
        .output()
        .expect("the binary can be run");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The file of the journal that holds records, its octets, and where its records are.
fn journal(home: &BrokerHome) -> (PathBuf, Vec<u8>, Vec<Range<usize>>) {
    let files = fs::read_dir(home.data_dir().join("journal")).expect("there is a journal");
    let files = files.map(|file| file.expect("a folder can be read").path());
    let mut with_records = files.filter_map(|path| {
        let octets = fs::read(&path).expect("a file can be read");
        let records = records(&octets);
        (!records.is_empty()).then_some((path, octets, records))
    });
    let found = with_records.next().expect("a file has records");
    assert!(with_records.next().is_none(), "one file has all records");
    found
}

fn records(file: &[u8]) -> Vec<Range<usize>> {
    let mut records = Vec::new();
    let mut at = HEADER;
    while file.get(at..at + 4).is_some_and(|mark| mark == &file[12..16]) {
        let bodies = u64::from_le_bytes(file[at + 16..at + 24].try_into().expect("eight octets"));
        let heads = u32::from_le_bytes(file[at + 24..at + 28].try_into().expect("four octets"));
        let octets = (32 + heads as usize + bodies as usize).next_multiple_of(8);
        records.push(at..at + octets);
        at += octets;
    }
    records
}

#[test]
fn damage_in_the_middle_stops_the_start() {
    let home = killed();
    let (path, whole, records) = journal(&home);
    assert!(records.len() >= MESSAGES as usize, "each message is a record: {records:?}");
    let middle = &records[records.len() / 2];
    // In a body, in the number of the record, and a record that is not there at all.
    let changes: [(&str, Range<usize>); 3] = [
        ("body", middle.end - 20..middle.end - 19),
        ("number", middle.start + 8..middle.start + 9),
        ("all", middle.clone()),
    ];
    for (what, octets) in changes {
        let mut damaged = whole.clone();
        damaged[octets].iter_mut().for_each(|octet| *octet ^= 0x55);
        fs::write(&path, damaged).expect("a file can be written");
        let text = refusal(&home);
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let place = format!("journal/{name} is damaged at octet {}", middle.start);
        assert!(text.contains(&place), "{what}: {text}\nwithout: {place}");
        assert!(text.contains("warrenmq ctl store salvage"), "{what}: {text}");
    }
    // Nothing was changed by the attempts.
    fs::write(&path, whole).expect("a file can be written");
    let broker = start(&home);
    assert_eq!(take_numbered(broker.address(), "q"), (0..MESSAGES).collect::<Vec<_>>());
}

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let home = killed();
    let (path, mut octets, records) = journal(&home);
    let last = records.last().expect("there are records").clone();
    // The last record did not get to the disk as a whole.
    octets[last.end - 50..last.end].fill(0);
    fs::write(&path, octets).expect("a file can be written");
    let broker = start(&home);
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let place = format!("journal/{name}: {} octets from octet {} on", last.len(), last.start);
    wait_until(&place, || home.log().contains(&place));
    assert_eq!(take_numbered(broker.address(), "q"), (0..MESSAGES - 1).collect::<Vec<_>>());
    // What is published now is behind the cut, for good.
    assert_eq!(publish_numbered(broker.address(), "q", 100, 3, 100), (3, None));
    broker.kill().expect("a process can be killed");
    let broker = start(&home);
    let there = take_numbered(broker.address(), "q");
    assert!(there.ends_with(&[100, 101, 102]), "{there:?}");
}

#[test]
fn a_journal_of_a_newer_format_is_refused() {
    let home = killed();
    let (path, mut octets, _) = journal(&home);
    octets[8] = 3;
    let checksum = crc32fast::hash(&octets[..60]).to_le_bytes();
    octets[60..64].copy_from_slice(&checksum);
    fs::write(&path, octets).expect("a file can be written");
    let text = refusal(&home);
    assert!(
        text.contains("has format 3, this program reads up to 2; start the version that wrote it"),
        "{text}"
    );
}
