//! `warrenmq ctl store` as a process: what it says of whole and of damaged folders, and what a broker finds after a salvage.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use warrenmq_broker::definitions::{self, Definitions, Record, Remains};
use warrenmq_store::{
    Block, BlockRange, Change, DataDir, DefinitionStore, Entry, FolderDisk, Journal, JournalOptions,
    KeyValue, Scan, SegmentOptions, Segments, SledDefinitions, Step, write_generation,
};

/// What the folder of a test holds.
const EXPORT: &str = r#"{
    "vhosts": [{"name": "/"}],
    "users": [{"name": "rabbit", "password_hash": "", "tags": []}],
    "permissions": [{"user": "rabbit", "vhost": "/", "configure": "", "write": "", "read": ".*"}],
    "exchanges": [{"name": "x", "vhost": "/", "type": "direct"}],
    "queues": [{"name": "first", "vhost": "/"}, {"name": "second", "vhost": "/", "arguments": {"x-max-length": 5}}],
    "bindings": [{"source": "x", "vhost": "/", "destination": "first", "destination_type": "queue", "routing_key": "k"}]
}"#;

/// Numbers of the queues.
const FIRST: u64 = 11;
const SECOND: u64 = 12;

#[test]
fn a_whole_folder() {
    let home = filled();
    for command in ["check", "salvage"] {
        let before = listing(&home);
        let (code, out, err) = ctl(&[command, &data(&home)]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "definitions: 1 vhost, 1 user, 1 exchange, 2 queues, 1 binding");
        assert!(lines[1].ends_with("20 records, 20 messages with those that are settled"), "{out}");
        assert!(lines[2].contains("in 1 file of 1 queue: 3 blocks, 30 messages with those"), "{out}");
        assert!(lines[3].starts_with("everything is whole") && lines.len() == 4, "{out}");
        assert_eq!(listing(&home), before, "{command} changes nothing");
    }
}

#[test]
fn what_is_no_folder_of_a_stopped_broker_is_not_looked_at() {
    let home = filled();
    let _running = DataDir::open(&home.path().join("data")).expect("the folder is free");
    let nothing = home.path().display().to_string();
    let (data, missing) = (data(&home), format!("{nothing}/missing"));
    let newer = home.path().join("newer");
    fs::create_dir(&newer).expect("made");
    fs::write(newer.join("format"), "warrenmq 1000").expect("written");
    let newer = newer.display().to_string();
    let cases: [(&[&str], &str); 6] = [
        (&["check", &data], "in use by another running broker"),
        (&["salvage", &data], "in use by another running broker"),
        (&["check", &missing], "is no data folder of a broker"),
        (&["salvage", &nothing], "is no data folder of a broker"),
        (&["check", &newer], "has format 1000"),
        (&["check"], "<DIR>"),
    ];
    for (arguments, expected) in cases {
        let (code, out, err) = ctl(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    assert!(!Path::new(&missing).exists() && !home.path().join("warrenmq.lock").exists());
}

#[test]
fn damaged_definitions_come_from_everything_that_is_left() {
    let export_lost = |folder: &Path| fs::remove_file(folder.join("definitions.json")).expect("removed");
    // (name, injury, what has to be said)
    type Injury = Box<dyn Fn(&Path)>;
    let cases: Vec<(&str, Injury, &str)> = vec![
        (
            "a sector of zeros",
            Box::new(|folder| zero(&folder.join("definitions/db"), 0)),
            "from definitions.json",
        ),
        (
            "and no export",
            Box::new(move |folder| {
                zero(&folder.join("definitions/db"), 0);
                export_lost(folder);
            }),
            "from the remains of the database",
        ),
        (
            "a damaged export, and the one before",
            Box::new(|folder| {
                zero(&folder.join("definitions/db"), 0);
                fs::copy(folder.join("definitions.json"), folder.join("definitions.json.1")).expect("copied");
                fs::write(folder.join("definitions.json"), "{").expect("written");
            }),
            "from definitions.json.1",
        ),
        (
            "no marker",
            Box::new(|folder| fs::remove_file(folder.join("definitions.marker")).expect("removed")),
            "definitions: 7 kept: 1 vhost, 1 user, 1 exchange, 2 queues, 1 binding\n",
        ),
    ];
    for (name, injure, expected) in cases {
        let home = filled();
        let folder = home.path().join("data");
        injure(&folder);
        let (code, out, _) = ctl(&["check", &data(&home)]);
        assert_eq!(code, 1, "{name}: {out}");
        assert!(
            out.contains("DAMAGED: definitions: expected ") && out.contains("`warrenmq ctl store salvage"),
            "{name}: {out}"
        );
        let (code, out, err) = ctl(&["salvage", &data(&home)]);
        assert_eq!(code, 0, "{name}: {out}{err}");
        assert!(out.contains(expected), "{name}: {out}");
        assert!(!out.contains("cannot be matched") && !out.contains("without a definition"), "{name}: {out}");
        assert_eq!(stored(&folder), records(), "{name}: with the numbers of the queues");
        assert_eq!(ctl(&["check", &data(&home)]).0, 0, "{name}");
    }
}

#[test]
fn a_queue_without_its_number_is_named_and_its_messages_are_kept() {
    let home = filled();
    let folder = home.path().join("data");
    fs::remove_dir_all(folder.join("definitions")).expect("removed");
    let (code, out, err) = ctl(&["salvage", &data(&home)]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("2 queues cannot be matched with messages and will be empty"), "{out}");
    assert!(
        out.contains(
            "messages of 2 queues without a definition, deleted or lost, are kept there too: 11, 12"
        ),
        "{out}"
    );
    let kept = aside(&folder);
    assert!(kept.join("journal/0000000001.log").exists());
    assert!(kept.join("queues/000000000000000b/00000001.seg").exists());
    assert!(folder.join("journal/0000000001.log").exists(), "what is not damaged stays");
}

#[test]
fn damaged_messages_are_named_by_file_and_octet_and_the_rest_is_kept() {
    let home = filled();
    let folder = home.path().join("data");
    let segment = "queues/000000000000000b/00000001.seg";
    flip(&folder.join("journal/0000000001.log"), 200);
    flip(&folder.join(segment), 60);
    let before = fs::read(folder.join(segment)).expect("it is there");
    let (code, out, _) = ctl(&["check", &data(&home)]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("DAMAGED: journal/0000000001.log at octet 64: record 1 is not whole or not there"),
        "{out}"
    );
    assert!(out.contains(&format!("DAMAGED: {segment} at octet 32: ")), "{out}");
    assert!(out.contains("2 damaged places; "), "{out}");
    let (code, out, err) = ctl(&["salvage", &data(&home)]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("journal: 19 records kept, 1 lost\n"), "{out}");
    assert!(out.contains("segments: 2 blocks kept, 1 place lost\n"), "{out}");
    assert!(fs::read(aside(&folder).join(segment)).expect("it is kept") == before);
    let (code, out, _) = ctl(&["check", &data(&home)]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("19 records, 19 messages") && out.contains("2 blocks, 20 messages"), "{out}");
    assert_eq!(stored(&folder), records());
}

/// A data folder with definitions, their export, a journal and segments.
fn filled() -> TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    let folder = home.path().join("data");
    let dir = DataDir::open(&folder).expect("a new folder");
    let mut store = SledDefinitions::open(&dir).expect("a new database");
    // Changed and put back, as it happens in the life of a broker: what is damaged may be there twice.
    let changes: Vec<Change> = records().into_iter().map(|(key, value)| Change::Put { key, value }).collect();
    store.commit(&changes).expect("committed");
    for change in &changes {
        store.commit(&[Change::Delete { key: change.key().to_vec() }]).expect("committed");
        store.commit(std::slice::from_ref(change)).expect("committed");
    }
    drop(store);
    let export = definitions::import_whole(EXPORT.as_bytes()).expect("an export");
    write_generation(&dir, "definitions.json", &Definitions::export(&export), 5).expect("written");
    let disk = Arc::new(FolderDisk::new(&folder));
    let options = JournalOptions { file_octets: 1 << 20, ..JournalOptions::default() };
    let journal = Journal::begin(disk.clone(), options, &Scan::default()).expect("a new journal");
    for position in 0..20 {
        let queues = Box::new([(FIRST, position), (SECOND, position)]);
        let records = vec![position as u8; 100].into();
        journal.append(vec![Entry::Publish { queues, count: 1, arrived: 1, records }], true);
        journal.step(0).expect("written");
    }
    journal.close();
    while journal.step(0).expect("written") != Step::Closed {}
    let segments = Segments::open(disk, SegmentOptions::default()).expect("new segments");
    for number in 0..3 {
        let ranges = vec![BlockRange { first: 100 + number * 10, count: 10, transient: false, arrived: 1 }];
        let body = vec![vec![number as u8; 500].into()];
        segments.write(FIRST, &Block { level: 0, ranges, body }).expect("written");
        segments.sync().expect("synced");
    }
    home
}

/// What the database holds: [`EXPORT`], with numbers.
fn records() -> Vec<KeyValue> {
    let export = definitions::import_whole(EXPORT.as_bytes()).expect("an export");
    let remains = Remains { export: Some(&export), ..Remains::default() };
    let numbered = remains.rebuild(Default::default).records.into_iter().map(|mut record| {
        if let Record::Queue(queue) = &mut record {
            queue.id = if queue.name == "first" { FIRST } else { SECOND };
        }
        (record.key().encode(), record.encode_value())
    });
    let mut records: Vec<KeyValue> = numbered.collect();
    records.sort();
    records
}

fn stored(folder: &Path) -> Vec<KeyValue> {
    let dir = DataDir::open(folder).expect("the folder is free and whole");
    SledDefinitions::open(&dir).and_then(|mut store| store.load()).expect("the database is whole")
}

fn ctl(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warrenmq"));
    let output: Output =
        command.args(["ctl", "store"]).args(arguments).stdin(Stdio::null()).output().expect("it can be run");
    let text = |octets| String::from_utf8(octets).expect("UTF-8");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

fn data(home: &TempDir) -> String {
    home.path().join("data").display().to_string()
}

/// The one folder to which things were moved.
fn aside(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("read").path());
    let mut asides: Vec<PathBuf> = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("salvage-")))
        .collect();
    assert_eq!(asides.len(), 1, "{asides:?}");
    asides.remove(0)
}

/// Every file with its length.
fn listing(home: &TempDir) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![home.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("read")) {
            let metadata = entry.metadata().expect("it has a length");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() != "warrenmq.lock" {
                files.push((entry.path(), metadata.len()));
            }
        }
    }
    files.sort();
    files
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("it is there");
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).expect("it is so long");
    file.write_all_at(&[octet[0] ^ 1], at).expect("written");
}

fn zero(path: &Path, at: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("it is there");
    file.write_all_at(&[0; 512], at).expect("written");
}
