//! Pages are made of what is in memory.
//!
//! Invariants: a page holds what lives of blocks that stand beside each other, each message once; a block is part of one page on its
//! way to the disk at most.

use crate::Position;
use crate::block::{Block, Piece};
use crate::level::Level;
use crate::page::{Page, PageRange};
use crate::paging::{Draft, level_bounds};
use crate::queue::Queue;

impl Queue {
    /// Sends bodies away until at most `keep` octets stay: those that have a place are dropped, the others are returned as pages
    /// of about `block_octets`, to be answered with [`Queue::paged`] or [`Queue::unpaged`]. The lowest priority goes first, its
    /// newest messages before its oldest; what consumers would get next stays.
    pub fn page_out(&mut self, keep: u64, block_octets: usize) -> Vec<Page> {
        let mut pages = Vec::new();
        if self.staying() <= keep {
            return pages;
        }
        let mut ahead = if self.is_read() { self.ahead() } else { Vec::new() };
        ahead.sort_unstable();
        for at in 0..self.levels.len() {
            let is_ahead = |block: usize| ahead.binary_search(&(at, block)).is_ok();
            self.levels[at].seal(&mut self.ledger);
            let mut end = self.levels[at].blocks.len();
            while end > 0 && self.staying() > keep {
                end -= 1;
                let blocks = &self.levels[at].blocks;
                let leaves = |index: usize| !is_ahead(index) && is_movable(blocks.get(index));
                if !leaves(end) {
                    continue;
                }
                if blocks.get(end).place.is_some() {
                    self.drop_body(at, end);
                    continue;
                }
                let mut from = end;
                let mut octets = live_octets(blocks.get(end));
                while let Some(index) = from.checked_sub(1) {
                    let block = blocks.get(index);
                    octets += live_octets(block);
                    let joins = leaves(index) && block.place.is_none() && octets <= block_octets as u64;
                    if !block.is_dead() && !joins {
                        break;
                    }
                    from = index;
                }
                pages.push(self.draft(at, from, end));
                end = from;
            }
        }
        pages
    }

    /// Pages of about `block_octets` with everything that begins at `up_to` or before, outlives a restart and has no place yet.
    pub fn checkpoint(&mut self, up_to: Position, block_octets: usize) -> Vec<Page> {
        let mut pages = Vec::new();
        for at in 0..self.levels.len() {
            self.levels[at].seal(&mut self.ledger);
            let mut from = 0;
            while from < self.levels[at].blocks.len() {
                let blocks = &self.levels[at].blocks;
                let is_due = |block: &Block| {
                    block.first <= up_to && block.persistent && block.place.is_none() && is_movable(block)
                };
                if blocks.get(from).first > up_to {
                    break;
                }
                if !is_due(blocks.get(from)) {
                    from += 1;
                    continue;
                }
                let mut to = from;
                let mut octets = live_octets(blocks.get(from));
                while to + 1 < blocks.len() {
                    let block = blocks.get(to + 1);
                    octets += live_octets(block);
                    let joins = is_due(block) && octets <= block_octets as u64;
                    if !block.is_dead() && !joins {
                        break;
                    }
                    to += 1;
                }
                pages.push(self.draft(at, from, to));
                from = to + 1;
            }
        }
        pages
    }

    /// The page with what lives of the blocks from `from` to `to`, which are marked as being written.
    pub(crate) fn draft(&mut self, at: usize, from: usize, to: usize) -> Page {
        let Queue { levels, ledger, expirable, .. } = self;
        let level = &mut levels[at];
        let first = (from..=to).find(|index| !level.blocks.get(*index).is_dead()).unwrap_or(from);
        let mut page = Page::new(level.blocks.get(first).id, level.priority);
        for index in first..=to {
            if level.blocks.get(index).is_dead() {
                continue;
            }
            copy_live(level, index, *expirable, ledger.keeps_all, &mut page);
            let block = level.blocks.get_mut(index);
            block.writing = Some(page.id);
            ledger.leaving += block.body.octets();
        }
        let draft = Draft { priority: page.level, count: page.count(), octets: page.octets };
        self.writing.insert(page.id, draft);
        page
    }
}

/// Whether the body may leave memory: it is there, and nobody is sending it away already.
fn is_movable(block: &Block) -> bool {
    !block.is_dead() && !block.is_stored() && block.writing.is_none()
}

/// About how many octets of a block with a body live.
fn live_octets(block: &Block) -> u64 {
    block.octets * u64::from(block.live) / u64::from(block.count)
}

/// Appends what lives of a block to a page.
fn copy_live(level: &mut Level, index: usize, timed: bool, keeps_all: bool, page: &mut Page) {
    let (mut next, last) = level_bounds(level, index);
    while let Some((from, to)) = level.live_within(next, last) {
        let block = level.blocks.get_mut(index);
        let (piece, offset) = block.locate(from);
        let piece = &block.body.pieces()[piece];
        let to = to.min(piece.last());
        let end = piece.end_of(from, offset, (to - from + 1) as u32);
        page.octets += u64::from(end - offset);
        page.pieces.push(piece.run.slice(offset, end));
        push_ranges(piece, (from, to, offset), timed, keeps_all, page);
        next = to + 1;
    }
}

/// Appends the ranges of messages of a piece to a page, parted by whether they outlive a restart.
fn push_ranges(
    piece: &Piece,
    (first, last, mut offset): (Position, Position, u32),
    timed: bool,
    keeps_all: bool,
    page: &mut Page,
) {
    let Piece { run, arrived, .. } = piece;
    let arrived = *arrived;
    if keeps_all || run.persistent() == 0 || run.persistent() == run.count() {
        let (count, transient) = ((last - first + 1) as u32, !keeps_all && run.persistent() == 0);
        return page.push(PageRange { first, count, transient, arrived }, timed);
    }
    for first in first..=last {
        let transient = !run.persistent_at(offset);
        page.push(PageRange { first, count: 1, transient, arrived }, timed);
        offset += run.size_at(offset);
    }
}
