//! The names of journal files and the header that each begins with. Invariant: a file has its number as its name
//! only with a whole header in it.

use std::hash::{BuildHasher, RandomState};

use crate::store_error::StoreError;

/// The folder of the journal.
pub(super) const FOLDER: &str = "journal";
/// A new file before it has its number.
pub(super) const NEXT: &str = "journal/next";
/// A retired file, kept to become the next one.
pub(super) const SPARE: &str = "journal/spare";

/// Octets of the header; the first record is behind it.
pub(super) const FILE_HEADER: usize = 64;

const MAGIC: [u8; 8] = *b"WARRENJ\n";
/// 2 may hold notes; 1 is the same without them.
const FORMAT: u32 = 2;
const CHECKED: usize = FILE_HEADER - 4;

/// The header of a journal file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) number: u64,
    /// Begins each record of the file; never 0.
    pub(super) mark: u32,
    /// LSN of the first record.
    pub(super) first: u64,
}

impl FileHeader {
    /// A header with a mark of its own. Nobody outside can guess it, so no message holds records.
    pub(super) fn new(number: u64, first: u64) -> FileHeader {
        let mark = RandomState::new().hash_one(number) as u32 | 1;
        FileHeader { number, mark, first }
    }

    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut octets = [0; FILE_HEADER];
        octets[..8].copy_from_slice(&MAGIC);
        octets[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        octets[12..16].copy_from_slice(&self.mark.to_le_bytes());
        octets[16..24].copy_from_slice(&self.number.to_le_bytes());
        octets[24..32].copy_from_slice(&self.first.to_le_bytes());
        let checksum = crc32fast::hash(&octets[..CHECKED]);
        octets[CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        octets
    }

    /// The header that file `number` begins with.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`].
    pub(super) fn decode(number: u64, octets: &[u8; FILE_HEADER]) -> Result<FileHeader, StoreError> {
        let small = |at: usize| u32::from_le_bytes(octets.as_chunks::<4>().0[at / 4]);
        let big = |at: usize| u64::from_le_bytes(octets.as_chunks::<8>().0[at / 8]);
        let path = path_of(number);
        if octets[..8] != MAGIC || small(CHECKED) != crc32fast::hash(&octets[..CHECKED]) {
            return Err(StoreError::damaged(&path, 0, "this is not the header of a journal file"));
        }
        let format = small(8);
        if format > FORMAT {
            return Err(StoreError::Newer { path, format, newest: FORMAT });
        }
        let header = FileHeader { number: big(16), mark: small(12), first: big(24) };
        if header.number != number || header.mark == 0 || header.first == 0 {
            return Err(StoreError::damaged(&path, 0, "this is the header of another file"));
        }
        Ok(header)
    }
}

/// Path of the file with a number.
pub(super) fn path_of(number: u64) -> String {
    format!("{FOLDER}/{number:010}.log")
}

/// The number in a name of the folder, if it is one of a journal file.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".log")?;
    let digits = number.len() >= 10 && number.bytes().all(|octet| octet.is_ascii_digit());
    number.parse().ok().filter(|_| digits)
}
