//! Segments on a simulated disk beside the naive list of what was written to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use warrenmq_store::{Block, BlockRange, Found, Place, SegmentOptions, Segments, StoreError};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

/// What is done to segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Writes a block to a queue; its body has about so many octets.
    Write { queue: u64, octets: usize, transient: bool },
    /// Makes all durable.
    Sync,
    /// Releases one of the live blocks of a queue: the one at this index, counted round.
    Release { queue: u64, index: usize },
    /// Deletes a queue.
    Delete { queue: u64 },
    /// The process is killed and starts again.
    Kill,
}

/// A block of which something may be on the disk.
#[derive(Debug, Clone)]
struct Written {
    queue: u64,
    /// Unknown when the write was refused and may have happened all the same.
    place: Option<Place>,
    block: Block,
    /// Must be there after any crash.
    durable: bool,
    /// Not released, as far as the running process knows.
    live: bool,
}

/// All blocks that may be found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    written: Vec<Written>,
    count: u64,
}

/// See the module.
pub(crate) struct Node {
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    segments: Segments,
    /// Where the disk stops, for good.
    frozen: Option<u64>,
}

/// Why a command was not done: the disk refused something.
#[derive(Debug)]
pub(crate) struct Refused;

/// So few that tests meet the bound.
const OPEN_FILES_MAX: usize = 2;

/// Starts on what is on the disk, which must be what the model says.
pub(crate) fn start(disk: SimDisk, model: &mut Model, frozen: Option<u64>) -> Result<Node, Refused> {
    if let Some(operation) = frozen {
        disk.freeze(operation);
    }
    let options = SegmentOptions { file_octets: 3000, open_files_max: OPEN_FILES_MAX };
    let segments = Segments::open(Arc::new(disk.clone()), options).map_err(|_| Refused)?;
    match look(&segments, model) {
        Ok(()) => {}
        Err(_) if frozen.is_some_and(|last| disk.operations() >= last) => return Err(Refused),
        Err(error) => panic!("{error}; files are {:?}", disk.files()),
    }
    Ok(Node { disk, model: model.clone(), segments, frozen })
}

/// Finds and reads everything and compares it. What was found is live from then on.
pub(crate) fn look(segments: &Segments, model: &mut Model) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let mut found_at: BTreeMap<u64, Vec<(Found, Option<Block>)>> = BTreeMap::new();
    for queue in segments.queues().map_err(text)? {
        for found in segments.scan(queue).map_err(text)? {
            let is_transient = found.ranges.iter().all(|range| range.transient);
            let block = match segments.read(queue, found.place) {
                Ok(block) => Some(block),
                Err(StoreError::Damaged { .. }) if is_transient => None,
                Err(error) => return Err(text(error)),
            };
            found_at.entry(queue).or_default().push((found, block));
        }
    }
    model.accept(&found_at)
}

impl Model {
    fn accept(&mut self, found_at: &BTreeMap<u64, Vec<(Found, Option<Block>)>>) -> Result<(), String> {
        for written in &mut self.written {
            written.live = false;
        }
        for (queue, all) in found_at {
            for (found, block) in all {
                let matches = |written: &&mut Written| {
                    let is_there =
                        written.queue == *queue && written.place.is_none_or(|place| place == found.place);
                    let header = (written.block.level, &written.block.ranges) == (found.level, &found.ranges);
                    is_there && header && block.as_ref().is_none_or(|block| same(block, &written.block))
                };
                // The newest first: a name may come again after everything of the queue was gone.
                match self.written.iter_mut().rev().find(matches) {
                    Some(written) if !written.live => {
                        (written.live, written.place) = (true, Some(found.place));
                    }
                    Some(_) => return Err(format!("{found:?} is there twice")),
                    None => return Err(format!("{found:?} of queue {queue} was never written")),
                }
            }
        }
        let mut missing = self.written.iter().filter(|written| written.durable && !written.live);
        match missing.next() {
            Some(Written { queue, place, .. }) => Err(format!("{place:?} of queue {queue} is missing")),
            None => Ok(()),
        }
    }

    /// After a power cut, what was not found must never be again.
    pub(crate) fn forget_what_was_not_found(&mut self) {
        self.written.retain(|written| written.live);
    }

    fn live(&self, queue: u64) -> Vec<usize> {
        let all = self.written.iter().enumerate();
        let live = all.filter(|(_, written)| written.live && written.queue == queue);
        live.map(|(index, _)| index).collect()
    }
}

impl Node {
    pub(crate) fn apply(&mut self, command: Command) -> Result<(), Refused> {
        match command {
            Command::Write { queue, octets, transient } => self.write(queue, octets, transient),
            Command::Sync => self.sync(),
            Command::Release { queue, index } => self.release(queue, index),
            Command::Delete { queue } => self.delete(queue),
            Command::Kill => {
                self.disk = self.disk.crash_process();
                let live = self.model.all_live();
                *self = start(self.disk.clone(), &mut self.model, self.frozen)?;
                assert!(live.is_subset(&self.model.all_live()), "a killed process loses nothing");
                Ok(())
            }
        }
    }

    fn write(&mut self, queue: u64, octets: usize, transient: bool) -> Result<(), Refused> {
        let block = self.model.next_block(octets, transient);
        let place = self.segments.write(queue, &block).map_err(|_| Refused);
        assert!(self.disk.open_files() <= OPEN_FILES_MAX);
        if let Ok(place) = place {
            let read = self.segments.read(queue, place);
            let is_over = self.frozen.is_some_and(|last| self.disk.operations() >= last);
            assert!(is_over || same(&read.expect("it was written"), &block));
        }
        let live = place.is_ok();
        self.model.written.push(Written {
            queue,
            place: place.as_ref().ok().copied(),
            block,
            durable: false,
            live,
        });
        place.map(drop)
    }

    pub(crate) fn sync(&mut self) -> Result<(), Refused> {
        self.segments.sync().map_err(|_| Refused)?;
        for written in &mut self.model.written {
            written.durable = written.live && !written.block.ranges.iter().all(|range| range.transient);
        }
        let files = self.disk.files();
        let is_there = |written: &Written| {
            let path = written.place.map(|place| path_of(written.queue, place));
            path.is_none_or(|path| files.iter().any(|(file, _)| *file == path))
        };
        // A file that is gone by now is gone for good.
        self.model.written.retain(is_there);
        Ok(())
    }

    fn release(&mut self, queue: u64, index: usize) -> Result<(), Refused> {
        let live = self.model.live(queue);
        if live.is_empty() {
            return Ok(());
        }
        let written = &mut self.model.written[live[index % live.len()]];
        let place = written.place.expect("it is live");
        (written.live, written.durable) = (false, false);
        self.segments.release(queue, place).map_err(|_| Refused)?;
        let mut others =
            self.model.live(queue).into_iter().filter_map(|index| self.model.written[index].place);
        let files = self.disk.files();
        let is_there = files.iter().any(|(file, _)| *file == path_of(queue, place));
        assert_eq!(is_there, others.any(|other| other.segment == place.segment), "{place:?} was released");
        Ok(())
    }

    fn delete(&mut self, queue: u64) -> Result<(), Refused> {
        for written in self.model.written.iter_mut().filter(|written| written.queue == queue) {
            (written.live, written.durable) = (false, false);
        }
        self.segments.delete_queue(queue).map_err(|_| Refused)?;
        let folder = format!("queues/{queue:016x}/");
        assert!(self.disk.files().iter().all(|(path, _)| !path.starts_with(&folder)));
        Ok(())
    }

    /// All live blocks, read and compared.
    pub(crate) fn check(&self) {
        for written in self.model.written.iter().filter(|written| written.live) {
            match self.segments.read(written.queue, written.place.expect("it is live")) {
                Ok(block) => assert!(same(&block, &written.block)),
                Err(error) => {
                    let torn = written.block.ranges.iter().all(|range| range.transient);
                    assert!(torn && matches!(error, StoreError::Damaged { .. }), "{error}");
                }
            }
        }
    }
}

impl Model {
    fn next_block(&mut self, octets: usize, transient: bool) -> Block {
        self.count += 1;
        let mut random = Random::new(self.count);
        let range = |first, transient| BlockRange { first, count: 3, transient, arrived: self.count };
        let first = self.count * 100;
        let mut ranges = vec![range(first, transient)];
        if random.chance(300) {
            ranges.push(range(first + 10, true));
        }
        let half = || octets / 2;
        let pieces = [half(), octets - half()];
        let body = pieces.map(|octets| random.octets(octets));
        Block { level: self.count as u8, ranges, body: body.map(Bytes::from).to_vec() }
    }

    fn all_live(&self) -> BTreeSet<u64> {
        let live = self.written.iter().filter(|written| written.live);
        live.map(|written| written.block.ranges[0].first).collect()
    }
}

fn same(left: &Block, right: &Block) -> bool {
    (left.level, &left.ranges, left.body.concat()) == (right.level, &right.ranges, right.body.concat())
}

fn path_of(queue: u64, place: Place) -> String {
    format!("queues/{queue:016x}/{:08x}.seg", place.segment)
}
