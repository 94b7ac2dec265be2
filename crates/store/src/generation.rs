//! Owns files that are replaced whole: written beside their name, synced, renamed over it. Invariant: at every
//! instant, through any crash, the name holds one complete content, the old or the new.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::data_dir::DataDir;

/// Replaces the file `name` of the data folder by `bytes`, durably, and keeps what it held before as `name.1`,
/// what that held as `name.2`, and so on, `keep` of them. The same bytes again are not a new generation: restarts
/// must not push the last different content out.
///
/// # Errors
/// Whatever the file system says. `name` then still holds its old or already its new content, whole; and
/// [`io::ErrorKind::InvalidInput`] for a name that is a path.
pub fn write_generation(dir: &DataDir, name: &str, bytes: &[u8], keep: usize) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a file name")));
    }
    match fs::read(dir.path().join(name)) {
        Ok(current) if current == bytes => return Ok(()),
        Ok(_) => rotate(dir.path(), name, keep)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write_atomically(dir.path(), name, bytes)
}

/// Makes `folder/name` hold `bytes`: when this returns, the content and the name are on disk.
pub(crate) fn write_atomically(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, folder.join(name))?;
    sync_folder(folder)
}

/// Makes the names in a folder durable; the content of the files is their own affair.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves every generation one up and drops what is beyond `keep`. The newest is linked, not moved, so that `name`
/// itself is never missing; renaming over a name drops the oldest.
fn rotate(folder: &Path, name: &str, keep: usize) -> io::Result<()> {
    let generation = |number: usize| folder.join(format!("{name}.{number}"));
    // More than now is kept may be there from a time when more was asked for.
    for number in keep.max(1).. {
        match fs::remove_file(generation(number)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    if keep == 0 {
        return Ok(());
    }
    for number in (1..keep).rev() {
        match fs::rename(generation(number), generation(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match fs::hard_link(folder.join(name), generation(1)) {
        // Some file systems have no hard links; a copy costs more and gives the same.
        Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(EPERM) => {
            fs::copy(folder.join(name), generation(1)).map(|_| ())
        }
        other => other,
    }
}

/// What link(2) answers on a file system without hard links.
const EPERM: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// What `d.json`, `d.json.1`, … hold, in this order; other names beginning so would break the order.
    fn contents(dir: &DataDir) -> String {
        let mut paths: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.to_string_lossy().contains("d.json"));
        paths.sort();
        let texts: Vec<_> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(paths.iter().all(|path| path.extension().unwrap() != "tmp"), "{paths:?}");
        texts.join(" ")
    }

    #[test]
    fn generations_move_up_and_the_oldest_goes() {
        // (write this, keep so many, then the folder holds these, newest first)
        let steps = [
            ("one", 2, "one"),
            ("two", 2, "two one"),
            ("three", 2, "three two one"),
            ("four", 2, "four three two"),
            ("four", 2, "four three two"),
            ("five", 1, "five four"),
            ("six", 0, "six"),
            ("seven", 3, "seven six"),
        ];
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        for (bytes, keep, expected) in steps {
            write_generation(&dir, "d.json", bytes.as_bytes(), keep).unwrap();
            assert_eq!(contents(&dir), expected, "after {bytes} keeping {keep}");
        }
    }

    #[test]
    fn a_leftover_of_a_crash_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        fs::write(temp.path().join("d.json.tmp"), "half of somethi").unwrap();
        write_generation(&dir, "d.json", b"whole", 1).unwrap();
        assert_eq!(contents(&dir), "whole");
    }

    #[test]
    fn a_name_is_not_a_path() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        for name in ["", ".", "..", "a/b", "../a", "/etc/a", "a\\b"] {
            let error = write_generation(&dir, name, b"x", 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
