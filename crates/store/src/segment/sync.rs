//! Owns what makes blocks durable. Invariant: a seal is written only when everything before it, and every name on
//! the way to it, is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Segments;
use super::block::{HEADER_OCTETS, Spot, seal};
use super::books::Books;
use super::handles::FileKey;
use super::names::{FOLDER, file_path, folder_path};
use super::queue_files::QueueFiles;
use crate::disk::DiskFile;
use crate::store_error::StoreError;

impl Segments {
    /// Makes all that was written and removed before durable. Blocks of nothing but transient messages are left out:
    /// a restart drops them.
    ///
    /// # Errors
    /// What the disk says. It is final: this and [`Segments::write`] say the same from then on.
    pub fn sync(&self) -> Result<(), StoreError> {
        let books = &mut *self.books.lock();
        if let Some(failed) = &books.failed {
            return Err(failed.clone());
        }
        let changed: Vec<u64> = books.changed.iter().copied().collect();
        for &queue in &changed {
            self.sweep(books, queue)?;
        }
        self.sync_folders(books)?;
        for queue in changed {
            self.sync_queue(books, queue)?;
        }
        Ok(())
    }

    /// A process that was killed may have written again what still lived in the file that goes now, and not have synced it:
    /// makes durable what the start found in the queue's other files.
    pub(super) fn sync_found(&self, books: &mut Books, queue: u64, going: u32) -> Result<(), StoreError> {
        let Some(files) = books.queues.get(&queue).filter(|files| files.found_unsynced) else {
            return Ok(());
        };
        if !files.iter().any(|file| file.unsynced && file.number != going) {
            return Ok(());
        }
        if let Some(failed) = &books.failed {
            return Err(failed.clone());
        }
        self.sync_folders(books)?;
        self.sync_queue(books, queue)
    }

    /// Makes the data of a file durable if it is not. A failure is final for all.
    pub(super) fn sync_file(&self, books: &mut Books, key: FileKey) -> Result<(), StoreError> {
        let Some(file) = books.queues.get_mut(&key.0).and_then(|files| files.get_mut(key.1)) else {
            return Ok(());
        };
        if !file.unsynced && !file.has_tail {
            return Ok(());
        }
        let handle = self.handle_or_open(key)?;
        let path = || file_path(key.0, key.1);
        if file.has_tail {
            let cut = handle.set_octets(u64::from(file.end));
            cut.map_err(|error| StoreError::io(&path(), "cutting", error))?;
        }
        if let Err(error) = handle.sync() {
            return Err(books.fail(StoreError::io(&path(), "syncing", error)));
        }
        file.has_tail = false;
        file.synced = file.end;
        file.unsynced = false;
        Ok(())
    }

    /// Removes files in which the start found nothing, and the folder of a queue without files.
    fn sweep(&self, books: &mut Books, queue: u64) -> Result<(), StoreError> {
        let Some(files) = books.queues.get(&queue) else { return Ok(()) };
        if files.is_empty() {
            return self.remove_queue(books, queue);
        }
        let empty: Vec<u32> = files.iter().filter(|file| file.live == 0).map(|file| file.number).collect();
        for number in empty {
            self.remove_file(books, queue, number)?;
        }
        Ok(())
    }

    fn sync_folders(&self, books: &mut Books) -> Result<(), StoreError> {
        if !books.folders_changed {
            return Ok(());
        }
        if books.root_changed {
            self.sync_folder(books, "")?;
            books.root_changed = false;
        }
        self.sync_folder(books, FOLDER)?;
        books.folders_changed = false;
        Ok(())
    }

    fn sync_queue(&self, books: &mut Books, queue: u64) -> Result<(), StoreError> {
        let Some(files) = books.queues.get(&queue) else { return Ok(()) };
        let names_changed = files.names_changed;
        let unsealed: Vec<u32> = files.iter().filter(|file| file.unsealed).map(|file| file.number).collect();
        for &number in &unsealed {
            self.sync_file(books, (queue, number))?;
        }
        if names_changed {
            self.sync_folder(books, &folder_path(queue))?;
        }
        books.changed.remove(&queue);
        let Some(files) = books.queues.get_mut(&queue) else { return Ok(()) };
        files.names_changed = false;
        files.found_unsynced = false;
        for number in unsealed {
            self.seal(queue, files, number)?;
            if !files.is_open(number) {
                self.handles.lock().remove((queue, number));
            }
        }
        Ok(())
    }

    /// Notes behind the last block what of the file is durable. Nothing depends on the note: without it, a start reads
    /// more and syncs once more.
    fn seal(&self, queue: u64, files: &mut QueueFiles, number: u32) -> Result<(), StoreError> {
        let handle = self.handle_or_open((queue, number))?;
        let Some(file) = files.get_mut(number) else { return Ok(()) };
        file.unsealed = false;
        let spot = Spot { queue, segment: number, offset: file.end };
        if handle.write_at(u64::from(file.end), &[&seal(spot, file.mark, file.synced)]).is_err() {
            files.spoil(number);
            return Ok(());
        }
        file.end += HEADER_OCTETS;
        self.octets.fetch_add(u64::from(HEADER_OCTETS), Ordering::Relaxed);
        Ok(())
    }

    fn handle_or_open(&self, key: FileKey) -> Result<Arc<dyn DiskFile>, StoreError> {
        let open = self.handles.lock().get(key);
        open.map_or_else(|| self.open_file(key), Ok)
    }

    pub(super) fn sync_folder(&self, books: &mut Books, folder: &str) -> Result<(), StoreError> {
        let synced = self.disk.sync_dir(folder);
        synced.map_err(|error| books.fail(StoreError::io(folder, "syncing", error)))
    }
}

impl Books {
    /// Notes that nothing can be made durable any more.
    fn fail(&mut self, error: StoreError) -> StoreError {
        self.failed = Some(error.clone());
        error
    }
}
