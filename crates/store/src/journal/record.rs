//! The header of a record and its checksum. Invariant: a record is taken for whole only if every octet of it that
//! means something is as it was written, in the file and at the LSN that it was written for.

use crc32fast::Hasher;

use super::entry::HEAD_MIN;

/// Octets of a record's header.
pub(super) const RECORD_HEADER: usize = 32;
/// Where in it the checksummed part begins.
const CHECKED_FROM: usize = 8;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 8;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) mark: u32,
    pub(super) checksum: u32,
    pub(super) lsn: u64,
    /// Octets of the bodies, which follow the heads.
    pub(super) bodies: u64,
    /// Octets of the heads.
    pub(super) heads: u32,
    /// Records up to and including this one that were not known to be durable.
    pub(super) unsynced: u32,
}

impl RecordHeader {
    pub(super) fn read(octets: &[u8; RECORD_HEADER]) -> RecordHeader {
        let (numbers, _) = octets.as_chunks::<4>();
        let small = |at: usize| u32::from_le_bytes(numbers[at]);
        let big = |at: usize| u64::from(small(at)) | u64::from(small(at + 1)) << 32;
        RecordHeader {
            mark: small(0),
            checksum: small(1),
            lsn: big(2),
            bodies: big(4),
            heads: small(6),
            unsynced: small(7),
        }
    }

    pub(super) fn write(&self, into: &mut [u8; RECORD_HEADER]) {
        into[..4].copy_from_slice(&self.mark.to_le_bytes());
        into[4..8].copy_from_slice(&self.checksum.to_le_bytes());
        into[8..16].copy_from_slice(&self.lsn.to_le_bytes());
        into[16..24].copy_from_slice(&self.bodies.to_le_bytes());
        into[24..28].copy_from_slice(&self.heads.to_le_bytes());
        into[28..].copy_from_slice(&self.unsynced.to_le_bytes());
    }

    /// Octets of the record without what pads it, if they are within `room` and the lengths can be true.
    pub(super) fn octets_within(&self, room: u64) -> Option<u64> {
        let heads = u64::from(self.heads);
        let octets = (RECORD_HEADER as u64 + heads).checked_add(self.bodies)?;
        let fine = heads >= HEAD_MIN as u64 && heads.is_multiple_of(ALIGNMENT) && octets <= room;
        fine.then_some(octets)
    }

    /// The highest LSN that was known to be durable when the record was written.
    pub(super) fn synced(&self) -> u64 {
        self.lsn.saturating_sub(u64::from(self.unsynced))
    }
}

/// Octets of a record in the file, from those without what pads it.
pub(super) fn padded(octets: u64) -> u64 {
    octets.next_multiple_of(ALIGNMENT)
}

/// What makes records belong to one file.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    pub(super) mark: u32,
    seeded: Hasher,
}

impl Seal {
    pub(super) fn new(number: u64, mark: u32) -> Seal {
        let mut seeded = Hasher::new();
        seeded.update(&number.to_le_bytes());
        seeded.update(&mark.to_le_bytes());
        Seal { mark, seeded }
    }

    /// Begins the checksum of a record.
    pub(super) fn begin(&self) -> Checksum {
        Checksum { hasher: self.seeded.clone(), skip: CHECKED_FROM }
    }
}

/// The checksum of one record, fed with all of it from its first octet on.
pub(super) struct Checksum {
    hasher: Hasher,
    skip: usize,
}

impl Checksum {
    pub(super) fn update(&mut self, octets: &[u8]) {
        let skipped = self.skip.min(octets.len());
        self.skip -= skipped;
        self.hasher.update(&octets[skipped..]);
    }

    pub(super) fn finish(self) -> u32 {
        self.hasher.finalize()
    }
}
