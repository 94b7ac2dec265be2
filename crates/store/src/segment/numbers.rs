//! Owns the numbers of files. Invariant: no two files of a data folder ever had the same number, whatever crashes came
//! between, until all of the 2^32 were used: what the disk held before is never taken for what a file holds.
//!
//! Numbers are reserved many at a time, with the name of an empty file that is durable before the first is used.

use super::Segments;
use super::books::Books;
use super::names::FOLDER;
use crate::disk::DiskEntry;
use crate::store_error::StoreError;

/// Gives numbers out.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The next one; files have its low half.
    next: u64,
    /// The first that is not reserved.
    reserved: u64,
}

impl Numbers {
    /// Goes on behind all that was reserved in the folder.
    pub(super) fn after(entries: &[DiskEntry]) -> Numbers {
        let next = entries.iter().filter_map(|entry| reservation(&entry.name)).max().unwrap_or(1);
        Numbers { next, reserved: next }
    }

    /// Does not give out the number of a file that is there, wherever it came from.
    pub(super) fn skip(&mut self, number: u32) {
        self.next = self.next.max(u64::from(number) + 1);
        self.reserved = self.reserved.max(self.next);
    }
}

impl Segments {
    /// A number that no file had.
    pub(super) fn draw_number(&self, books: &mut Books) -> Result<u32, StoreError> {
        if books.numbers.next == books.numbers.reserved {
            self.reserve_numbers(books)?;
        }
        let number = books.numbers.next as u32;
        books.numbers.next += 1;
        Ok(number)
    }

    fn reserve_numbers(&self, books: &mut Books) -> Result<(), StoreError> {
        let until = books.numbers.next + NUMBERS_RESERVED;
        let path = reservation_path(until);
        let entries = self.disk.list(FOLDER).map_err(|error| StoreError::io(FOLDER, "listing", error))?;
        self.disk.create(&path, 0).map_err(|error| StoreError::io(&path, "making", error))?;
        self.sync_folder(books, FOLDER)?;
        books.numbers.reserved = until;
        for old in entries.iter().filter_map(|entry| reservation(&entry.name)) {
            // Should it stay, or come back, the higher one counts.
            let _ = self.disk.remove(&reservation_path(old));
        }
        Ok(())
    }
}

/// Numbers that one name reserves. A start loses as many at most.
const NUMBERS_RESERVED: u64 = 4096;
const SUFFIX: &str = ".next";

fn reservation_path(until: u64) -> String {
    format!("{FOLDER}/{until:016x}{SUFFIX}")
}

fn reservation(name: &str) -> Option<u64> {
    let until = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    // Above that there would be no next one.
    (until < u64::MAX >> 1 && format!("{until:016x}{SUFFIX}") == name).then_some(until)
}
