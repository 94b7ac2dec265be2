//! Damage at rest: every octet flipped, every length cut, files lost and exchanged. What is read is a correct prefix
//! that a crash could have left, or nothing.

use warrenmq_store::{Disk, JournalOptions, Scan, StoreError, scan};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

use crate::model::{Model, check};

/// Three files, the last of which ends with records that were written and not synced.
struct Journal {
    model: Model,
    /// For each record what was known to be durable when it was written.
    synced: Vec<u64>,
    /// LSN of the last record in a closed file.
    closed: u64,
}

fn journal() -> Journal {
    let options = JournalOptions { file_octets: 760, group_octets: 400, ..JournalOptions::default() };
    let mut model = Model::new(options);
    let mut synced = Vec::new();
    for index in 0..14 {
        let durable = model.journal.durable().0;
        model.append(index * 7 % 90, index < 11);
        model.run(index as u64 * 20);
        model.run(index as u64 * 20 + 10);
        synced.push(durable);
    }
    let files = model.journal.closed_files();
    assert_eq!(files.len(), 2);
    let closed = files[1].queues[&crate::model::QUEUE].highest.unwrap();
    assert!(model.journal.durable().0 > closed && model.journal.durable().0 < 13);
    model.disk = model.disk.crash_process();
    Journal { model, synced, closed }
}

impl Journal {
    /// Whether the outcome is one of those that damage in `file` may have; says whether it was noticed as damage.
    fn judge(&self, outcome: Result<Scan, StoreError>, file: &str, what: &str) -> bool {
        let found = match outcome {
            Ok(found) => found,
            Err(StoreError::Damaged { path, .. } | StoreError::Newer { path, .. }) => {
                assert!(path == file || path.as_str() > file, "{what}: {path}");
                return true;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        check(&found, &self.model.records);
        let last = found.last.0 as usize;
        if last < self.model.records.len() {
            assert!(last as u64 >= self.closed, "{what}: {last} is less than the closed files hold");
            let told = self.synced[last + 1..].iter().max().is_some_and(|synced| *synced > last as u64);
            assert!(!told, "{what}: a record behind {last} says that it was durable");
        }
        false
    }
}

#[test]
fn every_flipped_octet() {
    let journal = journal();
    let (mut noticed, mut cut, mut whole) = (0, 0, 0);
    for (path, octets) in journal.model.disk.files() {
        for offset in 0..octets {
            // The disk flips another bit at each offset.
            journal.model.disk.flip(&path, offset).unwrap();
            let what = format!("{path} at {offset}");
            let outcome = scan(&journal.model.disk);
            let last = outcome.as_ref().map_or(0, |found| found.last.0 as usize);
            match (journal.judge(outcome, &path, &what), last) {
                (true, _) => noticed += 1,
                (false, last) if last == journal.model.records.len() => whole += 1,
                (false, _) => cut += 1,
            }
            journal.model.disk.flip(&path, offset).unwrap();
        }
    }
    assert!(noticed > 1000 && cut > 100 && whole > 50, "{noticed} noticed, {cut} cut, {whole} of no meaning");
}

#[test]
fn every_length() {
    let journal = journal();
    for (path, octets) in journal.model.disk.files() {
        for length in 0..octets {
            let disk = journal.model.disk.crash_process();
            disk.open(&path).unwrap().set_octets(length).unwrap();
            let outcome = scan(&disk);
            if let Ok(found) = outcome {
                // Only the end of all can be cut.
                assert!(found.last.0 >= journal.closed, "{path} cut to {length}");
                check(&found, &journal.model.records);
            } else {
                journal.judge(outcome, &path, &format!("{path} cut to {length}"));
            }
        }
    }
}

#[test]
fn files_that_are_lost_or_exchanged() {
    let journal = journal();
    let paths: Vec<String> = journal.model.disk.files().into_iter().map(|(path, _)| path).collect();
    let [first, second, third] = &paths[..] else { panic!("three files") };
    let on = |change: &dyn Fn(&SimDisk)| {
        let disk = journal.model.disk.crash_process();
        change(&disk);
        scan(&disk)
    };
    let lost = on(&|disk| disk.remove(second).unwrap());
    assert!(matches!(lost, Err(StoreError::Damaged { .. })));
    let renamed = on(&|disk| disk.rename(third, "journal/0000000009.log").unwrap());
    assert!(matches!(renamed, Err(StoreError::Damaged { path, offset: 0, .. }) if path.ends_with("9.log")));
    let over = on(&|disk| disk.rename(third, first).unwrap());
    assert!(matches!(over, Err(StoreError::Damaged { path, offset: 0, .. }) if path == *first));
    // The oldest may go, and other names are none of the journal's.
    let found = on(&|disk| {
        disk.rename(first, "journal/spare").unwrap();
        disk.create("journal/0000000009.log.old", 0).unwrap();
        disk.create("journal/9.log", 0).unwrap();
        disk.create_folder("journal/0000000010.log").unwrap();
    });
    check(&found.unwrap(), &journal.model.records);
    let short = on(&|disk| drop(disk.create("journal/0000000009.log", 10).unwrap()));
    assert!(matches!(short, Err(StoreError::Damaged { .. })));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let journal = journal();
    let (path, _) = journal.model.disk.files().remove(0);
    let file = journal.model.disk.open(&path).unwrap();
    let mut header = [0; 64];
    file.read_at(0, &mut header).unwrap();
    header[8] = 3;
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    file.write_at(0, &[&header]).unwrap();
    assert!(matches!(scan(&journal.model.disk), Err(StoreError::Newer { format: 3, newest: 2, .. })));
}

#[test]
fn heaps_of_damage() {
    let journal = journal();
    let files = journal.model.disk.files();
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let disk = journal.model.disk.crash_process();
        for _ in 0..=random.below(4) {
            let (path, octets) = random.pick(&files).unwrap();
            let file = disk.open(path).unwrap();
            // Records are moved, repeated, zeroed and made of noise, headers mostly left alone.
            let from = 64 + random.below(octets - 64) / 8 * 8;
            let length = random.below(octets - from) as usize;
            let mut piece = vec![0; length];
            match random.below(3) {
                0 => drop(file.read_at(64 + random.below(octets - 64) / 8 * 8, &mut piece).unwrap()),
                1 => piece.iter_mut().for_each(|octet| *octet = random.draw() as u8),
                _ => {}
            }
            file.write_at(from, &[&piece]).unwrap();
        }
        if let Ok(found) = scan(&disk) {
            check(&found, &journal.model.records);
            assert!(found.last.0 >= journal.closed, "seed {seed}");
        }
    }
}
