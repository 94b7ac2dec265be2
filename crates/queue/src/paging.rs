//! Bodies that leave memory and come back.
//!
//! Invariants: a block is part of one page on its way to the disk at most, and is served as ever meanwhile; a body leaves memory
//! only when its block has a place; what a consumer would get next is not sent away; each load is asked for once; each place is
//! given back once, also when everything is gone before the disk has answered.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::block::{Block, Body, Piece};
use crate::delivery::Effects;
use crate::level::{Head, Level};
use crate::page::{Page, PageId, PageRange, Place, came_together};
use crate::positions::Positions;
use crate::queue::Queue;
use crate::rare::Rare;
use crate::run::Run;
use crate::weighing::weigh;
use crate::{Millis, Position};

/// Octets that are kept, or loaded, ahead of consumers.
const READ_AHEAD: u64 = 256 * 1024;

/// So many ranges of messages that came back are looked at for that.
const RETURNS_AHEAD: usize = 16;

/// Pages on their way to the disk.
pub(crate) type Writing = Rare<BTreeMap<PageId, Draft>>;

/// What is to be known of a page when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    pub(crate) priority: u8,
    pub(crate) count: u32,
    pub(crate) octets: u64,
}

impl Queue {
    /// Octets of bodies in memory, ready or not.
    pub fn resident(&self) -> u64 {
        self.ledger.resident
    }

    /// A page is written: its blocks are one stored block now. The body stays only if consumers would get it next. If
    /// nothing of it is left, the place is given back.
    pub fn paged(&mut self, id: PageId, place: Place, effects: &mut Effects) {
        let written =
            self.writing.remove(&id).and_then(|draft| Some((draft, self.drafted(id, draft.priority)?)));
        let Some((draft, (level, from, to))) = written else { return effects.freed.push(place) };
        let Queue { levels, ledger, .. } = self;
        let blocks = &mut levels[level].blocks;
        let bounds = (blocks.get(from).first, blocks.get(to).last);
        let mut merged = Block::stored(id, bounds, draft.count, draft.octets);
        (merged.live, merged.ready, merged.ready_size, merged.weight) = (0, 0, 0, 0);
        merged.place = Some(place);
        let mut pieces = Vec::new();
        let mut wanted = false;
        for index in from..=to {
            let block = blocks.get_mut(index);
            if block.is_dead() {
                continue;
            }
            merged.live += block.live;
            merged.ready += block.ready;
            merged.ready_size += block.ready_size;
            merged.weight += block.weight * u64::from(block.live) / u64::from(block.count);
            merged.persistent |= block.persistent;
            wanted |= block.loading;
            if let Some(old) = block.place.take() {
                ledger.release(old, effects);
            }
            pieces.extend(blocks.set_body(index, Body::Stored, ledger).into_pieces());
            ledger.stored -= 1;
        }
        ledger.stored += 1;
        blocks.replace(from, to, merged);
        let (at, index) = self.find(id).expect("invariant: the block was just put there");
        if pieces.is_empty() {
            if wanted {
                // What comes from the old place is of no use any more.
                self.want(at, index, effects);
            }
            return;
        }
        let Queue { levels, ledger, .. } = self;
        levels[at].blocks.set_body(index, Body::of_pieces(pieces), ledger);
        if !self.is_read() || !self.ahead().contains(&(at, index)) {
            self.drop_body(at, index);
        }
    }

    /// A page was not written after all: its blocks stay what they were.
    pub fn unpaged(&mut self, id: PageId) {
        let Some(draft) = self.writing.remove(&id) else { return };
        let Some((level, from, to)) = self.drafted(id, draft.priority) else { return };
        for index in from..=to {
            let block = self.levels[level].blocks.get_mut(index);
            if block.writing.take().is_some() {
                self.ledger.leaving -= block.body.octets();
            }
        }
    }

    /// At most `limit` stored blocks of which a tenth or more is gone: they are worth writing again, with [`Queue::rewrite`].
    pub fn holes(&self, limit: usize) -> Vec<(PageId, Place)> {
        let blocks = self.levels.iter().flat_map(|level| level.blocks.iter());
        let has_holes = |block: &&Block| {
            block.is_stored()
                && !block.loading
                && block.writing.is_none()
                && u64::from(block.live) * 10 <= u64::from(block.count) * 9
        };
        blocks.filter(has_holes).filter_map(|block| Some((block.id, block.place?))).take(limit).collect()
    }

    /// Whether nothing that is written at the place of a block is gone: then a restart needs to be told nothing about them.
    pub fn is_whole(&self) -> bool {
        let mut blocks = self.levels.iter().flat_map(|level| level.blocks.iter());
        blocks.all(|block| block.place.is_none() || block.live == block.count)
    }

    /// A page with what still lives of a stored block, whose ranges and octets were read. `None` when there is nothing to write any
    /// more, or these are not the octets of that block.
    pub fn rewrite(&mut self, id: PageId, ranges: &[PageRange], octets: Bytes) -> Option<Page> {
        let (at, index) = self.find(id)?;
        let block = self.levels[at].blocks.get(index);
        if !block.is_stored() || block.writing.is_some() {
            return None;
        }
        let soonest = block.soonest;
        let body = self.body_of(at, index, ranges, octets)?;
        self.note_ttl(&body);
        let Queue { levels, ledger, .. } = self;
        levels[at].blocks.set_body(index, body, ledger);
        let page = self.draft(at, index, index);
        let Queue { levels, ledger, .. } = self;
        levels[at].blocks.set_body(index, Body::Stored, ledger);
        levels[at].blocks.get_mut(index).soonest = soonest;
        Some(page)
    }

    /// A stored block was read from its place: its messages can be handed out now. Without effect if it is gone or stands elsewhere by
    /// now. Returns false if these are not the octets of that block.
    pub fn loaded(
        &mut self,
        id: PageId,
        place: Place,
        ranges: &[PageRange],
        octets: Bytes,
        effects: &mut Effects,
    ) -> bool {
        let Some((at, index)) = self.find(id) else { return true };
        let block = self.levels[at].blocks.get(index);
        if block.place != Some(place) || !block.is_stored() {
            return true;
        }
        let Some(body) = self.body_of(at, index, ranges, octets) else { return false };
        self.note_ttl(&body);
        let Queue { levels, ledger, unweighed, .. } = self;
        let level = &mut levels[at];
        level.blocks.set_body(index, body, ledger);
        let block = level.blocks.get_mut(index);
        block.loading = false;
        if !unweighed.is_none() {
            weigh(block, ledger.weight, unweighed);
        }
        let (first, last) = (block.first, block.last);
        let (mut size, mut next) = (0, first);
        while let Some((from, to)) = level.ready_within(next, last) {
            let block = level.blocks.get_mut(index);
            size += block.measure(from, to, ledger.weight);
            next = to + 1;
        }
        level.blocks.set_ready_size(index, size, ledger);
        self.bury(at, first, last, effects);
        self.watch(at, first, last);
        if self.expirable {
            self.drop_expired(effects);
            self.drop_expired_anywhere(effects);
        }
        self.hand_out(effects);
        self.drop_overflow(effects);
        true
    }

    /// Whether a load is still of use: what was asked for may be gone since, and its place with it.
    pub fn awaits(&self, id: PageId, place: Place) -> bool {
        let found = self.find(id).map(|(at, index)| self.levels[at].blocks.get(index));
        found.is_some_and(|block| block.place == Some(place) && block.is_stored())
    }

    /// Everything that is gone, in merged ascending ranges: what a restart has to be told so that nothing comes back that some
    /// file still holds. Not only what is in stored blocks: a message may stand in a page that was under way when it was
    /// settled, in a place that was given back but not overwritten, or in a record that is younger than its settlement.
    pub fn gone(&self) -> Vec<(Position, Position)> {
        let Some(end) = self.next.checked_sub(1) else { return Vec::new() };
        let mut live = Positions::new();
        for level in self.levels.iter() {
            for (first, last) in level.sets().into_iter().flat_map(Positions::ranges) {
                live.insert(first, last);
            }
        }
        let mut gone = Vec::new();
        let mut from = self.floor;
        for (first, last) in live.ranges().take_while(|(first, _)| *first <= end) {
            if from < first {
                gone.push((from, first - 1));
            }
            from = last + 1;
        }
        if from <= end {
            gone.push((from, end));
        }
        gone
    }
}

impl Queue {
    /// Asks for the body of a stored block, unless that was done.
    pub(crate) fn want(&mut self, at: usize, index: usize, effects: &mut Effects) {
        let block = self.levels[at].blocks.get_mut(index);
        if let Some(place) = block.place
            && block.is_stored()
            && !block.loading
        {
            block.loading = true;
            effects.loads.push((block.id, place));
        }
    }

    /// Asks for what consumers will get next, as far as it is not in memory.
    pub(crate) fn read_ahead(&mut self, effects: &mut Effects) {
        if self.is_read() {
            for (at, index) in self.ahead() {
                self.want(at, index, effects);
            }
        }
        if !self.unweighed.is_none() {
            self.weigh_next(effects);
        }
        if self.unsure {
            self.want_first_returned(effects);
            for at in 0..self.levels.len() {
                if let Some(Head::Stored(index)) = self.levels[at].head(&mut self.ledger)
                    && self.levels[at].blocks.get(index).soonest == 0
                {
                    self.want(at, index, effects);
                }
            }
        }
    }

    /// Whether somebody takes messages, so that the next ones are to be in memory.
    pub(crate) fn is_read(&self) -> bool {
        self.consumers.count() > 0 || self.fetched
    }

    /// The blocks that consumers would get next, each with its level.
    pub(crate) fn ahead(&self) -> Vec<(usize, usize)> {
        let mut ahead = Vec::new();
        let mut octets = 0;
        for (first, _) in self.returns.order.iter().take(RETURNS_AHEAD) {
            let Some(at) = self.levels.iter().position(|level| level.returned.contains(*first)) else {
                continue;
            };
            let place = (at, self.levels[at].blocks.first_from(*first));
            if octets < READ_AHEAD && !ahead.contains(&place) {
                octets += self.levels[at].blocks.get(place.1).ready_size;
                ahead.push(place);
            }
        }
        for (at, level) in self.levels.iter().enumerate().rev() {
            let mut next = level.ready.first();
            while let Some(position) = next
                && octets < READ_AHEAD
            {
                let index = level.blocks.first_from(position);
                if index == level.blocks.len() {
                    // It was gathered and is in no block yet.
                    break;
                }
                let block = level.blocks.get(index);
                if !ahead.contains(&(at, index)) {
                    ahead.push((at, index));
                }
                octets += block.ready_size;
                next = level.ready.first_from(block.last + 1);
            }
        }
        ahead
    }

    /// Octets in memory that nobody is sending away.
    pub fn staying(&self) -> u64 {
        self.ledger.resident - self.ledger.leaving
    }

    /// The level, and the first and the last block there, of a page that is being written, if any of it is left.
    fn drafted(&self, id: PageId, priority: u8) -> Option<(usize, usize, usize)> {
        let at = self.levels.find(priority)?;
        let blocks = &self.levels[at].blocks;
        let rest = (blocks.first_from(id.0)..blocks.len()).filter(|index| !blocks.get(*index).is_dead());
        let mut mine = rest.take_while(|index| blocks.get(*index).writing == Some(id));
        let first = mine.next()?;
        Some((at, first, mine.last().unwrap_or(first)))
    }

    pub(crate) fn find(&self, id: PageId) -> Option<(usize, usize)> {
        self.levels.iter().enumerate().find_map(|(at, level)| {
            let mut rest = level.blocks.first_from(id.0)..level.blocks.len();
            let index = rest.find(|index| !level.blocks.get(*index).is_dead())?;
            (level.blocks.get(index).id == id).then_some((at, index))
        })
    }

    /// The body leaves memory; when what stands first in it expires stays known.
    pub(crate) fn drop_body(&mut self, at: usize, index: usize) {
        self.note_leaving(at, index);
        let (ttl, Queue { levels, ledger, expirable, .. }) = (self.settings.message_ttl, self);
        let level = &mut levels[at];
        let block = level.blocks.get_mut(index);
        let first = level.ready.range_within(block.first, block.last).filter(|_| *expirable);
        block.soonest = first.and_then(|(first, _)| block.expires(first, ttl)).unwrap_or(Millis::MAX);
        level.blocks.set_body(index, Body::Stored, ledger);
    }

    /// Since a restart it may not have been known that something here expires.
    fn note_ttl(&mut self, body: &Body) {
        self.expirable |= body.pieces().iter().any(|piece| piece.run.has_ttl());
    }

    /// The body of a stored block, from the ranges and octets that were read. `None` when they are no such thing.
    fn body_of(&self, at: usize, index: usize, ranges: &[PageRange], octets: Bytes) -> Option<Body> {
        let run = Run::from_bytes(octets)?;
        let timed = self.expirable || run.has_ttl();
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut offset, mut count) = (0, 0_u32);
        for range in ranges {
            count = count.checked_add(range.count).filter(|count| *count <= run.count())?;
            let end = if count == run.count() { run.len() as u32 } else { run.skip(offset, range.count) };
            let size = end - offset;
            match pieces.last_mut() {
                Some(last) if range.first <= last.last() => return None,
                Some(last)
                    if last.last() + 1 == range.first
                        && came_together(last.arrived, range.arrived, timed) =>
                {
                    last.count += range.count;
                    last.size += size;
                    last.arrived = last.arrived.max(range.arrived);
                }
                _ => {
                    let (run, first, arrived) = (run.clone(), range.first, range.arrived);
                    pieces.push(Piece { run, first, count: range.count, offset, size, arrived });
                }
            }
            offset = end;
        }
        let (level, mut next) = (&self.levels[at], level_bounds(&self.levels[at], index));
        while let Some((from, to)) = level.live_within(next.0, next.1) {
            let piece = pieces.get(pieces.partition_point(|piece| piece.last() < from))?;
            if piece.first > from {
                return None;
            }
            next.0 = piece.last().min(to) + 1;
        }
        (count == run.count()).then(|| Body::of_pieces(pieces))
    }
}

pub(crate) fn level_bounds(level: &Level, index: usize) -> (Position, Position) {
    let block = level.blocks.get(index);
    (block.first, block.last)
}
