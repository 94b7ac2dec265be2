//! Owns the files that are kept open. Invariant: whoever adds one has made room before.

use std::collections::HashMap;
use std::sync::Arc;

use crate::disk::DiskFile;

/// A file of a queue: its id and the number.
pub(super) type FileKey = (u64, u32);

/// Open files by queue and number.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<FileKey, Handle>,
    uses: u64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<dyn DiskFile>,
    /// When it was last written through; higher is later.
    used: u64,
}

impl Handles {
    /// For reading: does not count as a use.
    pub(super) fn get(&self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        Some(Arc::clone(&self.open.get(&key)?.file))
    }

    /// For writing.
    pub(super) fn touch(&mut self, key: FileKey) -> Option<Arc<dyn DiskFile>> {
        self.uses += 1;
        let handle = self.open.get_mut(&key)?;
        handle.used = self.uses;
        Some(Arc::clone(&handle.file))
    }

    pub(super) fn insert(&mut self, key: FileKey, file: Arc<dyn DiskFile>) {
        self.uses += 1;
        self.open.insert(key, Handle { file, used: self.uses });
    }

    pub(super) fn remove(&mut self, key: FileKey) {
        self.open.remove(&key);
    }

    pub(super) fn remove_queue(&mut self, queue: u64) {
        self.open.retain(|key, _| key.0 != queue);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The one that was not written through for longest.
    pub(super) fn oldest(&self) -> Option<FileKey> {
        self.open.iter().min_by_key(|(_, handle)| handle.used).map(|(key, _)| *key)
    }
}
