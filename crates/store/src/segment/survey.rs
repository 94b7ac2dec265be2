//! Reading segments that may be damaged. Invariants: what it finds was written whole by us, to this place; nothing is changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::block::{Block, Decoded, Header, HeaderDraft, QUEUE_AT, Spot, seal};
use super::file_header::{FILE_HEADER_OCTETS, FileHeader};
use super::file_scan::{FileScan, scan_file};
use super::names::{file_number, file_path, folder_path, queues_on};
use crate::damage::Damage;
use crate::disk::Disk;
use crate::store_error::StoreError;

/// What is in the segments, damaged or not.
#[derive(Debug, Default)]
pub struct SegmentSurvey {
    /// The queues that have any.
    pub queues: BTreeSet<u64>,
    /// Files of all.
    pub files: usize,
    /// What they take.
    pub octets: u64,
    /// Whole blocks with messages that a restart must not lose.
    pub blocks: u64,
    /// Such messages in them; settled ones too.
    pub messages: u64,
    /// Octets at the ends of files that a crash has left; no damage.
    pub torn: u64,
    /// What could not be read as it was written.
    pub damage: Vec<Damage>,
    /// Files with damage, with the whole blocks in them.
    damaged: BTreeMap<(u64, u32), Vec<Spotted>>,
}

/// A whole block.
#[derive(Clone, Debug)]
struct Spotted {
    offset: u32,
    header: Header,
}

impl Spotted {
    fn end(&self) -> u64 {
        u64::from(self.offset) + self.header.block_octets()
    }

    fn messages(&self) -> u64 {
        let persistent = self.header.ranges.iter().filter(|range| !range.transient);
        persistent.map(|range| u64::from(range.count)).sum()
    }
}

/// Reads every block of every queue. `progress` hears of octets as they are read.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Newer`].
pub(crate) fn survey(disk: &dyn Disk, progress: &mut dyn FnMut(u64)) -> Result<SegmentSurvey, StoreError> {
    let mut survey = SegmentSurvey::default();
    for queue in queues_on(disk)? {
        survey.queues.insert(queue);
        for number in numbers(disk, queue)? {
            survey.file(disk, queue, number, progress)?;
        }
    }
    Ok(survey)
}

impl SegmentSurvey {
    /// Paths of the files with damage.
    pub(crate) fn damaged_files(&self) -> Vec<String> {
        self.damaged.keys().map(|(queue, number)| file_path(*queue, *number)).collect()
    }

    /// Writes each damaged file again, on another disk and synced, with the whole blocks in it. The number stays: by it and
    /// the place in the file, what was written later is known. A file without a whole block is not written.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub(crate) fn rescue(&self, disk: &dyn Disk, into: &dyn Disk) -> Result<(), StoreError> {
        for (&(queue, number), blocks) in self.damaged.iter().filter(|(_, blocks)| !blocks.is_empty()) {
            let octets = read_file(disk, &file_path(queue, number))?;
            write_file(into, queue, number, &octets, blocks)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        disk: &dyn Disk,
        queue: u64,
        number: u32,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let path = file_path(queue, number);
        let octets = read_file(disk, &path)?;
        self.files += 1;
        self.octets += octets.len() as u64;
        let spotted = spot_blocks(&octets, queue, number);
        let damage_before = self.damage.len();
        let file = disk.open(&path).map_err(|error| StoreError::io(&path, "opening", error))?;
        match scan_file(&*file, &path, queue, number) {
            Ok(scan) => self.compare(&path, &octets, &scan, &spotted),
            Err(StoreError::Damaged { path, offset, what }) => {
                let gaps: Vec<(u64, u64)> = gaps(&spotted).collect();
                if !gaps.iter().any(|(from, to)| (*from..*to).contains(&offset)) {
                    self.damage.push(Damage { path: path.clone(), offset, what });
                }
                self.damage.extend(gaps.into_iter().map(|(from, to)| not_whole(&path, from, to)));
            }
            Err(error) => return Err(error),
        }
        let wanted: Vec<Spotted> = spotted.into_iter().filter(|block| block.messages() > 0).collect();
        self.blocks += wanted.len() as u64;
        self.messages += wanted.iter().map(Spotted::messages).sum::<u64>();
        if self.damage.len() > damage_before {
            self.damaged.insert((queue, number), wanted);
        }
        progress(octets.len() as u64);
        Ok(())
    }

    /// The start takes the file; but it reads few bodies, and takes a file whose beginning is gone for one that never was.
    fn compare(&mut self, path: &str, octets: &Bytes, scan: &FileScan, spotted: &[Spotted]) {
        if scan.end == 0 && spotted.iter().any(|block| block.header.synced > 0) {
            let what = "the beginning of the file is gone, and there are blocks behind it".to_owned();
            self.damage.push(Damage { path: path.to_owned(), offset: 0, what });
            return;
        }
        let whole: HashSet<u32> = spotted.iter().map(|block| block.offset).collect();
        for block in scan.blocks.iter().filter(|block| block.header.is_persistent()) {
            if !whole.contains(&block.offset) {
                let what = "the body of a block fails its checksum".to_owned();
                self.damage.push(Damage { path: path.to_owned(), offset: block.offset.into(), what });
            }
        }
        self.torn += (octets.len() as u64).saturating_sub(u64::from(scan.end));
    }
}

fn not_whole(path: &str, from: u64, to: u64) -> Damage {
    let what = format!("{} octets hold no block that is whole", to - from);
    Damage { path: path.to_owned(), offset: from, what }
}

/// Where between blocks, and before the first, there is none: begin and end.
fn gaps(spotted: &[Spotted]) -> impl Iterator<Item = (u64, u64)> {
    let ends = std::iter::once(u64::from(FILE_HEADER_OCTETS)).chain(spotted.iter().map(Spotted::end));
    let begins = spotted.iter().map(|block| u64::from(block.offset));
    ends.zip(begins).filter(|(end, begin)| begin > end)
}

fn write_file(
    disk: &dyn Disk,
    queue: u64,
    number: u32,
    octets: &Bytes,
    blocks: &[Spotted],
) -> Result<(), StoreError> {
    let (folder, path) = (folder_path(queue), file_path(queue, number));
    disk.create_folder(&folder).map_err(|error| StoreError::io(&folder, "making", error))?;
    let file = disk.create(&path, 0).map_err(|error| StoreError::io(&path, "making", error))?;
    let writing = |error| StoreError::io(&path, "writing", error);
    let header = FileHeader::new(queue, number);
    file.write_at(0, &[&header.encode()]).map_err(writing)?;
    let mut end = FILE_HEADER_OCTETS;
    for Spotted { offset, header: old } in blocks {
        let body_at = *offset as usize + old.header_octets as usize;
        let body = octets.slice(body_at..body_at + old.body_octets as usize);
        let block = Block { level: old.level, ranges: old.ranges.clone(), body: vec![body] };
        let draft = HeaderDraft::new(&block).expect("invariant: it was a block before");
        let spot = Spot { queue, segment: number, offset: end };
        end += draft.block_octets();
        let head = draft.finish(spot, header.mark, 0);
        file.write_at(spot.offset.into(), &[&head, &block.body[0]]).map_err(writing)?;
    }
    let syncing = |error| StoreError::io(&path, "syncing", error);
    file.sync().map_err(syncing)?;
    let spot = Spot { queue, segment: number, offset: end };
    file.write_at(end.into(), &[&seal(spot, header.mark, end)]).map_err(writing)?;
    file.sync().map_err(syncing)
}

fn numbers(disk: &dyn Disk, queue: u64) -> Result<Vec<u32>, StoreError> {
    let folder = folder_path(queue);
    let entries = disk.list(&folder).map_err(|error| StoreError::io(&folder, "listing", error))?;
    let mut numbers: Vec<u32> = entries.iter().filter_map(|entry| file_number(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_file(disk: &dyn Disk, path: &str) -> Result<Bytes, StoreError> {
    let reading = |error| StoreError::io(path, "reading", error);
    let file = disk.open(path).map_err(reading)?;
    let octets = file.octets().map_err(reading)?;
    let mut bytes = vec![0; usize::try_from(octets).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes).map_err(reading)?;
    bytes.truncate(read);
    Ok(bytes.into())
}

/// Every block whose header and body are whole, none inside of another; those of one mark, because a message can hold what looks
/// like a block, but not the mark of its file.
fn spot_blocks(octets: &Bytes, queue: u64, number: u32) -> Vec<Spotted> {
    let needle = [&queue.to_le_bytes()[..], &number.to_le_bytes()].concat();
    let known = FileHeader::decode(octets).ok().map(|header| header.mark);
    let mut spotted: Vec<Spotted> = Vec::new();
    let mut at = FILE_HEADER_OCTETS as usize;
    while let Some(rest) = octets.get(at + QUEUE_AT..) {
        let Some(skip) = find(rest, &needle) else { break };
        at += skip;
        match whole_at(octets, Spot { queue, segment: number, offset: at as u32 }, known) {
            Some(header) => {
                let block = Spotted { offset: at as u32, header };
                at = block.end() as usize;
                spotted.push(block);
            }
            None => at += 1,
        }
    }
    if known.is_none() {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        spotted.iter().for_each(|block| *counts.entry(block.header.mark).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(mark, count)| (*count, *mark)).map(|(mark, _)| mark);
        spotted.retain(|block| Some(block.header.mark) == most);
    }
    spotted
}

fn whole_at(octets: &Bytes, spot: Spot, mark: Option<u64>) -> Option<Header> {
    let rest = octets.get(spot.offset as usize..)?;
    let Decoded::Whole(header) = Header::decode(rest, spot) else { return None };
    let end = usize::try_from(header.block_octets()).ok()?;
    let body = rest.get(header.header_octets as usize..end)?;
    let ours = mark.is_none_or(|mark| mark == header.mark);
    (ours && crc32fast::hash(body) == header.body_crc).then_some(header)
}

fn find(octets: &[u8], needle: &[u8]) -> Option<usize> {
    octets.windows(needle.len()).position(|window| window == needle)
}
