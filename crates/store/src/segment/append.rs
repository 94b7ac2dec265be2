//! Owns the way of a block into a file. Invariant: a block goes behind everything that was written to its file, and
//! never behind a write that failed.

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::block::{Block, HEADER_OCTETS, HeaderDraft, Spot};
use super::books::Books;
use super::file_header::{FILE_HEADER_OCTETS, FileHeader};
use super::handles::FileKey;
use super::names::{file_path, folder_path};
use super::queue_files::{QueueFiles, SegmentFile};
use super::{Place, Segments};
use crate::disk::DiskFile;
use crate::store_error::StoreError;

impl Segments {
    /// Writes a block. It is durable after the next [`Segments::sync`].
    ///
    /// # Errors
    /// What the disk says: the block is not there then, and the others of the queue are. `InvalidInput` for a block
    /// without ranges, whose ranges do not ascend or that is longer than a file can be (4 GiB). The error of a sync that failed
    /// earlier.
    pub fn write(&self, queue: u64, block: &Block) -> Result<Place, StoreError> {
        let draft = HeaderDraft::new(block).map_err(|what| refused(queue, what))?;
        if block.ranges.is_empty() {
            return Err(refused(queue, "a block without messages"));
        }
        let octets = draft.block_octets();
        // The file's header before it and a seal behind it.
        if octets.checked_add(FILE_HEADER_OCTETS + HEADER_OCTETS).is_none() {
            return Err(refused(queue, "a block is longer than a file can be"));
        }
        let mut books = self.books.lock();
        if let Some(failed) = &books.failed {
            return Err(failed.clone());
        }
        self.know(&mut books, queue)?;
        let place = match self.room_for(&mut books, queue, octets) {
            Some(file) => self.append(&mut books, queue, file, draft, block)?,
            None => self.begin_file(&mut books, queue, draft, block)?,
        };
        if block.ranges.iter().any(|range| !range.transient) {
            let file = books.queues.get_mut(&queue).and_then(QueueFiles::open_file);
            let file = file.expect("invariant: what was written to is open");
            file.unsynced = true;
            file.unsealed = true;
            books.changed.insert(queue);
        }
        self.octets.fetch_add(u64::from(octets), Ordering::Relaxed);
        Ok(place)
    }

    /// The open file if so many octets may go there; else it is closed.
    fn room_for(&self, books: &mut Books, queue: u64, octets: u32) -> Option<SegmentFile> {
        let files = books.queues.get_mut(&queue)?;
        let file = files.open_file()?;
        let end = u64::from(file.end) + u64::from(octets);
        // Whatever the option says, a seal must still fit in 32 bits.
        let limit = self.options.file_octets.min(u64::from(u32::MAX - HEADER_OCTETS));
        if end <= limit {
            return Some(*file);
        }
        self.close_open(books, queue);
        None
    }

    /// The queue's next block begins a new file: so that a file whose blocks are written anew goes when all of them are.
    pub fn begin_anew(&self, queue: u64) {
        self.close_open(&mut self.books.lock(), queue);
    }

    fn close_open(&self, books: &mut Books, queue: u64) {
        let Some(files) = books.queues.get_mut(&queue) else { return };
        let Some(SegmentFile { number, unsynced, .. }) = files.open_file().copied() else { return };
        files.close(number);
        if !unsynced {
            self.handles.lock().remove((queue, number));
        }
    }

    fn append(
        &self,
        books: &mut Books,
        queue: u64,
        known: SegmentFile,
        draft: HeaderDraft,
        block: &Block,
    ) -> Result<Place, StoreError> {
        let key = (queue, known.number);
        let handle = self.handle(books, key)?;
        let octets = draft.block_octets();
        let spot = Spot { queue, segment: known.number, offset: known.end };
        let header = draft.finish(spot, known.mark, known.synced);
        let written = write_pieces(&*handle, known.end, &[&header], block);
        let files = books.queues.get_mut(&queue).expect("invariant: the queue was known before");
        if let Err(error) = written {
            files.spoil(known.number);
            return Err(StoreError::io(&file_path(queue, known.number), "writing", error));
        }
        let file = files.open_file().expect("invariant: the file was open before");
        file.end += octets;
        file.live += octets;
        Ok(Place { segment: known.number, offset: known.end, octets })
    }

    fn begin_file(
        &self,
        books: &mut Books,
        queue: u64,
        draft: HeaderDraft,
        block: &Block,
    ) -> Result<Place, StoreError> {
        self.make_room(books)?;
        let number = self.unused_number(books, queue)?;
        let path = file_path(queue, number);
        if !books.queues.contains_key(&queue) {
            let folder = folder_path(queue);
            let made = self.disk.create_folder(&folder);
            made.map_err(|error| StoreError::io(&folder, "making", error))?;
            books.folders_changed = true;
        }
        let key = (queue, number);
        let created = self.disk.create(&path, 0);
        let handle = created.map_err(|error| StoreError::io(&path, "making", error))?;
        let octets = draft.block_octets();
        let file_header = FileHeader::new(queue, number);
        let mark = file_header.mark;
        let offset = FILE_HEADER_OCTETS;
        let header = draft.finish(Spot { queue, segment: number, offset }, mark, 0);
        if let Err(error) = write_pieces(&*handle, 0, &[&file_header.encode(), &header], block) {
            // What stays of it holds nothing.
            if books.queues.contains_key(&queue) {
                let _ = self.disk.remove(&path);
            } else {
                let _ = self.disk.remove_folder(&folder_path(queue));
            }
            return Err(StoreError::io(&path, "writing", error));
        }
        self.handles.lock().insert(key, handle);
        let files = books.queues.entry(queue).or_default();
        files.names_changed = true;
        files.insert_open(SegmentFile {
            has_released: false,
            number,
            mark,
            end: offset + octets,
            synced: 0,
            live: octets,
            unsynced: false,
            unsealed: false,
            has_tail: false,
        });
        self.octets.fetch_add(u64::from(offset), Ordering::Relaxed);
        Ok(Place { segment: number, offset, octets })
    }

    fn unused_number(&self, books: &mut Books, queue: u64) -> Result<u32, StoreError> {
        loop {
            let number = self.draw_number(books)?;
            if books.queues.get(&queue).is_none_or(|files| !files.contains(number)) {
                return Ok(number);
            }
        }
    }

    /// A file of this process, kept open from now on.
    fn handle(&self, books: &mut Books, key: FileKey) -> Result<Arc<dyn DiskFile>, StoreError> {
        if let Some(handle) = self.handles.lock().touch(key) {
            return Ok(handle);
        }
        self.make_room(books)?;
        let handle = self.open_file(key)?;
        self.handles.lock().insert(key, Arc::clone(&handle));
        Ok(handle)
    }

    /// Closes files until one more may be opened.
    fn make_room(&self, books: &mut Books) -> Result<(), StoreError> {
        loop {
            let oldest = {
                let handles = self.handles.lock();
                if handles.len() < self.options.open_files_max.max(1) {
                    return Ok(());
                }
                handles.oldest()
            };
            let Some(key) = oldest else { return Ok(()) };
            self.sync_file(books, key)?;
            self.handles.lock().remove(key);
        }
    }

    pub(super) fn open_file(&self, key: FileKey) -> Result<Arc<dyn DiskFile>, StoreError> {
        let path = file_path(key.0, key.1);
        self.disk.open(&path).map_err(|error| StoreError::io(&path, "opening", error))
    }
}

fn write_pieces(file: &dyn DiskFile, offset: u32, headers: &[&[u8]], block: &Block) -> Result<(), Error> {
    let mut pieces = Vec::with_capacity(headers.len() + block.body.len());
    pieces.extend_from_slice(headers);
    pieces.extend(block.body.iter().map(AsRef::as_ref));
    file.write_at(u64::from(offset), &pieces)
}

fn refused(queue: u64, what: &'static str) -> StoreError {
    StoreError::io(&folder_path(queue), "writing a block to", Error::new(ErrorKind::InvalidInput, what))
}
