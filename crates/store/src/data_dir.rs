//! Owns the data folder as a whole: that it exists, is writable, has a format this program knows, and belongs to
//! one process at a time. Invariant: while a `DataDir` lives, no other one can be opened on the same folder; a folder says that it
//! has a newer format no sooner than the broker that writes it has understood everything in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::generation::write_atomically;

/// The format of the data folder that this program writes, and the newest that it reads. All before are read as well:
///
/// 1. definitions alone;
/// 2. queues have numbers, messages lie in `journal/` and `queues/`.
pub const FORMAT_VERSION: u32 = 2;

/// A data folder that this process owns. Dropping it gives the folder back; so does the death of the process,
/// however it comes, because the kernel holds the lock and not a file's presence.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    format: u32,
    /// Holds the lock by being open. The file's text is the owner's process id, for the message of others only.
    _lock: File,
}

impl DataDir {
    /// Opens the folder at `path`, creating it (and its parents) when it is not there.
    ///
    /// # Errors
    /// Every [`DataDirError`] is one line for the operator. Nothing is changed in a folder that is refused, apart
    /// from the lock file being created.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        fs::create_dir_all(path)
            .map_err(|source| DataDirError::CannotCreate { path: path.to_owned(), source })?;
        let not_writable = |source| DataDirError::NotWritable { path: path.to_owned(), source };
        // Absolute, so that a later change of the working folder does not move the broker's data.
        let path = path.canonicalize().map_err(not_writable)?;
        let lock = take_lock(&path)?;
        probe_writing(&path).map_err(not_writable)?;
        if path.join(UNFINISHED).exists() {
            return Err(DataDirError::Unfinished { path });
        }
        let format = match read_format(&path)? {
            Some(format) => format,
            None => {
                write_format(&path)?;
                FORMAT_VERSION
            }
        };
        Ok(DataDir { path, format, _lock: lock })
    }

    /// Opens a folder that a broker has made, and makes none. For tools that look at it: nothing in it is changed but the lock, and a
    /// salvage that was not finished is no hindrance.
    ///
    /// # Errors
    /// As [`DataDir::open`]; [`DataDirError::NotThere`] when there is no folder or it has no file `format`.
    pub fn open_existing(path: &Path) -> Result<DataDir, DataDirError> {
        let not_there = || DataDirError::NotThere { path: path.to_owned() };
        let path = path.canonicalize().map_err(|_| not_there())?;
        // Asked before the lock, which would leave its file behind wherever a tool is pointed at.
        let format = read_format(&path)?.ok_or_else(not_there)?;
        let lock = take_lock(&path)?;
        Ok(DataDir { path, format, _lock: lock })
    }

    /// The format that the folder has, at most [`FORMAT_VERSION`].
    #[must_use]
    pub fn format(&self) -> u32 {
        self.format
    }

    /// Gives the folder the format of this program, durably. Only after everything in it was read, so that a start that fails
    /// leaves a folder that the older version takes. Says which format it had, if it was another.
    ///
    /// # Errors
    /// [`DataDirError::NotWritable`].
    pub fn upgrade(&mut self) -> Result<Option<u32>, DataDirError> {
        if self.format == FORMAT_VERSION {
            return Ok(None);
        }
        write_format(&self.path)?;
        Ok(Some(std::mem::replace(&mut self.format, FORMAT_VERSION)))
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why a data folder was refused. `Display` is one line that names the folder and the way out.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder is not there and cannot be made.
    #[error(
        "data folder {} cannot be created: {source}; create it for this user or choose another with --data-dir",
        path.display()
    )]
    CannotCreate {
        /// The folder asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no folder, or it is none of a broker.
    #[error("{} is no data folder of a broker: it is not there, or there is no file `format` in it", path.display())]
    NotThere {
        /// The folder asked for.
        path: PathBuf,
    },
    /// The folder is there, but this process cannot read and write files in it.
    #[error(
        "data folder {} is not writable: {source}; give it to this user or choose another with --data-dir",
        path.display()
    )]
    NotWritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another broker has the folder.
    #[error(
        "data folder {} is in use by another running broker{}; stop that one or choose another with --data-dir",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// A later version of the program has written the folder.
    #[error(
        "data folder {} has format {found}, this program knows up to {known}; start the newer version that wrote it \
         or choose another with --data-dir",
        path.display()
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// The format in the folder.
        found: u32,
        /// The newest format known here, [`FORMAT_VERSION`].
        known: u32,
    },
    /// Parts of the folder are in another place.
    #[error(
        "data folder {} was left in the middle of a salvage; run `warrenmq ctl store salvage {}` again",
        path.display(), path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// The file `format` is there and says nothing that any version would have written.
    #[error(
        "data folder {} is not one of this program: its file `format` reads {found:?}; choose another with \
         --data-dir, or, if it is a broker's folder, write \"warrenmq {FORMAT_VERSION}\" into that file",
        path.display()
    )]
    UnknownFormat {
        /// The folder.
        path: PathBuf,
        /// The beginning of what the file holds.
        found: String,
    },
}

const LOCK_FILE: &str = "warrenmq.lock";
/// There while a salvage replaces parts of the folder; names the folder that what was replaced is moved to.
pub(crate) const UNFINISHED: &str = "salvage.unfinished";
const FORMAT_FILE: &str = "format";
const FORMAT_NAME: &str = "warrenmq";

fn take_lock(path: &Path) -> Result<File, DataDirError> {
    let not_writable = |source| DataDirError::NotWritable { path: path.to_owned(), source };
    // Never truncated before the lock is ours: the text in it belongs to the owner.
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_FILE))
        .map_err(not_writable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Best effort: the owner may be between locking and writing its number.
            let _ = lock.read_to_string(&mut text);
            return Err(DataDirError::InUse { path: path.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(not_writable(source)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(not_writable)?;
    Ok(lock)
}

/// Opening a lock file that exists proves nothing about creating new ones, which everything else here does.
fn probe_writing(path: &Path) -> io::Result<()> {
    let probe = path.join("warrenmq.probe");
    fs::write(&probe, b"probe")?;
    fs::remove_file(&probe)
}

/// The format of a folder; `None` when it has none yet.
fn read_format(path: &Path) -> Result<Option<u32>, DataDirError> {
    let bytes = match fs::read(path.join(FORMAT_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataDirError::NotWritable { path: path.to_owned(), source }),
    };
    match parse_format(&bytes) {
        Some(found) if found > FORMAT_VERSION => {
            Err(DataDirError::NewerFormat { path: path.to_owned(), found, known: FORMAT_VERSION })
        }
        Some(found) => Ok(Some(found)),
        None => {
            let found = String::from_utf8_lossy(&bytes).chars().take(40).collect();
            Err(DataDirError::UnknownFormat { path: path.to_owned(), found })
        }
    }
}

fn write_format(path: &Path) -> Result<(), DataDirError> {
    let text = format!("{FORMAT_NAME} {FORMAT_VERSION}\n");
    write_atomically(path, FORMAT_FILE, text.as_bytes())
        .map_err(|source| DataDirError::NotWritable { path: path.to_owned(), source })
}

/// `warrenmq N`, N at least 1; a missing line end is forgiven because people write this file by hand.
fn parse_format(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.trim_end().strip_prefix(FORMAT_NAME)?.strip_prefix(' ')?;
    number.parse().ok().filter(|&version| version >= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_file_is_read_strictly() {
        let cases: &[(&[u8], Option<u32>)] = &[
            (b"warrenmq 1\n", Some(1)),
            (b"warrenmq 1", Some(1)),
            (b"warrenmq 12\n", Some(12)),
            (b"warrenmq 0\n", None),
            (b"warrenmq -1\n", None),
            (b"warrenmq\n", None),
            (b"rabbitmq 1\n", None),
            (b"", None),
            (b"\xff\xfe", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_format(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_folder_is_made_with_its_parents_and_opens_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b/c");
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.path(), path.canonicalize().unwrap());
        assert_eq!(fs::read_to_string(path.join("format")).unwrap(), "warrenmq 2\n");
        drop(dir);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn an_older_folder_keeps_its_format_until_it_is_upgraded() {
        let temp = tempfile::tempdir().unwrap();
        let format = || fs::read_to_string(temp.path().join("format")).unwrap();
        fs::write(temp.path().join("format"), "warrenmq 1\n").unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        let mut dir = DataDir::open(temp.path()).unwrap();
        assert_eq!((dir.format(), format().as_str()), (1, "warrenmq 1\n"));
        assert_eq!(dir.upgrade().unwrap(), Some(1));
        assert_eq!((dir.format(), format().as_str()), (2, "warrenmq 2\n"));
        assert_eq!(dir.upgrade().unwrap(), None);
        drop(dir);
        assert_eq!(DataDir::open(temp.path()).unwrap().upgrade().unwrap(), None);
    }

    #[test]
    fn a_tool_makes_no_folder() {
        let temp = tempfile::tempdir().unwrap();
        let missing = temp.path().join("missing");
        assert!(matches!(DataDir::open_existing(&missing), Err(DataDirError::NotThere { .. })));
        assert!(!missing.exists());
        assert!(matches!(DataDir::open_existing(temp.path()), Err(DataDirError::NotThere { .. })));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        let running = DataDir::open(temp.path()).unwrap();
        assert!(matches!(DataDir::open_existing(temp.path()), Err(DataDirError::InUse { .. })));
        drop(running);
        assert_eq!(DataDir::open_existing(temp.path()).unwrap().format(), 2);
    }

    #[test]
    fn a_second_owner_is_refused_and_told_who_the_first_is() {
        let temp = tempfile::tempdir().unwrap();
        let _first = DataDir::open(temp.path()).unwrap();
        let error = DataDir::open(temp.path()).unwrap_err();
        let DataDirError::InUse { pid, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, Some(std::process::id()));
        let text = error.to_string();
        assert!(text.contains(&format!("in use by another running broker (process {})", std::process::id())));
    }

    #[test]
    fn refusals_are_one_line_that_names_the_folder_and_the_way_out() {
        let temp = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        // (folder, what the message has to say)
        let mut cases: Vec<(PathBuf, &str)> = Vec::new();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        cases.push((file.clone(), "cannot be created"));
        cases.push((file.join("below"), "cannot be created"));
        // A folder in the lock's place refuses root as well, which file permissions would not.
        let locked_out = folder("locked-out");
        fs::create_dir(locked_out.join("warrenmq.lock")).unwrap();
        cases.push((locked_out, "is not writable"));
        let newer = folder("newer");
        fs::write(newer.join("format"), "warrenmq 3\n").unwrap();
        cases.push((newer, "has format 3, this program knows up to 2"));
        // Without an option in the text: another folder is no way out of this one.
        let unfinished = folder("unfinished");
        fs::write(unfinished.join("salvage.unfinished"), "salvage-1").unwrap();
        let text = DataDir::open(&unfinished).unwrap_err().to_string();
        assert!(text.contains("in the middle of a salvage; run `warrenmq ctl store salvage "), "{text}");
        let foreign = folder("foreign");
        fs::write(foreign.join("format"), "something else").unwrap();
        cases.push((foreign, "reads \"something else\""));
        for (path, expected) in cases {
            let text = DataDir::open(&path).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(path.to_str().unwrap()) && text.contains("--data-dir"), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
