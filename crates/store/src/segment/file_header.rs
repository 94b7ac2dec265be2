//! Owns the first octets of a segment file. Invariant: a header that decodes is whole; its length and where its
//! magic, format and checksum are stay the same in every format.

use std::hash::{BuildHasher, RandomState};

use super::block::{put, u32_at, u64_at};

/// Octets before the first block.
pub(super) const FILE_HEADER_OCTETS: u32 = 32;

/// What the first octets of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) queue: u64,
    pub(super) number: u32,
    /// What every block of the file begins with. No client can know it and make a message that looks like a block.
    pub(super) mark: u64,
}

/// Why there is no header to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoFileHeader {
    /// Cut off, torn or damaged.
    Invalid,
    /// Of this later format.
    Newer(u32),
}

/// The format that is written, and the newest that can be read.
pub(super) const FILE_FORMAT: u32 = 1;

impl FileHeader {
    /// For a new file. Its mark is random.
    pub(super) fn new(queue: u64, number: u32) -> FileHeader {
        // Zeros are what a file holds that was never written.
        let mark = RandomState::new().hash_one((queue, number)).max(1);
        FileHeader { queue, number, mark }
    }

    pub(super) fn encode(&self) -> [u8; FILE_HEADER_OCTETS as usize] {
        let mut bytes = [0; FILE_HEADER_OCTETS as usize];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, FORMAT_AT, &FILE_FORMAT.to_le_bytes());
        put(&mut bytes, NUMBER_AT, &self.number.to_le_bytes());
        put(&mut bytes, QUEUE_AT, &self.queue.to_le_bytes());
        put(&mut bytes, MARK_AT, &self.mark.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<FileHeader, NoFileHeader> {
        let whole = bytes.get(..CRC_AT).filter(|covered| covered.starts_with(MAGIC));
        let covered = whole.ok_or(NoFileHeader::Invalid)?;
        if u32_at(bytes, CRC_AT) != Some(crc32fast::hash(covered)) {
            return Err(NoFileHeader::Invalid);
        }
        match u32_at(bytes, FORMAT_AT) {
            Some(FILE_FORMAT) => {}
            Some(format) if format > FILE_FORMAT => return Err(NoFileHeader::Newer(format)),
            _ => return Err(NoFileHeader::Invalid),
        }
        let fields = (u64_at(bytes, QUEUE_AT), u32_at(bytes, NUMBER_AT), u64_at(bytes, MARK_AT));
        let (Some(queue), Some(number), Some(mark)) = fields else { return Err(NoFileHeader::Invalid) };
        Ok(FileHeader { queue, number, mark })
    }
}

const MAGIC: &[u8] = b"WMQS";
const FORMAT_AT: usize = 4;
const NUMBER_AT: usize = 8;
const QUEUE_AT: usize = 12;
const MARK_AT: usize = 20;
const CRC_AT: usize = 28;
