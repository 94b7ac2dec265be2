//! Reading the whole journal at the start. Invariants: what was durable is found or the reading fails, what was not
//! is found whole or not at all; no octets whatever make it panic, and it keeps no bodies.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Lsn;
use super::entry::{Head, Note};
use super::file_header::{FILE_HEADER, FOLDER, FileHeader, NEXT, SPARE, number_of, path_of};
use super::file_queues::{FileQueues, InFile};
use super::files::ClosedFile;
use super::published::{Published, PublishedQueues};
use super::reader::Reader;
use super::window::{CHUNK, Window};
use crate::disk::{Disk, DiskFile};
use crate::store_error::StoreError;

/// Numbers from here on say more than which queue it is, and are no reason to count from above them.
const COUNTED_END: u64 = 1 << 63;

/// What the journal holds.
#[derive(Debug, Default)]
pub struct Scan {
    /// Each publish, in the order of the log.
    pub publishes: Vec<Published>,
    /// Ranges of positions that are done with, for each queue in the order of the log; neighbours are one.
    pub settles: HashMap<u64, Vec<(u64, u64)>>,
    /// Messages of queues from 2^63 on whose publish stands behind the settle of a later one, or of themselves: queue, first and last
    /// position. They are copies, which their settles may not stand behind.
    pub copies: Vec<(u64, u64, u64)>,
    /// What is noted of messages, for each queue in the order of the log. What a message was once said may be said again after it was
    /// said more: see [`Note`].
    pub notes: HashMap<u64, Vec<Note>>,
    /// After an orderly stop: in each queue, the first position that was never delivered. Else empty.
    pub delivered: HashMap<u64, u64>,
    /// The highest number of a queue in any entry, but for those from 2^63 on, which are not given one after the other.
    pub highest_queue: u64,
    /// What was cut off the end, if anything.
    pub torn: Option<TornTail>,
    /// The last record.
    pub last: Lsn,
    /// In each queue from 2^63 on, what is behind all that is done with.
    settled_ends: HashMap<u64, u64>,
    files: Vec<ScannedFile>,
    ahead: Mutex<Ahead>,
}

/// Reads bodies, more at once as long as they ascend.
#[derive(Debug, Default)]
struct Ahead {
    file: usize,
    window: Window,
}

impl Ahead {
    fn get(
        &mut self,
        index: usize,
        file: &ScannedFile,
        offset: u64,
        octets: usize,
    ) -> Result<Bytes, StoreError> {
        if octets > CHUNK || (index, offset) < (self.file, self.window.start()) {
            let mut body = vec![0; octets];
            let read = file.file.read_at(offset, &mut body);
            body.truncate(read.map_err(|error| StoreError::io(&file.path, "reading", error))?);
            return Ok(body.into());
        }
        if index != self.file {
            self.window.clear();
            self.file = index;
        }
        self.window.get(&*file.file, &file.path, offset, octets).map(Bytes::copy_from_slice)
    }
}

/// Writes that were under way in a crash; they were never durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file, relative to the data folder.
    pub file: String,
    /// Where in it the first record begins that is not whole.
    pub offset: u64,
    /// How much was cut.
    pub octets: u64,
}

/// One file, whose records have been read.
#[derive(Debug)]
pub(super) struct ScannedFile {
    pub(super) header: FileHeader,
    pub(super) path: String,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) octets: u64,
    /// Octets of the files before.
    pub(super) start: u64,
    has_records: bool,
    queues: Arc<HashMap<u64, InFile>>,
}

/// Reads every record of the journal and checks it.
///
/// # Errors
/// [`StoreError::Damaged`] when something is missing that was durable, [`StoreError::Newer`], [`StoreError::Io`].
pub fn scan(disk: &dyn Disk) -> Result<Scan, StoreError> {
    let mut files = open_files(disk)?;
    let mut scan = Scan::default();
    let mut window = Window::default();
    for index in 0..files.len() {
        // An orderly stop is the end of everything, also of the files.
        scan.delivered.clear();
        let next = files.get(index + 1).map(|next| (next.header.first, next.path.clone()));
        let mut reader = Reader::new(&mut scan, &mut window, &files[index]);
        let end = reader.records(next.as_ref().map(|(first, _)| *first))?;
        match next {
            Some((first, path)) => reader.check_followed(end, first, &path)?,
            None => reader.tail(end)?,
        }
        let queues = reader.queues;
        let file = &mut files[index];
        file.has_records = end.expected > file.header.first;
        file.queues = queues.finish();
    }
    scan.files = files;
    Ok(scan)
}

impl Scan {
    /// The messages of one publish entry, as they were appended. In the order of the log it costs little: what
    /// follows is read with it. Only until the first file is retired, which may be used again then.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Damaged`] when they are not there any more.
    pub fn read(&self, published: &Published) -> Result<Bytes, StoreError> {
        let after = self.files.partition_point(|file| file.start <= published.at);
        let Some((index, file)) =
            after.checked_sub(1).and_then(|index| Some((index, self.files.get(index)?)))
        else {
            return Err(StoreError::damaged(FOLDER, 0, "the file of a record is gone"));
        };
        let offset = published.at - file.start;
        let octets = published.octets as usize;
        let body = self.ahead.lock().get(index, file, offset, octets)?;
        match body.len() {
            read if read == octets => Ok(body),
            _ => Err(StoreError::damaged(&file.path, offset, "the file has become shorter")),
        }
    }

    /// Makes durable what was read, and removes what never got a number. Gives the files with records.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> Result<VecDeque<ClosedFile>, StoreError> {
        if self.files.is_empty() {
            disk.create_folder(FOLDER).map_err(|error| StoreError::io(FOLDER, "making", error))?;
            disk.sync_dir("").map_err(|error| StoreError::io("the data folder", "syncing", error))?;
        }
        for path in [NEXT, SPARE] {
            disk.remove(path).map_err(|error| StoreError::io(path, "removing", error))?;
        }
        // Those before it were synced before it was begun.
        if let Some(file) = self.files.iter().rfind(|file| file.has_records) {
            file.file.sync().map_err(|error| StoreError::io(&file.path, "syncing", error))?;
        }
        let closed = self.files.iter().filter(|file| file.has_records);
        Ok(closed
            .map(|file| ClosedFile {
                number: file.header.number,
                octets: file.octets,
                queues: Arc::clone(&file.queues),
            })
            .collect())
    }

    /// Removes the files without a record.
    pub(super) fn remove_empty(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        for file in self.files.iter().filter(|file| !file.has_records) {
            disk.remove(&file.path).map_err(|error| StoreError::io(&file.path, "removing", error))?;
        }
        disk.sync_dir(FOLDER).map_err(|error| StoreError::io(FOLDER, "syncing", error))
    }

    /// The number for the next file.
    pub(super) fn next_number(&self) -> u64 {
        self.files.last().map_or(1, |file| file.header.number + 1)
    }

    fn saw(&mut self, queue: u64) {
        if queue < COUNTED_END {
            self.highest_queue = self.highest_queue.max(queue);
        }
    }

    /// Takes in the heads of a record whose bodies begin at `bodies`; `None` when they are none.
    pub(super) fn note(
        &mut self,
        lsn: u64,
        mut heads: &[u8],
        bodies: u64,
        queues: &mut FileQueues,
    ) -> Option<u64> {
        self.delivered.clear();
        let mut only_delivered = true;
        let mut at = bodies;
        while !heads.is_empty() {
            match Head::take(&mut heads)? {
                Head::Publish { queues: into, count, arrived, octets } => {
                    only_delivered = false;
                    for (queue, first) in into.iter() {
                        self.saw(queue);
                        if self.settled_ends.get(&queue).is_some_and(|end| first < *end) {
                            self.copies.push((
                                queue,
                                first,
                                first.saturating_add(u64::from(count).saturating_sub(1)),
                            ));
                        }
                        queues.published(queue, first, count);
                    }
                    let into = PublishedQueues::new(into.iter());
                    self.publishes.push(Published {
                        lsn: Lsn(lsn),
                        queues: into,
                        arrived,
                        count,
                        octets,
                        at,
                    });
                    at += u64::from(octets);
                }
                Head::Settle { queue, ranges } => {
                    only_delivered = false;
                    self.saw(queue);
                    queues.settled(queue);
                    let settled = self.settles.entry(queue).or_default();
                    ranges.iter().for_each(|range| join(settled, range));
                    if queue >= COUNTED_END {
                        let end = self.settled_ends.entry(queue).or_default();
                        *end = ranges.iter().fold(*end, |end, (_, last)| end.max(last.saturating_add(1)));
                    }
                }
                Head::Note { queue, notes } => {
                    only_delivered = false;
                    self.highest_queue = self.highest_queue.max(queue);
                    queues.noted(queue);
                    self.notes.entry(queue).or_default().extend(notes.iter());
                }
                Head::Delivered { queue, below } => {
                    self.saw(queue);
                    self.delivered.insert(queue, below);
                }
            }
        }
        if !only_delivered {
            self.delivered.clear();
        }
        Some(at - bodies)
    }
}

/// Adds a range to those of a queue: most follow the one before.
fn join(settled: &mut Vec<(u64, u64)>, (first, last): (u64, u64)) {
    match settled.last_mut() {
        Some(before) if before.0 <= first && first <= before.1.saturating_add(1) => {
            before.1 = before.1.max(last)
        }
        _ => settled.push((first, last)),
    }
}

/// Opens the files in their order and reads their headers.
fn open_files(disk: &dyn Disk) -> Result<Vec<ScannedFile>, StoreError> {
    let entries = disk.list(FOLDER).map_err(|error| StoreError::io(FOLDER, "listing", error))?;
    let mut numbers: Vec<u64> =
        entries.iter().filter(|entry| !entry.is_folder).filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    let mut files: Vec<ScannedFile> = Vec::with_capacity(numbers.len());
    let mut start = 0;
    for number in numbers {
        let path = path_of(number);
        let file = disk.open(&path).map_err(|error| StoreError::io(&path, "opening", error))?;
        let octets = file.octets().map_err(|error| StoreError::io(&path, "measuring", error))?;
        let mut header = [0; FILE_HEADER];
        // A file that is shorter leaves zeros, which are no header.
        file.read_at(0, &mut header).map_err(|error| StoreError::io(&path, "reading", error))?;
        let header = FileHeader::decode(number, &header)?;
        if files.last().is_some_and(|before| before.header.first > header.first) {
            return Err(StoreError::damaged(&path, 0, "it begins before the file before it"));
        }
        let (has_records, queues) = (false, Arc::default());
        files.push(ScannedFile { header, path, file, octets, start, has_records, queues });
        start += octets;
    }
    Ok(files)
}
