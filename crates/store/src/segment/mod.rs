//! Owns the segments: files of each queue that hold blocks of its messages. Invariant: a block that was written is
//! read back octet by octet or is an error that names file and offset; a file is there until its last block is
//! released.
//!
//! The octets are described in `docs/internals/storage-format.md`. A block is durable after the next
//! [`Segments::sync`]. Which of the messages in a block still live, nobody here knows.

mod append;
mod block;
mod books;
mod file_header;
mod file_scan;
mod handles;
mod names;
mod numbers;
mod queue_files;
mod survey;
mod sync;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub use block::{Block, BlockRange};
use block::{Decoded, Header, Spot};
use books::Books;
use handles::Handles;
pub(crate) use names::folder_path;
use names::{FOLDER, file_path, queues_among, queues_on};
use numbers::Numbers;
pub use survey::SegmentSurvey;
pub(crate) use survey::survey;

use crate::disk::{Disk, DiskFile};
use crate::store_error::StoreError;

/// Where a block lies in the segments of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The number of the file.
    pub segment: u32,
    /// Where in it the block begins.
    pub offset: u32,
    /// Octets of the whole block.
    pub octets: u32,
}

/// A block as [`Segments::scan`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it lies.
    pub place: Place,
    /// The priority of its messages.
    pub level: u8,
    /// Which messages it holds.
    pub ranges: Vec<BlockRange>,
    /// Octets of its body.
    pub octets: u32,
}

/// Bounds of [`Segments`].
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    /// A file takes no more blocks at this length; only a block that is longer itself has a longer file.
    pub file_octets: u64,
    /// Files kept open at most; beyond, the one that was written to longest ago is synced and closed.
    pub open_files_max: usize,
}

impl Default for SegmentOptions {
    /// Files of 4 MiB, 256 of them open.
    fn default() -> SegmentOptions {
        SegmentOptions { file_octets: 4 << 20, open_files_max: 256 }
    }
}

/// The segments of all queues. What changes them is done one after the other; reading waits for none of it.
#[derive(Debug)]
pub struct Segments {
    disk: Arc<dyn Disk>,
    options: SegmentOptions,
    /// Locked while files are changed, before `handles`.
    books: Mutex<Books>,
    /// Never locked across the disk.
    handles: Mutex<Handles>,
    octets: AtomicU64,
}

impl Segments {
    /// Begins with what is in the folder. Nothing of it is read before it is asked for.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(disk: Arc<dyn Disk>, options: SegmentOptions) -> Result<Segments, StoreError> {
        disk.create_folder(FOLDER).map_err(|error| StoreError::io(FOLDER, "making", error))?;
        let entries = disk.list(FOLDER).map_err(|error| StoreError::io(FOLDER, "listing", error))?;
        let unknown = queues_among(&entries).collect();
        let books = Books {
            queues: HashMap::new(),
            unknown,
            changed: BTreeSet::new(),
            numbers: Numbers::after(&entries),
            folders_changed: true,
            root_changed: true,
            failed: None,
        };
        Ok(Segments {
            disk,
            options,
            books: Mutex::new(books),
            handles: Mutex::default(),
            octets: AtomicU64::new(0),
        })
    }

    /// Ids of the queues whose folders are there, ascending.
    ///
    /// # Errors
    /// What the disk says.
    pub fn queues(&self) -> Result<Vec<u64>, StoreError> {
        queues_on(&*self.disk)
    }

    /// Finds a queue's blocks, in the order they were written, from their headers; meant for the start, before
    /// anything is written to the queue. All of them count as not released. What a crash left half-written is not
    /// among them and goes with the next [`Segments::sync`]; only a block of nothing but transient messages may be
    /// among them with a torn body, which [`Segments::read`] then says.
    ///
    /// # Errors
    /// Damage, a file of a newer format, or what the disk says.
    pub fn scan(&self, queue: u64) -> Result<Vec<Found>, StoreError> {
        let (files, found) = self.scan_files(queue)?;
        self.learn(&mut self.books.lock(), queue, files);
        Ok(found)
    }

    /// Reads a block.
    ///
    /// # Errors
    /// Damage, or what the disk says. An error for a block that was released, or whose queue was deleted, meanwhile
    /// means nothing.
    pub fn read(&self, queue: u64, place: Place) -> Result<Block, StoreError> {
        let path = file_path(queue, place.segment);
        let open = self.handles.lock().get((queue, place.segment));
        let file = match open {
            Some(file) => file,
            None => self.disk.open(&path).map_err(|error| StoreError::io(&path, "opening", error))?,
        };
        let reading = |error| StoreError::io(&path, "reading", error);
        let damaged = |what| StoreError::damaged(&path, u64::from(place.offset), what);
        let end = u64::from(place.offset) + u64::from(place.octets);
        if file.octets().map_err(reading)? < end {
            return Err(damaged("the file ends before the block does"));
        }
        let mut bytes = vec![0; place.octets as usize];
        read_exactly(&*file, place.offset, &mut bytes).map_err(reading)?;
        let spot = Spot { queue, segment: place.segment, offset: place.offset };
        let header = match Header::decode(&bytes, spot) {
            Decoded::Whole(header) => header,
            Decoded::Longer(_) => return Err(damaged("the block is shorter than its header")),
            Decoded::Invalid(what) => return Err(damaged(what)),
        };
        if header.block_octets() != bytes.len() as u64 {
            return Err(damaged("the block is not as long as it was"));
        }
        let body = Bytes::from(bytes).slice(header.header_octets as usize..);
        if crc32fast::hash(&body) != header.body_crc {
            return Err(damaged("the checksum of a block is wrong"));
        }
        Ok(Block { level: header.level, ranges: header.ranges, body: vec![body] })
    }

    /// What to say when the body of a block is whole and still not what its reader can use.
    #[must_use]
    pub fn not_as_written(&self, queue: u64, place: Place) -> StoreError {
        let what = "a block does not hold the messages that its header names";
        StoreError::damaged(&file_path(queue, place.segment), u64::from(place.offset), what)
    }

    /// Gives a block up, once. The file goes with its last block, and the queue's folder with its last file.
    ///
    /// # Errors
    /// What the disk says.
    pub fn release(&self, queue: u64, place: Place) -> Result<(), StoreError> {
        let mut books = self.books.lock();
        self.know(&mut books, queue)?;
        let file = books.queues.get_mut(&queue).and_then(|files| files.get_mut(place.segment));
        let Some(file) = file else { return Ok(()) };
        debug_assert!(file.live >= place.octets, "a place is released once");
        file.live = file.live.saturating_sub(place.octets);
        if file.live > 0 {
            file.has_released = true;
            return Ok(());
        }
        self.sync_found(&mut books, queue, place.segment)?;
        self.remove_file(&mut books, queue, place.segment)
    }

    /// Whether a block of the queue that was released is still on disk, because others in its file were not: the next start finds it.
    pub fn holds_released(&self, queue: u64) -> bool {
        let books = self.books.lock();
        // What was not asked for since the start may hold anything.
        books.unknown.contains(&queue)
            || books.queues.get(&queue).is_some_and(|files| files.iter().any(|file| file.has_released))
    }

    /// Removes everything of a queue; fine when there is nothing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn delete_queue(&self, queue: u64) -> Result<(), StoreError> {
        self.remove_queue(&mut self.books.lock(), queue)
    }

    /// Octets of the files of all queues that were scanned or written to.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }
}

/// Reads octets that are there, as the length of the file says.
fn read_exactly(file: &dyn DiskFile, offset: u32, into: &mut [u8]) -> io::Result<()> {
    let read = file.read_at(u64::from(offset), into)?;
    if read == into.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
