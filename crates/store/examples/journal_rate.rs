//! How fast the journal is here: `journal_rate DIR [fresh]`. Records of 1 KiB and of 64 B by group commit, with what
//! a record costs in CPU and what a sync takes, then a scan of what is there. `fresh`: retired files are not used
//! again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use warrenmq_store::{
    Disk, DiskEntry, DiskFile, Entry, FolderDisk, Journal, JournalOptions, Lsn, Step, scan,
};

/// How long one kind of record is written.
const SPAN: Duration = Duration::from_secs(5);
/// Octets that are appended and not durable at most.
const WINDOW: u64 = 4 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: journal_rate DIR [fresh]");
    let recycle = arguments.next().is_none();
    for body in [1024, 64] {
        for per_record in [1, 64] {
            write(Path::new(&folder), body, per_record, recycle);
        }
    }
    read(Path::new(&folder));
}

/// Appends as fast as the disk takes it.
fn write(folder: &Path, body: usize, per_record: u32, recycle: bool) {
    let _ = fs::remove_dir_all(folder.join("journal"));
    let disk = Arc::new(TimedDisk { disk: FolderDisk::new(folder), syncs: Arc::default() });
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let found = scan(&*shared).expect("an empty folder can be read");
    let journal = Journal::begin(shared, JournalOptions::default(), &found).expect("the journal begins");
    let journal = Arc::new(journal);
    let commits = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || commit(&journal, recycle))
    };
    let records = Bytes::from(vec![7; body * per_record as usize]);
    let (begin, cpu) = (Instant::now(), cpu_ms());
    let mut position = 0;
    let mut waits = 0;
    while begin.elapsed() < SPAN {
        for _ in 0..64 {
            let queues = [(1, position)].into();
            let entry = Entry::Publish { queues, count: per_record, arrived: 0, records: records.clone() };
            journal.append(vec![entry], true);
            position += u64::from(per_record);
        }
        while journal.pending_octets() > WINDOW / 2 {
            waits += 1;
            thread::sleep(Duration::from_micros(200));
        }
    }
    journal.close();
    commits.join().expect("the commit thread ends");
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_ms() - cpu);
    let count = journal.end().0;
    let mut syncs = disk.syncs.lock().clone();
    syncs.sort_unstable();
    let half = syncs.get(syncs.len() / 2).copied().unwrap_or_default();
    println!(
        "{per_record:3} x {body:4} B: {:8.0} records/s, {:6.1} MB/s, {:6.3} us CPU a record, {} syncs, p50 {half:.1?}, {waits} waits",
        count as f64 / seconds,
        (count as f64 * records.len() as f64) / seconds / 1e6,
        cpu * 1e3 / count as f64,
        syncs.len(),
    );
}

fn commit(journal: &Journal, recycle: bool) {
    let begin = Instant::now();
    loop {
        match journal.step(begin.elapsed().as_millis() as u64).expect("the disk works") {
            Step::Worked { .. } => {
                for file in journal.closed_files() {
                    if recycle {
                        journal.retire(file.number).expect("the disk works");
                    }
                }
            }
            Step::Idle { .. } => journal.wait_for_work(Duration::from_millis(100)),
            Step::Closed => return,
        }
    }
}

/// Scans 128 MiB of records of 64 octets.
fn read(folder: &Path) {
    let _ = fs::remove_dir_all(folder.join("journal"));
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::new(folder));
    let options = JournalOptions { fsync: false, ..JournalOptions::default() };
    let found = scan(&*disk).expect("an empty folder can be read");
    let journal = Journal::begin(Arc::clone(&disk), options, &found).expect("the journal begins");
    while journal.octets() <= 128 << 20 {
        for _ in 0..10_000 {
            let queues = [(1, journal.end().0)].into();
            let entry =
                Entry::Publish { queues, count: 1, arrived: 0, records: Bytes::from_static(&[7; 64]) };
            journal.append(vec![entry], true);
        }
        while let Step::Worked { .. } = journal.step(0).expect("the disk works") {}
    }
    let resident = resident_mb();
    let begin = Instant::now();
    let found = scan(&*disk).expect("the journal is whole");
    let scanned = begin.elapsed();
    println!(
        "scan of {:.0} MiB: {scanned:.0?}, {} records, {:.0} ns and {:.0} octets of memory each",
        journal.octets() as f64 / f64::from(1 << 20),
        found.last.0,
        scanned.as_nanos() as f64 / found.last.0 as f64,
        (resident_mb() - resident) * 1e6 / found.last.0 as f64,
    );
    let begin = Instant::now();
    for published in &found.publishes {
        found.read(published).expect("the journal is whole");
    }
    println!("read again one by one: {:.0?}", begin.elapsed());
    assert_eq!(found.last, Lsn(found.publishes.len() as u64));
}

/// CPU that the process has used, in ms.
fn cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|field| fields.get(*field)?.parse::<f64>().ok()).sum();
    ticks * 10.0
}

fn resident_mb() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096.0 / 1e6
}

/// A folder that keeps how long each sync of a file took.
#[derive(Debug)]
struct TimedDisk {
    disk: FolderDisk,
    syncs: Arc<Mutex<Vec<Duration>>>,
}

#[derive(Debug)]
struct TimedFile {
    file: Arc<dyn DiskFile>,
    syncs: Arc<Mutex<Vec<Duration>>>,
}

impl TimedDisk {
    fn timed(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TimedFile { file, syncs: Arc::clone(&self.syncs) })
    }
}

impl Disk for TimedDisk {
    fn create(&self, path: &str, preallocate: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path, preallocate).map(|file| self.timed(file))
    }
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.timed(file))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<DiskEntry>> {
        self.disk.list(folder)
    }
    fn create_folder(&self, path: &str) -> io::Result<()> {
        self.disk.create_folder(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_folder(&self, path: &str) -> io::Result<()> {
        self.disk.remove_folder(path)
    }
    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_dir(folder)
    }
    fn free_octets(&self) -> io::Result<u64> {
        self.disk.free_octets()
    }
}

impl DiskFile for TimedFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(offset, pieces)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn sync(&self) -> io::Result<()> {
        let begin = Instant::now();
        let synced = self.file.sync();
        self.syncs.lock().push(begin.elapsed());
        synced
    }
    fn octets(&self) -> io::Result<u64> {
        self.file.octets()
    }
    fn set_octets(&self, octets: u64) -> io::Result<()> {
        self.file.set_octets(octets)
    }
}
