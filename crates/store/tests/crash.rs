//! A process that is killed while it commits, again and again. What it reported durable must be there; the one
//! change that was on its way may be. Also the folder's lock between processes.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use warrenmq_store::{Change, DataDir, DataDirError, DefinitionStore, SledDefinitions};

const ROUNDS: u64 = 10;
const FOLDER: &str = "WARRENMQ_TEST_CRASH_FOLDER";

/// Not a test by itself: the process that the tests below start, this same program, and kill.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let dir = DataDir::open(Path::new(&folder)).unwrap();
    let mut store = SledDefinitions::open(&dir).unwrap();
    let mut next = 1 + store.load().unwrap().iter().map(|(_, value)| number(value)).max().unwrap_or(0);
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "\nintent {next}").unwrap();
        store.commit(&changes(next)).unwrap();
        writeln!(out, "durable {next}").unwrap();
        next += 1;
    }
}

/// The group number `next`: some keys overwritten, one deleted; its first value tells its number.
fn changes(next: u64) -> Vec<Change> {
    let mut changes: Vec<_> = (0..next % 5 + 1)
        .map(|offset| {
            let mut value = next.to_be_bytes().to_vec();
            value.resize(8 + (next * 37 % 3000) as usize, next as u8);
            Change::Put { key: ((next * 7 + offset) % 97).to_be_bytes().to_vec(), value }
        })
        .collect();
    changes.push(Change::Delete { key: ((next * 7 + 50) % 97).to_be_bytes().to_vec() });
    changes
}

fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn model(groups: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for change in (1..=groups).flat_map(changes) {
        match change {
            Change::Put { key, value } => map.insert(key, value),
            Change::Delete { key } => map.remove(&key),
        };
    }
    map.into_iter().collect()
}

fn start(folder: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
fn what_was_reported_durable_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let (mut durable, mut intended) = (0, 0);
    for round in 0..ROUNDS {
        let (mut child, out) = start(temp.path());
        // Sooner in some rounds: the kill is to hit the opening as well.
        std::thread::sleep(Duration::from_millis(4 + round * round * 5));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in out.lines().map_while(Result::ok) {
            let numbered = |word: &str| line.strip_prefix(word).and_then(|rest| rest.parse::<u64>().ok());
            durable = numbered("durable ").unwrap_or(durable);
            intended = numbered("intent ").unwrap_or(intended);
        }
        let dir = DataDir::open(temp.path()).unwrap();
        let found = SledDefinitions::open(&dir).unwrap().load().unwrap();
        let last = if found == model(durable) { durable } else { intended };
        assert_eq!(found, model(last), "round {round}: {durable} durable, {intended} intended");
        durable = last;
    }
    assert!(durable > 0, "nothing was ever committed");
}

#[test]
fn a_folder_in_use_by_another_process_is_refused_until_that_is_gone() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, out) = start(temp.path());
    let mut lines = out.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("durable ")));
    let error = DataDir::open(temp.path()).unwrap_err();
    let DataDirError::InUse { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    DataDir::open(temp.path()).unwrap();
}
