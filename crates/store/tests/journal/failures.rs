//! A disk that fails or is full: the error is final, nothing more becomes durable, and what was is there.

use warrenmq_store::{Disk, Journal, JournalOptions, Lsn, Step, StoreError, scan};
use warrenmq_testkit::disk::{Crash, Operation, SimDisk};

use crate::model::{Model, begin, check, small};

/// Appends until a step fails.
fn until_it_fails(model: &mut Model) -> StoreError {
    for _ in 0..100 {
        model.append(100, true);
        loop {
            match model.journal.step(0) {
                Ok(Step::Worked { .. }) => {}
                Ok(_) => break,
                Err(error) => return error,
            }
        }
    }
    panic!("it does not fail");
}

fn final_from_now_on(model: &mut Model, error: &StoreError) {
    let durable = model.journal.durable();
    let end = model.journal.end();
    assert_eq!(model.append(10, true), Lsn(end.0 + 1));
    model.journal.want(model.journal.end());
    model.journal.rotate();
    for _ in 0..3 {
        assert_eq!(model.journal.step(1000).unwrap_err().to_string(), error.to_string());
    }
    model.journal.close();
    assert!(model.journal.step(2000).is_err());
    assert_eq!(model.journal.durable(), durable);
}

#[test]
fn an_error_is_final() {
    use Operation::{Create, Rename, Sync, SyncDir, Write};
    for fsync in [true, false] {
        for operation in [Create, Rename, Sync, SyncDir, Write] {
            for after in 0..7 {
                let mut model = Model::new(JournalOptions { fsync, ..small() });
                model.disk.fail_once(operation, after);
                let error = until_it_fails(&mut model);
                let text = error.to_string();
                assert!(text.contains("journal") && text.contains("check the disk"), "{text}");
                final_from_now_on(&mut model, &error);
                // Without fsync only the process may die.
                let disk = &model.disk;
                let disk = if fsync { disk.crash_with(Crash::LosesAll, 0) } else { disk.crash_process() };
                let durable = model.journal.durable();
                let model = model.restart(disk);
                assert!(model.journal.durable() >= durable, "{operation:?} after {after}");
            }
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_durable() {
    for free in (0..6000).step_by(331) {
        let mut model = Model::new(small());
        model.disk.set_free(free);
        let error = until_it_fails(&mut model);
        assert!(error.to_string().contains("make room"), "{error}");
        final_from_now_on(&mut model, &error);
        let disk = model.disk.crash_with(Crash::LosesAll, 0);
        disk.set_free(1 << 30);
        model.restart(disk);
    }
}

#[test]
fn a_beginning_that_fails_can_be_repeated() {
    let mut model = Model::new(small());
    model.append_many(10, 100, true);
    model.flush();
    let mut failures = 0;
    for operation in
        [Operation::Create, Operation::Rename, Operation::Sync, Operation::SyncDir, Operation::Write]
    {
        for after in 0..4 {
            let disk = model.disk.crash_process();
            disk.fail_once(operation, after);
            let found = scan(&disk).unwrap();
            let shared: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
            failures += u64::from(Journal::begin(shared, small(), &found).is_err());
            // The process ends, and another one finds the same.
            let disk = disk.crash_process();
            let found = scan(&disk).unwrap();
            check(&found, &model.records);
            assert_eq!(found.last, Lsn(10));
            begin(&disk, &small(), &found);
        }
    }
    assert!(failures >= 5);
}

#[test]
fn a_retirement_that_fails_says_so() {
    for operation in [Operation::SyncDir, Operation::Rename] {
        let mut model = Model::new(small());
        model.append_many(20, 100, true);
        model.flush();
        let number = model.journal.closed_files()[0].number;
        model.disk.fail_once(operation, 0);
        assert!(model.journal.retire(number).is_err());
        assert_eq!(model.journal.closed_files()[0].number, number);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_end() {
    let mut model = Model::new(small());
    model.append_many(10, 100, true);
    model.flush();
    for after in 0..4 {
        let disk = model.disk.crash_process();
        disk.fail_once(Operation::Read, after);
        assert!(matches!(scan(&disk), Err(StoreError::Io { doing: "reading", .. })));
    }
    let disk = SimDisk::clone(&model.disk);
    disk.heal();
    check(&scan(&disk).unwrap(), &model.records);
}
