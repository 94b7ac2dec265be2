//! The one who writes segments: pages, places that are free, queues that are gone, journal files that can go.
//!
//! It works in rounds. A round that lets a file of the journal go first looks what has to move, and waits for the batches that are under
//! way: pages that they have made of the same messages are at hand then. It takes what there is to write, waits for the batches
//! that are under way (so that what they did stands in the journal), and for the journal up to there. Invariant: what a round writes or removes was durable in the journal
//! before, so segments never know more than the journal, and nothing goes while its going could be forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use warrenmq_protocol::Millis;
use warrenmq_queue::Page;
use warrenmq_store::{Block, BlockRange, CommitSeq, Lsn, Place, StoreError};

use super::checkpoint::{Checkpoint, Idle};
use super::sections::Turn;
use super::{Storage, to_queue};
use crate::broker::Broker;
use crate::queue_cell::QueueCell;

/// Journal files that are kept behind the current one while there is work: most of their messages are settled soon.
const FILES_KEPT: usize = 1;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Write {
    /// Bodies that leave memory.
    Pages { queue: Arc<QueueCell>, pages: Vec<Page>, octets: u64 },
    /// A block in which nothing lives any more.
    Free { queue: u64, place: Place },
    /// A queue that is gone, once its definition is.
    Delete { queue: u64, after: CommitSeq },
}

/// What a step of a worker came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done, and there may be more.
    More,
    /// It waits for what ends in a moment and wakes nobody.
    Soon,
    /// There is nothing to do until its signal is raised.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    phase: Phase,
    idle: Idle,
    /// Queues with more blocks to be written anew.
    holed: BTreeSet<u64>,
    /// Octets that the last checkpoint has added to the journal.
    cost: u64,
    /// Octets that batches had appended by then.
    before: u64,
}

/// What the present round waits for.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Resting,
    /// Batches that were under way when it was seen what has to move.
    Collected(Checkpoint, Turn),
    /// Batches that were under way when the round was put together.
    Batches(Round, Turn),
    /// Journal and definitions.
    Durable(Round, Lsn, CommitSeq),
    /// The journal once more, before its oldest file goes, if one does.
    Leaving(Option<u64>, Lsn),
}

#[derive(Debug)]
struct Round {
    writes: Vec<Write>,
    checkpoint: Option<Checkpoint>,
}

impl Writer {
    /// Does the next thing.
    pub(super) fn step(
        &mut self,
        storage: &Storage,
        broker: &Broker,
        now: Millis,
    ) -> Result<Progress, StoreError> {
        self.phase = match std::mem::take(&mut self.phase) {
            Phase::Resting => match self.collect(storage, broker, now)? {
                Some(checkpoint) => Phase::Collected(checkpoint, storage.sections.turn_over()),
                None => match gather(storage, None) {
                    Some(round) => Phase::Batches(round, storage.sections.turn_over()),
                    None => return Ok(Progress::Nothing),
                },
            },
            Phase::Collected(checkpoint, turn) if storage.sections.has_passed(turn) => {
                match gather(storage, Some(checkpoint)) {
                    Some(round) => Phase::Batches(round, storage.sections.turn_over()),
                    None => Phase::Resting,
                }
            }
            Phase::Batches(round, turn) if storage.sections.has_passed(turn) => {
                let seq = round.writes.iter().map(Write::after).max().unwrap_or_default();
                let lsn = storage.journal.end();
                storage.journal.want(lsn);
                Phase::Durable(round, lsn, seq)
            }
            Phase::Durable(round, lsn, seq)
                if storage.durable() >= lsn && broker.definitions_durable() >= seq =>
            {
                for write in round.writes {
                    write.execute(storage, broker, now)?;
                }
                match round.checkpoint {
                    None => Phase::Resting,
                    Some(checkpoint) => {
                        let file = checkpoint.file();
                        let (lsn, cost) = checkpoint.write(storage, broker, now)?;
                        (self.cost, self.before) = (cost, storage.appended.load(Ordering::Relaxed));
                        Phase::Leaving(file, lsn)
                    }
                }
            }
            Phase::Leaving(file, lsn) if storage.durable() >= lsn => {
                storage.segments.sync()?;
                if let Some(file) = file {
                    storage.journal.retire(file)?;
                    self.idle.retired(storage);
                }
                Phase::Resting
            }
            Phase::Durable(round, lsn, seq) => {
                // Who writes definitions does not wake this thread.
                let progress = if storage.durable() >= lsn { Progress::Soon } else { Progress::Nothing };
                self.phase = Phase::Durable(round, lsn, seq);
                return Ok(progress);
            }
            waiting => {
                let soon = matches!(waiting, Phase::Batches(..) | Phase::Collected(..));
                self.phase = waiting;
                return Ok(if soon { Progress::Soon } else { Progress::Nothing });
            }
        };
        Ok(Progress::More)
    }

    /// Whether a file that goes makes more room than what has to be said again takes: at least as much came from others since.
    fn is_worth(&self, closed: usize, storage: &Storage) -> bool {
        let since = storage.appended.load(Ordering::Relaxed) - self.before;
        closed > FILES_KEPT && since >= self.cost
    }

    /// What has to be done before the oldest file of the journal goes, if it is time for that.
    fn collect(
        &mut self,
        storage: &Storage,
        broker: &Broker,
        now: Millis,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let idle = self.idle.is_idle(storage, now);
        let closed = storage.journal.closed_files();
        if let Some(oldest) = closed.first()
            && if idle { self.idle.takes_one() } else { self.is_worth(closed.len(), storage) }
        {
            return Checkpoint::collect(oldest, storage, broker, now, &mut self.holed, idle).map(Some);
        }
        if idle && closed.is_empty() && self.idle.has_slack() {
            storage.journal.trim()?;
        }
        if storage.writes.lock().is_empty() {
            let had = !self.holed.is_empty();
            let more = Checkpoint::collect_holes(storage, broker, now, &mut self.holed)?;
            if had && self.holed.is_empty() {
                self.idle.begin_again();
            }
            return Ok(more);
        }
        Ok(None)
    }
}

/// A round of what there is to write now.
fn gather(storage: &Storage, checkpoint: Option<Checkpoint>) -> Option<Round> {
    let writes: Vec<Write> = storage.writes.lock().drain(..).collect();
    (checkpoint.is_some() || !writes.is_empty()).then_some(Round { writes, checkpoint })
}

impl Write {
    fn after(&self) -> CommitSeq {
        match self {
            Write::Delete { after, .. } => *after,
            _ => CommitSeq::default(),
        }
    }

    pub(super) fn execute(self, storage: &Storage, broker: &Broker, now: Millis) -> Result<(), StoreError> {
        match self {
            Write::Pages { queue, pages, octets } => {
                for page in pages {
                    write_page(&queue, page, storage, broker, now)?;
                }
                storage.pages_pending.fetch_sub(octets, Ordering::Relaxed);
                Ok(())
            }
            Write::Free { queue, place } => storage.segments.release(queue, place),
            Write::Delete { queue, .. } => storage.segments.delete_queue(queue),
        }
    }
}

/// Writes a page into a segment and tells its queue where it is.
pub(super) fn write_page(
    queue: &Arc<QueueCell>,
    page: Page,
    storage: &Storage,
    broker: &Broker,
    now: Millis,
) -> Result<(), StoreError> {
    // A queue that was deleted meanwhile must not get its folder back.
    if queue.is_deleted() {
        return Ok(());
    }
    let Page { id, level, ranges, pieces, .. } = page;
    let epoch = storage.epoch_ms;
    let ranges = ranges
        .iter()
        .map(|range| BlockRange {
            first: range.first,
            count: range.count,
            transient: range.transient,
            arrived: range.arrived + epoch,
        })
        .collect();
    let place = storage.segments.write(queue.info.store_id, &Block { level, ranges, body: pieces })?;
    storage.batch(broker, now, |scratch| queue.paged(id, to_queue(place), scratch));
    Ok(())
}
