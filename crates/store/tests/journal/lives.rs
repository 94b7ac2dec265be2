//! Writing, ending, going on: what is there at the next start, and what comes of files.

use warrenmq_store::{Entry, InFile, Journal, Lsn, Note, Step, TornTail, scan};
use warrenmq_testkit::disk::{Crash, SimDisk};
use warrenmq_testkit::random::Random;

use crate::model::{Model, QUEUE, begin, check, octets, publish, small};

#[test]
fn several_lives_are_one_journal() {
    let mut model = Model::new(small());
    for life in 0..5 {
        for index in 0..30 {
            model.append(index * 17 % 400, index % 3 == 0);
            model.run(0);
        }
        model.append(3000, false);
        if life % 2 == 0 {
            model.journal.close();
            assert_eq!(model.run(0), Step::Closed);
        } else {
            model.flush();
        }
        let disk = model.disk.crash_with(Crash::LosesAll, 0);
        model = model.restart(disk);
        assert_eq!(model.records.len(), (life + 1) * 31);
    }
}

#[test]
fn an_empty_folder_is_an_empty_journal() {
    let disk = SimDisk::new();
    let found = scan(&disk).unwrap();
    assert_eq!((found.last, found.highest_queue, found.publishes.len()), (Lsn(0), 0, 0));
    let journal = begin(&disk, &small(), &found);
    assert_eq!((journal.end(), journal.durable(), journal.octets()), (Lsn(0), Lsn(0), 1024));
    assert!(journal.closed_files().is_empty());
    // Lives in which nothing happens leave no files behind.
    for _ in 0..3 {
        let disk = disk.crash_process();
        drop(begin(&disk, &small(), &scan(&disk).unwrap()));
        assert_eq!(disk.files().len(), 1);
    }
}

#[test]
fn a_torn_tail_is_cut_and_never_comes_alive() {
    let mut model = Model::new(small());
    model.append_many(3, 40, true);
    model.flush();
    // Four that are written and never synced.
    model.append_many(4, 40, false);
    model.run(0);
    model.run(10);
    assert_eq!(model.journal.durable(), Lsn(3));
    let disk = model.disk.crash_process();
    let path = "journal/0000000001.log";
    let image = disk.read(path).unwrap();
    let record =
        |lsn: u8| image.chunks(8).position(|word| word == [lsn, 0, 0, 0, 0, 0, 0, 0]).unwrap() * 8 - 8;
    // The fifth is broken; the sixth and the seventh are whole.
    let (fifth, end) = (record(5), image.iter().rposition(|octet| *octet != 0).unwrap() + 1);
    disk.flip(path, fifth as u64 + 40).unwrap();
    let torn = TornTail {
        file: path.into(),
        offset: fifth as u64,
        octets: end.next_multiple_of(8) as u64 - fifth as u64,
    };
    assert_eq!(scan(&disk).unwrap().torn, Some(torn));
    let mut model = model.restart(disk);
    assert_eq!(model.records.len(), 4);
    // Other records get their numbers.
    model.append_many(3, 100, true);
    model.flush();
    let disk = model.disk.crash_with(Crash::LosesAll, 0);
    let found = scan(&disk).unwrap();
    check(&found, &model.records);
    assert_eq!((found.last, found.torn), (Lsn(7), None));
    // Even if the fifth became whole again.
    disk.flip(path, fifth as u64 + 40).unwrap();
    check(&scan(&disk).unwrap(), &model.records);
    model.restart(disk);
}

#[test]
fn what_a_killed_process_wrote_is_durable_at_the_next_start() {
    let mut model = Model::new(small());
    model.append(40, false);
    model.run(0);
    model.run(10);
    assert_eq!(model.journal.durable(), Lsn(0));
    // First only the process dies; what the next one begins with must outlive a power cut.
    let disk = model.disk.crash_process();
    let model = model.restart(disk);
    assert_eq!(model.journal.durable(), Lsn(1));
    let disk = model.disk.crash_with(Crash::LosesAll, 0);
    assert_eq!(model.restart(disk).records.len(), 1);
}

#[test]
fn retired_files_are_used_again_and_say_nothing() {
    let mut model = Model::new(small());
    for _ in 0..40 {
        model.append(300, true);
        model.run(0);
        while let [first, _, ..] = &model.journal.closed_files()[..] {
            model.journal.retire(first.number).unwrap();
        }
        assert!(model.disk.files().len() <= 3, "two files and a spare: {:?}", model.disk.files());
        let all: u64 = model.disk.files().iter().map(|file| file.1).sum();
        assert_eq!(model.journal.octets(), all);
        // What is behind the end of a file that was used before is of no meaning.
        let found = scan(&model.disk.crash_with(Crash::KeepsAll, 0)).unwrap();
        assert_eq!((found.last, found.torn.clone()), (model.journal.end(), None));
        check(&found, &model.records);
    }
    let (closed, octets) = (model.journal.closed_files(), model.journal.octets());
    model.journal.retire(closed[0].number + 1).unwrap();
    assert_eq!(model.journal.octets(), octets, "only the oldest can go");
    let disk = model.disk.crash_with(Crash::LosesAll, 0);
    model.restart(disk);
}

#[test]
fn a_file_knows_its_queues() {
    let mut model = Model::new(small());
    let publish = |queues: &[(u64, u64)], count| Entry::Publish {
        queues: queues.into(),
        count,
        arrived: 0,
        records: octets(10),
    };
    model.append_entries(vec![publish(&[(QUEUE, 1)], 5), publish(&[(7, 100), (8, 200)], 10)], false);
    model.append_entries(
        vec![
            Entry::Settle { queue: 8, ranges: vec![(200, 205)] },
            publish(&[(7, 50)], 2),
            Entry::Note { queue: 10, notes: vec![Note { first: 1, last: 2, value: 3, time: 4 }] },
        ],
        false,
    );
    model.append_entries(vec![Entry::Settle { queue: 9, ranges: vec![(3, 3)] }], true);
    model.run(0);
    assert!(model.journal.closed_files().is_empty());
    model.journal.rotate();
    model.run(0);
    let expected = [
        (QUEUE, Some(5), false, false),
        (7, Some(109), false, false),
        (8, Some(209), true, false),
        (9, None, true, false),
        (10, None, false, true),
    ];
    let check = |journal: &Journal| {
        let [file] = &journal.closed_files()[..] else { panic!("one file is closed") };
        let mut queues: Vec<_> = file.queues.iter().map(|(queue, of)| (*queue, *of)).collect();
        queues.sort_unstable_by_key(|(queue, _)| *queue);
        let expected =
            expected.map(|(queue, highest, settles, notes)| (queue, InFile { highest, settles, notes }));
        assert_eq!(queues, expected);
        assert_eq!((file.number, file.octets), (1, 1024));
    };
    check(&model.journal);
    model.journal.rotate();
    assert_eq!(model.run(0), Step::Idle { next: None }, "there is nothing to close");
    let disk = model.disk.crash_process();
    let found = scan(&disk).unwrap();
    assert_eq!(found.highest_queue, 10);
    // After a restart the same is known.
    let journal = begin(&disk, &small(), &found);
    check(&journal);
}

#[test]
fn delivered_counts_only_after_an_orderly_stop() {
    let delivered =
        || vec![Entry::Delivered { queue: QUEUE, below: 2 }, Entry::Delivered { queue: 9, below: 5 }];
    let mut model = Model::new(small());
    model.append(10, true);
    model.append_entries(delivered(), true);
    model.flush();
    let stopped = |model: &Model| {
        let found = scan(&model.disk.crash_with(Crash::LosesAll, 0)).unwrap();
        let mut delivered: Vec<_> = found.delivered.into_iter().collect();
        delivered.sort_unstable();
        delivered
    };
    assert_eq!(stopped(&model), [(QUEUE, 2), (9, 5)]);
    // Something came after it.
    model.append(10, true);
    model.run(0);
    assert_eq!(stopped(&model), []);
    model.append_entries(delivered(), true);
    // The file is closed by it: still the end.
    model.flush();
    model.journal.rotate();
    model.run(0);
    assert_eq!(stopped(&model), [(QUEUE, 2), (9, 5)]);
    // Together with something else it is no stop.
    model.append_entries([delivered(), model.records[0].clone()].concat(), true);
    model.run(0);
    assert_eq!(stopped(&model), []);
    model.append_entries(delivered(), true);
    model.journal.close();
    assert_eq!(model.run(0), Step::Closed);
    assert_eq!(stopped(&model), [(QUEUE, 2), (9, 5)]);
    // Another start, even one in which nothing happened.
    let disk = model.disk.crash_process();
    let model = model.restart(disk);
    assert_eq!(stopped(&model), []);
    let disk = model.disk.crash_process();
    assert_eq!(stopped(&model.restart(disk)), []);
}

#[test]
fn records_of_any_length_are_whole() {
    let mut model = Model::new(small());
    for octets in [0, 1, 7, 8, 9, 511, 512, 513, 900, 5000, 0, 3_000_000, 12] {
        model.append(octets, true);
    }
    model.append_entries(
        vec![Entry::Settle { queue: 5, ranges: (0..500).map(|n| (n * 2, n * 2)).collect() }],
        true,
    );
    let queues = (0..400).map(|queue| (queue, 9)).collect();
    let everywhere = Entry::Publish { queues, count: 1, arrived: 1, records: octets(10) };
    model.append_entries(vec![everywhere], true);
    model.flush();
    let disk = model.disk.crash_with(Crash::LosesAll, 0);
    model.restart(disk);
}

#[test]
fn bodies_are_read_in_any_order() {
    let mut model = Model::new(small());
    for octets in [10, 700, 0, 30, 900, 40, 1_100_000, 40] {
        model.append_many(if octets > 1000 { 2 } else { 8 }, octets, true);
        model.run(0);
    }
    let found = scan(&model.disk).unwrap();
    check(&found, &model.records);
    let mut random = Random::new(0);
    for _ in 0..200 {
        let published = random.pick(&found.publishes).unwrap();
        let Entry::Publish { records, .. } = &publish(published.lsn.0, found.read(published).unwrap().len())
        else {
            panic!("a publish")
        };
        assert_eq!(found.read(published).unwrap(), records);
    }
    check(&found, &model.records);
}

/// Trimming gives room back and loses nothing, whatever is appended afterwards.
#[test]
fn a_trimmed_journal_goes_on() {
    use warrenmq_store::{Entry, Journal, JournalOptions, Step, scan};
    use warrenmq_testkit::disk::SimDisk;

    let disk = SimDisk::new();
    let options = JournalOptions { file_octets: 4096, ..JournalOptions::default() };
    let found = scan(&disk).expect("an empty folder");
    let journal =
        Journal::begin(std::sync::Arc::new(disk.clone()), options, &found).expect("the journal begins");
    let settle = |n: u64| vec![Entry::Settle { queue: 1, ranges: vec![(2 * n, 2 * n)] }];
    for round in 0..20 {
        for n in 0..30 {
            journal.append(settle(30 * round + n), true);
        }
        while matches!(journal.step(0), Ok(Step::Worked { .. })) {}
        for file in journal.closed_files() {
            if round < 10 {
                journal.retire(file.number).expect("it goes");
            }
        }
        if round % 3 == 0 {
            journal.trim().expect("it becomes small");
            let octets: u64 = disk.files().iter().map(|(_, octets)| octets).sum();
            assert_eq!(journal.octets(), octets, "round {round}");
        }
    }
    let settled = &scan(&disk.crash(7)).expect("it is whole").settles[&1];
    assert_eq!(settled.last(), Some(&(2 * 599, 2 * 599)));
    assert!(settled.windows(2).all(|pair| pair[0].0 + 2 == pair[1].0), "no record is missing");
}
