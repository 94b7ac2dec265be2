//! Records gathered for one write. Invariant: the pieces, one after the other, are the octets of the records in the
//! file; large bodies are never copied.

use std::io;

use bytes::Bytes;

use super::backlog::Waiting;
use super::entry::Entry;
use super::record::{RECORD_HEADER, RecordHeader, Seal};
use crate::disk::DiskFile;

/// Bodies up to this are copied: that costs less than one more piece does in the system call.
const COPIED_MAX: usize = 512;
/// Room for headers that is kept while nothing is written.
const KEEP_SCRATCH: usize = 64 * 1024;

/// The octets of a group of records.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Headers, heads, small bodies and padding.
    scratch: Vec<u8>,
    /// A body belongs behind so many octets of `scratch`.
    bodies: Vec<(usize, Bytes)>,
    octets: u64,
}

impl Group {
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Adds a record; `synced` is the highest LSN that is durable.
    pub(super) fn push(&mut self, record: Waiting, lsn: u64, synced: u64, seal: &Seal) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(&[0; RECORD_HEADER]);
        for entry in &record.entries {
            entry.encode_head(&mut self.scratch);
        }
        let heads = self.scratch.len() - start - RECORD_HEADER;
        let bodies: usize = record.entries.iter().map(Entry::body_octets).sum();
        let mut header = RecordHeader {
            mark: seal.mark,
            checksum: 0,
            lsn,
            bodies: bodies as u64,
            heads: u32::try_from(heads).expect("invariant: the heads of a record are less than 4 GiB"),
            unsynced: u32::try_from(lsn - synced)
                .expect("invariant: a file is synced before its 2^32nd record"),
        };
        write_header(&header, &mut self.scratch, start);
        let mut checksum = seal.begin();
        let mut fed = start;
        for entry in record.entries {
            let Entry::Publish { records, .. } = entry else { continue };
            if records.len() <= COPIED_MAX {
                self.scratch.extend_from_slice(&records);
                continue;
            }
            checksum.update(&self.scratch[fed..]);
            fed = self.scratch.len();
            checksum.update(&records);
            self.bodies.push((fed, records));
        }
        checksum.update(&self.scratch[fed..]);
        header.checksum = checksum.finish();
        write_header(&header, &mut self.scratch, start);
        let padding = record.octets as usize - RECORD_HEADER - heads - bodies;
        self.scratch.extend_from_slice(&[0; 8][..padding]);
        self.octets += record.octets;
    }

    /// Writes everything at `offset` and is empty then.
    pub(super) fn write(&mut self, file: &dyn DiskFile, offset: u64) -> io::Result<()> {
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(2 * self.bodies.len() + 1);
        let mut from = 0;
        for (behind, body) in &self.bodies {
            pieces.push(&self.scratch[from..*behind]);
            pieces.push(body);
            from = *behind;
        }
        pieces.push(&self.scratch[from..]);
        let written = file.write_at(offset, &pieces);
        self.clear();
        written
    }

    /// Gives memory back when nothing is to be written for a while.
    pub(super) fn shrink(&mut self) {
        if self.scratch.capacity() > KEEP_SCRATCH {
            self.scratch = Vec::new();
            self.bodies = Vec::new();
        }
    }

    fn clear(&mut self) {
        self.scratch.clear();
        self.bodies.clear();
        self.octets = 0;
    }
}

fn write_header(header: &RecordHeader, scratch: &mut [u8], at: usize) {
    let octets = scratch[at..].first_chunk_mut().expect("invariant: room for a header was made");
    header.write(octets);
}
