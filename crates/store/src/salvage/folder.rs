//! Replacing parts of a data folder so that nothing is lost on the way.
//!
//! Invariant: what is replaced is moved to a folder of its own, `salvage-…`, and stays there. From before the first move until after
//! the last there is a file by which the broker refuses to start; a salvage that finds it puts back what has no successor yet.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::data_dir::{DataDir, UNFINISHED};
use crate::generation::{sync_folder, write_atomically};

/// A data folder in which parts are being replaced.
#[derive(Debug)]
pub(super) struct Replacing {
    folder: PathBuf,
    aside: PathBuf,
    scratch: PathBuf,
}

impl Replacing {
    /// Begins. `time` names the folder for what is replaced.
    pub(super) fn begin(dir: &DataDir, time: u64) -> io::Result<Replacing> {
        let folder = dir.path().to_owned();
        put_back(&folder)?;
        // Two within a second are two.
        let names = (time..).map(|time| format!("salvage-{time}"));
        let name = names.into_iter().find(|name| !folder.join(name).exists());
        let name = name.expect("invariant: there are more times than folders");
        let aside = folder.join(&name);
        fs::create_dir(&aside)?;
        sync_folder(&folder)?;
        write_atomically(&folder, UNFINISHED, name.as_bytes())?;
        let scratch = folder.join(SCRATCH);
        fresh_folder(&scratch)?;
        Ok(Replacing { folder, aside, scratch })
    }

    /// Where what was replaced is.
    pub(super) fn aside(&self) -> &Path {
        &self.aside
    }

    /// Where successors are made, under the names that they will have.
    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Moves `name` aside and its successor, if one was made and synced, to its place.
    pub(super) fn replace(&self, name: &str) -> io::Result<()> {
        rename(&self.folder.join(name), &self.aside.join(name))?;
        rename(&self.scratch.join(name), &self.folder.join(name))
    }

    /// Ends: everything is where it belongs.
    pub(super) fn finish(self) -> io::Result<()> {
        remove_folder(&self.scratch)?;
        fs::remove_file(self.folder.join(UNFINISHED))?;
        sync_folder(&self.folder)
    }
}

/// Whether a salvage has begun and not finished.
pub(super) fn is_unfinished(dir: &DataDir) -> bool {
    dir.path().join(UNFINISHED).exists()
}

/// Below the data folder; the name tells that it may be removed.
const SCRATCH: &str = "salvage.tmp";

/// Makes an empty folder.
pub(super) fn fresh_folder(path: &Path) -> io::Result<()> {
    remove_folder(path)?;
    fs::create_dir(path)
}

pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    fine_when_absent(fs::remove_dir_all(path))
}

pub(super) fn fine_when_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Copies a folder with everything in it that is not there yet.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    let items = fs::read_dir(from)?;
    fs::create_dir_all(to)?;
    for item in items {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy_folder(&item.path(), &target)?;
        } else if !target.exists() {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

/// Undoes the moves of a salvage that was cut short, as far as nothing has taken the place.
fn put_back(folder: &Path) -> io::Result<()> {
    let name = match fs::read_to_string(folder.join(UNFINISHED)) {
        Ok(name) => name,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let aside = folder.join(name.trim());
    // The files of segments are replaced one by one, everything else as a whole.
    for name in ["definitions", "definitions.marker", "journal"] {
        restore(&aside.join(name), &folder.join(name))?;
    }
    for queue in names(&aside.join("queues"))? {
        let below = Path::new("queues").join(queue);
        for file in names(&aside.join(&below))? {
            restore(&aside.join(&below).join(&file), &folder.join(&below).join(&file))?;
        }
    }
    Ok(())
}

/// Moves back what has no successor.
fn restore(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() { Ok(()) } else { rename(from, to) }
}

/// What is in a folder; nothing when it is not there.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name())).collect(),
    }
}

/// Moves a file or folder, durably; fine when it is not there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let (Some(from_folder), Some(to_folder)) = (from.parent(), to.parent()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(to_folder)?;
    fs::rename(from, to)?;
    sync_folder(to_folder)?;
    sync_folder(from_folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDirError;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_salvage_that_was_cut_short_is_put_back_and_done_again() {
        // How many of the steps were done before it was cut short.
        for steps in 0..5 {
            let temp = tempfile::tempdir().unwrap();
            let folder = temp.path();
            let dir = DataDir::open(folder).unwrap();
            let fill = |below: &Path, text: &str| {
                for name in ["journal", "queues/1"] {
                    fs::create_dir_all(below.join(name)).unwrap();
                    fs::write(below.join(name).join("file"), text).unwrap();
                }
            };
            fill(folder, "old");
            let replacing = Replacing::begin(&dir, 7).unwrap();
            assert!(is_unfinished(&dir));
            fill(replacing.scratch(), "new");
            match steps {
                0 => {}
                1 => rename(&folder.join("journal"), &replacing.aside().join("journal")).unwrap(),
                2 => replacing.replace("journal").unwrap(),
                3 => {
                    replacing.replace("journal").unwrap();
                    rename(&folder.join("queues/1/file"), &replacing.aside().join("queues/1/file")).unwrap();
                }
                _ => {
                    replacing.replace("journal").unwrap();
                    replacing.replace("queues/1/file").unwrap();
                }
            }
            drop(dir);
            assert!(matches!(DataDir::open(folder), Err(DataDirError::Unfinished { .. })), "{steps}");

            let dir = DataDir::open_existing(folder).unwrap();
            let again = Replacing::begin(&dir, 7).unwrap();
            assert!(again.aside().ends_with("salvage-8"));
            let states = [("old", "old"), ("old", "old"), ("new", "old"), ("new", "old"), ("new", "new")];
            let (journal, queue) = states[steps];
            assert_eq!(text(&folder.join("journal/file")), journal, "{steps}");
            assert_eq!(text(&folder.join("queues/1/file")), queue, "{steps}");
            again.finish().unwrap();
            drop(dir);
            DataDir::open(folder).unwrap();
        }
    }

    #[test]
    fn what_is_replaced_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        fs::create_dir(temp.path().join("journal")).unwrap();
        fs::write(temp.path().join("journal/1.log"), "old").unwrap();
        let replacing = Replacing::begin(&dir, 7).unwrap();
        // Without a successor it is only moved; what is not there is fine.
        replacing.replace("journal").unwrap();
        replacing.replace("queues/1").unwrap();
        let aside = replacing.aside().to_owned();
        replacing.finish().unwrap();
        assert_eq!(text(&aside.join("journal/1.log")), "old");
        assert!(!temp.path().join("journal").exists() && !temp.path().join(SCRATCH).exists());
    }
}
