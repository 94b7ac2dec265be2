//! A disk that takes everything and keeps nothing: what the store does is counted, what the system does with it is not.
//!
//! Invariant: files have the length that was written; what is read are zeros.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warrenmq_store::{Disk, DiskEntry, DiskFile};

/// The disk.
#[derive(Debug)]
pub(crate) struct NullDisk;

#[derive(Debug, Default)]
struct NullFile {
    octets: AtomicU64,
}

impl Disk for NullDisk {
    fn create(&self, _: &str, preallocate: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(NullFile { octets: AtomicU64::new(preallocate) }))
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(NullFile::default()))
    }

    fn list(&self, _: &str) -> io::Result<Vec<DiskEntry>> {
        Ok(Vec::new())
    }

    fn create_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove_folder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_octets(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for NullFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let count: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.octets.fetch_max(offset + count as u64, Ordering::Relaxed);
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let there = self.octets.load(Ordering::Relaxed).saturating_sub(offset);
        let count = usize::try_from(there).unwrap_or(usize::MAX).min(into.len());
        into[..count].fill(0);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.octets.load(Ordering::Relaxed))
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.octets.store(octets, Ordering::Relaxed);
        Ok(())
    }
}
