//! Damage to the files of a data folder. Either the store opens with exactly what was committed last, or it refuses
//! with a message that says what is wrong and what to do; it is never found with less.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use warrenmq_store::{Change, DataDir, DefinitionError, DefinitionStore, KeyValue, SledDefinitions};

const KEYS: u32 = 1_100;

fn put(number: u32) -> Change {
    Change::Put { key: format!("queue/{number:04}").into(), value: number.to_be_bytes().repeat(40) }
}

/// A folder with [`KEYS`] definitions in several commits, and what they are.
fn filled(path: &Path) -> Vec<KeyValue> {
    let dir = DataDir::open(path).unwrap();
    let mut store = SledDefinitions::open(&dir).unwrap();
    for group in (0..KEYS).collect::<Vec<_>>().chunks(100) {
        store.commit(&group.iter().map(|&number| put(number)).collect::<Vec<_>>()).unwrap();
    }
    store.load().unwrap()
}

fn open(path: &Path) -> Result<Vec<KeyValue>, DefinitionError> {
    SledDefinitions::open(&DataDir::open(path).unwrap())?.load()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => fs::copy(entry.path(), target).map(|_| ()).unwrap(),
        }
    }
}

fn flip(path: &Path, at: u64, len: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0xa5);
    file.write_all_at(&bytes, at).unwrap();
}

fn truncate(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// The refusal names the folder and the command that keeps what is whole, in one line.
fn check_refusal(error: &DefinitionError, path: &Path, name: &str) {
    let text = error.to_string();
    let path = path.to_str().unwrap();
    assert!(matches!(error, DefinitionError::Damaged { .. }), "{name}: {text}");
    assert!(text.contains(&format!("the definitions in {path} are damaged: expected ")), "{name}: {text}");
    assert!(
        text.ends_with(&format!("`warrenmq ctl store salvage {path}` keeps what is whole")),
        "{name}: {text}"
    );
    assert!(!text.contains('\n'), "{name}: {text}");
}

#[test]
fn damage_is_refused_and_stays_refused() {
    let temp = tempfile::tempdir().unwrap();
    let original = temp.path().join("original");
    let expected = filled(&original);
    let len = fs::metadata(original.join("definitions/db")).unwrap().len();

    type Injury = Box<dyn Fn(&Path)>;
    let mut injuries: Vec<(String, Injury)> = vec![
        ("empty database file".into(), Box::new(|dir| truncate(&dir.join("definitions/db"), 0))),
        ("no database file".into(), Box::new(|dir| fs::remove_file(dir.join("definitions/db")).unwrap())),
        ("no database".into(), Box::new(|dir| fs::remove_dir_all(dir.join("definitions")).unwrap())),
        ("no marker".into(), Box::new(|dir| fs::remove_file(dir.join("definitions.marker")).unwrap())),
        ("empty marker".into(), Box::new(|dir| truncate(&dir.join("definitions.marker"), 0))),
    ];
    for part in 1..10 {
        let at = len * part / 10;
        injuries.push((
            format!("cut to {at} bytes"),
            Box::new(move |dir| truncate(&dir.join("definitions/db"), at)),
        ));
    }
    for (name, injure) in injuries {
        let dir = temp.path().join("injured");
        copy(&original, &dir);
        injure(&dir);
        for attempt in ["first", "second"] {
            let error = open(&dir).expect_err(&name);
            check_refusal(&error, &dir, &format!("{name}, {attempt} start"));
        }
        fs::remove_dir_all(dir).unwrap();
    }
    assert_eq!(open(&original).unwrap(), expected, "the original was never touched");
}

#[test]
fn flipped_bytes_are_refused_or_harmless() {
    let temp = tempfile::tempdir().unwrap();
    let original = temp.path().join("original");
    let expected = filled(&original);
    let len = fs::metadata(original.join("definitions/db")).unwrap().len();
    let mut refused = 0;
    for part in 0..30 {
        let dir = temp.path().join("injured");
        copy(&original, &dir);
        let at = (len - 8) * part / 30;
        flip(&dir.join("definitions/db"), at, 8);
        match open(&dir) {
            // What was flipped may be a page that has been written again since.
            Ok(found) => assert_eq!(found, expected, "bytes at {at}"),
            Err(error) => {
                refused += 1;
                check_refusal(&error, &dir, &format!("bytes at {at}"));
                open(&dir).expect_err("second start");
            }
        }
        fs::remove_dir_all(dir).unwrap();
    }
    assert!(refused > 0, "none of the injuries did any harm");
}

#[test]
fn an_older_database_is_refused_though_it_is_whole() {
    let temp = tempfile::tempdir().unwrap();
    let (now, before) = (temp.path().join("now"), temp.path().join("before"));
    filled(&now);
    copy(&now, &before);
    {
        let dir = DataDir::open(&now).unwrap();
        SledDefinitions::open(&dir).unwrap().commit(&[put(KEYS)]).unwrap();
    }
    fs::remove_dir_all(now.join("definitions")).unwrap();
    copy(&before.join("definitions"), &now.join("definitions"));
    let error = open(&now).unwrap_err();
    check_refusal(&error, &now, "older database");
    assert!(
        error.to_string().contains("expected 1101 keys")
            && error.to_string().contains("found the older 1100 keys")
    );
}

#[test]
fn the_way_out_works() {
    let temp = tempfile::tempdir().unwrap();
    let expected = filled(temp.path());
    truncate(&temp.path().join("definitions/db"), 0);
    open(temp.path()).unwrap_err();
    fs::rename(temp.path().join("definitions"), temp.path().join("old")).unwrap();
    fs::rename(temp.path().join("definitions.marker"), temp.path().join("old.marker")).unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut store = SledDefinitions::open(&dir).unwrap();
    assert_eq!(store.load().unwrap(), []);
    let restore: Vec<_> =
        expected.iter().map(|(key, value)| Change::Put { key: key.clone(), value: value.clone() }).collect();
    store.commit(&restore).unwrap();
    assert_eq!(store.load().unwrap(), expected);
}

#[test]
fn a_first_start_that_was_cut_short_is_taken_up() {
    let temp = tempfile::tempdir().unwrap();
    let fresh = temp.path().join("fresh");
    drop(DataDir::open(&fresh).unwrap());
    assert_eq!(open(&fresh).unwrap(), []);
    // The marker of a start that has reported nothing durable yet, as the crate writes it first of all.
    let established = fs::read(fresh.join("definitions.marker")).unwrap();
    let mut unborn = established.clone();
    for slot in [0, 4096] {
        unborn[slot + 8] = 0;
        let crc = crc32fast::hash(&unborn[slot..slot + 40]).to_le_bytes();
        unborn[slot + 40..slot + 44].copy_from_slice(&crc);
    }
    // (what else the crash has left)
    type Rest = fn(&Path);
    let rests: [(&str, Rest); 3] = [
        ("nothing", |dir| fs::remove_dir_all(dir.join("definitions")).unwrap()),
        ("an empty file", |dir| truncate(&dir.join("definitions/db"), 0)),
        ("a whole database", |_| {}),
    ];
    for (name, injure) in rests {
        let dir = temp.path().join("cut");
        copy(&fresh, &dir);
        injure(&dir);
        fs::write(dir.join("definitions.marker"), &unborn).unwrap();
        assert_eq!(open(&dir).unwrap(), [], "{name}");
        assert_eq!(fs::read(dir.join("definitions.marker")).unwrap(), established, "{name}");
        fs::remove_dir_all(dir).unwrap();
    }
}
