//! Reading a journal that may be damaged. Invariants: what it finds was written whole by us and is not from before a cut; without
//! damage it finds what [`scan()`] finds; nothing is changed.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::entry::{Entry, Head};
use super::file_header::{FILE_HEADER, FOLDER, FileHeader, number_of, path_of};
use super::record::{ALIGNMENT, RECORD_HEADER, RecordHeader, Seal, padded};
use super::scan::{TornTail, scan};
use crate::damage::Damage;
use crate::disk::Disk;
use crate::store_error::StoreError;

/// What is in a journal, damaged or not.
#[derive(Debug, Default)]
pub struct JournalSurvey {
    /// Files with a number.
    pub files: usize,
    /// What they take.
    pub octets: u64,
    /// Whole records.
    pub records: u64,
    /// Records that must have been between them and are not whole.
    pub missing: u64,
    /// Messages that came into the journal; settled ones too.
    pub messages: u64,
    /// The queues that are named.
    pub queues: BTreeSet<u64>,
    /// What a crash has left at the end; no damage.
    pub torn: Option<TornTail>,
    /// Why the broker would not start.
    pub damage: Vec<Damage>,
    found: Vec<FoundFile>,
}

/// The whole records of one file.
#[derive(Debug)]
struct FoundFile {
    number: u64,
    /// LSN of its first record, unless its header is damaged.
    first: Option<u64>,
    records: Vec<FoundRecord>,
}

#[derive(Debug, Clone, Copy)]
struct FoundRecord {
    at: u64,
    /// Without padding.
    octets: u64,
    lsn: u64,
}

impl FoundRecord {
    fn end(&self) -> u64 {
        self.at + padded(self.octets)
    }
}

/// Looks for every whole record. `progress` hears of octets as they are read.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Newer`].
pub(crate) fn survey(disk: &dyn Disk, progress: &mut dyn FnMut(u64)) -> Result<JournalSurvey, StoreError> {
    let (torn, refusal) = match scan(disk) {
        Ok(scan) => (scan.torn, None),
        Err(StoreError::Damaged { path, offset, what }) => (None, Some(Damage { path, offset, what })),
        Err(error) => return Err(error),
    };
    let mut survey = JournalSurvey { torn, ..JournalSurvey::default() };
    for number in numbers(disk)? {
        let octets = read_file(disk, number)?;
        survey.files += 1;
        survey.octets += octets.len() as u64;
        let found = find_records(number, &octets, &mut survey.damage)?;
        survey.found.push(found);
        progress(octets.len() as u64);
    }
    survey.drop_stale();
    if refusal.is_none() {
        survey.drop_torn();
    }
    survey.note_gaps();
    if survey.damage.is_empty() {
        survey.damage.extend(refusal);
    }
    survey.count(disk)?;
    Ok(survey)
}

impl JournalSurvey {
    /// Gives every whole record's entries, in the order of the log.
    ///
    /// # Errors
    /// Those of reading, and those of `visit`.
    pub(crate) fn for_each(
        &self,
        disk: &dyn Disk,
        visit: &mut dyn FnMut(Vec<Entry>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for file in &self.found {
            let octets = read_file(disk, file.number)?;
            for record in &file.records {
                let whole = octets.slice(record.at as usize..(record.at + record.octets) as usize);
                if let Some(entries) = entries_of(&whole) {
                    visit(entries)?;
                }
            }
        }
        Ok(())
    }

    /// After a cut, numbers are given again: what a file has from the first record of the next one on was cut.
    fn drop_stale(&mut self) {
        let mut limit = u64::MAX;
        for file in self.found.iter_mut().rev() {
            file.records.retain(|record| record.lsn < limit);
            let first = file.first.or_else(|| file.records.first().map(|record| record.lsn));
            limit = first.map_or(limit, |first| first.min(limit));
        }
    }

    /// Behind the first gap of a journal that is not damaged there is nothing but what never was durable.
    fn drop_torn(&mut self) {
        let mut expected = None;
        for file in &mut self.found {
            let mut next = file.first.or(expected);
            let whole = file.records.iter().take_while(|record| {
                let fits = next.is_none_or(|next| next == record.lsn);
                next = Some(record.lsn + 1);
                fits
            });
            let count = whole.count();
            file.records.truncate(count);
            expected = file.records.last().map(|record| record.lsn + 1).or(file.first);
        }
    }

    fn note_gaps(&mut self) {
        let mut expected: Option<u64> = None;
        // Where the record before ends.
        let mut end: Option<(u64, u64)> = None;
        for file in &self.found {
            let (mut place, mut wanted) = (end.unwrap_or((file.number, FILE_HEADER as u64)), expected);
            if let Some(first) = file.first {
                wanted = wanted.or(Some(first));
                if wanted == Some(first) {
                    place = (file.number, FILE_HEADER as u64);
                }
            }
            for record in &file.records {
                if let Some(wanted) = wanted.filter(|wanted| *wanted < record.lsn) {
                    let missing = record.lsn - wanted;
                    self.missing += missing;
                    let what = match missing {
                        1 => format!("record {wanted} is not whole or not there"),
                        _ => format!("records {wanted} to {} are not whole or not there", record.lsn - 1),
                    };
                    self.damage.push(Damage { path: path_of(place.0), offset: place.1, what });
                }
                wanted = Some(record.lsn + 1);
                place = (file.number, record.end());
            }
            (expected, end) = (wanted, Some(place));
        }
    }

    fn count(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        let (mut records, mut messages, mut queues) = (0, 0, BTreeSet::new());
        self.for_each(disk, &mut |entries| {
            records += 1;
            for entry in entries {
                match entry {
                    Entry::Publish { queues: into, count, .. } => {
                        messages += u64::from(count);
                        queues.extend(into.iter().map(|(queue, _)| *queue));
                    }
                    Entry::Settle { queue, .. }
                    | Entry::Note { queue, .. }
                    | Entry::Delivered { queue, .. } => {
                        queues.insert(queue);
                    }
                }
            }
            Ok(())
        })?;
        (self.records, self.messages, self.queues) = (records, messages, queues);
        Ok(())
    }
}

fn numbers(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    let entries = disk.list(FOLDER).map_err(|error| StoreError::io(FOLDER, "listing", error))?;
    let files = entries.iter().filter(|entry| !entry.is_folder);
    let mut numbers: Vec<u64> = files.filter_map(|entry| number_of(&entry.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_file(disk: &dyn Disk, number: u64) -> Result<Bytes, StoreError> {
    let path = path_of(number);
    let reading = |error| StoreError::io(&path, "reading", error);
    let file = disk.open(&path).map_err(reading)?;
    let octets = file.octets().map_err(reading)?;
    let mut bytes = vec![0; usize::try_from(octets).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes).map_err(reading)?;
    bytes.truncate(read);
    Ok(bytes.into())
}

fn find_records(number: u64, octets: &Bytes, damage: &mut Vec<Damage>) -> Result<FoundFile, StoreError> {
    let mut head = [0; FILE_HEADER];
    let there = octets.len().min(FILE_HEADER);
    head[..there].copy_from_slice(&octets[..there]);
    match FileHeader::decode(number, &head) {
        Ok(header) => {
            let records = find_marked(number, header.mark, octets);
            Ok(FoundFile { number, first: Some(header.first), records })
        }
        Err(StoreError::Damaged { path, offset, what }) => {
            damage.push(Damage { path, offset, what });
            let found = likely_marks(octets).into_iter().map(|mark| find_marked(number, mark, octets));
            let covered =
                |records: &Vec<FoundRecord>| records.iter().map(|record| record.octets).sum::<u64>();
            let records = found.max_by_key(covered).unwrap_or_default();
            Ok(FoundFile { number, first: None, records })
        }
        Err(error) => Err(error),
    }
}

/// Whole records with this mark, none inside of another, with numbers that ascend.
fn find_marked(number: u64, mark: u32, octets: &Bytes) -> Vec<FoundRecord> {
    let seal = Seal::new(number, mark);
    let mark = mark.to_le_bytes();
    let mut found: Vec<FoundRecord> = Vec::new();
    let mut at = FILE_HEADER;
    while let Some(rest) = octets.get(at..).filter(|rest| rest.len() >= RECORD_HEADER) {
        let (words, _) = rest.as_chunks::<{ ALIGNMENT as usize }>();
        let Some(skip) = words.iter().position(|word| word[..4] == mark) else { break };
        at += skip * ALIGNMENT as usize;
        match whole_at(octets, at, &seal) {
            Some(record) if found.last().is_none_or(|before| before.lsn < record.lsn) => {
                at = record.end() as usize;
                found.push(record);
            }
            _ => at += ALIGNMENT as usize,
        }
    }
    found
}

fn whole_at(octets: &Bytes, at: usize, seal: &Seal) -> Option<FoundRecord> {
    let rest = octets.get(at..)?;
    let header = RecordHeader::read(rest.first_chunk()?);
    let length = header.octets_within(rest.len() as u64)?;
    let record = rest.get(..usize::try_from(length).ok()?)?;
    let mut checksum = seal.begin();
    checksum.update(record);
    let whole = checksum.finish() == header.checksum && header.lsn > 0;
    entries_of(&octets.slice_ref(record)).filter(|_| whole)?;
    Some(FoundRecord { at: at as u64, octets: length, lsn: header.lsn })
}

/// What the entries of a whole record say.
fn entries_of(record: &Bytes) -> Option<Vec<Entry>> {
    let header = RecordHeader::read(record.first_chunk()?);
    let bodies_at = RECORD_HEADER.checked_add(usize::try_from(header.heads).ok()?)?;
    let mut heads = record.get(RECORD_HEADER..bodies_at)?;
    let mut at = bodies_at;
    let mut entries = Vec::new();
    while !heads.is_empty() {
        entries.push(match Head::take(&mut heads)? {
            Head::Publish { queues, count, arrived, octets } => {
                let end = at.checked_add(usize::try_from(octets).ok()?)?;
                let records = record.slice_ref(record.get(at..end)?);
                at = end;
                Entry::Publish { queues: queues.iter().collect(), count, arrived, records }
            }
            Head::Settle { queue, ranges } => Entry::Settle { queue, ranges: ranges.iter().collect() },
            Head::Note { queue, notes } => Entry::Note { queue, notes: notes.iter().collect() },
            Head::Delivered { queue, below } => Entry::Delivered { queue, below },
        });
    }
    (at == record.len()).then_some(entries)
}

/// What may be the mark of a file that does not say so any more: what most often stands where a record could begin, and a record
/// of possible lengths with it. A client that guesses that can put records into its messages; the mark that explains most of the
/// file is taken, and the records around such a message explain it too.
fn likely_marks(octets: &Bytes) -> Vec<u32> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    let mut at = FILE_HEADER;
    while let Some(header) = octets.get(at..).and_then(|rest| rest.first_chunk()) {
        let header = RecordHeader::read(header);
        let possible = header.mark & 1 == 1 && header.octets_within((octets.len() - at) as u64).is_some();
        if possible {
            *counts.entry(header.mark).or_default() += 1;
        }
        at += ALIGNMENT as usize;
    }
    let mut counts: Vec<(u32, usize)> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(mark, count)| (std::cmp::Reverse(*count), *mark));
    counts.into_iter().take(LIKELY_MARKS).map(|(mark, _)| mark).collect()
}

/// Of one file, looked into each: a reading of the whole.
const LIKELY_MARKS: usize = 8;
