//! The socket: where it lies, and who may use it.
//!
//! Invariant: a socket under its final name has mode 0600 from its first moment, and takes the place of what a killed broker has
//! left. The caller holds the lock on the data folder, so there is no other broker whose socket it could be.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Its name in the data folder.
const NAME: &str = "control.sock";
/// Its name until it has its mode.
const NEW_NAME: &str = "control.new";
/// What the address of a Unix socket has room for, without the zero at its end.
const ADDRESS_OCTETS_MAX: usize = 107;
/// Everybody may write.
const WORLD_WRITABLE: u32 = 0o002;
/// Only the owner of a file in the folder may rename or remove it.
const STICKY: u32 = 0o1000;

/// Why there is no socket. `Display` is one line that names the folder and the way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error(
        "every user may write to the data folder {}, so anybody could put a socket of their own there: \
         chmod o-w {}",
        folder.display(), folder.display()
    )]
    OpenFolder { folder: PathBuf },
    #[error(
        "the path {} has {} octets, a Unix socket takes {ADDRESS_OCTETS_MAX}, and the detour over /proc does not \
         work here ({source}): choose a shorter --data-dir",
        path.display(), path.as_os_str().len()
    )]
    PathTooLong { path: PathBuf, source: io::Error },
    #[error("{}: {source}; the file system of the data folder has to allow Unix sockets", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Where the socket of that data folder is.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Opens the socket in a data folder whose lock is ours.
///
/// # Errors
/// When the folder is not safe, or the system refuses.
pub(crate) fn bind(folder: &Path) -> Result<UnixListener, SocketError> {
    let (new, socket) = (folder.join(NEW_NAME), path(folder));
    let failed = |source| SocketError::Io { path: socket.clone(), source };
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    if mode & WORLD_WRITABLE != 0 && mode & STICKY == 0 {
        return Err(SocketError::OpenFolder { folder: folder.to_owned() });
    }
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = at(folder, NEW_NAME, |address| UnixListener::bind(address))?;
    fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&new, &socket).map_err(failed)?;
    Ok(listener)
}

/// Connects to the broker that has this data folder.
///
/// # Errors
/// Of kind `NotFound` or `ConnectionRefused` when no broker listens there.
pub(crate) fn connect(folder: &Path) -> Result<UnixStream, SocketError> {
    at(folder, NAME, |address| UnixStream::connect(address))
}

/// The user at the other end.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// Gives `open` an address of the file `name` in `folder` that is short enough.
fn at<T>(folder: &Path, name: &str, open: impl Fn(&Path) -> io::Result<T>) -> Result<T, SocketError> {
    let path = folder.join(name);
    if path.as_os_str().len() <= ADDRESS_OCTETS_MAX {
        return open(&path).map_err(|source| SocketError::Io { path, source });
    }
    // The kernel follows the link in /proc to the folder that is open, however long its path is.
    let detour = |folder: File| open(&PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())));
    match File::open(folder).and_then(detour) {
        Ok(opened) => Ok(opened),
        Err(source) if Path::new("/proc/self/fd").exists() => Err(SocketError::Io { path, source }),
        Err(source) => Err(SocketError::PathTooLong { path, source }),
    }
}

impl SocketError {
    /// What the system said.
    pub(crate) fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            SocketError::Io { source, .. } | SocketError::PathTooLong { source, .. } => Some(source.kind()),
            SocketError::OpenFolder { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_open_it_and_it_replaces_what_is_there() {
        let temp = tempfile::tempdir().unwrap();
        for left in [false, true] {
            if left {
                fs::remove_file(path(temp.path())).unwrap();
                fs::write(path(temp.path()), "not even a socket").unwrap();
                fs::write(temp.path().join(NEW_NAME), "").unwrap();
            }
            let listener = bind(temp.path()).unwrap();
            assert!(fs::symlink_metadata(path(temp.path())).unwrap().file_type().is_socket());
            assert_eq!(mode(&path(temp.path())), 0o600);
            assert!(!temp.path().join(NEW_NAME).exists());
            let client = connect(temp.path()).unwrap();
            let (served, _) = listener.accept().unwrap();
            let me = rustix::process::geteuid().as_raw();
            assert_eq!((peer_uid(&client).unwrap(), peer_uid(&served).unwrap()), (me, me));
        }
        // Nobody listens any more: as after a kill.
        assert_eq!(connect(temp.path()).unwrap_err().kind(), Some(io::ErrorKind::ConnectionRefused));
        bind(temp.path()).unwrap();
    }

    #[test]
    fn a_long_path_is_no_hindrance() {
        let temp = tempfile::tempdir().unwrap();
        let mut folder = temp.path().to_owned();
        while folder.as_os_str().len() < 300 {
            folder.push("a-folder-with-a-rather-long-name");
        }
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(connect(&folder).unwrap_err().kind(), Some(io::ErrorKind::NotFound));
        let listener = bind(&folder).unwrap();
        connect(&folder).unwrap();
        listener.accept().unwrap();
        assert_eq!(mode(&path(&folder)), 0o600);
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let chmod = |mode| fs::set_permissions(temp.path(), Permissions::from_mode(mode)).unwrap();
        chmod(0o777);
        let refused = bind(temp.path()).unwrap_err().to_string();
        assert!(
            refused.contains("chmod o-w") && refused.contains(temp.path().to_str().unwrap()),
            "{refused}"
        );
        assert!(!path(temp.path()).exists());
        for safe in [0o775, 0o1777, 0o700] {
            chmod(safe);
            bind(temp.path()).unwrap();
        }
    }
}
