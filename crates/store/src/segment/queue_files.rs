//! Owns what is remembered of a queue's files. Invariant: a few octets a file and none a block.

use std::collections::VecDeque;

/// The files of one queue.
#[derive(Debug, Default)]
pub(super) struct QueueFiles {
    /// By number, which ascends.
    files: VecDeque<SegmentFile>,
    /// That of the next file.
    pub(super) next: u32,
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
    /// Nothing is appended any more.
    pub(super) closed: bool,
    /// A block that a restart must not lose is not durable.
    pub(super) unsynced: bool,
    /// Such a block was written, and nothing behind it says that it is durable.
    pub(super) unsealed: bool,
    /// There may be something behind `end`.
    pub(super) has_tail: bool,
}

impl QueueFiles {
    /// None yet; the first will have this number.
    pub(super) fn beginning_at(next: u32) -> QueueFiles {
        QueueFiles { next, ..QueueFiles::default() }
    }

    /// Adds a file with a higher number than all others.
    pub(super) fn push(&mut self, file: SegmentFile) {
        debug_assert!(self.files.back().is_none_or(|last| last.number < file.number), "numbers ascend");
        self.next = self.next.max(file.number.saturating_add(1));
        self.files.push_back(file);
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
        self.files.back_mut().filter(|file| !file.closed)
    }

    fn index(&self, number: u32) -> Option<usize> {
        self.files.binary_search_by_key(&number, |file| file.number).ok()
    }
}

impl SegmentFile {
    /// After a write that failed, what is behind `end` is unknown: nothing goes there any more.
    pub(super) fn spoil(&mut self) {
        self.closed = true;
        self.has_tail = true;
    }
}
