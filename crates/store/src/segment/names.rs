//! Owns the names of folders and files. Invariant: only a name that was made here is taken for one.

use crate::disk::{Disk, DiskEntry};
use crate::store_error::StoreError;

/// The folder of all queues.
pub(super) const FOLDER: &str = "queues";
const SUFFIX: &str = ".seg";

/// The folder of a queue.
pub(crate) fn folder_path(queue: u64) -> String {
    format!("{FOLDER}/{queue:016x}")
}

/// A file of a queue.
pub(super) fn file_path(queue: u64, number: u32) -> String {
    format!("{FOLDER}/{queue:016x}/{number:08x}{SUFFIX}")
}

/// The number of the file with this name, if it is one.
pub(super) fn file_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (format!("{number:08x}{SUFFIX}") == name).then_some(number)
}

/// The queues that have folders, ascending.
pub(super) fn queues_on(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    let entries = disk.list(FOLDER).map_err(|error| StoreError::io(FOLDER, "listing", error))?;
    let mut queues: Vec<u64> = queues_among(&entries).collect();
    queues.sort_unstable();
    Ok(queues)
}

/// The queues whose folders are among the entries of [`FOLDER`].
pub(super) fn queues_among(entries: &[DiskEntry]) -> impl Iterator<Item = u64> {
    entries.iter().filter(|entry| entry.is_folder).filter_map(|entry| {
        let id = u64::from_str_radix(&entry.name, 16).ok()?;
        (format!("{id:016x}") == entry.name).then_some(id)
    })
}
