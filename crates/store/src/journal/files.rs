//! The files of the journal: how they come, and how they go. Invariants: a file has its number only with a durable
//! header, names are durable before anything counts on them, and files go oldest first, one after the other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file_header::{FILE_HEADER, FOLDER, FileHeader, NEXT, SPARE, path_of};
use super::file_queues::InFile;
use crate::disk::{Disk, DiskFile};
use crate::store_error::StoreError;

/// A journal file to which nothing is added any more.
#[derive(Debug, Clone)]
pub struct ClosedFile {
    /// Its number, ascending in the order of writing.
    pub number: u64,
    /// What it takes on disk.
    pub octets: u64,
    /// The queues with entries in it.
    pub queues: Arc<HashMap<u64, InFile>>,
}

/// All files but what is written to the current one.
#[derive(Debug)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    file_octets: u64,
    /// Leaf lock, never held during I/O.
    state: Mutex<State>,
    /// One removal at a time; held during its I/O.
    retiring: Mutex<()>,
}

#[derive(Debug)]
struct State {
    closed: VecDeque<ClosedFile>,
    /// Octets of the file that is written.
    current: u64,
    spare: Spare,
}

/// What the name `journal/spare` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spare {
    None,
    /// A file is about to be renamed to it, or from it.
    Moving,
    /// A file of the usual length.
    Ready,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, file_octets: u64, closed: VecDeque<ClosedFile>) -> Files {
        let state = State { closed, current: 0, spare: Spare::None };
        Files { disk, file_octets, state: Mutex::new(state), retiring: Mutex::new(()) }
    }

    /// Makes the file that `header` describes, ready for records.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn begin(&self, header: &FileHeader) -> Result<Arc<dyn DiskFile>, StoreError> {
        let recycle = self.take_spare();
        let (path, opened) = if recycle {
            (SPARE, self.disk.open(SPARE))
        } else {
            (NEXT, self.disk.create(NEXT, self.file_octets))
        };
        let file = opened.map_err(|error| StoreError::io(path, "making", error))?;
        let written = file.write_at(0, &[&header.encode()]);
        written.map_err(|error| StoreError::io(path, "writing", error))?;
        file.sync().map_err(|error| StoreError::io(path, "syncing", error))?;
        let renamed = self.disk.rename(path, &path_of(header.number));
        renamed.map_err(|error| StoreError::io(path, "renaming", error))?;
        self.sync_folder()?;
        let mut state = self.state.lock();
        state.current = self.file_octets.max(FILE_HEADER as u64);
        if recycle {
            state.spare = Spare::None;
        }
        Ok(file)
    }

    /// The current file has grown beyond its usual length.
    pub(super) fn grown(&self, octets: u64) {
        let mut state = self.state.lock();
        state.current = state.current.max(octets);
    }

    /// The current file is as long as what was written to it.
    pub(super) fn cut(&self, octets: u64) {
        self.state.lock().current = octets;
    }

    /// Removes the spare.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn drop_spare(&self) -> Result<(), StoreError> {
        let _one = self.retiring.lock();
        if !self.take_spare() {
            return Ok(());
        }
        self.disk.remove(SPARE).map_err(|error| StoreError::io(SPARE, "removing", error))?;
        self.sync_folder()?;
        self.state.lock().spare = Spare::None;
        Ok(())
    }

    /// The current file, which must be synced, is written no more.
    pub(super) fn close(&self, number: u64, queues: Arc<HashMap<u64, InFile>>) {
        let mut state = self.state.lock();
        let octets = std::mem::take(&mut state.current);
        state.closed.push_back(ClosedFile { number, octets, queues });
    }

    pub(super) fn closed(&self) -> Vec<ClosedFile> {
        self.state.lock().closed.iter().cloned().collect()
    }

    pub(super) fn octets(&self) -> u64 {
        let state = self.state.lock();
        let closed: u64 = state.closed.iter().map(|file| file.octets).sum();
        let spare = if state.spare == Spare::None { 0 } else { self.file_octets };
        closed + state.current + spare
    }

    /// Lets the oldest file go, if that is its number.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the file may be there or not then.
    pub(super) fn retire(&self, number: u64) -> Result<(), StoreError> {
        let _one = self.retiring.lock();
        let keep = {
            let mut state = self.state.lock();
            let Some(file) = state.closed.front().filter(|file| file.number == number) else { return Ok(()) };
            let keep = state.spare == Spare::None && file.octets == self.file_octets;
            if keep {
                state.spare = Spare::Moving;
            }
            keep
        };
        let path = path_of(number);
        let done = if keep { self.disk.rename(&path, SPARE) } else { self.disk.remove(&path) };
        done.map_err(|error| StoreError::io(&path, "removing", error))?;
        self.sync_folder()?;
        let mut state = self.state.lock();
        state.closed.pop_front();
        if keep {
            state.spare = Spare::Ready;
        }
        Ok(())
    }

    fn take_spare(&self) -> bool {
        let mut state = self.state.lock();
        let ready = state.spare == Spare::Ready;
        if ready {
            state.spare = Spare::Moving;
        }
        ready
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(FOLDER).map_err(|error| StoreError::io(FOLDER, "syncing", error))
    }
}
