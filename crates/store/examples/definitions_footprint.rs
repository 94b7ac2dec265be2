//! What definitions cost: resident memory, threads, disk and time. The numbers quoted in
//! `docs/internals/definitions-store.md` come from here.
//!
//! `cargo run --release -p warrenmq-store --example definitions_footprint FOLDER [COUNT]` opens FOLDER, adds COUNT
//! definitions through the writer, then times single commits; without COUNT it only opens and loads, which in a
//! process of its own is what a start costs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_store::{Change, DataDir, DefinitionStore, DefinitionWriter, SledDefinitions};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: definitions_footprint FOLDER [COUNT]")?;
    let count: usize = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let folder = Path::new(&folder);

    report("process", folder)?;
    let begin = Instant::now();
    let dir = DataDir::open(folder)?;
    let mut store = SledDefinitions::open(&dir)?;
    println!("opened in {:?}", begin.elapsed());
    println!("{} definitions loaded", store.load()?.len());
    report("store open", folder)?;
    if count > 0 {
        single_commits(&mut store)?;
        report("after them", folder)?;
        pipelined_submits(store, count)?;
        report("after them", folder)?;
    }
    Ok(())
}

fn single_commits(store: &mut SledDefinitions) -> Result<(), Box<dyn Error>> {
    let mut micros = Vec::new();
    for number in 0..1_000 {
        let begin = Instant::now();
        store.commit(&[queue(number)])?;
        micros.push(begin.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("1000 single commits: median {} us, 99th percentile {} us", micros[500], micros[990]);
    Ok(())
}

fn pipelined_submits(store: SledDefinitions, count: usize) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let failed = Box::new(|error| panic!("{error}"));
    let writer = DefinitionWriter::spawn(Box::new(store), Box::new(|_| {}), failed);
    for number in 0..count {
        writer.submit(vec![queue(number)])?;
    }
    writer.close()?;
    println!("{count} pipelined submits durable in {:?}", begin.elapsed());
    Ok(())
}

/// A definition of the size that a queue's has.
fn queue(number: usize) -> Change {
    Change::Put {
        key: format!("queue/production/orders-{number:06}").into(),
        value: number.to_le_bytes().repeat(25),
    }
}

/// Reports after the allocator had time to give back what is free.
fn report(what: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    thread::sleep(Duration::from_secs(3));
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
    };
    let (resident, threads) = (field("VmRSS:"), field("Threads:"));
    println!("{what}: {resident} kB resident, {threads} threads, {} kB on disk", disk(folder)? / 1024);
    Ok(())
}

fn disk(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { disk(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}
