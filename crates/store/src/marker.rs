//! Owns the file that remembers, outside of the database, what the database must hold at least. Invariant: its
//! generation on disk is never above the one that the database has durably, so a lower one in the database is a loss.
//!
//! It tells a new folder from one whose database was emptied or removed, and the newest state from an older one
//! that is consistent in itself (a lost tail, a file put back from a backup).
//!
//! ```text
//!   file = slot  zeros up to 4096  slot
//!   slot = "WMQMARK1"  manifest:32  crc:u32      crc = CRC-32 of magic and manifest
//! ```
//! Generations go to the two slots in turn, so a write that a power cut tears leaves the one before. Such a write is
//! not synced, because losing it only weakens the check by what the system had not written back yet.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::definition::MARKER;
use crate::generation::write_atomically;
use crate::record::{MANIFEST_LEN, Manifest};

/// The open file and the newest manifest in it.
#[derive(Debug)]
pub(crate) struct Marker {
    file: File,
    manifest: Manifest,
}

/// What a look at the file gave.
#[derive(Debug)]
pub(crate) enum Found {
    Marker(Marker),
    Nothing,
    /// There is a file, and neither slot is valid.
    Damaged,
}

impl Marker {
    /// Makes the file, durably, in generation 0: nothing was ever reported durable.
    pub(crate) fn create(folder: &Path) -> io::Result<Marker> {
        let manifest = Manifest::default();
        let mut bytes = vec![0; FILE_LEN];
        for slot in SLOTS {
            bytes[slot..slot + SLOT_LEN].copy_from_slice(&encode(&manifest));
        }
        write_atomically(folder, MARKER, &bytes)?;
        Ok(Marker { file: open(folder)?, manifest })
    }

    pub(crate) fn find(folder: &Path) -> io::Result<Found> {
        let file = match open(folder) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let mut newest: Option<Manifest> = None;
        for slot in SLOTS {
            let mut bytes = [0; SLOT_LEN];
            match file.read_exact_at(&mut bytes, slot as u64) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => {}
            }
            // A slot beyond the end reads as zeros, which no slot is.
            newest = newest.into_iter().chain(decode(&bytes)).max_by_key(|manifest| manifest.generation);
        }
        Ok(newest.map_or(Found::Damaged, |manifest| Found::Marker(Marker { file, manifest })))
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Follows the database, which has this manifest durably; not synced.
    pub(crate) fn advance(&mut self, manifest: Manifest) -> io::Result<()> {
        let slot = SLOTS[usize::from(manifest.generation % 2 == 1)];
        self.file.write_all_at(&encode(&manifest), slot as u64)?;
        self.manifest = manifest;
        Ok(())
    }

    /// Leaves generation 0 behind, in both slots and synced: from now on a missing database is a loss, and changes
    /// may be reported durable.
    pub(crate) fn establish(&mut self, manifest: Manifest) -> io::Result<()> {
        for slot in SLOTS {
            self.file.write_all_at(&encode(&manifest), slot as u64)?;
        }
        self.file.sync_all()?;
        self.manifest = manifest;
        Ok(())
    }
}

const MAGIC: &[u8; 8] = b"WMQMARK1";
const SLOT_LEN: usize = MAGIC.len() + MANIFEST_LEN + 4;
/// One page apart: the two are never in one sector of any disk.
const SLOTS: [usize; 2] = [0, 4096];
const FILE_LEN: usize = SLOTS[1] + SLOT_LEN;

fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(folder.join(MARKER))
}

fn encode(manifest: &Manifest) -> [u8; SLOT_LEN] {
    let mut bytes = [0; SLOT_LEN];
    let (content, crc) = bytes.split_at_mut(SLOT_LEN - 4);
    content[..MAGIC.len()].copy_from_slice(MAGIC);
    content[MAGIC.len()..].copy_from_slice(&manifest.encode());
    crc.copy_from_slice(&crc32fast::hash(content).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Manifest> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(())?;
    Manifest::decode(content.strip_prefix(MAGIC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::SetDigest;
    use std::fs;

    fn manifest(generation: u64) -> Manifest {
        Manifest { generation, set: SetDigest { count: generation * 2, sum: u128::MAX - 7 } }
    }

    fn found(folder: &Path) -> Option<u64> {
        match Marker::find(folder).unwrap() {
            Found::Marker(marker) => Some(marker.manifest().generation),
            Found::Nothing => None,
            Found::Damaged => Some(u64::MAX),
        }
    }

    #[test]
    fn the_newest_generation_is_found_again() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(found(temp.path()), None);
        let mut marker = Marker::create(temp.path()).unwrap();
        assert_eq!(found(temp.path()), Some(0));
        marker.establish(manifest(1)).unwrap();
        for generation in 2..6 {
            marker.advance(manifest(generation)).unwrap();
            assert_eq!(found(temp.path()), Some(generation));
        }
    }

    #[test]
    fn one_torn_slot_leaves_the_generation_before_and_two_are_damage() {
        let temp = tempfile::tempdir().unwrap();
        let mut marker = Marker::create(temp.path()).unwrap();
        marker.establish(manifest(1)).unwrap();
        marker.advance(manifest(2)).unwrap();
        let whole = fs::read(temp.path().join(MARKER)).unwrap();
        // (slots to damage, generation found; MAX for damage)
        for (slots, expected) in [(&[0][..], 1), (&[4096], 2), (&[0, 4096], u64::MAX)] {
            for at in 0..SLOT_LEN {
                let mut bytes = whole.clone();
                slots.iter().for_each(|slot| bytes[slot + at] ^= 0x10);
                fs::write(temp.path().join(MARKER), bytes).unwrap();
                assert_eq!(found(temp.path()), Some(expected), "byte {at} of {slots:?}");
            }
        }
        for len in [0, 20, 43] {
            fs::write(temp.path().join(MARKER), &whole[..len]).unwrap();
            assert_eq!(found(temp.path()), Some(u64::MAX), "{len} bytes");
        }
    }
}
