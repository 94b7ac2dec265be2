//! What blocks cost: the time to write, sync, find, read and release them.
//!
//! `cargo run --release -p warrenmq-store --example segment_rate FOLDER [BLOCKS] [OCTETS] [QUEUES]` makes FOLDER, writes
//! BLOCKS (1,000) blocks of OCTETS (131,072) to QUEUES (1) queues in turn, reads them in a new `Segments` and removes
//! FOLDER.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use warrenmq_store::{Block, BlockRange, Disk, FolderDisk, SegmentOptions, Segments};

/// Pieces of a block's body, as a queue that merges runs gives them.
const PIECES: usize = 8;
/// Ranges of a block.
const RANGES: u64 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: segment_rate FOLDER [BLOCKS] [OCTETS] [QUEUES]")?;
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (blocks, octets, queues) = (number(1_000)?, number(131_072)?, number(1)?.max(1));
    let folder = Path::new(&folder);
    fs::create_dir(folder)?;
    let disk: Arc<dyn Disk> = Arc::new(FolderDisk::new(folder));

    let segments = Segments::open(Arc::clone(&disk), SegmentOptions::default())?;
    let piece = Bytes::from(vec![7; octets as usize / PIECES]);
    let begin = Instant::now();
    for index in 0..blocks {
        segments.write(index % queues, &block(index, &piece))?;
    }
    report("written", blocks, begin.elapsed());
    let begin = Instant::now();
    segments.sync()?;
    report("synced", blocks, begin.elapsed());
    println!("{} octets in files", segments.octets());

    let segments = Segments::open(disk, SegmentOptions::default())?;
    let begin = Instant::now();
    let mut places = Vec::new();
    for queue in segments.queues()? {
        places.extend(segments.scan(queue)?.into_iter().map(|found| (queue, found.place)));
    }
    report("found", blocks, begin.elapsed());
    let begin = Instant::now();
    for (queue, place) in &places {
        segments.read(*queue, *place)?;
    }
    report("read", blocks, begin.elapsed());
    let begin = Instant::now();
    for (queue, place) in places {
        segments.release(queue, place)?;
    }
    report("released", blocks, begin.elapsed());
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn block(index: u64, piece: &Bytes) -> Block {
    let ranges = (0..RANGES).map(|number| BlockRange {
        first: (index * RANGES + number) * 200,
        count: 150,
        transient: false,
        arrived: 1_700_000_000_000 + index,
    });
    Block { level: 0, ranges: ranges.collect(), body: vec![piece.clone(); PIECES] }
}

fn report(what: &str, blocks: u64, took: Duration) {
    let each = took.as_secs_f64() * 1e6 / blocks.max(1) as f64;
    println!("{what} in {took:?}, {each:.1} us a block");
}
