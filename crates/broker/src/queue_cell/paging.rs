//! A queue and the disk: what its messages in memory cost, which of them leave, and how they come back.
//!
//! Invariant: pages, loads and freed places are noted while the queue is locked and handed over at the end of the batch, so the
//! order of the work is the order of the queue.

use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::{
    Attempted, Effects, Page, PageId, PageRange, Place, Position, Positions, Queue, Run, Stored,
};
use warrenmq_store::Entry;

use super::{QueueCell, Scratch, State};
use crate::delayed::Delays;
use crate::inbox::{Inbox, Notice};
use crate::storage::{Load, Work, attempts};

/// Memory is reported to the node in steps of this size, so that its counter is touched seldom.
const REPORT_OCTETS: i64 = 32 * 1024;

impl QueueCell {
    /// Whether the queue is gone.
    pub(crate) fn is_deleted(&self) -> bool {
        self.state.lock().deleted
    }

    /// Whether a block is still to be read from there.
    pub(crate) fn awaits(&self, id: PageId, place: Place) -> bool {
        let state = self.state.lock();
        !state.deleted && state.queue.awaits(id, place)
    }

    /// A page is written. Time does not pass by this: at the start, nothing may expire before all queues are back.
    pub(crate) fn paged(&self, id: PageId, place: Place, scratch: &mut Scratch) {
        let mut state = self.state.lock();
        if state.deleted {
            return;
        }
        state.queue.paged(id, place, &mut scratch.effects);
        self.finish(&mut state, u64::MAX, scratch);
    }

    /// A page is not needed: its messages stand in the journal again.
    pub(crate) fn unpaged(&self, id: PageId) {
        self.state.lock().queue.unpaged(id);
    }

    /// A block was read. `false`: what was read is not what was written.
    pub(crate) fn loaded(
        &self,
        id: PageId,
        place: Place,
        ranges: &[PageRange],
        body: bytes::Bytes,
        window: u64,
        scratch: &mut Scratch,
    ) -> bool {
        let mut whole = true;
        self.with(window, scratch, |queue, effects| whole = queue.loaded(id, place, ranges, body, effects));
        self.tell_fetchers(scratch);
        if let Some(bucket) = self.bucket() {
            bucket.tell(scratch.now);
        }
        whole
    }

    /// A block was read, or is not needed any more: those whose basic.get waits try again.
    pub(crate) fn tell_fetchers(&self, scratch: &mut Scratch) {
        let fetchers = self.state.lock().fetchers.take();
        for inbox in fetchers {
            scratch.touched.put(&inbox, |mail| mail.notices.push(Notice::Loaded));
        }
    }

    /// What has to move before a file of the journal goes that names positions up to `up_to`.
    pub(crate) fn checkpoint(&self, up_to: Position, block_octets: usize) -> Vec<Page> {
        let mut state = self.state.lock();
        if state.deleted { Vec::new() } else { state.queue.checkpoint(up_to, block_octets) }
    }

    /// What recovery has to be told of this queue when the journal loses what it knows.
    pub(crate) fn gone(&self) -> Vec<(Position, Position)> {
        let state = self.state.lock();
        if state.deleted { Vec::new() } else { state.queue.gone() }
    }

    /// How often messages came back, as far as that is counted.
    pub(crate) fn attempts(&self) -> Vec<Attempted> {
        let state = self.state.lock();
        if state.deleted { Vec::new() } else { state.queue.attempts() }
    }

    /// Whether recovery can do without being told anything.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().queue.is_whole()
    }

    /// Blocks that are worth writing again. Bodies that stand on disk, too, leave memory for that where nobody is about to get them.
    pub(crate) fn holes(&self, limit: usize) -> Vec<(PageId, Place)> {
        self.state.lock().queue.holes(limit)
    }

    /// Bodies leave memory where nobody is about to get them. Returns what is not on disk yet.
    pub(crate) fn rest(&self, block_octets: usize) -> Vec<Page> {
        let mut state = self.state.lock();
        if state.deleted { Vec::new() } else { state.queue.page_out(0, block_octets) }
    }

    /// The page of such a block.
    pub(crate) fn rewrite(
        &self,
        id: PageId,
        ranges: &[PageRange],
        body: bytes::Bytes,
        scratch: &mut Scratch,
    ) -> Option<Page> {
        let mut page = None;
        self.with(u64::MAX, scratch, |queue, _| page = queue.rewrite(id, ranges, body));
        page
    }

    /// Everything from here on was never handed out.
    pub(crate) fn delivered_below(&self) -> Position {
        self.state.lock().queue.delivered_below()
    }

    /// Puts a block of a segment back, at the start.
    pub(crate) fn restore_block(&self, block: &Stored<'_>, gone: &Positions, scratch: &mut Scratch) {
        self.with(u64::MAX, scratch, |queue, effects| {
            if !queue.restore_block(block, gone) {
                effects.freed.push(block.place);
            }
        });
    }

    /// Whether the octets of bodies count.
    pub(crate) fn counts_bodies(&self) -> bool {
        self.state.lock().queue.counts_bodies()
    }

    /// Puts messages of the journal back, at the start.
    pub(crate) fn restore_run(
        &self,
        run: Run,
        first: Position,
        arrived: Millis,
        gone: &Positions,
        scratch: &mut Scratch,
    ) {
        self.with(u64::MAX, scratch, |queue, _| queue.restore_run(&run, first, arrived, gone));
    }

    /// Notes how often messages came back, at the start.
    pub(crate) fn restore_attempted(&self, attempted: Attempted, scratch: &mut Scratch) {
        self.with(u64::MAX, scratch, |queue, _| queue.restore_attempted(attempted));
    }

    /// Everything is back; what there is no room for leaves memory. What else that causes waits for [`QueueCell::begin_again`].
    pub(crate) fn restored(&self, next: Position, delivered_below: Option<Position>, scratch: &mut Scratch) {
        let mut state = self.state.lock();
        state.queue.restored(next, delivered_below);
        if self.bucket.is_some() {
            let floor = Delays::floor_of(state.queue.end());
            state.queue.begin_at(floor);
        }
        self.keep_books(&mut state, scratch);
    }

    /// All queues are back: what has expired or is too much goes.
    pub(crate) fn begin_again(&self, scratch: &mut Scratch) {
        self.with(u64::MAX, scratch, Queue::begin_again);
    }

    /// Notes what a command means for the disk.
    #[inline]
    pub(super) fn keep_books(&self, state: &mut State, scratch: &mut Scratch) {
        self.note_gone(&mut scratch.effects, &mut scratch.work);
        if state.queue.staying() > scratch.work.share || self.bucket.is_some() {
            self.page_out(&mut state.queue, scratch);
        }
        if !scratch.effects.loads.is_empty() || !scratch.effects.freed.is_empty() {
            self.note_places(scratch);
        }
        let change = state.queue.resident() as i64 - state.reported;
        if change.abs() >= REPORT_OCTETS {
            state.reported += change;
            scratch.work.resident += change;
        }
    }

    /// The queue is gone: what it reported is free.
    pub(super) fn close_books(&self, state: &mut State, scratch: &mut Scratch) {
        scratch.work.resident -= std::mem::take(&mut state.reported);
    }

    /// What is done with for good, of a durable queue.
    #[inline]
    pub(super) fn note_gone(&self, effects: &mut Effects, work: &mut Work) {
        if !effects.gone.is_empty() {
            let ranges = std::mem::take(&mut effects.gone);
            work.entries.push(Entry::Settle { queue: self.info.store_id, ranges });
        }
        if !effects.attempts.is_empty() {
            let notes = effects.attempts.drain(..).map(|attempted| attempts::note(&attempted, work.epoch_ms));
            work.entries.push(Entry::Note { queue: self.info.store_id, notes: notes.collect() });
        }
    }

    fn page_out(&self, queue: &mut Queue, scratch: &mut Scratch) {
        let (share, keep) = match &self.bucket {
            Some(bucket) => bucket.share(scratch.work.share),
            None => (scratch.work.share, scratch.work.share / 2),
        };
        if queue.staying() <= share {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        let pages = queue.page_out(keep, scratch.work.block_octets);
        if !pages.is_empty() {
            scratch.work.pages.push((me, pages));
        }
    }

    fn note_places(&self, scratch: &mut Scratch) {
        let Some(me) = self.me.upgrade() else { return };
        let load = |(id, place)| Load { queue: Arc::clone(&me), id, place };
        scratch.work.loads.extend(scratch.effects.loads.drain(..).map(load));
        let id = self.info.store_id;
        scratch.work.freed.extend(scratch.effects.freed.drain(..).map(|place| (id, place)));
    }
}

impl State {
    /// A basic.get waits for the next block.
    pub(super) fn await_load(&mut self, inbox: &Arc<Inbox>) {
        self.fetchers.push(Arc::clone(inbox));
    }
}
