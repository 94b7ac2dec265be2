//! The side of the journal that does I/O. Invariants: `synced` covers only what a sync has returned `Ok` for; a file
//! is synced before the next one begins; after an error nothing is written any more.

use std::collections::VecDeque;
use std::sync::Arc;

use super::JournalOptions;
use super::Step;
use super::backlog::{Asked, Waiting};
use super::entry::Entry;
use super::file_header::{FILE_HEADER, FileHeader, path_of};
use super::file_queues::FileQueues;
use super::files::Files;
use super::group::Group;
use super::record::Seal;
use crate::disk::DiskFile;
use crate::store_error::StoreError;

/// Room for waiting records that is kept while there are none.
const KEEP_WAITING: usize = 4096;

/// Writes records into files.
#[derive(Debug)]
pub(super) struct Writer {
    options: JournalOptions,
    /// Taken from the backlog, to be written.
    pub(super) taken: VecDeque<Waiting>,
    /// Octets of them.
    pub(super) taken_octets: u64,
    /// No file between the end of one and the first record of the next.
    current: Option<Current>,
    next_number: u64,
    written: u64,
    synced: u64,
    /// Octets behind `synced`.
    unsynced: u64,
    /// When the first of them was written.
    unsynced_since: u64,
    group: Group,
    pub(super) failed: Option<StoreError>,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    number: u64,
    file: Arc<dyn DiskFile>,
    seal: Seal,
    /// Where the next record goes.
    at: u64,
    queues: FileQueues,
}

impl Current {
    fn has_records(&self) -> bool {
        self.at > FILE_HEADER as u64
    }
}

impl Writer {
    /// Goes on behind `last`, which is durable, with file `number`.
    pub(super) fn new(options: JournalOptions, number: u64, last: u64) -> Writer {
        Writer {
            options,
            taken: VecDeque::new(),
            taken_octets: 0,
            current: None,
            next_number: number,
            written: last,
            synced: last,
            unsynced: 0,
            unsynced_since: 0,
            group: Group::default(),
            failed: None,
        }
    }

    /// The highest LSN that may be told to be durable.
    pub(super) fn durable(&self) -> u64 {
        if self.options.fsync { self.synced } else { self.written }
    }

    /// One turn: at most one group, and a sync if it is time.
    pub(super) fn turn(&mut self, now: u64, asked: Asked, files: &Files) -> Result<Step, StoreError> {
        let before = self.durable();
        let mut worked = false;
        if asked.rotate && self.current.as_ref().is_some_and(Current::has_records) {
            self.close_file(files)?;
            worked = true;
        }
        let mut next = asked.later;
        if !self.taken.is_empty() {
            self.write_group(now, files)?;
            worked = true;
        }
        if self.written > self.synced {
            match self.sync_at(asked) {
                Some(later) if later > now => next = Some(next.map_or(later, |next| later.min(next))),
                Some(_) => {
                    self.sync()?;
                    worked = true;
                }
                None => {}
            }
        }
        Ok(if worked {
            Step::Worked { durable: self.durable() > before }
        } else if asked.closed {
            Step::Closed
        } else {
            self.shrink();
            Step::Idle { next }
        })
    }

    /// Makes the file for the next record.
    pub(super) fn begin_file(&mut self, files: &Files) -> Result<(), StoreError> {
        self.current = Some(self.new_file(files)?);
        Ok(())
    }

    /// When what was written is to be synced; `None`: at the end of the file.
    fn sync_at(&self, asked: Asked) -> Option<u64> {
        if asked.closed && self.taken.is_empty() {
            return Some(0);
        }
        if !self.options.fsync {
            return None;
        }
        let much = self.unsynced >= self.options.lazy_sync_octets;
        if asked.wanted.0 > self.synced || much {
            return Some(0);
        }
        Some(self.unsynced_since + self.options.lazy_sync_ms)
    }

    fn write_group(&mut self, now: u64, files: &Files) -> Result<(), StoreError> {
        let first = self.taken.front().map_or(0, |record| record.octets);
        let mut current = self.file_for(first, files)?;
        let room = self.options.file_octets.saturating_sub(current.at).min(self.options.group_octets as u64);
        while let Some(record) = self.taken.pop_front() {
            if self.group.octets() > 0 && self.group.octets() + record.octets > room {
                self.taken.push_front(record);
                break;
            }
            self.written += 1;
            note(&record.entries, &mut current.queues);
            self.group.push(record, self.written, self.synced, &current.seal);
        }
        let octets = self.group.octets();
        let written = self.group.write(&*current.file, current.at);
        written.map_err(|error| StoreError::io(&path_of(current.number), "writing", error))?;
        if self.unsynced == 0 {
            self.unsynced_since = now;
        }
        self.unsynced += octets;
        self.taken_octets -= octets;
        current.at += octets;
        files.grown(current.at);
        let full = current.at >= self.options.file_octets;
        self.current = Some(current);
        if full { self.close_file(files) } else { Ok(()) }
    }

    /// The file that a record of `octets` goes to: the current one if it has room or no record yet, or a new one.
    fn file_for(&mut self, octets: u64, files: &Files) -> Result<Current, StoreError> {
        let room = self.options.file_octets;
        if self.current.as_ref().is_some_and(|file| file.has_records() && file.at + octets > room) {
            self.close_file(files)?;
        }
        match self.current.take() {
            Some(current) => Ok(current),
            None => self.new_file(files),
        }
    }

    fn new_file(&mut self, files: &Files) -> Result<Current, StoreError> {
        let header = FileHeader::new(self.next_number, self.written + 1);
        let file = files.begin(&header)?;
        self.next_number += 1;
        Ok(Current {
            number: header.number,
            file,
            seal: Seal::new(header.number, header.mark),
            at: FILE_HEADER as u64,
            queues: FileQueues::default(),
        })
    }

    fn close_file(&mut self, files: &Files) -> Result<(), StoreError> {
        self.sync()?;
        if let Some(current) = self.current.take() {
            files.close(current.number, current.queues.finish());
        }
        Ok(())
    }

    /// The queues that messages came to by the current file.
    pub(super) fn with_publishes(&self) -> impl Iterator<Item = u64> + '_ {
        self.current.iter().flat_map(|current| current.queues.with_publishes())
    }

    /// Cuts off what no record fills, and lets the spare go.
    pub(super) fn trim(&mut self, files: &Files) -> Result<(), StoreError> {
        if let Some(current) = &self.current {
            let cut = current.file.set_octets(current.at);
            cut.map_err(|error| StoreError::io(&path_of(current.number), "cutting", error))?;
            files.cut(current.at);
        }
        files.drop_spare()
    }

    /// Gives memory back that only bursts need.
    fn shrink(&mut self) {
        self.group.shrink();
        if self.taken.capacity() > KEEP_WAITING {
            self.taken = VecDeque::new();
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(current) = self.current.as_ref().filter(|_| self.written > self.synced) {
            let synced = current.file.sync();
            synced.map_err(|error| StoreError::io(&path_of(current.number), "syncing", error))?;
            self.synced = self.written;
            self.unsynced = 0;
        }
        Ok(())
    }
}

fn note(entries: &[Entry], queues: &mut FileQueues) {
    for entry in entries {
        match entry {
            Entry::Publish { queues: into, count, .. } => {
                for (queue, first) in into {
                    queues.published(*queue, *first, *count);
                }
            }
            Entry::Settle { queue, .. } => queues.settled(*queue),
            Entry::Note { queue, .. } => queues.noted(*queue),
            Entry::Delivered { .. } => {}
        }
    }
}
