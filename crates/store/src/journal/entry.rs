//! What a record says, and its bytes. Invariant: decoding what was encoded gives the same; decoding anything else
//! gives that or nothing.

use bytes::Bytes;

const PUBLISH: u32 = 1;
const SETTLE: u32 = 2;
const DELIVERED: u32 = 3;
const NOTE: u32 = 4;

/// Octets of a publish head without its queues.
const PUBLISH_HEAD: usize = 24;
/// Octets of a settle head without its ranges; no head is smaller.
pub(super) const HEAD_MIN: usize = 16;
/// Octets of a delivered head.
const DELIVERED_HEAD: usize = 24;
/// Octets of a pair of numbers in a head.
const PAIR: usize = 16;
/// Octets of a note in a head: two pairs.
pub(super) const NOTE_OCTETS: usize = 2 * PAIR;

/// What their queue knows of messages that live, in two numbers that mean something to it alone. Of two notes of a message the one
/// with the higher `value` is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Position of the first message.
    pub first: u64,
    /// Position of the last one.
    pub last: u64,
    /// Any number; it only grows.
    pub value: u64,
    /// Any number.
    pub time: u64,
}

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
    /// What is known of messages.
    Note {
        /// Where they are.
        queue: u64,
        /// Less than 2^32.
        notes: Vec<Note>,
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
            Entry::Note { notes, .. } => HEAD_MIN + NOTE_OCTETS * notes.len(),
            Entry::Delivered { .. } => DELIVERED_HEAD,
        }
    }

    /// Octets of its body.
    pub(super) fn body_octets(&self) -> usize {
        match self {
            Entry::Publish { records, .. } => records.len(),
            Entry::Settle { .. } | Entry::Note { .. } | Entry::Delivered { .. } => 0,
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
            Entry::Note { queue, notes } => {
                into.extend_from_slice(&NOTE.to_le_bytes());
                into.extend_from_slice(&count_of(notes.len()).to_le_bytes());
                into.extend_from_slice(&queue.to_le_bytes());
                for Note { first, last, value, time } in notes {
                    encode_pairs(&[(*first, *last), (*value, *time)], into);
                }
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
    Note { queue: u64, notes: Notes<'a> },
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
            NOTE => {
                let notes = take_u32(heads)?;
                let queue = take_u64(heads)?;
                Some(Head::Note { queue, notes: Notes(Pairs::take(heads, notes.checked_mul(2)?)?) })
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

/// Notes as they lie in a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes<'a>(Pairs<'a>);

impl<'a> Notes<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = Note> + 'a {
        let mut pairs = self.0.iter();
        std::iter::from_fn(move || {
            let ((first, last), (value, time)) = (pairs.next()?, pairs.next()?);
            Some(Note { first, last, value, time })
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let pairs = || vec(any::<(u64, u64)>(), 0..5);
        prop_oneof![
            (pairs(), any::<u32>(), any::<u64>(), vec(any::<u8>(), 0..40)).prop_map(
                |(queues, count, arrived, records)| Entry::Publish {
                    queues: queues.into(),
                    count,
                    arrived,
                    records: records.into()
                }
            ),
            (any::<u64>(), pairs()).prop_map(|(queue, ranges)| Entry::Settle { queue, ranges }),
            (any::<u64>(), vec(any::<(u64, u64, u64, u64)>(), 0..4)).prop_map(|(queue, notes)| {
                let note = |(first, last, value, time)| Note { first, last, value, time };
                Entry::Note { queue, notes: notes.into_iter().map(note).collect() }
            }),
            any::<(u64, u64)>().prop_map(|(queue, below)| Entry::Delivered { queue, below }),
        ]
    }

    /// The entry of a head with its body.
    fn whole(head: Head<'_>, bodies: &mut Bytes) -> Entry {
        match head {
            Head::Publish { queues, count, arrived, octets } => {
                let records = bodies.split_to(octets as usize);
                Entry::Publish { queues: queues.iter().collect(), count, arrived, records }
            }
            Head::Settle { queue, ranges } => Entry::Settle { queue, ranges: ranges.iter().collect() },
            Head::Note { queue, notes } => Entry::Note { queue, notes: notes.iter().collect() },
            Head::Delivered { queue, below } => Entry::Delivered { queue, below },
        }
    }

    proptest! {
        #[test]
        fn entries_come_back(entries in vec(entry(), 0..6)) {
            let (mut heads, mut bodies) = (Vec::new(), Vec::new());
            for entry in &entries {
                let before = heads.len();
                entry.encode_head(&mut heads);
                prop_assert_eq!(heads.len() - before, entry.head_octets());
                if let Entry::Publish { records, .. } = entry {
                    bodies.extend_from_slice(records);
                    prop_assert_eq!(records.len(), entry.body_octets());
                }
            }
            let (mut rest, mut bodies) = (&heads[..], Bytes::from(bodies));
            for entry in entries {
                prop_assert_eq!(whole(Head::take(&mut rest).unwrap(), &mut bodies), entry);
            }
            prop_assert!(rest.is_empty() && bodies.is_empty());
        }

        #[test]
        fn any_octets_are_heads_or_not(octets in vec(prop_oneof![0_u8..5, any::<u8>()], 0..100)) {
            let mut rest = &octets[..];
            while Head::take(&mut rest).is_some() {}
        }
    }
}
