//! The disk as the store sees it: few operations, so that crashes, torn writes and full disks can be played in tests.
//!
//! Paths are relative to the data folder, with `/` between names. Invariant that every user may count on, and no more:
//! what was written before a [`DiskFile::sync`] that returned `Ok` is there after a crash; a file's name is there after
//! a [`Disk::sync_dir`] of its folder; anything else may be lost, torn or in another order.

use std::fmt;
use std::io;
use std::sync::Arc;

/// The folder that a broker owns.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a file that must not be there yet, with room for `preallocate` octets (0: none). Its length is
    /// `preallocate`, its content zeros.
    ///
    /// # Errors
    /// What the system says; nothing is left behind then.
    fn create(&self, path: &str, preallocate: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// What is in a folder, in no order; nothing when the folder is not there.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &str) -> io::Result<Vec<DiskEntry>>;

    /// Makes a folder and those above it; fine when it is there.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, path: &str) -> io::Result<()>;

    /// Renames a file, over another one if that is there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; fine when it is not there.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a folder with everything in it; fine when it is not there.
    ///
    /// # Errors
    /// What the system says.
    fn remove_folder(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable (made, renamed, removed).
    ///
    /// # Errors
    /// What the system says; final, as for [`DiskFile::sync`].
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Octets that are free for this process.
    ///
    /// # Errors
    /// What the system says.
    fn free_octets(&self) -> io::Result<u64>;
}

/// A file that is open.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes the pieces one after the other at `offset`; all or an error, after which the range holds anything.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;

    /// Reads into the whole of `into`; less only at the end of the file. Says how much.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes what was written durable (fdatasync).
    ///
    /// # Errors
    /// What the system says. Final: what was written since the last `Ok` may be lost, and asking again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Its length in octets.
    ///
    /// # Errors
    /// What the system says.
    fn octets(&self) -> io::Result<u64>;

    /// Cuts or extends it.
    ///
    /// # Errors
    /// What the system says.
    fn set_octets(&self, octets: u64) -> io::Result<()>;
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name, without the folder.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
    /// Its length, 0 for a folder.
    pub octets: u64,
}
