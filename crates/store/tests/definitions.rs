//! Definitions on disk through the public interface: round trips, reopening, sizes, the model of a plain map.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;
use warrenmq_store::{
    Change, DataDir, DefinitionError, DefinitionStore, KEY_LEN_MAX, KeyValue, SledDefinitions, VALUE_LEN_MAX,
};

fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Change {
    Change::Put { key: key.into(), value: value.into() }
}

fn delete(key: impl Into<Vec<u8>>) -> Change {
    Change::Delete { key: key.into() }
}

/// Opens the folder as a broker that starts would, and gives what it finds.
fn reopened(temp: &TempDir) -> Vec<KeyValue> {
    let dir = DataDir::open(temp.path()).unwrap();
    SledDefinitions::open(&dir).unwrap().load().unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<KeyValue> {
    expected.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn what_was_committed_is_there_again_in_the_order_of_keys() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(reopened(&temp), []);
    // (commits, what is there after them)
    let steps = [
        (vec![put("queue/b", "1"), put("queue/a", "2")], &[("queue/a", "2"), ("queue/b", "1")][..]),
        (vec![delete("queue/a"), put("queue/b", "3")], &[("queue/b", "3")]),
        (vec![put("x", "1"), delete("x"), put("y", "1"), put("y", "2")], &[("queue/b", "3"), ("y", "2")]),
        (vec![delete("never there")], &[("queue/b", "3"), ("y", "2")]),
        (vec![], &[("queue/b", "3"), ("y", "2")]),
        (vec![put("", "")], &[("", ""), ("queue/b", "3"), ("y", "2")]),
        (vec![delete(""), delete("queue/b"), delete("y")], &[]),
    ];
    for (changes, expected) in steps {
        {
            let dir = DataDir::open(temp.path()).unwrap();
            let mut store = SledDefinitions::open(&dir).unwrap();
            store.commit(&changes).unwrap();
            assert_eq!(store.load().unwrap(), pairs(expected), "at once after {changes:?}");
        }
        assert_eq!(reopened(&temp), pairs(expected), "reopened after {changes:?}");
    }
}

#[test]
fn a_rest_after_many_changes_leaves_everything_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut store = SledDefinitions::open(&dir).unwrap();
    let expected: Vec<KeyValue> = (0..3000).map(|n| (format!("k{n:04}").into(), b"v".to_vec())).collect();
    // Some of these rests open the database again, others find that too little has changed.
    for part in expected.chunks(300) {
        let changes: Vec<_> = part.iter().map(|(key, value)| put(key.clone(), value.clone())).collect();
        store.commit(&changes).unwrap();
        store.rest().unwrap();
    }
    assert_eq!(store.load().unwrap(), expected);
    store.commit(&[put("k0000", "w"), delete("k0001")]).unwrap();
    store.rest().unwrap();
    drop(store);
    drop(dir);
    let found = reopened(&temp);
    assert_eq!(found[0], (b"k0000".to_vec(), b"w".to_vec()));
    assert_eq!(found[1..], expected[2..]);
}

/// sled makes a snapshot when it opens a database; a process that is killed then leaves the beginning of one.
#[test]
fn a_start_that_was_killed_leaves_nothing_in_the_way_of_the_next() {
    let temp = tempfile::tempdir().unwrap();
    {
        let dir = DataDir::open(temp.path()).unwrap();
        SledDefinitions::open(&dir).unwrap().commit(&[put("queue/a", "1")]).unwrap();
    }
    for begun in ["", "half a snapshot"] {
        fs::write(temp.path().join("definitions/snap.FFFFFFFFFFFFFFF0.generating"), begun).unwrap();
        assert_eq!(reopened(&temp), pairs(&[("queue/a", "1")]), "{begun:?}");
    }
}

#[test]
fn a_long_random_history_equals_a_plain_map() {
    let temp = tempfile::tempdir().unwrap();
    let mut model = BTreeMap::new();
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..4 {
        let dir = DataDir::open(temp.path()).unwrap();
        let mut store = SledDefinitions::open(&dir).unwrap();
        assert_eq!(store.load().unwrap(), model.clone().into_iter().collect::<Vec<_>>());
        for _ in 0..60 {
            let changes: Vec<_> = (0..random(20))
                .map(|_| {
                    let key = vec![b'k'; 1 + random(120) as usize];
                    // Sizes around one record and several: pieces come and go.
                    let value = vec![random(256) as u8; random(3) as usize * 4000 + random(200) as usize];
                    if random(3) == 0 { delete(key) } else { put(key, value) }
                })
                .collect();
            store.commit(&changes).unwrap();
            for change in changes {
                match change {
                    Change::Put { key, value } => model.insert(key, value),
                    Change::Delete { key } => model.remove(&key),
                };
            }
        }
    }
    assert_eq!(reopened(&temp), model.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_largest_definitions_never_leave_the_file_that_is_synced() {
    let temp = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    {
        let dir = DataDir::open(temp.path()).unwrap();
        let mut store = SledDefinitions::open(&dir).unwrap();
        for number in 0..120u8 {
            let mut key = vec![b'k'; KEY_LEN_MAX];
            key[KEY_LEN_MAX - 1] = number;
            let value = vec![number; VALUE_LEN_MAX];
            store.commit(&[put(key.clone(), value.clone())]).unwrap();
            expected.push((key, value));
        }
    }
    // The storage engine puts what it finds too large into files here, and never syncs them.
    let blobs = fs::read_dir(temp.path().join("definitions/blobs")).unwrap().count();
    assert_eq!(blobs, 0);
    assert_eq!(reopened(&temp), expected);
}

#[test]
fn too_large_is_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut store = SledDefinitions::open(&dir).unwrap();
    for change in [
        put("k", vec![0; VALUE_LEN_MAX + 1]),
        put(vec![0; KEY_LEN_MAX + 1], ""),
        delete(vec![0; KEY_LEN_MAX + 1]),
    ] {
        let error = store.commit(&[put("before", "1"), change]).unwrap_err();
        assert!(matches!(error, DefinitionError::TooLarge { .. }), "{error}");
    }
    // It is the one error that does not end the store.
    store.commit(&[put("after", "1")]).unwrap();
    assert_eq!(store.load().unwrap(), pairs(&[("after", "1")]));
}

#[test]
fn one_batch_of_very_many_changes_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let changes: Vec<_> = (0..20_000).map(|number| put(format!("{number:05}"), vec![b'v'; 200])).collect();
    {
        let dir = DataDir::open(temp.path()).unwrap();
        SledDefinitions::open(&dir).unwrap().commit(&changes).unwrap();
    }
    assert_eq!(reopened(&temp).len(), 20_000);
}
