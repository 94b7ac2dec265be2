//! Owns the way through a file of unknown content. Invariant: what it says is there was written whole by us; what
//! it says is cut off was never synced; anything else is damage and an error.

use super::block::{Decoded, HEADER_OCTETS, Header, QUEUE_AT, Spot};
use super::file_header::{FILE_FORMAT, FILE_HEADER_OCTETS, FileHeader, NoFileHeader};
use super::read_exactly;
use crate::disk::DiskFile;
use crate::store_error::StoreError;

/// What a file holds.
pub(super) struct FileScan {
    /// What its blocks begin with.
    pub(super) mark: u64,
    /// In the order of the file, without the seals.
    pub(super) blocks: Vec<FoundBlock>,
    /// Where the last of them, or a seal behind it, ends; 0 when not even the file's header is whole.
    pub(super) end: u32,
    /// Octets that are known to be durable.
    pub(super) synced: u32,
    /// Whether there is something behind `end`.
    pub(super) has_tail: bool,
}

/// A block whose header is whole.
pub(super) struct FoundBlock {
    pub(super) offset: u32,
    pub(super) header: Header,
}

impl FileScan {
    /// Whether a block that a restart must not lose is not known to be durable.
    pub(super) fn has_unsynced(&self) -> bool {
        self.blocks.iter().any(|block| block.offset >= self.synced && block.header.is_persistent())
    }
}

/// Goes through the headers of a file. Bodies are read only where they may be torn: behind what is known to be synced.
pub(super) fn scan_file(
    file: &dyn DiskFile,
    path: &str,
    queue: u64,
    number: u32,
) -> Result<FileScan, StoreError> {
    let octets = file.octets().map_err(|error| StoreError::io(path, "reading", error))?;
    let octets = u32::try_from(octets)
        .map_err(|_| StoreError::damaged(path, u64::from(u32::MAX), "longer than any segment file"))?;
    let mut reader = Reader { file, path, queue, number, octets, window: Vec::new(), window_at: 0 };
    let first = reader.octets_at(0, FILE_HEADER_OCTETS)?;
    match FileHeader::decode(first) {
        Ok(header) if (header.queue, header.number) == (queue, number) => reader.walk(header.mark),
        Err(NoFileHeader::Newer(format)) => {
            Err(StoreError::Newer { path: path.to_owned(), format, newest: FILE_FORMAT })
        }
        // Another file's header: what the disk held there before.
        Ok(_) | Err(NoFileHeader::Invalid) => reader.without_header(),
    }
}

/// Octets that are read for a header: one read for nearly all of them.
const WINDOW_OCTETS: u32 = 4096;
/// Octets that are read at once where all are needed.
const CHUNK_OCTETS: u32 = 64 * 1024;

struct Reader<'a> {
    file: &'a dyn DiskFile,
    path: &'a str,
    queue: u64,
    number: u32,
    octets: u32,
    /// Octets of the file from `window_at` on.
    window: Vec<u8>,
    window_at: u32,
}

impl Reader<'_> {
    fn walk(&mut self, mark: u64) -> Result<FileScan, StoreError> {
        let mut scan =
            FileScan { mark, blocks: Vec::new(), end: FILE_HEADER_OCTETS, synced: 0, has_tail: false };
        while scan.end < self.octets {
            let offset = scan.end;
            match self.header_at(offset, Some(mark))? {
                Ok(header) => {
                    scan.synced = scan.synced.max(header.synced);
                    let end = u64::from(offset) + header.block_octets();
                    let Some(end) = u32::try_from(end).ok().filter(|&end| end <= self.octets) else {
                        self.no_block_at(&mut scan, mark, "the file ends inside of a block")?;
                        break;
                    };
                    if !header.ranges.is_empty() {
                        scan.blocks.push(FoundBlock { offset, header });
                    }
                    scan.end = end;
                }
                Err(what) => {
                    self.no_block_at(&mut scan, mark, what)?;
                    break;
                }
            }
        }
        self.cut_torn_bodies(&mut scan)?;
        Ok(scan)
    }

    /// Finds out whether what is at the end of `scan` is the tail of a crash or damage.
    fn no_block_at(&mut self, scan: &mut FileScan, mark: u64, what: &str) -> Result<(), StoreError> {
        scan.has_tail = true;
        scan.synced = scan.synced.max(self.synced_behind(scan.end, Some(mark))?);
        if scan.synced > scan.end {
            return Err(StoreError::damaged(self.path, u64::from(scan.end), what));
        }
        Ok(())
    }

    /// A file whose header is not whole holds nothing, unless a block in it says that it was.
    fn without_header(&mut self) -> Result<FileScan, StoreError> {
        if self.synced_behind(0, None)? > 0 {
            return Err(StoreError::damaged(self.path, 0, "the header of the file is wrong"));
        }
        Ok(FileScan { mark: 0, blocks: Vec::new(), end: 0, synced: 0, has_tail: true })
    }

    /// Behind what was synced a header may have reached the disk without its body.
    fn cut_torn_bodies(&mut self, scan: &mut FileScan) -> Result<(), StoreError> {
        let unsynced = scan.blocks.partition_point(|block| block.offset < scan.synced);
        for index in unsynced..scan.blocks.len() {
            let FoundBlock { offset, header } = &scan.blocks[index];
            let (offset, body_at) = (*offset, offset + header.header_octets);
            // Nobody will ask for the others after a start, and there can be very many.
            if header.is_persistent() && self.crc_of(body_at, header.body_octets)? != header.body_crc {
                scan.blocks.truncate(index);
                scan.end = offset;
                scan.has_tail = true;
                break;
            }
        }
        Ok(())
    }

    /// The header at `offset`, or what is wrong with it. Without a mark, any will do.
    fn header_at(
        &mut self,
        offset: u32,
        mark: Option<u64>,
    ) -> Result<Result<Header, &'static str>, StoreError> {
        let spot = Spot { queue: self.queue, segment: self.number, offset };
        let mut needed = HEADER_OCTETS;
        loop {
            let bytes = self.octets_at(offset, needed)?;
            match Header::decode(bytes, spot) {
                Decoded::Whole(header) if mark.is_none_or(|mark| mark == header.mark) => {
                    return Ok(Ok(header));
                }
                Decoded::Whole(_) => return Ok(Err("a block header that belongs elsewhere")),
                Decoded::Invalid(what) => return Ok(Err(what)),
                Decoded::Longer(_) if bytes.len() < needed as usize => {
                    return Ok(Err("the file ends inside of a block header"));
                }
                Decoded::Longer(more) => needed = more,
            }
        }
    }

    /// The highest `synced` of the block headers behind `offset`, wherever they are; 0 without any. Without a mark,
    /// any will do.
    fn synced_behind(&mut self, offset: u32, mark: Option<u64>) -> Result<u32, StoreError> {
        let needle = Header::owner(self.queue, self.number);
        let mut highest = 0;
        let mut at = offset.saturating_add(1);
        while self.octets.saturating_sub(at) >= HEADER_OCTETS {
            let chunk = self.chunk_at(at)?;
            let hits = (0..).zip(chunk[QUEUE_AT..].windows(needle.len()));
            for (index, _) in hits.filter(|(_, octets)| *octets == needle) {
                if let Ok(header) = self.header_at(at + index, mark)? {
                    highest = highest.max(header.synced);
                }
            }
            // The next chunk begins so early that no header falls between two.
            at = at.saturating_add(chunk.len() as u32 - (HEADER_OCTETS - 1));
        }
        Ok(highest)
    }

    fn crc_of(&self, offset: u32, octets: u32) -> Result<u32, StoreError> {
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; octets.min(CHUNK_OCTETS) as usize];
        let mut done = 0;
        while done < octets {
            let count = (octets - done).min(CHUNK_OCTETS) as usize;
            self.read(offset + done, &mut buffer[..count])?;
            crc.update(&buffer[..count]);
            done += count as u32;
        }
        Ok(crc.finalize())
    }

    /// At least `needed` octets from `offset` on, fewer only where the file ends.
    fn octets_at(&mut self, offset: u32, needed: u32) -> Result<&[u8], StoreError> {
        let left = self.octets.saturating_sub(offset);
        let needed = needed.min(left) as usize;
        if self.held(offset).len() < needed {
            let mut window = std::mem::take(&mut self.window);
            window.resize(needed.max(WINDOW_OCTETS.min(left) as usize), 0);
            self.read(offset, &mut window)?;
            (self.window, self.window_at) = (window, offset);
        }
        Ok(self.held(offset))
    }

    fn held(&self, offset: u32) -> &[u8] {
        let skip = offset.checked_sub(self.window_at);
        skip.and_then(|skip| self.window.get(skip as usize..)).unwrap_or_default()
    }

    fn chunk_at(&self, offset: u32) -> Result<Vec<u8>, StoreError> {
        let mut chunk = vec![0; CHUNK_OCTETS.min(self.octets.saturating_sub(offset)) as usize];
        self.read(offset, &mut chunk)?;
        Ok(chunk)
    }

    /// Reads octets that the file has.
    fn read(&self, offset: u32, into: &mut [u8]) -> Result<(), StoreError> {
        read_exactly(self.file, offset, into).map_err(|error| StoreError::io(self.path, "reading", error))
    }
}
