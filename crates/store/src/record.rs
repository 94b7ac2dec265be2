//! Owns the bytes of the database's records. Invariant: a record that decodes is one that was encoded under the same
//! key; everything else is an error, never a guess and never a panic.
//!
//! ```text
//!   record   = version:u8 (1)  crc:u32  body            crc = CRC-32 of key, version and body
//!   manifest = key "m"                  body = generation:u64 count:u64 digest:u128
//!   entry    = one record for each 4096 bytes of        key:u16-length value:u32-length key value
//!              key "d" hash:16 number:u8                hash = first half of SHA-256 of the definition's key
//! ```
//! Numbers are little-endian, hashes and digests big-endian as SHA-256 prints them.
//!
//! Why hashes and pieces: the engine keeps up to 17 keys of a leaf, or 256 of an inner node, in one log record, and
//! a log record above 128 KiB goes to a file of its own that it never syncs. With keys of 18 bytes and pieces of
//! 4 KiB the largest record is under 90 KiB whatever the definitions are.

use std::fmt;

use crate::digest::{SetDigest, digest};

/// The version that this program writes, and the newest that it reads.
pub(crate) const VERSION: u8 = 1;

/// Key of the one record that says what all others together must be.
pub(crate) const MANIFEST_KEY: &[u8] = b"m";

/// What the whole database must be, written in the same atomic batch as every change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// Grows by one with each commit; 0 means that nothing was ever committed.
    pub(crate) generation: u64,
    pub(crate) set: SetDigest,
}

/// Length of an encoded [`Manifest`].
pub(crate) const MANIFEST_LEN: usize = 32;

impl Manifest {
    pub(crate) fn encode(&self) -> [u8; MANIFEST_LEN] {
        let mut bytes = [0; MANIFEST_LEN];
        bytes[..8].copy_from_slice(&self.generation.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.set.count.to_le_bytes());
        bytes[16..].copy_from_slice(&self.set.sum.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Manifest> {
        let (generation, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = bytes.split_first_chunk()?;
        let sum = bytes.try_into().ok()?;
        let set = SetDigest { count: u64::from_le_bytes(*count), sum: u128::from_be_bytes(sum) };
        Some(Manifest { generation: u64::from_le_bytes(*generation), set })
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at generation {}", self.set, self.generation)
    }
}

/// A definition as it lies on disk, before it is cut into pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    bytes: Vec<u8>,
    key_len: u16,
}

impl Entry {
    /// Lengths are checked by the caller ([`crate::Change::check`]).
    pub(crate) fn new(key: &[u8], value: &[u8]) -> Entry {
        let key_len = u16::try_from(key.len()).expect("invariant: key lengths are checked before");
        let value_len = u32::try_from(value.len()).expect("invariant: value lengths are checked before");
        let mut bytes = Vec::with_capacity(LENGTHS + key.len() + value.len());
        bytes.extend_from_slice(&key_len.to_le_bytes());
        bytes.extend_from_slice(&value_len.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        Entry { bytes, key_len }
    }

    /// The reverse of joining all pieces; `None` when the lengths do not add up.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Entry> {
        let (key_len, rest) = bytes.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let key_len = u16::from_le_bytes(*key_len);
        let expected = u64::from(key_len) + u64::from(u32::from_le_bytes(*value_len));
        (rest.len() as u64 == expected).then_some(Entry { bytes, key_len })
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[LENGTHS..LENGTHS + usize::from(self.key_len)]
    }

    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[LENGTHS + usize::from(self.key_len)..]
    }

    /// What this entry adds to the digest of the set.
    pub(crate) fn digest(&self) -> u128 {
        digest(&self.bytes)
    }

    /// The bodies of its records, at least one.
    pub(crate) fn pieces(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.bytes.chunks(PIECE_LEN)
    }
}

/// How many records an entry has, told from the body of its first one; `None` when that is too short.
pub(crate) fn piece_count(first: &[u8]) -> Option<usize> {
    Some(entry_octets(first)?.div_ceil(PIECE_LEN))
}

/// The length of an entry that has one record only, told from what may be the body of that; `None` when it would have more.
pub(crate) fn single_piece_octets(first: &[u8]) -> Option<usize> {
    entry_octets(first).filter(|&octets| octets <= PIECE_LEN)
}

fn entry_octets(first: &[u8]) -> Option<usize> {
    let (key_len, rest) = first.split_first_chunk()?;
    let (value_len, _) = rest.split_first_chunk()?;
    let value_len = usize::try_from(u32::from_le_bytes(*value_len)).ok()?;
    Some(LENGTHS + usize::from(u16::from_le_bytes(*key_len)) + value_len)
}

/// Key of one record of the entry with this definition key.
pub(crate) fn piece_key(hash: u128, number: u8) -> [u8; PIECE_KEY_LEN] {
    let mut bytes = [PIECE_TAG; PIECE_KEY_LEN];
    bytes[1..17].copy_from_slice(&hash.to_be_bytes());
    bytes[17] = number;
    bytes
}

/// The hash and the number in a record's key; `None` when it is not the key of an entry's record.
pub(crate) fn parse_piece_key(key: &[u8]) -> Option<(u128, u8)> {
    let bytes: &[u8; PIECE_KEY_LEN] = key.try_into().ok()?;
    let (hash, number) = bytes[1..].split_first_chunk()?;
    (bytes[0] == PIECE_TAG).then_some((u128::from_be_bytes(*hash), number[0]))
}

/// A record: the body with its version and checksum.
pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(SEAL_LEN + body.len());
    record.push(VERSION);
    record.extend_from_slice(&checksum(key, VERSION, body).to_le_bytes());
    record.extend_from_slice(body);
    record
}

/// The body of a record.
pub(crate) fn unseal<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], SealError> {
    let (&version, rest) = record.split_first().ok_or(SealError::Damaged)?;
    let (crc, body) = rest.split_first_chunk().ok_or(SealError::Damaged)?;
    if u32::from_le_bytes(*crc) != checksum(key, version, body) {
        return Err(SealError::Damaged);
    }
    if version == VERSION { Ok(body) } else { Err(SealError::Version(version)) }
}

/// Why a record has no body for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SealError {
    /// Too short, or the checksum differs.
    Damaged,
    /// Intact, and of another version.
    Version(u8),
}

const PIECE_TAG: u8 = b'd';
const PIECE_KEY_LEN: usize = 18;
const PIECE_LEN: usize = 4096;
/// The two lengths in front of an entry.
const LENGTHS: usize = 2 + 4;
/// Version and checksum in front of a body.
pub(crate) const SEAL_LEN: usize = 1 + 4;

// The number of a piece is one byte.
const _: () = assert!((LENGTHS + crate::KEY_LEN_MAX + crate::VALUE_LEN_MAX).div_ceil(PIECE_LEN) <= 256);
const _: () = assert!(crate::KEY_LEN_MAX <= u16::MAX as usize);

fn checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KEY_LEN_MAX, VALUE_LEN_MAX};

    #[test]
    fn the_bytes_of_version_1() {
        let manifest = Manifest { generation: 3, set: SetDigest { count: 2, sum: 1 } };
        let mut expected = [0; MANIFEST_LEN];
        (expected[0], expected[8], expected[31]) = (3, 2, 1);
        assert_eq!(manifest.encode(), expected);
        assert_eq!(Entry::new(b"ab", b"c").pieces().next().unwrap(), b"\x02\0\x01\0\0\0abc");
        assert_eq!(piece_key(1, 2), *b"d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02");
        assert_eq!(seal(b"m", b""), [1, 0x83, 0x37, 0x8d, 0xe6]);
    }

    #[test]
    fn entries_of_every_size_come_back() {
        for key_len in [0, 1, 255, KEY_LEN_MAX] {
            for value_len in [0, 1, 200, 4000, 4089, 4090, 4091, 8192, VALUE_LEN_MAX] {
                let (key, value) = (vec![7; key_len], vec![9; value_len]);
                let entry = Entry::new(&key, &value);
                assert_eq!(piece_count(entry.pieces().next().unwrap()), Some(entry.pieces().len()));
                let joined = entry.pieces().flatten().copied().collect();
                let again = Entry::from_bytes(joined).unwrap();
                assert_eq!((again.key(), again.value()), (&key[..], &value[..]));
                assert_eq!(again, entry);
            }
        }
    }

    #[test]
    fn any_flipped_bit_shows() {
        let (key, record) = (piece_key(5, 0), seal(&piece_key(5, 0), b"body of a record"));
        assert_eq!(unseal(&key, &record), Ok(&b"body of a record"[..]));
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&key, &damaged), Err(SealError::Damaged), "bit {bit}");
        }
        for len in 0..record.len() {
            assert_eq!(unseal(&key, &record[..len]), Err(SealError::Damaged), "{len} bytes");
        }
        assert_eq!(unseal(&piece_key(6, 0), &record), Err(SealError::Damaged), "under another key");
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut record = seal(b"k", b"body");
        record[0] = 2;
        record[1..5].copy_from_slice(&checksum(b"k", 2, b"body").to_le_bytes());
        assert_eq!(unseal(b"k", &record), Err(SealError::Version(2)));
    }

    #[test]
    fn wrong_lengths_are_no_entry() {
        for bytes in
            [&b""[..], b"\x01\0", b"\x01\0\0\0\0\0", b"\x01\0\x01\0\0\0a", b"\0\0\0\0\0\0a", &[255; 9]]
        {
            assert_eq!(Entry::from_bytes(bytes.to_vec()), None, "{bytes:?}");
        }
        for key in [&b"m"[..], b"", &[b'd'; 17], &[b'e'; 18], &[b'd'; 19]] {
            assert_eq!(parse_piece_key(key), None, "{key:?}");
        }
    }
}
