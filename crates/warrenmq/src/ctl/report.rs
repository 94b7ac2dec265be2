//! What is said about a data folder.
//!
//! Invariant: a line for each part and each damaged place; every place has its file and octet.

use std::io::{self, Write};

use warrenmq_broker::definitions::{Rebuilt, Record};
use warrenmq_store::Examination;

/// Prints what is there, and what is wrong with it. `rebuilt` is what the definitions make by themselves.
pub(super) fn print(out: &mut dyn Write, found: &Examination, rebuilt: &Rebuilt) -> io::Result<()> {
    writeln!(out, "definitions: {}", definitions(&rebuilt.records))?;
    let journal = &found.journal;
    writeln!(
        out,
        "journal: {} in {}: {}, {} with those that are settled",
        size(journal.octets),
        count(journal.files, "file"),
        count(journal.records, "record"),
        count(journal.messages, "message"),
    )?;
    let segments = &found.segments;
    writeln!(
        out,
        "segments: {} in {} of {}: {}, {} with those that are settled",
        size(segments.octets),
        count(segments.files, "file"),
        count(segments.queues.len(), "queue"),
        count(segments.blocks, "block"),
        count(segments.messages, "message"),
    )?;
    if let Some(torn) = &journal.torn {
        let (file, offset, octets) = (&torn.file, torn.offset, torn.octets);
        writeln!(
            out,
            "torn: {file} at octet {offset}: {octets} octets that a crash has cut short; never durable"
        )?;
    }
    if segments.torn > 0 {
        writeln!(out, "torn: {} octets at the ends of segments; never durable", segments.torn)?;
    }
    for line in damage(found, rebuilt) {
        writeln!(out, "DAMAGED: {line}")?;
    }
    Ok(())
}

/// What is wrong, a line each.
pub(super) fn damage(found: &Examination, rebuilt: &Rebuilt) -> Vec<String> {
    let mut lines = Vec::new();
    if found.unfinished {
        lines.push("a salvage was cut short; parts of the folder are in its folder salvage-…".to_owned());
    }
    let definitions = found.definitions.damage.as_ref();
    lines.extend(definitions.map(|damage| format!("definitions: {damage}")));
    lines.extend(rebuilt.notes.iter().map(|note| format!("definitions: {note}")));
    let places = found.journal.damage.iter().chain(&found.segments.damage);
    lines.extend(places.map(ToString::to_string));
    lines
}

/// How many of each kind there are.
pub(super) fn definitions(records: &[Record]) -> String {
    let of = |kind: fn(&Record) -> bool| records.iter().filter(|record| kind(record)).count();
    [
        count(of(|record| matches!(record, Record::Vhost(_))), "vhost"),
        count(of(|record| matches!(record, Record::User(_))), "user"),
        count(of(|record| matches!(record, Record::Exchange(_))), "exchange"),
        count(of(|record| matches!(record, Record::Queue(_))), "queue"),
        count(of(|record| matches!(record, Record::Binding(_))), "binding"),
    ]
    .join(", ")
}

/// A number with what it counts.
pub(super) fn count(number: impl TryInto<u64>, of: &str) -> String {
    match number.try_into() {
        Ok(1) => format!("1 {of}"),
        Ok(number) => format!("{number} {of}s"),
        Err(_) => format!("many {of}s"),
    }
}

/// Octets for people.
pub(super) fn size(octets: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| octets >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", octets / unit, octets % unit * 10 / unit),
        None => count(octets, "octet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 octets"),
            (1, "1 octet"),
            (1_023, "1023 octets"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (33_554_432, "32.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ];
        for (octets, text) in cases {
            assert_eq!(size(octets), text);
        }
    }
}
