//! Owns the octets of a block's header. Invariant: what decodes is what was encoded for this very place: the header
//! names its queue, file and offset, and a checksum covers it.

use bytes::Bytes;

/// Messages of one level of a queue that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The priority.
    pub level: u8,
    /// Whose records the body holds; ascending, none empty, none over another.
    pub ranges: Vec<BlockRange>,
    /// The records in the order of the ranges, in pieces. A block that was read has one.
    pub body: Vec<Bytes>,
}

/// Positions that follow each other, of messages that arrived together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first position.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Whether they are worth nothing after a restart.
    pub transient: bool,
    /// When they arrived, in milliseconds of Unix time.
    pub arrived: u64,
}

/// Where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) queue: u64,
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// That of the file when it was written.
    pub(super) mark: u64,
    pub(super) header_octets: u32,
    pub(super) body_octets: u32,
    pub(super) body_crc: u32,
    /// Octets of the file that were durable before.
    pub(super) synced: u32,
    pub(super) level: u8,
    /// Empty in a seal.
    pub(super) ranges: Vec<BlockRange>,
}

/// What octets are, taken as a header.
pub(super) enum Decoded {
    Whole(Header),
    /// So many octets are needed to say.
    Longer(u32),
    /// Not a header that was written to this spot, and why.
    Invalid(&'static str),
}

/// Octets of a header without ranges, which is all that a seal is.
pub(super) const HEADER_OCTETS: u32 = 52;

/// A header in the making: everything but the spot.
pub(super) struct HeaderDraft {
    bytes: Vec<u8>,
    body_octets: u32,
}

impl HeaderDraft {
    /// Of a block. The error says what is wrong with it.
    pub(super) fn new(block: &Block) -> Result<HeaderDraft, &'static str> {
        let mut bytes = vec![0; HEADER_OCTETS as usize];
        encode_ranges(&block.ranges, &mut bytes)?;
        let count = u32::try_from(block.ranges.len()).map_err(|_| "too many ranges")?;
        let mut body_octets: u32 = 0;
        let mut body_crc = crc32fast::Hasher::new();
        for piece in &block.body {
            body_crc.update(piece);
            let octets = u32::try_from(piece.len()).ok();
            body_octets = octets.and_then(|octets| body_octets.checked_add(octets)).ok_or(TOO_LONG)?;
        }
        let header_octets = u32::try_from(bytes.len()).map_err(|_| TOO_LONG)?;
        header_octets.checked_add(body_octets).ok_or(TOO_LONG)?;
        put(&mut bytes, HEADER_OCTETS_AT, &header_octets.to_le_bytes());
        put(&mut bytes, BODY_OCTETS_AT, &body_octets.to_le_bytes());
        put(&mut bytes, BODY_CRC_AT, &body_crc.finalize().to_le_bytes());
        put(&mut bytes, COUNT_AT, &count.to_le_bytes());
        put(&mut bytes, LEVEL_AT, &[block.level]);
        Ok(HeaderDraft { bytes, body_octets })
    }

    /// Of the whole block.
    pub(super) fn block_octets(&self) -> u32 {
        // Neither truncates nor overflows: `new` has tried.
        self.bytes.len() as u32 + self.body_octets
    }

    /// The header at `spot`.
    pub(super) fn finish(mut self, spot: Spot, mark: u64, synced: u32) -> Vec<u8> {
        put(&mut self.bytes, MARK_AT, &mark.to_le_bytes());
        put(&mut self.bytes, QUEUE_AT, &spot.queue.to_le_bytes());
        put(&mut self.bytes, SEGMENT_AT, &spot.segment.to_le_bytes());
        put(&mut self.bytes, OFFSET_AT, &spot.offset.to_le_bytes());
        put(&mut self.bytes, SYNCED_AT, &synced.to_le_bytes());
        let crc = header_crc(&self.bytes);
        put(&mut self.bytes, CRC_AT, &crc.to_le_bytes());
        self.bytes
    }
}

/// A seal: a block of nothing, whose `synced` is what it is there for.
pub(super) fn seal(spot: Spot, mark: u64, synced: u32) -> Vec<u8> {
    let nothing = Block { level: 0, ranges: Vec::new(), body: Vec::new() };
    let draft = HeaderDraft::new(&nothing).expect("invariant: a block of nothing has a header");
    draft.finish(spot, mark, synced)
}

impl Header {
    /// Takes `bytes`, which may go on behind the header, as one.
    pub(super) fn decode(bytes: &[u8], spot: Spot) -> Decoded {
        let Some(fixed) = Fixed::read(bytes) else { return Decoded::Longer(HEADER_OCTETS) };
        if fixed.header_octets < HEADER_OCTETS {
            return Decoded::Invalid("no block header");
        }
        let Some(bytes) = bytes.get(..fixed.header_octets as usize) else {
            return Decoded::Longer(fixed.header_octets);
        };
        if fixed.crc != header_crc(bytes) {
            return Decoded::Invalid("the checksum of a block header is wrong");
        }
        let here = (spot.queue, spot.segment, spot.offset) == (fixed.queue, fixed.segment, fixed.offset);
        if !here || fixed.synced > spot.offset {
            return Decoded::Invalid("a block header that belongs elsewhere");
        }
        match decode_ranges(&bytes[HEADER_OCTETS as usize..], fixed.count) {
            Some(ranges) => Decoded::Whole(fixed.with(ranges)),
            None => Decoded::Invalid("a block header with ranges that cannot be"),
        }
    }

    /// The octets at [`QUEUE_AT`] of every header in a file.
    pub(super) fn owner(queue: u64, segment: u32) -> [u8; OWNER_OCTETS] {
        let mut octets = [0; OWNER_OCTETS];
        put(&mut octets, 0, &queue.to_le_bytes());
        put(&mut octets, SEGMENT_AT - QUEUE_AT, &segment.to_le_bytes());
        octets
    }

    /// Of the whole block; more than a file can hold when the header was made up.
    pub(super) fn block_octets(&self) -> u64 {
        u64::from(self.header_octets) + u64::from(self.body_octets)
    }

    /// Whether it holds anything that a restart must not lose.
    pub(super) fn is_persistent(&self) -> bool {
        self.ranges.iter().any(|range| !range.transient)
    }
}

const OWNER_OCTETS: usize = OFFSET_AT - QUEUE_AT;

const MARK_AT: usize = 0;
const CRC_AT: usize = 8;
const HEADER_OCTETS_AT: usize = 12;
const BODY_OCTETS_AT: usize = 16;
const BODY_CRC_AT: usize = 20;
/// Of the queue's number, with the file's behind it.
pub(super) const QUEUE_AT: usize = 24;
const SEGMENT_AT: usize = 32;
const OFFSET_AT: usize = 36;
const SYNCED_AT: usize = 40;
const COUNT_AT: usize = 44;
const LEVEL_AT: usize = 48;
const TOO_LONG: &str = "a block is longer than a file can be";
/// Fewest octets of a range.
const RANGE_OCTETS_MIN: usize = 3;

/// The part of a header whose length is fixed, as it was read.
struct Fixed {
    mark: u64,
    crc: u32,
    header_octets: u32,
    body_octets: u32,
    body_crc: u32,
    queue: u64,
    segment: u32,
    offset: u32,
    synced: u32,
    count: u32,
    level: u8,
}

impl Fixed {
    fn read(bytes: &[u8]) -> Option<Fixed> {
        if bytes.len() < HEADER_OCTETS as usize {
            return None;
        }
        Some(Fixed {
            mark: u64_at(bytes, MARK_AT)?,
            crc: u32_at(bytes, CRC_AT)?,
            header_octets: u32_at(bytes, HEADER_OCTETS_AT)?,
            body_octets: u32_at(bytes, BODY_OCTETS_AT)?,
            body_crc: u32_at(bytes, BODY_CRC_AT)?,
            queue: u64_at(bytes, QUEUE_AT)?,
            segment: u32_at(bytes, SEGMENT_AT)?,
            offset: u32_at(bytes, OFFSET_AT)?,
            synced: u32_at(bytes, SYNCED_AT)?,
            count: u32_at(bytes, COUNT_AT)?,
            level: *bytes.get(LEVEL_AT)?,
        })
    }

    fn with(&self, ranges: Vec<BlockRange>) -> Header {
        Header {
            mark: self.mark,
            header_octets: self.header_octets,
            body_octets: self.body_octets,
            body_crc: self.body_crc,
            synced: self.synced,
            level: self.level,
            ranges,
        }
    }
}

/// The number at `at`, or nothing when there are too few octets.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(octets.try_into().ok()?))
}

/// The number at `at`, or nothing when there are too few octets.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let octets = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(octets.try_into().ok()?))
}

/// Overwrites what is at `at`, which must be inside.
pub(super) fn put(bytes: &mut [u8], at: usize, octets: &[u8]) {
    bytes[at..at + octets.len()].copy_from_slice(octets);
}

fn header_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..CRC_AT]);
    crc.update(&bytes[CRC_AT + 4..]);
    crc.finalize()
}

fn encode_ranges(ranges: &[BlockRange], bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut next = 0;
    let mut arrived = 0;
    for range in ranges {
        let gap = range.first.checked_sub(next).ok_or("ranges of a block that do not ascend")?;
        if range.count == 0 {
            return Err("a range of a block without messages");
        }
        next = range.first.checked_add(u64::from(range.count)).ok_or("positions beyond the last there is")?;
        put_varint(gap, bytes);
        put_varint(u64::from(range.count) << 1 | u64::from(range.transient), bytes);
        let step = range.arrived.wrapping_sub(arrived) as i64;
        put_varint((step << 1 ^ step >> 63) as u64, bytes);
        arrived = range.arrived;
    }
    Ok(())
}

fn decode_ranges(mut bytes: &[u8], count: u32) -> Option<Vec<BlockRange>> {
    let count = count as usize;
    if count > bytes.len() / RANGE_OCTETS_MIN {
        return None;
    }
    let mut ranges = Vec::with_capacity(count);
    let mut next: u64 = 0;
    let mut arrived: u64 = 0;
    for _ in 0..count {
        let first = next.checked_add(take_varint(&mut bytes)?)?;
        let counted = take_varint(&mut bytes)?;
        let count = u32::try_from(counted >> 1).ok().filter(|&count| count > 0)?;
        let step = take_varint(&mut bytes)?;
        arrived = arrived.wrapping_add(step >> 1 ^ (step & 1).wrapping_neg());
        next = first.checked_add(u64::from(count))?;
        ranges.push(BlockRange { first, count, transient: counted & 1 == 1, arrived });
    }
    bytes.is_empty().then_some(ranges)
}

/// Seven bits an octet, the lowest first; all but the last have the highest bit set.
fn put_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(octet & 0x7f);
        // The tenth octet has room for one bit only.
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
