//! The writer of definitions: groups, order, failure, back-pressure, closing.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use warrenmq_store::{
    Change, CommitSeq, DataDir, DefinitionError, DefinitionStore, DefinitionWriter, GROUP_BYTES_MAX,
    KeyValue, MemoryDefinitions, PENDING_BYTES_MAX, SledDefinitions, VALUE_LEN_MAX,
};

fn put(key: impl ToString, value: impl Into<Vec<u8>>) -> Change {
    Change::Put { key: key.to_string().into(), value: value.into() }
}

/// What the listeners have heard, in its order.
#[derive(Debug, PartialEq)]
enum Heard {
    Durable(u64),
    Failure(String),
}

type Make = fn(
    Box<dyn DefinitionStore>,
    Box<dyn Fn(CommitSeq) + Send>,
    Box<dyn Fn(DefinitionError) + Send>,
) -> DefinitionWriter;

fn writer(make: Make, store: impl DefinitionStore + 'static) -> (DefinitionWriter, Receiver<Heard>) {
    let (sender, heard) = channel();
    let failures: Sender<_> = sender.clone();
    let writer = make(
        Box::new(store),
        Box::new(move |seq| sender.send(Heard::Durable(seq.0)).unwrap()),
        Box::new(move |error| failures.send(Heard::Failure(error.to_string())).unwrap()),
    );
    (writer, heard)
}

/// A store whose commits wait until the test lets them go, one permission each.
struct Gated {
    store: MemoryDefinitions,
    permission: Receiver<()>,
}

impl DefinitionStore for Gated {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        self.store.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        self.permission.recv().unwrap();
        self.store.commit(changes)
    }
}

fn gated() -> (Gated, MemoryDefinitions, Sender<()>) {
    let (sender, permission) = channel();
    let store = MemoryDefinitions::new();
    (Gated { store: store.clone(), permission }, store, sender)
}

#[test]
fn what_arrives_during_a_commit_is_one_group() {
    let (gate, mut store, go) = gated();
    let (writer, heard) = writer(DefinitionWriter::spawn, gate);
    assert_eq!(writer.submit(vec![put("first", "")]).unwrap(), CommitSeq(1));
    // The first may or may not be with the store yet; the permissions decide what is grouped with what.
    thread::sleep(Duration::from_millis(50));
    for number in 2..=1000 {
        assert_eq!(writer.submit(vec![put(number, "v")]).unwrap(), CommitSeq(number));
    }
    assert_eq!(writer.durable(), CommitSeq(0));
    go.send(()).unwrap();
    writer.wait(CommitSeq(1)).unwrap();
    go.send(()).unwrap();
    writer.wait(CommitSeq(1000)).unwrap();
    writer.close().unwrap();
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Heard::Durable(1), Heard::Durable(1000)]);
    assert_eq!(store.commits(), 2);
    assert_eq!(store.load().unwrap().len(), 1000);
}

#[test]
fn a_thousand_concurrent_submits_share_few_syncs_on_a_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let (writer, heard) = writer(DefinitionWriter::spawn, SledDefinitions::open(&dir).unwrap());
    let writer = Arc::new(writer);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let writer = Arc::clone(&writer);
            thread::spawn(move || {
                let last = (0..250).map(|n| writer.submit(vec![put(thread * 1000 + n, "v")]).unwrap()).max();
                writer.wait(last.unwrap()).unwrap();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(writer.durable(), CommitSeq(1000));
    writer.close().unwrap();
    drop(writer);
    let groups = heard.try_iter().count();
    assert!(groups < 200, "{groups} groups");
    assert_eq!(SledDefinitions::open(&dir).unwrap().load().unwrap().len(), 1000);
}

#[test]
fn the_last_submit_of_a_key_wins_across_and_within_groups() {
    for make in [DefinitionWriter::spawn as Make, DefinitionWriter::inline] {
        let mut store = MemoryDefinitions::new();
        let (writer, _heard) = writer(make, store.clone());
        for number in 0..200 {
            writer.submit(vec![put("k", number.to_string()), put("k2", "")]).unwrap();
            writer.submit(vec![Change::Delete { key: b"k2".to_vec() }]).unwrap();
        }
        writer.close().unwrap();
        assert_eq!(store.load().unwrap(), [(b"k".to_vec(), b"199".to_vec())]);
    }
}

#[test]
fn a_failed_commit_ends_everything_once() {
    for make in [DefinitionWriter::spawn as Make, DefinitionWriter::inline] {
        let mut store = MemoryDefinitions::new();
        store.fail_after(1);
        let (writer, heard) = writer(make, store.clone());
        let first = writer.submit(vec![put("a", "1")]).unwrap();
        writer.wait(first).unwrap();
        // Inline it is the submit that fails, with a thread it is the wait.
        let failed = writer.submit(vec![put("b", "2")]).and_then(|seq| writer.wait(seq)).unwrap_err();
        store.fail_after(u64::MAX);
        let refused = writer.submit(vec![put("c", "3")]).unwrap_err();
        for error in [failed, refused, writer.submit(vec![]).unwrap_err(), writer.close().unwrap_err()] {
            assert!(matches!(error, DefinitionError::Failed { .. }), "{error}");
        }
        assert_eq!(writer.durable(), first);
        drop(writer);
        let heard: Vec<_> = heard.try_iter().collect();
        let [Heard::Durable(1), Heard::Failure(text)] = &heard[..] else { panic!("{heard:?}") };
        assert!(text.contains("told to fail"), "{text}");
        assert_eq!(store.load().unwrap(), [(b"a".to_vec(), b"1".to_vec())]);
    }
}

/// A store that tells when it is let rest, and cannot the second time.
struct Resting {
    store: MemoryDefinitions,
    rests: Sender<()>,
    rested: bool,
}

impl DefinitionStore for Resting {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        self.store.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        self.store.commit(changes)
    }

    fn rest(&mut self) -> Result<(), DefinitionError> {
        self.rests.send(()).unwrap();
        match std::mem::replace(&mut self.rested, true) {
            false => Ok(()),
            true => Err(DefinitionError::Failed { reason: "no rest".into() }),
        }
    }
}

#[test]
fn a_store_rests_once_after_its_commits() {
    let (rests, rested) = channel();
    let (writer, heard) =
        writer(DefinitionWriter::spawn, Resting { store: MemoryDefinitions::new(), rests, rested: false });
    writer.submit(vec![put("a", "1")]).unwrap();
    rested.recv_timeout(Duration::from_secs(60)).unwrap();
    // Without a commit there is no other one.
    assert!(rested.recv_timeout(Duration::from_millis(2500)).is_err());
    let second = writer.submit(vec![put("b", "1")]).unwrap();
    writer.wait(second).unwrap();
    rested.recv_timeout(Duration::from_secs(60)).unwrap();
    while writer.submit(vec![]).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    let heard: Vec<_> = heard.try_iter().collect();
    let [Heard::Durable(1), Heard::Durable(2), Heard::Failure(text)] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert!(text.contains("no rest"), "{text}");
}

/// A storage engine that panics instead of returning an error.
struct Panicking;

impl DefinitionStore for Panicking {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: &[Change]) -> Result<(), DefinitionError> {
        panic!("as the engine does on some errors");
    }
}

#[test]
fn a_panic_of_the_store_is_a_failure_and_nobody_waits_for_ever() {
    for make in [DefinitionWriter::spawn as Make, DefinitionWriter::inline] {
        let (writer, heard) = writer(make, Panicking);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            writer.submit(vec![put("a", "1")]).and_then(|seq| writer.wait(seq)).unwrap_err()
        }));
        assert!(outcome.unwrap().to_string().contains("panicked"));
        drop(writer);
        assert_eq!(heard.try_iter().count(), 1);
    }
}

#[test]
fn too_large_or_late_is_refused_and_nothing_else_is_lost() {
    for make in [DefinitionWriter::spawn as Make, DefinitionWriter::inline] {
        let mut store = MemoryDefinitions::new();
        let (writer, _heard) = writer(make, store.clone());
        let error = writer.submit(vec![put("a", ""), put("b", vec![0; VALUE_LEN_MAX + 1])]).unwrap_err();
        assert!(matches!(error, DefinitionError::TooLarge { .. }), "{error}");
        let only = writer.submit(vec![put("c", "")]).unwrap();
        assert_eq!(writer.submit(vec![]).unwrap(), only, "an empty submit names the last one");
        writer.close().unwrap();
        writer.close().unwrap();
        assert!(matches!(writer.submit(vec![put("d", "")]).unwrap_err(), DefinitionError::Closed));
        assert_eq!(store.load().unwrap(), [(b"c".to_vec(), Vec::new())]);
    }
}

#[test]
fn a_full_queue_blocks_the_submitter_and_groups_stay_bounded() {
    let (gate, store, go) = gated();
    let (writer, heard) = writer(DefinitionWriter::spawn, gate);
    let writer = Arc::new(writer);
    let submits = (PENDING_BYTES_MAX + 2 * GROUP_BYTES_MAX) / VALUE_LEN_MAX;
    let submitter = {
        let writer = Arc::clone(&writer);
        thread::spawn(move || {
            for number in 0..submits {
                writer.submit(vec![put(number, vec![0; VALUE_LEN_MAX])]).unwrap();
            }
        })
    };
    thread::sleep(Duration::from_millis(200));
    assert!(!submitter.is_finished(), "more than the bound was taken");
    let permissions = thread::spawn(move || while go.send(()).is_ok() {});
    submitter.join().unwrap();
    writer.close().unwrap();
    drop(writer);
    permissions.join().unwrap();
    let least = (submits * VALUE_LEN_MAX).div_ceil(GROUP_BYTES_MAX) as u64;
    assert!(store.commits() >= least, "{} commits, at least {least} are needed", store.commits());
    assert_eq!(heard.try_iter().last(), Some(Heard::Durable(submits as u64)));
}
