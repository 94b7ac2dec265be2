//! Bringing messages back at the start: headers of segments and the journal, each message once.
//!
//! Invariant: positions decide: what stands in a segment and in the journal, or twice in either, is one message; what a
//! settlement names is gone wherever it stands. Bodies are read only of what still lives in the journal. Nothing happens in a queue
//! before all are back: what has expired meanwhile goes to others, whose next position has to be known by then, and is not
//! durable as everything is that was found.

use std::collections::BTreeMap;
use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::{Position, Positions, Run, Stored};
use warrenmq_store::{Entry, Scan, StoreError};

use super::attempts::attempted;
use super::{Storage, to_queue};
use crate::broker::Broker;
use crate::queue_cell::QueueCell;

/// What the start has found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Queues that have messages.
    pub(crate) queues: usize,
    /// Their messages.
    pub(crate) messages: u64,
}

/// One queue while it comes back.
struct Returning {
    cell: Arc<QueueCell>,
    gone: Positions,
    next: Position,
}

/// Gives the durable queues their messages.
pub(crate) fn recover(
    broker: &Broker,
    storage: &Storage,
    scan: &Scan,
    now: Millis,
) -> Result<Recovered, StoreError> {
    let cells: Vec<Arc<QueueCell>> =
        storage.queues.lock().values().filter_map(std::sync::Weak::upgrade).collect();
    let mut queues: BTreeMap<u64, Returning> = BTreeMap::new();
    for cell in cells {
        let mut gone = Positions::default();
        let mut next = 0;
        for (first, last) in scan.settles.get(&cell.info.store_id).into_iter().flatten() {
            gone.insert(*first, *last);
            next = next.max(last.saturating_add(1));
        }
        queues.insert(cell.info.store_id, Returning { cell, gone, next });
    }
    // Folders of queues that are not durable, or not there any more.
    for id in storage.segments.queues()? {
        match queues.get_mut(&id) {
            Some(queue) => blocks(queue, broker, storage, now)?,
            None => storage.segments.delete_queue(id)?,
        }
    }
    journal(&mut queues, broker, storage, scan, now)?;
    settle_copies(&queues, storage, scan);
    for (id, notes) in &scan.notes {
        let Some(queue) = queues.get_mut(id) else { continue };
        // A transient message that came back is nowhere else: its place goes to no other, which would take the note for its own.
        let behind = notes.iter().map(|note| note.last.saturating_add(1)).max();
        queue.next = queue.next.max(behind.unwrap_or(0));
        storage.batch(broker, now, |scratch| {
            for note in notes {
                queue.cell.restore_attempted(attempted(note, storage.epoch_ms), scratch);
            }
        });
    }
    let mut recovered = Recovered::default();
    for (id, queue) in &queues {
        let delivered_below = scan.delivered.get(id).copied();
        let ready = storage.batch(broker, now, |scratch| {
            queue.cell.restored(queue.next, delivered_below, scratch);
            queue.cell.counts().ready
        });
        storage.write_at_once(broker, now)?;
        recovered.queues += usize::from(ready > 0);
        recovered.messages += ready;
    }
    for queue in queues.values() {
        storage.batch(broker, now, |scratch| queue.cell.begin_again(scratch));
    }
    Ok(recovered)
}

/// A slot of a delaying exchange is forgotten as soon as it is empty, and what is gone of it with the files of the journal that say so.
/// A crash may have come between the copy of a message at the end of the journal and what settles it there: that is said again.
fn settle_copies(queues: &BTreeMap<u64, Returning>, storage: &Storage, scan: &Scan) {
    for (id, first, last) in &scan.copies {
        let Some(gone) = queues.get(id).map(|queue| &queue.gone) else { continue };
        let mut ranges = Vec::new();
        let mut next = Some(*first);
        while let Some((from, to)) = next.and_then(|from| gone.range_within(from, *last)) {
            ranges.push((from, to));
            next = to.checked_add(1);
        }
        if !ranges.is_empty() {
            storage.journal.append(vec![Entry::Settle { queue: *id, ranges }], false);
        }
    }
}

/// What the queue's segments hold. A block that was written again without its settled messages stands before the older one.
fn blocks(queue: &mut Returning, broker: &Broker, storage: &Storage, now: Millis) -> Result<(), StoreError> {
    let id = queue.cell.info.store_id;
    let mut found = storage.segments.scan(id)?;
    found.sort_by_key(|block| std::cmp::Reverse((block.place.segment, block.place.offset)));
    for block in found {
        let last = block.ranges.iter().map(|range| range.first + u64::from(range.count)).max().unwrap_or(0);
        queue.next = queue.next.max(last);
        let (place, ranges) = (to_queue(block.place), storage.to_queue_ranges(&block.ranges));
        // How many octets are in a queue with a limit of them is known when its bodies are. Damage is
        // told when somebody wants the messages.
        let counts = queue.cell.counts_bodies();
        let messages = counts.then(|| storage.read_block(&queue.cell, place).ok()).flatten();
        let messages = messages.as_ref().map(|(run, _)| run);
        let (level, octets) = (block.level, u64::from(block.octets));
        let stored = Stored { place, level, ranges: &ranges, octets, messages };
        storage.batch(broker, now, |scratch| queue.cell.restore_block(&stored, &queue.gone, scratch));
    }
    Ok(())
}

/// What lives in the journal alone.
fn journal(
    queues: &mut BTreeMap<u64, Returning>,
    broker: &Broker,
    storage: &Storage,
    scan: &Scan,
    now: Millis,
) -> Result<(), StoreError> {
    for published in &scan.publishes {
        let count = u64::from(published.count);
        let mut lives = false;
        for (id, first) in published.queues.iter() {
            if let Some(queue) = queues.get_mut(id) {
                queue.next = queue.next.max(first.saturating_add(count));
                lives |= !queue
                    .gone
                    .range_within(*first, first + count - 1)
                    .is_some_and(|(from, to)| from == *first && to == first + count - 1);
            }
        }
        if !lives {
            continue;
        }
        let arrived = published.arrived.saturating_sub(storage.epoch_ms);
        let Some(run) = Run::from_bytes(scan.read(published)?) else {
            tracing::error!("journal record {} does not hold messages", published.lsn.0);
            continue;
        };
        storage.batch(broker, now, |scratch| {
            for (id, first) in published.queues.iter() {
                let Some(queue) = queues.get(id) else { continue };
                queue.cell.restore_run(run.clone(), *first, arrived, &queue.gone, scratch);
            }
        });
        storage.write_at_once(broker, now)?;
    }
    Ok(())
}
