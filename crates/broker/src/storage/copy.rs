//! Copying a little of the journal forward: the messages of a page as entries of a new record, at the same positions.
//!
//! Invariant: only what is persistent is copied; the rest does not outlive the process.

use bytes::{Bytes, BytesMut};
use warrenmq_queue::{Page, Run};
use warrenmq_store::Entry;

/// Adds the messages of `page` to `entries`.
pub(super) fn forward(queue: u64, page: &Page, epoch_ms: u64, entries: &mut Vec<Entry>) {
    let mut whole = BytesMut::with_capacity(page.octets as usize);
    for piece in &page.pieces {
        whole.extend_from_slice(piece);
    }
    let Some(run) = Run::from_bytes(whole.freeze()) else { return };
    let mut records = run.records();
    let mut next_at = |count: u32| {
        let first = records.next().map_or(run.len(), |(at, _)| at as usize);
        for _ in 1..count {
            records.next();
        }
        first
    };
    let starts: Vec<usize> = page.ranges.iter().map(|range| next_at(range.count)).collect();
    let ends = starts.iter().skip(1).copied().chain([run.len()]);
    for ((range, start), end) in page.ranges.iter().zip(&starts).zip(ends) {
        if !range.transient {
            entries.push(Entry::Publish {
                queues: [(queue, range.first)].into(),
                count: range.count,
                arrived: range.arrived + epoch_ms,
                records: slice(&run, *start, end),
            });
        }
    }
}

fn slice(run: &Run, start: usize, end: usize) -> Bytes {
    run.bytes().slice(start..end)
}
