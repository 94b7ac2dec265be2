//! A journal on a simulated disk beside the model of what it was told.

use std::sync::Arc;

use warrenmq_store::{Journal, JournalOptions, Note, StoreError, scan};
use warrenmq_testkit::disk::SimDisk;
use warrenmq_testkit::random::Random;

use crate::model::{Item, Model};

/// What is done to a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Appends one record with a body of so many octets, and wants it synced or not.
    Publish { octets: usize, wanted: bool },
    /// Appends settles of what was published.
    Settle,
    /// Appends a record of several entries.
    Mixed,
    /// Appends what an orderly stop does.
    Delivered,
    /// Lets one group be written; this many ms have passed.
    Step { after: u64 },
    /// Asks for a new file and lets a group be written.
    Rotate,
    /// Retires the oldest closed file.
    Retire,
    /// The process is killed and starts again.
    Kill,
}

/// See the module.
pub(crate) struct Node {
    pub(crate) disk: SimDisk,
    pub(crate) model: Model,
    journal: Journal,
    options: JournalOptions,
    now: u64,
    position: u64,
    /// Where the disk stops, for good.
    frozen: Option<u64>,
}

/// Why a node is no more: the disk refused something.
#[derive(Debug)]
pub(crate) struct Refused;

/// Small files and groups, so that histories of a few records have several of both.
pub(crate) fn options(fsync: bool) -> JournalOptions {
    JournalOptions { file_octets: 4096, group_octets: 1500, fsync, lazy_sync_ms: 200, lazy_sync_octets: 3000 }
}

/// Starts on what is on the disk, which must be what the model says. A disk that is frozen after `frozen` operations ends
/// the start; the model then says what must be there all the same.
pub(crate) fn start(
    disk: SimDisk,
    model: &mut Model,
    options: JournalOptions,
    frozen: Option<u64>,
) -> Result<Node, Refused> {
    if let Some(operation) = frozen {
        disk.freeze(operation);
    }
    let found = match scan(&disk) {
        Ok(found) => found,
        Err(StoreError::Io { .. }) if frozen.is_some_and(|last| disk.operations() >= last) => {
            return Err(Refused);
        }
        Err(error) => panic!("the start was refused: {error}; files are {:?}", disk.files()),
    };
    if let Err(error) = model.accept(&found) {
        panic!("{error}; files are {:?}", disk.files());
    }
    let journal = Journal::begin(Arc::new(disk.clone()), options.clone(), &found).map_err(|_| Refused)?;
    assert_eq!(journal.end().0, model.end());
    assert_eq!(journal.durable().0, model.end());
    model.durable = model.end();
    let highest = |item: &Item| match item {
        Item::Publish { queues, count, .. } => queues[0].1 + u64::from(*count),
        _ => 0,
    };
    let position = model.records.iter().flatten().map(highest).max().unwrap_or(0);
    Ok(Node { disk, model: model.clone(), journal, options, now: 0, position, frozen })
}

impl Node {
    pub(crate) fn apply(&mut self, command: Command) -> Result<(), Refused> {
        match command {
            Command::Publish { octets, wanted } => {
                let publish = self.publish(octets);
                self.append(vec![publish], wanted);
            }
            Command::Settle => {
                let settle = self.settle();
                self.append(vec![settle], false);
            }
            Command::Mixed => {
                let items =
                    vec![self.settle(), self.publish(0), self.note(), self.publish(700), self.settle()];
                self.append(items, true);
            }
            Command::Delivered => {
                let delivered = |queue| Item::Delivered { queue, below: self.position };
                self.append(vec![delivered(1), delivered(2)], true);
            }
            Command::Step { after } => {
                self.now += after;
                self.step()?;
            }
            Command::Rotate => {
                self.journal.rotate();
                self.step()?;
            }
            Command::Retire => self.retire()?,
            Command::Kill => {
                let frozen = self.frozen;
                self.disk = self.disk.crash_process();
                *self = start(self.disk.clone(), &mut self.model, self.options.clone(), frozen)?;
            }
        }
        Ok(())
    }

    /// Lets groups be written until all that was appended is durable.
    pub(crate) fn drain(&mut self) {
        self.journal.want(self.journal.end());
        while self.model.durable < self.model.end() {
            self.step().expect("nothing fails here");
        }
    }

    fn append(&mut self, items: Vec<Item>, wanted: bool) {
        let lsn = self.journal.append(items.iter().map(Item::entry).collect(), wanted);
        self.model.records.push(items);
        assert_eq!((lsn.0, self.journal.end().0), (self.model.end(), self.model.end()));
    }

    pub(crate) fn step(&mut self) -> Result<(), Refused> {
        let outcome = self.journal.step(self.now);
        let durable = self.journal.durable().0;
        assert!(durable >= self.model.durable && durable <= self.model.end(), "durable is {durable}");
        self.model.durable = durable;
        outcome.map(drop).map_err(|_| Refused)
    }

    /// The file's LSNs are read from the headers, as the storage format has them.
    fn retire(&mut self) -> Result<(), Refused> {
        let closed = self.journal.closed_files();
        let Some(oldest) = closed.first() else { return Ok(()) };
        let logs = self.disk.files().into_iter().filter(|(path, _)| path.ends_with(".log"));
        let mut first_lsns = logs.map(|(path, _)| {
            let header = self.disk.read(&path).expect("it was listed");
            u64::from_le_bytes(header[24..32].try_into().expect("8 octets"))
        });
        let (oldest_first, next_first) = (first_lsns.next(), first_lsns.next());
        // Without a file behind it, it is the end of what was written, which is durable then.
        let behind = next_first.unwrap_or(self.model.durable + 1);
        assert!(oldest_first <= Some(behind), "files are {:?}", self.disk.files());
        self.model.retired = behind - 1;
        self.journal.retire(oldest.number).map_err(|_| Refused)
    }

    fn publish(&mut self, octets: usize) -> Item {
        let count = 1 + octets as u32 % 3;
        let first = self.position;
        self.position += u64::from(count);
        // The body names its record, so that nothing can take the place of another one unnoticed.
        let mut random = Random::new(self.model.end() << 32 | first ^ self.now << 48);
        let body = random.octets(octets);
        let queues =
            if octets.is_multiple_of(2) { vec![(1, first)] } else { vec![(1, first), (3, first + 7)] };
        Item::Publish { queues, count, arrived: random.draw(), body }
    }

    fn note(&self) -> Item {
        let at = self.position.saturating_sub(1);
        let note = |first, value| Note { first, last: at, value, time: self.now };
        Item::Note { queue: 2, notes: vec![note(at, 1), note(at.saturating_sub(2), 2)] }
    }

    fn settle(&self) -> Item {
        let at = self.position.saturating_sub(3);
        Item::Settle { queue: 1, ranges: vec![(at, at), (at + 2, at + 4)] }
    }
}
