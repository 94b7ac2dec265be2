//! What goes wrong on a simulated disk, and what is counted there.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;

/// The operations of a disk and of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `Disk::create`.
    Create,
    /// `Disk::open`.
    Open,
    /// `Disk::list`.
    List,
    /// `Disk::create_folder`.
    CreateFolder,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `Disk::remove_folder`.
    RemoveFolder,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `DiskFile::write_at`. One that fails has written the first half.
    Write,
    /// `DiskFile::read_at`.
    Read,
    /// `DiskFile::sync`.
    Sync,
    /// `DiskFile::octets`.
    Octets,
    /// `DiskFile::set_octets`.
    SetOctets,
}

impl Operation {
    /// Whether it changes what is on the disk or what a crash would leave of it.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Operation::Open | Operation::List | Operation::Read | Operation::Octets)
    }
}

/// An operation that is to fail with EIO.
#[derive(Debug, Clone, Copy)]
struct Fault {
    operation: Operation,
    /// So many succeed before.
    after: u64,
    /// Whether all later ones fail too.
    stays: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    /// Operations that change something, tried since the disk is there.
    pub(super) operations: u64,
    /// After so many of them nothing happens any more.
    pub(super) frozen_after: Option<u64>,
    /// Every so many reads one gives half of what is there; 0 for none.
    pub(super) short_read_each: u64,
    tried: BTreeMap<Operation, u64>,
    /// By path of the file as it was opened.
    written: BTreeMap<String, u64>,
}

impl Faults {
    /// None yet, on a disk on which so many operations have been tried.
    pub(super) fn counting_from(operations: u64) -> Faults {
        Faults { operations, ..Faults::default() }
    }

    /// Counts an operation. Says whether it is to succeed; an error when nothing at all is to happen.
    pub(super) fn admit(&mut self, operation: Operation) -> io::Result<bool> {
        if self.frozen_after.is_some_and(|last| self.operations >= last) {
            return Err(io::Error::other("the simulated disk is frozen"));
        }
        self.operations += u64::from(operation.changes());
        *self.tried.entry(operation).or_default() += 1;
        let mut succeeds = true;
        self.faults.retain_mut(|fault| {
            if fault.operation != operation {
                return true;
            }
            let strikes = fault.after == 0;
            fault.after = fault.after.saturating_sub(1);
            succeeds &= !strikes;
            !strikes || fault.stays
        });
        Ok(succeeds)
    }

    pub(super) fn add(&mut self, operation: Operation, after: u64, stays: bool) {
        self.faults.push(Fault { operation, after, stays });
    }

    /// Nothing goes wrong from here on.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.short_read_each = 0;
    }

    /// Whether the read that was just admitted is to be short.
    pub(super) fn read_is_short(&self) -> bool {
        self.short_read_each > 0 && self.tried(Operation::Read).is_multiple_of(self.short_read_each)
    }

    pub(super) fn tried(&self, operation: Operation) -> u64 {
        self.tried.get(&operation).copied().unwrap_or(0)
    }

    pub(super) fn count_written(&mut self, path: &str, octets: u64) {
        match self.written.get_mut(path) {
            Some(count) => *count += octets,
            None => {
                self.written.insert(path.to_owned(), octets);
            }
        }
    }

    pub(super) fn written(&self, prefix: &str) -> u64 {
        self.written.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}

/// The error of a device that does not do what it was asked to.
pub(super) fn broken() -> io::Error {
    Errno::IO.into()
}

/// The error of a disk without room.
pub(super) fn full() -> io::Error {
    Errno::NOSPC.into()
}
