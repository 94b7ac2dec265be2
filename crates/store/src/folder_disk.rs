//! The real disk: a folder of the file system.
//!
//! Invariant: a call has done what [`Disk`] says when it returns; nothing is cached here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use crate::disk::{Disk, DiskEntry, DiskFile};

/// A [`Disk`] that is a folder.
#[derive(Debug)]
pub struct FolderDisk {
    root: PathBuf,
}

impl FolderDisk {
    /// The disk whose paths begin at `root`, which must be there.
    #[must_use]
    pub fn new(root: &Path) -> FolderDisk {
        FolderDisk { root: root.to_owned() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for FolderDisk {
    fn create(&self, path: &str, preallocate: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.at(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if preallocate > 0
            && let Err(error) = allocate(&file, preallocate)
        {
            drop(file);
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(FolderFile { file }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.at(path))?;
        Ok(Arc::new(FolderFile { file }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<DiskEntry>> {
        let entries = match fs::read_dir(self.at(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut list = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Names of the store are ASCII; others are not its own.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_folder = entry.file_type()?.is_dir();
            let octets = if is_folder { 0 } else { entry.metadata()?.len() };
            list.push(DiskEntry { name, is_folder, octets });
        }
        Ok(list)
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.at(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fine_when_absent(fs::remove_file(self.at(path)))
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        fine_when_absent(fs::remove_dir_all(self.at(path)))
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        File::open(self.at(folder))?.sync_all()
    }

    fn free_octets(&self) -> io::Result<u64> {
        let numbers = rustix::fs::statvfs(&self.root)?;
        Ok(numbers.f_bavail.saturating_mul(numbers.f_frsize))
    }
}

#[derive(Debug)]
struct FolderFile {
    file: File,
}

impl DiskFile for FolderFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left: &mut [IoSlice<'_>] = &mut slices;
        let mut at = offset;
        // Without octets there is nothing that a write could report progress with.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let count = left.len().min(PIECES_MAX);
            match rustix::io::pwritev(&self.file, &left[..count], at) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.file.set_len(octets)
    }
}

/// Pieces of one system call; Linux takes 1024.
const PIECES_MAX: usize = 512;

/// Reserves room. A file system that cannot is no reason to stop: the file is extended instead.
fn allocate(file: &File, octets: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, octets) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(octets),
        Err(error) => Err(error.into()),
    }
}

fn fine_when_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FolderDisk::new(folder.path());
        disk.create_folder("a/b").unwrap();
        let file = disk.create("a/b/file", 4096).unwrap();
        assert_eq!(file.octets().unwrap(), 4096);
        assert_eq!(disk.create("a/b/file", 0).unwrap_err().kind(), ErrorKind::AlreadyExists);
        file.write_at(4090, &[b"", b"one", b"", b"two three"]).unwrap();
        file.sync().unwrap();
        let mut octets = [0; 16];
        let again = disk.open("a/b/file").unwrap();
        assert_eq!(again.read_at(4090, &mut octets).unwrap(), 12);
        assert_eq!(&octets[..12], b"onetwo three");
        let entries = disk.list("a/b").unwrap();
        assert_eq!(entries, [DiskEntry { name: "file".into(), is_folder: false, octets: 4102 }]);
        disk.rename("a/b/file", "a/b/other").unwrap();
        disk.sync_dir("a/b").unwrap();
        disk.remove("a/b/other").unwrap();
        disk.remove("a/b/other").unwrap();
        disk.remove_folder("a").unwrap();
        assert_eq!(disk.list("a").unwrap(), []);
        assert!(disk.free_octets().unwrap() > 0);
    }
}
