//! Reads the records of one file and judges how it ends. Invariant: a record is passed on only if it is whole and
//! the next one of the journal; an end that a crash alone cannot make is damage.

use super::Lsn;
use super::file_header::FILE_HEADER;
use super::file_queues::FileQueues;
use super::record::{ALIGNMENT, RECORD_HEADER, RecordHeader, Seal, padded};
use super::scan::{Scan, ScannedFile, TornTail};
use super::window::{CHUNK, Window};
use crate::store_error::StoreError;

/// Where the whole records of a file end.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Octet behind them.
    at: u64,
    /// The LSN that the next record would have.
    pub(super) expected: u64,
}

/// Reads one file.
pub(super) struct Reader<'a> {
    scan: &'a mut Scan,
    window: &'a mut Window,
    file: &'a ScannedFile,
    seal: Seal,
    pub(super) queues: FileQueues,
}

impl<'a> Reader<'a> {
    pub(super) fn new(scan: &'a mut Scan, window: &'a mut Window, file: &'a ScannedFile) -> Reader<'a> {
        window.clear();
        let seal = Seal::new(file.header.number, file.header.mark);
        Reader { scan, window, file, seal, queues: FileQueues::default() }
    }

    /// Reads whole records up to the first that is not, or that the next file begins with.
    pub(super) fn records(&mut self, next_first: Option<u64>) -> Result<End, StoreError> {
        let mut end = End { at: FILE_HEADER as u64, expected: self.file.header.first };
        while next_first != Some(end.expected) {
            let Some(header) = self.header(end.at)?.filter(|header| header.lsn == end.expected) else {
                break;
            };
            let Some(octets) = self.whole(end.at, &header)? else { break };
            let heads_at = end.at + RECORD_HEADER as u64;
            let bodies_at = heads_at + u64::from(header.heads);
            let heads =
                self.window.get(&*self.file.file, &self.file.path, heads_at, header.heads as usize)?;
            let bodies = self.file.start + bodies_at;
            if self.scan.note(header.lsn, heads, bodies, &mut self.queues) != Some(header.bodies) {
                return Err(
                    self.damaged(end.at, format!("record {} does not say anything known", header.lsn))
                );
            }
            end.at += padded(octets);
            end.expected += 1;
        }
        self.scan.last = Lsn(end.expected - 1);
        Ok(end)
    }

    /// The records of this file must reach the next one.
    pub(super) fn check_followed(
        &self,
        end: End,
        next_first: u64,
        next_path: &str,
    ) -> Result<(), StoreError> {
        if end.expected == next_first {
            return Ok(());
        }
        let what = format!(
            "record {} is not whole or not there, and {next_path} begins with {next_first}",
            end.expected
        );
        Err(self.damaged(end.at, what))
    }

    /// Tells a torn tail from damage, behind the last whole record of all.
    pub(super) fn tail(&mut self, end: End) -> Result<(), StoreError> {
        let mut torn_to = end.at;
        let mut at = end.at;
        while at < self.file.octets {
            let chunk = self.window.rest(&*self.file.file, &self.file.path, at, RECORD_HEADER)?;
            let (words, _) = chunk.as_chunks::<{ ALIGNMENT as usize }>();
            let mark = self.seal.mark.to_le_bytes();
            let Some(found) = words.iter().position(|word| word[..4] == mark) else {
                at += (words.len().max(1) as u64) * ALIGNMENT;
                continue;
            };
            at += found as u64 * ALIGNMENT;
            let header = self.header(at)?;
            let octets = header.and_then(|header| header.octets_within(self.file.octets - at));
            torn_to = torn_to.max(at + octets.map_or(ALIGNMENT, padded));
            if let Some(header) =
                header.filter(|header| header.synced() >= end.expected && header.lsn > end.expected)
                && self.whole(at, &header)?.is_some()
            {
                let what = format!(
                    "record {} is not whole, and record {} at {at} says that it was",
                    end.expected, header.lsn
                );
                return Err(self.damaged(end.at, what));
            }
            at += ALIGNMENT;
        }
        if torn_to > end.at {
            self.scan.delivered.clear();
            let octets = torn_to.min(self.file.octets) - end.at;
            self.scan.torn = Some(TornTail { file: self.file.path.clone(), offset: end.at, octets });
        }
        Ok(())
    }

    /// The header of a record of this file at `at`, whole or not.
    fn header(&mut self, at: u64) -> Result<Option<RecordHeader>, StoreError> {
        let octets = self.window.get(&*self.file.file, &self.file.path, at, RECORD_HEADER)?;
        let header = octets.first_chunk().map(RecordHeader::read);
        Ok(header.filter(|header| header.mark == self.seal.mark))
    }

    /// Octets of the record at `at` without padding, if its checksum is right.
    fn whole(&mut self, at: u64, header: &RecordHeader) -> Result<Option<u64>, StoreError> {
        let room = self.file.octets.saturating_sub(at);
        let Some(octets) = header.octets_within(room) else { return Ok(None) };
        let mut checksum = self.seal.begin();
        let mut done = 0;
        while done < octets {
            let piece = usize::try_from(octets - done).unwrap_or(CHUNK).min(CHUNK);
            let read = self.window.get(&*self.file.file, &self.file.path, at + done, piece)?;
            if read.len() < piece {
                return Ok(None);
            }
            checksum.update(read);
            done += piece as u64;
        }
        Ok((checksum.finish() == header.checksum).then_some(octets))
    }

    fn damaged(&self, at: u64, what: String) -> StoreError {
        StoreError::damaged(&self.file.path, at, what)
    }
}
