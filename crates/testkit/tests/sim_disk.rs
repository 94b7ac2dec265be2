//! The simulated disk: what it must keep, what it may lose, and that it does lose it.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use warrenmq_store::{Disk, DiskFile};
use warrenmq_testkit::disk::{Crash, Operation, SimDisk};

const SEEDS: u64 = 300;

/// A disk with a durable folder and a file in it whose first 1024 octets are durable ones.
fn with_file() -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new();
    disk.create_folder("a/b").unwrap();
    disk.sync_dir("").unwrap();
    disk.sync_dir("a").unwrap();
    let file = disk.create("a/b/file", 0).unwrap();
    disk.sync_dir("a/b").unwrap();
    file.write_at(0, &[&[1; 1024]]).unwrap();
    file.sync().unwrap();
    (disk, file)
}

#[test]
fn it_is_a_disk() {
    let disk = SimDisk::new();
    assert_eq!(disk.create("none/file", 0).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list("none").unwrap(), []);
    disk.create_folder("a/b").unwrap();
    disk.create_folder("a/b").unwrap();
    let file = disk.create("a/b/file", 4096).unwrap();
    assert_eq!(disk.create("a/b/file", 0).unwrap_err().kind(), ErrorKind::AlreadyExists);
    file.write_at(4090, &[b"", b"one", b"", b"two three"]).unwrap();
    let mut octets = [7; 16];
    assert_eq!(disk.open("a/b/file").unwrap().read_at(4088, &mut octets).unwrap(), 14);
    assert_eq!(&octets, b"\0\0onetwo three\x07\x07");
    let entries = disk.list("a/b").unwrap();
    assert_eq!((entries[0].name.as_str(), entries[0].octets, entries.len()), ("file", 4102, 1));
    assert!(disk.list("a").unwrap()[0].is_folder);
    file.set_octets(4092).unwrap();
    file.set_octets(4096).unwrap();
    assert_eq!(disk.read("a/b/file").unwrap()[4088..], *b"\0\0on\0\0\0\0");
    disk.create("a/b/other", 0).unwrap();
    disk.rename("a/b/file", "a/b/other").unwrap();
    assert_eq!(disk.files(), [("a/b/other".to_owned(), 4096)]);
    assert_eq!(disk.open("a/b/file").unwrap_err().kind(), ErrorKind::NotFound);
    disk.remove("a/b/file").unwrap();
    disk.remove_folder("a").unwrap();
    disk.remove_folder("a").unwrap();
    assert_eq!(disk.files(), []);
    assert_eq!(disk.open_files(), 1);
    file.write_at(0, &[b"still there"]).unwrap();
    drop(file);
    assert_eq!(disk.open_files(), 0);
    assert_eq!(disk.octets_written("a/b/"), 23);
    assert_eq!(disk.octets_written("c"), 0);
}

#[test]
fn what_is_synced_is_there_and_the_rest_by_chance() {
    let (disk, file) = with_file();
    file.write_at(512, &[&[2; 1024]]).unwrap();
    file.write_at(1024, &[&[3; 512]]).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let octets = disk.crash(seed).read("a/b/file").unwrap();
        assert_eq!(octets[..512], [1; 512]);
        for sector in octets.chunks(512) {
            assert!(sector.iter().all(|octet| *octet == sector[0]), "a sector is torn");
        }
        let sectors: Vec<u8> = octets.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(octets, disk.crash(seed).read("a/b/file").unwrap(), "seed {seed} gave another outcome");
        seen.insert(sectors);
    }
    let expected =
        [[1, 1].as_slice(), &[1, 2], &[1, 1, 0], &[1, 1, 2], &[1, 1, 3], &[1, 2, 0], &[1, 2, 2], &[1, 2, 3]];
    assert_eq!(seen, expected.iter().map(|sectors| sectors.to_vec()).collect());
    file.sync().unwrap();
    for seed in 0..SEEDS {
        let after = disk.crash(seed);
        assert_eq!(after.read("a/b/file").unwrap()[512..], [[2; 512], [3; 512]].concat());
        assert_eq!(after.crash(seed).files(), disk.files(), "what a crash left is durable");
    }
}

#[test]
fn a_killed_process_loses_nothing_but_makes_nothing_durable() {
    let (disk, file) = with_file();
    file.write_at(0, &[&[2; 512]]).unwrap();
    let killed = disk.crash_process();
    file.write_at(0, &[&[3; 512]]).unwrap();
    assert_eq!((killed.read("a/b/file").unwrap()[0], killed.open_files()), (2, 0));
    assert_eq!(killed.crash_with(Crash::LosesAll, 0).read("a/b/file").unwrap()[0], 1);
    killed.open("a/b/file").unwrap().sync().unwrap();
    assert_eq!(killed.crash_with(Crash::LosesAll, 0).read("a/b/file").unwrap()[0], 2);
}

#[test]
fn crashes_can_be_chosen() {
    let (disk, file) = with_file();
    let written: Vec<u64> = (2..5u8)
        .map(|octet| {
            file.write_at(u64::from(octet) * 512, &[&[octet; 512]]).unwrap();
            disk.operations()
        })
        .collect();
    let cases = [
        (Crash::LosesAll, 0, vec![1, 1]),
        (Crash::KeepsAll, 0, vec![1, 1, 2, 3, 4]),
        (Crash::TornAt { operation: written[1] }, 2, vec![1, 1, 2]),
        (Crash::Without { operation: written[1] }, 2, vec![1, 1, 2, 0, 4]),
        (Crash::Keeps { permille: 0 }, 0, vec![1, 1]),
    ];
    for (crash, seed, expected) in cases {
        let octets = disk.crash_with(crash, seed).read("a/b/file").unwrap();
        let sectors: Vec<u8> = octets.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(sectors, expected, "{crash:?}");
    }
}

#[test]
fn names_are_durable_with_their_folder() {
    let outcomes = |disk: &SimDisk| -> BTreeSet<Vec<String>> {
        let names = |disk: SimDisk| disk.files().into_iter().map(|(path, _)| path).collect();
        (0..SEEDS).map(|seed| names(disk.crash(seed))).collect()
    };
    let set = |outcomes: &[&[&str]]| -> BTreeSet<Vec<String>> {
        outcomes.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
    };
    let (disk, _) = with_file();
    disk.create("a/b/second", 0).unwrap().sync().unwrap();
    assert_eq!(outcomes(&disk), set(&[&["a/b/file"], &["a/b/file", "a/b/second"]]));
    disk.sync_dir("a/b").unwrap();
    disk.rename("a/b/second", "a/b/third").unwrap();
    assert_eq!(outcomes(&disk), set(&[&["a/b/file", "a/b/second"], &["a/b/file", "a/b/third"]]));
    disk.sync_dir("a/b").unwrap();
    disk.remove("a/b/file").unwrap();
    disk.create("a/b/file", 0).unwrap();
    let after_remove = set(&[&["a/b/third"], &["a/b/file", "a/b/third"]]);
    assert_eq!(outcomes(&disk), after_remove);
    disk.remove_folder("a").unwrap();
    assert_eq!(outcomes(&disk), set(&[&[], &["a/b/third"], &["a/b/file"], &["a/b/file", "a/b/third"]]));
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk), set(&[&[]]));
    disk.create_folder("c").unwrap();
    disk.create("c/file", 0).unwrap();
    disk.sync_dir("c").unwrap();
    assert_eq!(outcomes(&disk), set(&[&[], &["c/file"]]), "the name of the folder itself is not durable");
}

#[test]
fn a_file_that_was_made_and_never_synced_has_room_or_not() {
    let disk = SimDisk::new();
    disk.create("file", 2048).unwrap();
    disk.sync_dir("").unwrap();
    let lengths: BTreeSet<u64> = (0..SEEDS).map(|seed| disk.crash(seed).files()[0].1).collect();
    assert_eq!(lengths, BTreeSet::from([0, 2048]));
}

#[test]
fn a_sync_that_failed_lost_what_it_had() {
    let (disk, file) = with_file();
    file.write_at(0, &[&[2; 512]]).unwrap();
    disk.fail_once(Operation::Sync, 0);
    file.sync().unwrap_err();
    assert_eq!(disk.read("a/b/file").unwrap()[0], 2, "it is in memory still");
    file.sync().unwrap();
    file.write_at(512, &[&[3; 512]]).unwrap();
    file.sync().unwrap();
    for seed in 0..SEEDS {
        let octets = disk.crash(seed).read("a/b/file").unwrap();
        assert_eq!((octets[0], octets[512]), (1, 3));
    }
    disk.fail_from(Operation::SyncDir, 1);
    disk.sync_dir("a/b").unwrap();
    disk.remove("a/b/file").unwrap();
    disk.sync_dir("a/b").unwrap_err();
    disk.sync_dir("a/b").unwrap_err();
    disk.heal();
    disk.sync_dir("a/b").unwrap();
    assert_eq!((disk.files().len(), disk.crash(1).files().len()), (0, 1));
}

#[test]
fn a_frozen_disk_does_nothing() {
    let (disk, file) = with_file();
    disk.freeze(disk.operations() + 1);
    file.write_at(0, &[&[2; 512]]).unwrap();
    file.sync().unwrap_err();
    file.write_at(0, &[&[3; 512]]).unwrap_err();
    file.read_at(0, &mut [0]).unwrap_err();
    disk.remove("a/b/file").unwrap_err();
    disk.open("a/b/file").unwrap_err();
    assert_eq!(disk.read("a/b/file").unwrap()[0], 2);
    disk.crash(0).open("a/b/file").unwrap().write_at(0, &[b"again"]).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = with_file();
    disk.set_free(1000);
    assert_eq!(disk.free_octets().unwrap(), 1000);
    assert_eq!(disk.create("a/b/room", 1001).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.files().len(), 1);
    file.write_at(0, &[&[2; 1024]]).unwrap();
    assert_eq!(file.write_at(1024, &[&[3; 600], &[4; 600]]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!((file.octets().unwrap(), disk.free_octets().unwrap()), (2024, 0));
    disk.remove("a/b/file").unwrap();
    assert_eq!(disk.free_octets().unwrap(), 2024);
}

#[test]
fn faults_strike_when_they_are_to() {
    let (disk, file) = with_file();
    disk.fail_once(Operation::Write, 1);
    file.write_at(0, &[&[2; 512]]).unwrap();
    file.write_at(0, &[&[3; 1024]]).unwrap_err();
    file.write_at(1024, &[&[4; 512]]).unwrap();
    let sectors: Vec<u8> = disk.read("a/b/file").unwrap().chunks(512).map(|sector| sector[0]).collect();
    assert_eq!(sectors, [3, 1, 4], "a failing write has happened by half");
    disk.shorten_reads(2);
    let mut octets = [0; 512];
    let counts = [(); 4].map(|()| file.read_at(0, &mut octets).unwrap());
    assert_eq!(counts.iter().filter(|count| **count == 256).count(), 2);
    disk.heal();
    disk.flip("a/b/file", 1025).unwrap();
    assert_eq!(disk.read("a/b/file").unwrap()[1024..1027], [4, 6, 4]);
    assert_eq!(disk.crash_with(Crash::KeepsAll, 0).read("a/b/file").unwrap()[1025], 6);
    disk.flip("a/b/file", 1536).unwrap_err();
}

#[test]
fn blocks_may_show_what_removed_files_held() {
    let (disk, file) = with_file();
    disk.set_garbage(true);
    disk.remove("a/b/file").unwrap();
    drop(file);
    let room = disk.create("a/b/room", 512).unwrap();
    disk.sync_dir("a/b").unwrap();
    room.sync().unwrap();
    room.write_at(0, &[&[2; 1024]]).unwrap();
    let outcome = |seed| {
        let octets = disk.crash(seed).read("a/b/room").unwrap();
        (octets[0], octets.get(512).copied())
    };
    let outcomes: BTreeSet<_> = (0..SEEDS).map(outcome).collect();
    let first = [0, 2];
    let second = [None, Some(0), Some(1), Some(2)];
    assert_eq!(outcomes, first.iter().flat_map(|first| second.map(|second| (*first, second))).collect());
}
