//! `definitions.json` in the data folder: what is in the definitions database, readable, in RabbitMQ's format.
//!
//! Invariant: it is at most [`PAUSE`] older than the database while the broker runs, and the same when it has stopped.
//! It is a way out, never read by itself; a failure to write it is logged and hinders nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use warrenmq_broker::Broker;
use warrenmq_store::{DataDir, write_generation};

use super::spare_code;

const NAME: &str = "definitions.json";
/// What RabbitMQ's format has no place for: by which number the messages of a queue are found.
const NUMBERS: &str = "queue-numbers.json";

/// Files kept: this one and those before it.
const GENERATIONS: usize = 5;

/// Between two looks whether something has changed.
const PAUSE: Duration = Duration::from_secs(5);

/// The thread that keeps the file up to date.
#[derive(Debug)]
pub(super) struct Export {
    stop: SyncSender<()>,
    thread: JoinHandle<DataDir>,
}

impl Export {
    /// Starts it. The data folder comes back from [`Export::finish`].
    pub(super) fn start(broker: Arc<Broker>, data_dir: DataDir) -> io::Result<Export> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
            let mut written = None;
            loop {
                let ended = stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
                let version = broker.definitions_version();
                if written != Some(version) {
                    write(&broker, &data_dir);
                    written = Some(version);
                    spare_code::give_back();
                }
                if ended {
                    return data_dir;
                }
            }
        })?;
        Ok(Export { stop, thread })
    }

    /// Writes what has changed and gives the data folder back.
    pub(super) fn finish(self) -> Option<DataDir> {
        drop(self.stop);
        self.thread.join().ok()
    }
}

/// Writes the files anew.
pub(crate) fn write(broker: &Broker, data_dir: &DataDir) {
    let files =
        [(NAME, broker.export_definitions(), GENERATIONS), (NUMBERS, broker.export_queue_numbers(), 0)];
    for (name, octets, generations) in files {
        if let Err(error) = write_generation(data_dir, name, &octets, generations) {
            tracing::warn!("{} cannot be written: {error}", data_dir.path().join(name).display());
        }
    }
}
