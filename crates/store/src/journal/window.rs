//! Sequential reading of a file through one buffer. Invariant: what it gives are the octets of the file at the
//! offset that was asked for, or fewer at its end.

use crate::disk::DiskFile;
use crate::store_error::StoreError;

/// Octets of one read.
pub(super) const CHUNK: usize = 1 << 20;

/// Part of a file in memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    /// Where in the file it begins.
    start: u64,
    /// How much of the buffer is filled.
    filled: usize,
}

impl Window {
    /// Forgets what it holds, for another file.
    pub(super) fn clear(&mut self) {
        (self.start, self.filled) = (0, 0);
    }

    /// Where in the file it begins.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Up to `octets` octets from `offset` on; fewer only at the end of the file.
    pub(super) fn get(
        &mut self,
        file: &dyn DiskFile,
        path: &str,
        offset: u64,
        octets: usize,
    ) -> Result<&[u8], StoreError> {
        let within = offset.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let from = match within {
            Some(from) if from.saturating_add(octets) <= self.filled => from,
            _ => {
                self.filled = 0;
                if self.buffer.len() < octets.max(CHUNK) {
                    self.buffer = vec![0; octets.max(CHUNK)];
                }
                let read = file.read_at(offset, &mut self.buffer);
                self.filled = read.map_err(|error| StoreError::io(path, "reading", error))?;
                self.start = offset;
                0
            }
        };
        Ok(&self.buffer[from..self.filled.min(from + octets)])
    }

    /// What is at hand from `offset` on, at least `octets` of it but at the end of the file.
    pub(super) fn rest(
        &mut self,
        file: &dyn DiskFile,
        path: &str,
        offset: u64,
        octets: usize,
    ) -> Result<&[u8], StoreError> {
        self.get(file, path, offset, octets)?;
        let from = usize::try_from(offset - self.start).unwrap_or(self.filled);
        Ok(&self.buffer[from.min(self.filled)..self.filled])
    }
}
