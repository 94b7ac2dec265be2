//! Writing, reading and going on, on a real folder.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Disk, Entry, FolderDisk, Journal, JournalOptions, Lsn, Step, scan};

fn body(lsn: u64) -> Bytes {
    vec![lsn as u8; (lsn * 37 % 3000) as usize].into()
}

#[test]
fn several_lives_are_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::new(folder.path()));
    let options = JournalOptions { file_octets: 4096, ..JournalOptions::default() };
    for life in 0..4 {
        let before = life * 20;
        let found = scan(&*disk).unwrap();
        assert_eq!((found.last, found.torn.clone()), (Lsn(before), None));
        assert_eq!(found.publishes.len() as u64, before);
        for (published, lsn) in found.publishes.iter().zip(1..) {
            assert_eq!((published.lsn, &published.queues[..]), (Lsn(lsn), &[(1, lsn)][..]));
            assert_eq!(found.read(published).unwrap(), body(lsn));
        }
        let journal = Journal::begin(Arc::clone(&disk), options.clone(), &found).unwrap();
        for lsn in before + 1..=before + 20 {
            let queues = [(1, lsn)].into();
            let entry = Entry::Publish { queues, count: 1, arrived: 5, records: body(lsn) };
            assert_eq!(journal.append(vec![entry], lsn % 3 == 0), Lsn(lsn));
        }
        journal.close();
        while journal.step(0).unwrap() != Step::Closed {}
        assert_eq!(journal.durable(), Lsn(before + 20));
        assert!(!journal.closed_files().is_empty());
    }
}
