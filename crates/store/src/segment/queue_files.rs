//! Owns what is remembered of a queue's files. Invariant: a few octets a file and none a block.

use std::collections::VecDeque;

/// The files of one queue.
#[derive(Debug, Default)]
pub(super) struct QueueFiles {
    /// By number.
    files: VecDeque<SegmentFile>,
    /// The number of the file that blocks are appended to.
    open: Option<u32>,
    /// Whether blocks that the start found may be lost yet. A file that goes may have held what they were made of.
    pub(super) found_unsynced: bool,
    /// Whether names in the folder came or went since it was synced.
    pub(super) names_changed: bool,
}

/// One file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFile {
    pub(super) number: u32,
    /// What its blocks begin with.
    pub(super) mark: u64,
    /// Where what is valid ends and the next block begins.
    pub(super) end: u32,
    /// Octets that are durable.
    pub(super) synced: u32,
    /// Octets of the blocks that were not released.
    pub(super) live: u32,
    /// Some of its blocks were released.
    pub(super) has_released: bool,
    /// A block that a restart must not lose is not durable.
    pub(super) unsynced: bool,
    /// Such a block was written, and nothing behind it says that it is durable.
    pub(super) unsealed: bool,
    /// There may be something behind `end`.
    pub(super) has_tail: bool,
}

impl QueueFiles {
    /// Adds a file; its number is new.
    pub(super) fn insert(&mut self, file: SegmentFile) {
        let index = self.files.partition_point(|other| other.number < file.number);
        self.files.insert(index, file);
    }

    /// Adds the file that blocks are appended to from now on.
    pub(super) fn insert_open(&mut self, file: SegmentFile) {
        self.open = Some(file.number);
        self.insert(file);
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.index(number).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SegmentFile> {
        self.files.iter()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut SegmentFile> {
        let index = self.index(number)?;
        self.files.get_mut(index)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<SegmentFile> {
        let index = self.index(number)?;
        self.files.remove(index)
    }

    /// The file that blocks are appended to.
    pub(super) fn open_file(&mut self) -> Option<&mut SegmentFile> {
        self.get_mut(self.open?)
    }

    pub(super) fn is_open(&self, number: u32) -> bool {
        self.open == Some(number)
    }

    /// Nothing is appended to that file any more.
    pub(super) fn close(&mut self, number: u32) {
        self.open = self.open.filter(|&open| open != number);
    }

    /// Nothing is appended to that file any more: after a write that failed, what is behind its end is unknown.
    pub(super) fn spoil(&mut self, number: u32) {
        self.close(number);
        if let Some(file) = self.get_mut(number) {
            file.has_tail = true;
        }
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.files.binary_search_by_key(&number, |file| file.number).ok()
    }
}
