//! What a record says, and its bytes. Invariant: decoding what was encoded gives the same; decoding anything else
//! gives that or nothing.

use bytes::Bytes;

const PUBLISH: u32 = 1;
const SETTLE: u32 = 2;
const DELIVERED: u32 = 3;

/// Octets of the fixed part of a publish head; the other kinds have [`HEAD_MIN`].
const PUBLISH_HEAD: usize = 24;
/// Octets of the smallest head.
pub(super) const HEAD_MIN: usize = 16;
/// What a delivered head has more.
const DELIVERED_REST: usize = 8;
/// Octets of a pair of numbers in a head.
const PAIR: usize = 16;

/// One thing that happened. Entries of one record become durable together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Messages came into queues.
    Publish {
        /// Each queue with the position that the first of the messages has there; at most 2^32 - 1.
        queues: Box<[(u64, u64)]>,
        /// How many messages.
        count: u32,
        /// When they came, in ms since 1970.
        arrived: u64,
        /// The messages as the queues keep them; less than 4 GiB.
        records: Bytes,
    },
    /// Messages are done with for good.
    Settle {
        /// Where.
        queue: u64,
        /// Their positions, first and last of each range, ascending; less than 2^32 ranges.
        ranges: Vec<(u64, u64)>,
    },
    /// Written by an orderly stop: what nobody was handed.
    Delivered {
        /// Where.
        queue: u64,
        /// Messages at this position and after it were never delivered.
        below: u64,
    },
}

impl Entry {
    /// Octets of its head.
    pub(super) fn head_octets(&self) -> usize {
        match self {
            Entry::Publish { queues, .. } => PUBLISH_HEAD + PAIR * queues.len(),
            Entry::Settle { ranges, .. } => HEAD_MIN + PAIR * ranges.len(),
            Entry::Delivered { .. } => HEAD_MIN + DELIVERED_REST,
        }
    }

    /// Octets of its body.
    pub(super) fn body_octets(&self) -> usize {
        match self {
            Entry::Publish { records, .. } => records.len(),
            Entry::Settle { .. } | Entry::Delivered { .. } => 0,
        }
    }

    /// Appends its head.
    pub(super) fn encode_head(&self, into: &mut Vec<u8>) {
        match self {
            Entry::Publish { queues, count, arrived, records } => {
                for number in [PUBLISH, count_of(queues.len()), *count, count_of(records.len())] {
                    into.extend_from_slice(&number.to_le_bytes());
                }
                into.extend_from_slice(&arrived.to_le_bytes());
                encode_pairs(queues, into);
            }
            Entry::Settle { queue, ranges } => {
                into.extend_from_slice(&SETTLE.to_le_bytes());
                into.extend_from_slice(&count_of(ranges.len()).to_le_bytes());
                into.extend_from_slice(&queue.to_le_bytes());
                encode_pairs(ranges, into);
            }
            Entry::Delivered { queue, below } => {
                into.extend_from_slice(&DELIVERED.to_le_bytes());
                into.extend_from_slice(&[0; 4]);
                into.extend_from_slice(&queue.to_le_bytes());
                into.extend_from_slice(&below.to_le_bytes());
            }
        }
    }
}

/// The head of an entry as it lies in a record.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head<'a> {
    Publish { queues: Pairs<'a>, count: u32, arrived: u64, octets: u32 },
    Settle { queue: u64, ranges: Pairs<'a> },
    Delivered { queue: u64, below: u64 },
}

impl<'a> Head<'a> {
    /// Takes a head off the front of `heads`; `None` when none is there.
    pub(super) fn take(heads: &mut &'a [u8]) -> Option<Head<'a>> {
        let kind = take_u32(heads)?;
        match kind {
            PUBLISH => {
                let queues = take_u32(heads)?;
                let count = take_u32(heads)?;
                let octets = take_u32(heads)?;
                let arrived = take_u64(heads)?;
                Some(Head::Publish { queues: Pairs::take(heads, queues)?, count, arrived, octets })
            }
            SETTLE => {
                let ranges = take_u32(heads)?;
                let queue = take_u64(heads)?;
                Some(Head::Settle { queue, ranges: Pairs::take(heads, ranges)? })
            }
            DELIVERED => {
                take_u32(heads)?;
                Some(Head::Delivered { queue: take_u64(heads)?, below: take_u64(heads)? })
            }
            _ => None,
        }
    }
}

/// Pairs of numbers as they lie in a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs<'a>(&'a [[u8; PAIR]]);

impl<'a> Pairs<'a> {
    fn take(from: &mut &'a [u8], count: u32) -> Option<Pairs<'a>> {
        let octets = usize::try_from(count).ok()?.checked_mul(PAIR)?;
        let (pairs, rest) = from.split_at_checked(octets)?;
        *from = rest;
        Some(Pairs(pairs.as_chunks().0))
    }

    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = (u64, u64)> + 'a {
        self.0.iter().map(|pair| {
            let both = u128::from_le_bytes(*pair);
            (both as u64, (both >> 64) as u64)
        })
    }
}

fn encode_pairs(pairs: &[(u64, u64)], into: &mut Vec<u8>) {
    for (first, second) in pairs {
        into.extend_from_slice(&first.to_le_bytes());
        into.extend_from_slice(&second.to_le_bytes());
    }
}

fn count_of(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: an entry holds less than 2^32 of anything")
}

fn take_u32(from: &mut &[u8]) -> Option<u32> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u32::from_le_bytes(*number))
}

fn take_u64(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*number))
}
