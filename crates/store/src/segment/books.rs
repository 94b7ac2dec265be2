//! Owns what is remembered of all queues. Invariant: it changes together with the disk, under the lock of the books.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use super::block::Header;
use super::file_scan::{FileScan, scan_file};
use super::names::{file_number, file_path, folder_path};
use super::numbers::Numbers;
use super::queue_files::{QueueFiles, SegmentFile};
use super::{Found, Place, Segments};
use crate::store_error::StoreError;

/// What is remembered of the files.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) queues: HashMap<u64, QueueFiles>,
    /// Those whose folders were there at the start and were not looked into yet.
    pub(super) unknown: HashSet<u64>,
    /// Those that have something to sync.
    pub(super) changed: BTreeSet<u64>,
    pub(super) numbers: Numbers,
    /// Whether folders of queues came or went since the folder above was synced.
    pub(super) folders_changed: bool,
    /// Whether that folder itself may not be durable.
    pub(super) root_changed: bool,
    /// The sync that failed. It is final: what was written may be lost, and another one would not say so.
    pub(super) failed: Option<StoreError>,
}

impl Segments {
    /// Learns the files of a queue that was there at the start and not asked for yet.
    pub(super) fn know(&self, books: &mut Books, queue: u64) -> Result<(), StoreError> {
        if books.unknown.contains(&queue) {
            let (files, _) = self.scan_files(queue)?;
            self.learn(books, queue, files);
        }
        Ok(())
    }

    pub(super) fn scan_files(&self, queue: u64) -> Result<(Vec<SegmentFile>, Vec<Found>), StoreError> {
        let folder = folder_path(queue);
        let entries = self.disk.list(&folder).map_err(|error| StoreError::io(&folder, "listing", error))?;
        let mut numbers: Vec<u32> = entries.iter().filter_map(|entry| file_number(&entry.name)).collect();
        numbers.sort_unstable();
        let mut files = Vec::with_capacity(numbers.len());
        let mut found = Vec::new();
        for number in numbers {
            let path = file_path(queue, number);
            let file = self.disk.open(&path).map_err(|error| StoreError::io(&path, "opening", error))?;
            let scan = scan_file(&*file, &path, queue, number)?;
            files.push(file_found(number, &scan));
            found.extend(scan.blocks.into_iter().map(|block| found_in(number, block.offset, block.header)));
        }
        Ok((files, found))
    }

    pub(super) fn learn(&self, books: &mut Books, queue: u64, files: Vec<SegmentFile>) {
        self.forget(books, queue);
        let had_folder = books.unknown.remove(&queue);
        if files.is_empty() && !had_folder {
            return;
        }
        let mut known = QueueFiles::default();
        // What the process before made or removed last may not be durable, and nothing says so.
        known.names_changed = true;
        known.found_unsynced = files.iter().any(|file| file.unsynced);
        books.changed.insert(queue);
        for file in files {
            self.octets.fetch_add(u64::from(file.end), Ordering::Relaxed);
            books.numbers.skip(file.number);
            known.insert(file);
        }
        books.queues.insert(queue, known);
    }

    pub(super) fn remove_file(&self, books: &mut Books, queue: u64, number: u32) -> Result<(), StoreError> {
        let path = file_path(queue, number);
        self.handles.lock().remove((queue, number));
        self.disk.remove(&path).map_err(|error| StoreError::io(&path, "removing", error))?;
        let Some(files) = books.queues.get_mut(&queue) else { return Ok(()) };
        if let Some(file) = files.remove(number) {
            self.octets.fetch_sub(u64::from(file.end), Ordering::Relaxed);
        }
        files.names_changed = true;
        if files.is_empty() {
            return self.remove_queue(books, queue);
        }
        books.changed.insert(queue);
        Ok(())
    }

    pub(super) fn remove_queue(&self, books: &mut Books, queue: u64) -> Result<(), StoreError> {
        if !books.queues.contains_key(&queue) && !books.unknown.contains(&queue) {
            return Ok(());
        }
        self.forget(books, queue);
        books.unknown.remove(&queue);
        let folder = folder_path(queue);
        self.disk.remove_folder(&folder).map_err(|error| StoreError::io(&folder, "removing", error))?;
        books.folders_changed = true;
        Ok(())
    }

    /// Drops what is remembered of a queue, not what is on disk.
    fn forget(&self, books: &mut Books, queue: u64) {
        books.changed.remove(&queue);
        let Some(files) = books.queues.remove(&queue) else { return };
        self.handles.lock().remove_queue(queue);
        let octets: u64 = files.iter().map(|file| u64::from(file.end)).sum();
        self.octets.fetch_sub(octets, Ordering::Relaxed);
    }
}

fn file_found(number: u32, scan: &FileScan) -> SegmentFile {
    // Blocks do not overlap, so that their sum is below the length of the file.
    let live = scan.blocks.iter().map(|block| block.header.block_octets() as u32).sum();
    let unsynced = scan.has_unsynced() || scan.has_tail;
    SegmentFile {
        has_released: false,
        number,
        mark: scan.mark,
        end: scan.end,
        synced: scan.synced,
        live,
        unsynced,
        unsealed: unsynced,
        has_tail: scan.has_tail,
    }
}

fn found_in(segment: u32, offset: u32, header: Header) -> Found {
    let place = Place { segment, offset, octets: header.block_octets() as u32 };
    Found { place, level: header.level, ranges: header.ranges, octets: header.body_octets }
}
