//! `warrenmq ctl store salvage`: keeps everything that is whole of a damaged data folder.
//!
//! Invariant: a part that is not damaged is not touched, and what is replaced is kept beside. What is lost is said.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::SystemTime;

use warrenmq_broker::access::SALT_LENGTH;
use warrenmq_broker::definitions::{self, Definitions, QueueNumbers, Rebuilt, Record, Remains};
use warrenmq_store::{DataDir, Examination, FoundDefinitions, KeyValue, Salvage};

use super::check::look;
use super::report::{self, count};
use super::{CtlError, Verdict};

pub(super) fn run(dir: &DataDir, out: &mut dyn Write) -> Result<Verdict, CtlError> {
    let (found, rebuilt) = look(dir)?;
    report::print(out, &found, &rebuilt)?;
    if report::damage(&found, &rebuilt).is_empty() {
        writeln!(out, "everything is whole; nothing was changed")?;
        return Ok(Verdict::Whole);
    }
    let salvage = Salvage::begin(dir, unix_time())?;
    writeln!(out, "what is replaced goes to {}", salvage.aside().display())?;
    // What a salvage had moved that was cut short is back now.
    let (found, rebuilt) = if found.unfinished { look(dir)? } else { (found, rebuilt) };
    let definitions = match found.definitions.damage.is_some() || !rebuilt.notes.is_empty() {
        true => Some(salvage_definitions(dir, &salvage, &found.definitions, out)?),
        false => None,
    };
    if !found.journal.damage.is_empty() {
        salvage.journal(&found.journal)?;
        let (kept, lost) = (found.journal.records, found.journal.missing);
        writeln!(out, "journal: {} kept, {} lost{}", count(kept, "record"), lost, at_the_end(&found))?;
    }
    if !found.segments.damage.is_empty() {
        salvage.segments(&found.segments)?;
        let (kept, lost) = (found.segments.blocks, found.segments.damage.len());
        writeln!(out, "segments: {} kept, {} lost", count(kept, "block"), count(lost, "place"))?;
    }
    if let Some(rebuilt) = definitions {
        match_messages(&salvage, &found, &rebuilt, out)?;
    }
    salvage.finish()?;
    let (found, rebuilt) = look(dir)?;
    let left = report::damage(&found, &rebuilt);
    for line in &left {
        writeln!(out, "DAMAGED: {line}")?;
    }
    if left.is_empty() {
        writeln!(out, "everything that was kept is whole; a broker can start on it")?;
        return Ok(Verdict::Whole);
    }
    Ok(Verdict::Damaged)
}

/// Builds the definitions from all that is left of them.
fn salvage_definitions(
    dir: &DataDir,
    salvage: &Salvage<'_>,
    found: &FoundDefinitions,
    out: &mut dyn Write,
) -> Result<Rebuilt, CtlError> {
    let export = newest_export(dir);
    let numbers = fs::read(dir.path().join(NUMBERS)).ok().and_then(|octets| QueueNumbers::import(&octets));
    let remains = Remains {
        entries: &found.entries,
        traces: &found.traces,
        export: export.as_ref().map(|(_, export)| export),
        numbers: numbers.as_ref(),
    };
    let rebuilt = remains.rebuild(salt);
    let entries: Vec<KeyValue> =
        rebuilt.records.iter().map(|record| (record.key().encode(), record.encode_value())).collect();
    salvage.definitions(&entries)?;
    print_definitions(&rebuilt, found.expected, export.map(|(name, _)| name), out)?;
    Ok(rebuilt)
}

fn print_definitions(
    rebuilt: &Rebuilt,
    expected: Option<u64>,
    export: Option<String>,
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
    let all = rebuilt.records.len();
    write!(out, "definitions: {all}{of} kept: {}", report::definitions(&rebuilt.records))?;
    match (rebuilt.added, export) {
        (0, _) => writeln!(out)?,
        (added, Some(name)) => writeln!(out, "; {added} from {name}, as they were when it was written")?,
        (added, None) => {
            writeln!(out, "; {added} from the remains of the database, of which some may be old")?
        }
    }
    for note in &rebuilt.notes {
        writeln!(out, "definitions: {note}")?;
    }
    Ok(())
}

/// Says which queues and messages have lost each other. The broker removes messages of queues that it does not know; they are kept
/// beside.
fn match_messages(
    salvage: &Salvage<'_>,
    found: &Examination,
    rebuilt: &Rebuilt,
    out: &mut dyn Write,
) -> Result<(), CtlError> {
    let numbers = rebuilt.records.iter().filter_map(|record| match record {
        Record::Queue(queue) => Some(queue.id),
        _ => None,
    });
    let known: BTreeSet<u64> = numbers.collect();
    let stored: BTreeSet<u64> = found.journal.queues.union(&found.segments.queues).copied().collect();
    if rebuilt.without_number > 0 && !stored.is_empty() {
        let queues = count(rebuilt.without_number, "queue");
        writeln!(out, "definitions: {queues} cannot be matched with messages and will be empty")?;
    }
    let lost: Vec<u64> = stored.difference(&known).copied().collect();
    if lost.is_empty() {
        return Ok(());
    }
    salvage.keep_messages(lost.iter().copied())?;
    let numbers: Vec<String> = lost.iter().map(u64::to_string).collect();
    writeln!(
        out,
        "messages of {} without a definition, deleted or lost, are kept there too: {}",
        count(lost.len(), "queue"),
        numbers.join(", ")
    )?;
    Ok(())
}

/// What can be said of losses that are no gap: nothing follows that tells how much was there.
fn at_the_end(found: &Examination) -> &'static str {
    if found.journal.missing == 0 { ", or none that can be told" } else { "" }
}

/// The newest export that can be read, and its name.
fn newest_export(dir: &DataDir) -> Option<(String, Definitions)> {
    let older = (1..EXPORTS_MAX).map(|generation| format!("{EXPORT}.{generation}"));
    std::iter::once(EXPORT.to_owned()).chain(older).find_map(|name| {
        let json = fs::read(dir.path().join(&name)).ok()?;
        // An empty file is a set of definitions to an import, but none that was exported.
        let export = definitions::import_whole(&json).ok().filter(|export| !export.vhosts.is_empty())?;
        Some((name, export))
    })
}

const EXPORT: &str = "definitions.json";
const NUMBERS: &str = "queue-numbers.json";
/// More than the broker keeps.
const EXPORTS_MAX: usize = 10;

/// For a password in clear, which an export has only if somebody has written it into one.
fn salt() -> [u8; SALT_LENGTH] {
    let octets = RandomState::new().hash_one(SALT_LENGTH).to_le_bytes();
    std::array::from_fn(|at| octets[at % octets.len()])
}

fn unix_time() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}
