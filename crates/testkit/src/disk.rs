//! A disk in memory that can crash, lie, fill up and fail, all of it as a seed says.
//!
//! Invariant: it grants what [`warrenmq_store::Disk`] promises and nothing else. What was written since the last sync of a
//! file, and names since the last sync of their folder, are there after a [`SimDisk::crash`] by chance: each sector of
//! 512 octets, each length and each name by itself. A folder needs a durable name too, or what is in it goes with it.

mod content;
mod crash;
mod faults;
mod names;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::Mutex;
use warrenmq_store::{Disk, DiskEntry, DiskFile};

use crate::random::Random;
use content::{Content, Sector};
pub use crash::Crash;
use crash::Fate;
pub use faults::Operation;
use faults::{Faults, broken, full};
use names::{FileId, Names, Node};

/// A handle to a simulated disk; clones are handles to the same one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
struct State {
    names: Names,
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    faults: Faults,
    /// Octets that files with a name may have together.
    capacity: u64,
    /// Whether blocks that were allocated and never written show what the disk held before.
    garbage: bool,
    /// Sectors of removed files.
    old: VecDeque<Sector>,
}

#[derive(Debug, Clone)]
struct File {
    content: Content,
    has_name: bool,
    handles: usize,
}

impl SimDisk {
    /// An empty disk with room for 1 TiB.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::from_state(State {
            names: Names::new(),
            files: BTreeMap::new(),
            next_file: 0,
            faults: Faults::default(),
            capacity: 1 << 40,
            garbage: false,
            old: VecDeque::new(),
        })
    }

    /// The disk after a power cut now: a new one without faults, with new counters. This one stays as it is, so that
    /// other outcomes can be looked at, and what still holds files of it changes nothing on the new one. The kind of
    /// [`Crash`] is drawn from the seed as well.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimDisk {
        let state = self.state.lock();
        let mut random = Random::new(seed);
        let crash = Crash::drawn(&mut random, &state.pending());
        state.after(Fate { crash, random, garbage: state.garbage })
    }

    /// [`SimDisk::crash`] with a given kind.
    #[must_use]
    pub fn crash_with(&self, crash: Crash, seed: u64) -> SimDisk {
        let state = self.state.lock();
        state.after(Fate { crash, random: Random::new(seed), garbage: state.garbage })
    }

    /// The disk after the process was killed now: a new one on which everything written is there, and what was not
    /// synced still is not. Faults are gone; the number of [`SimDisk::operations`] goes on.
    #[must_use]
    pub fn crash_process(&self) -> SimDisk {
        let mut state = self.state.lock().clone();
        state.files.values_mut().for_each(|file| file.handles = 0);
        state.faults = Faults::counting_from(state.faults.operations);
        state.forget_files();
        SimDisk::from_state(state)
    }

    /// Operations tried so far that change something; reading, listing and opening do not count.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().faults.operations
    }

    /// Operations of one kind tried so far.
    #[must_use]
    pub fn tried(&self, operation: Operation) -> u64 {
        self.state.lock().faults.tried(operation)
    }

    /// Octets written to files whose path begins with `prefix`, since this disk is there.
    #[must_use]
    pub fn octets_written(&self, prefix: &str) -> u64 {
        self.state.lock().faults.written(prefix)
    }

    /// Nothing changes any more after the operation with this number (as [`SimDisk::operations`] counts); it and all before
    /// it happen. Every later call fails, reading too.
    pub fn freeze(&self, operation: u64) {
        self.state.lock().faults.frozen_after = Some(operation);
    }

    /// One operation of this kind fails with EIO after `after` more have succeeded. What a sync would have made durable is
    /// lost in the next crash, even if a later sync succeeds; a write has happened by half.
    pub fn fail_once(&self, operation: Operation, after: u64) {
        self.state.lock().faults.add(operation, after, false);
    }

    /// As [`SimDisk::fail_once`], and all later ones fail too.
    pub fn fail_from(&self, operation: Operation, after: u64) {
        self.state.lock().faults.add(operation, after, true);
    }

    /// Every so many reads, one gives half of what is there; 0 for none. A disk never does that: it is a fault.
    pub fn shorten_reads(&self, each: u64) {
        self.state.lock().faults.short_read_each = each;
    }

    /// Ends failing operations and short reads. What was lost stays lost.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// So many octets more, and the disk is full.
    pub fn set_free(&self, octets: u64) {
        let mut state = self.state.lock();
        state.capacity = state.used().saturating_add(octets);
    }

    /// Whether a crash may show, in blocks whose file had grown over them and whose data was lost, what removed files held.
    /// Otherwise they read as zeros. Holds for disks after a crash too.
    pub fn set_garbage(&self, shows: bool) {
        self.state.lock().garbage = shows;
    }

    /// Flips bit `offset % 8` of the octet at `offset`, as damage at rest.
    ///
    /// # Errors
    /// When there is no such file, or it ends before.
    pub fn flip(&self, path: &str, offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.names.file(path)?;
        let content = &mut state.file(file).content;
        if offset >= content.octets() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        content.flip(offset);
        Ok(())
    }

    /// All files by path, with their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state.lock();
        let files = state.names.files().into_iter();
        files.map(|(path, file)| (path, state.files[&file].content.octets())).collect()
    }

    /// A whole file, whatever the faults are.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        let file = state.names.file(path)?;
        let content = &state.file(file).content;
        let mut octets = vec![0; content.octets() as usize];
        content.read(0, &mut octets);
        Ok(octets)
    }

    /// Files that are open, with and without a name; each counts once.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.state.lock().files.values().filter(|file| file.handles > 0).count()
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn handle(&self, state: &mut State, file: FileId, path: &str) -> Arc<dyn DiskFile> {
        state.file(file).handles += 1;
        Arc::new(SimFile { disk: self.clone(), file, path: path.to_owned() })
    }
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str, preallocate: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.admit(Operation::Create)?;
        let operation = state.faults.operations;
        if state.names.find(path).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if preallocate > state.free() {
            return Err(full());
        }
        let file = state.next_file;
        state.names.link(path, file, operation)?;
        state.next_file += 1;
        let content = Content::new(preallocate, operation);
        state.files.insert(file, File { content, has_name: true, handles: 0 });
        Ok(self.handle(&mut state, file, path))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.admit(Operation::Open)?;
        let file = state.names.file(path)?;
        Ok(self.handle(&mut state, file, path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<DiskEntry>> {
        let mut state = self.state.lock();
        state.admit(Operation::List)?;
        let names = match state.names.list(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        let entry = |(name, node)| match node {
            Node::File(file) => {
                DiskEntry { name, is_folder: false, octets: state.files[&file].content.octets() }
            }
            Node::Folder(_) => DiskEntry { name, is_folder: true, octets: 0 },
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn create_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.admit(Operation::CreateFolder)?;
        let operation = state.faults.operations;
        state.names.create_folder(path, operation)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.admit(Operation::Rename)?;
        let operation = state.faults.operations;
        let replaced = state.names.rename(from, to, operation)?;
        state.lost_their_names(replaced);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.admit(Operation::Remove)?;
        let operation = state.faults.operations;
        match state.names.unlink(path, operation) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => {
                state.lost_their_names([removed?]);
                Ok(())
            }
        }
    }

    fn remove_folder(&self, path: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.admit(Operation::RemoveFolder)?;
        let operation = state.faults.operations;
        match state.names.remove_folder(path, operation) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => {
                state.lost_their_names(removed?);
                Ok(())
            }
        }
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let succeeds = state.faults.admit(Operation::SyncDir)?;
        state.names.sync(folder, succeeds)?;
        state.forget_files();
        if succeeds { Ok(()) } else { Err(broken()) }
    }

    fn free_octets(&self) -> io::Result<u64> {
        Ok(self.state.lock().free())
    }
}

/// An open file; it is there as long as this, with or without a name.
struct SimFile {
    disk: SimDisk,
    file: FileId,
    path: String,
}

impl SimFile {
    fn write(&self, offset: u64, octets: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let succeeds = state.faults.admit(Operation::Write)?;
        let operation = state.faults.operations;
        let end = state.file(self.file).content.octets();
        let room = if state.file(self.file).has_name { state.free() } else { u64::MAX };
        let fits = end.saturating_add(room).saturating_sub(offset).min(octets.len() as u64) as usize;
        let written = if succeeds { &octets[..fits] } else { &octets[..fits.min(octets.len() / 2)] };
        state.file(self.file).content.write(offset, written, operation);
        state.faults.count_written(&self.path, written.len() as u64);
        match succeeds {
            false => Err(broken()),
            true if fits < octets.len() => Err(full()),
            true => Ok(()),
        }
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        match pieces {
            [piece] => self.write(offset, piece),
            pieces => self.write(offset, &pieces.concat()),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        state.admit(Operation::Read)?;
        let is_short = state.faults.read_is_short();
        let asked = if is_short { into.len() / 2 } else { into.len() };
        Ok(state.file(self.file).content.read(offset, &mut into[..asked]))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let succeeds = state.faults.admit(Operation::Sync)?;
        let content = &mut state.file(self.file).content;
        if succeeds {
            content.sync();
            Ok(())
        } else {
            content.give_up();
            Err(broken())
        }
    }

    fn octets(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        state.admit(Operation::Octets)?;
        Ok(state.file(self.file).content.octets())
    }

    fn set_octets(&self, octets: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.admit(Operation::SetOctets)?;
        let operation = state.faults.operations;
        state.file(self.file).content.set_octets(octets, operation);
        Ok(())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SimFile").field(&self.path).finish()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        let file = state.file(self.file);
        file.handles -= 1;
        if file.handles == 0 && !file.has_name {
            state.forget_files();
        }
    }
}

impl State {
    fn file(&mut self, file: FileId) -> &mut File {
        self.files.get_mut(&file).expect("invariant: files are there as long as a name or a handle")
    }

    /// For operations that happen whole or not at all.
    fn admit(&mut self, operation: Operation) -> io::Result<()> {
        if self.faults.admit(operation)? { Ok(()) } else { Err(broken()) }
    }

    fn used(&self) -> u64 {
        self.files.values().filter(|file| file.has_name).map(|file| file.content.octets()).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    fn pending(&self) -> Vec<u64> {
        let contents = self.files.values().flat_map(|file| file.content.pending());
        let mut pending: Vec<u64> = contents.chain(self.names.pending()).collect();
        pending.sort_unstable();
        pending.dedup();
        pending
    }

    fn after(&self, mut fate: Fate) -> SimDisk {
        let names = self.names.after(&mut fate);
        let old: Vec<Sector> = self.old.iter().cloned().collect();
        let mut files = BTreeMap::new();
        for (_, file) in names.files() {
            let content = self.files[&file].content.after(&mut fate, &old);
            files.insert(file, File { content, has_name: true, handles: 0 });
        }
        let faults = Faults::default();
        SimDisk::from_state(State { names, files, faults, old: self.old.clone(), ..*self })
    }

    fn lost_their_names(&mut self, files: impl IntoIterator<Item = FileId>) {
        for file in files {
            self.file(file).has_name = false;
            let remains: Vec<Sector> = self.files[&file].content.remains().collect();
            self.old.extend(remains);
        }
        let too_many = self.old.len().saturating_sub(OLD_SECTORS_MAX);
        self.old.drain(..too_many);
        self.forget_files();
    }

    /// Forgets files that nobody can reach, before or after a crash.
    fn forget_files(&mut self) {
        let names = &self.names;
        self.files.retain(|id, file| file.has_name || file.handles > 0 || names.may_return(*id));
    }
}

/// Sectors of removed files that are remembered.
const OLD_SECTORS_MAX: usize = 256;
