//! Lines over a socket, with a bound on their length and on the time that each may take.
//!
//! Invariant: no more is kept than one line and one read; a peer that sends nothing, or takes nothing, ends the wait.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Octets of one read.
const READ_OCTETS: usize = 64 * 1024;

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinesError {
    #[error("a line has more than {0} octets")]
    TooLong(usize),
    #[error("no whole line came in time")]
    Late,
    #[error("the connection ended within a line")]
    CutShort,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The lines of one connection.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    stream: &'a UnixStream,
    octets_max: usize,
    /// What has come behind the last line.
    rest: Vec<u8>,
}

impl<'a> Lines<'a> {
    /// Lines of at most so many octets.
    pub(crate) fn new(stream: &'a UnixStream, octets_max: usize) -> Lines<'a> {
        Lines { stream, octets_max, rest: Vec::new() }
    }

    /// The next line without its end, `None` at the end of the connection.
    ///
    /// # Errors
    /// When it is too long, too late or cut short. Then nothing more can be read.
    pub(crate) fn next(&mut self, within: Duration) -> Result<Option<Vec<u8>>, LinesError> {
        let until = Instant::now() + within;
        let mut searched = 0;
        let mut chunk = vec![0; READ_OCTETS];
        loop {
            let found = self.rest.iter().skip(searched).position(|octet| *octet == b'\n');
            let length = found.map(|at| searched + at);
            if length.unwrap_or(self.rest.len()) > self.octets_max {
                return Err(LinesError::TooLong(self.octets_max));
            }
            if let Some(length) = length {
                let behind = self.rest.split_off(length + 1);
                let mut line = std::mem::replace(&mut self.rest, behind);
                line.truncate(length);
                return Ok(Some(line));
            }
            searched = self.rest.len();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LinesError::Late);
            }
            self.stream.set_read_timeout(Some(left))?;
            match (&mut &*self.stream).read(&mut chunk) {
                Ok(0) if self.rest.is_empty() => return Ok(None),
                Ok(0) => return Err(LinesError::CutShort),
                Ok(count) => self.rest.extend_from_slice(&chunk[..count]),
                Err(error) if is_late(&error) => return Err(LinesError::Late),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Writes a line; `line` has no end of line in it.
///
/// # Errors
/// When the peer does not take it in time.
pub(crate) fn write_line(stream: &UnixStream, mut line: Vec<u8>, within: Duration) -> Result<(), LinesError> {
    line.push(b'\n');
    let until = Instant::now() + within;
    let mut left = line.as_slice();
    while !left.is_empty() {
        let time = until.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return Err(LinesError::Late);
        }
        stream.set_write_timeout(Some(time))?;
        match (&mut &*stream).write(left) {
            Ok(0) => return Err(LinesError::CutShort),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if is_late(&error) => return Err(LinesError::Late),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn lines_however_they_are_cut() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(&here, 5);
        there.write_all(b"one\n\ntwo").unwrap();
        assert_eq!(lines.next(SOON).unwrap(), Some(b"one".to_vec()));
        assert_eq!(lines.next(SOON).unwrap(), Some(Vec::new()));
        assert!(matches!(lines.next(SOON), Err(LinesError::Late)));
        there.write_all(b"34\n").unwrap();
        assert_eq!(lines.next(SOON).unwrap(), Some(b"two34".to_vec()));
        drop(there);
        assert_eq!(lines.next(SOON).unwrap(), None);
    }

    #[test]
    fn what_is_too_long_or_cut_short_is_refused() {
        for (sent, most) in [(&b"123456\n"[..], 5), (b"123456", 5)] {
            let (here, mut there) = UnixStream::pair().unwrap();
            there.write_all(sent).unwrap();
            assert!(matches!(Lines::new(&here, most).next(SOON), Err(LinesError::TooLong(5))), "{sent:?}");
        }
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"12").unwrap();
        drop(there);
        assert!(matches!(Lines::new(&here, 5).next(SOON), Err(LinesError::CutShort)));
    }

    #[test]
    fn a_drip_does_not_stretch_the_time() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let drip = std::thread::spawn(move || {
            while there.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let started = Instant::now();
        assert!(matches!(Lines::new(&here, 1_000_000).next(SOON), Err(LinesError::Late)));
        assert!(started.elapsed() < Duration::from_secs(2));
        drop(here);
        drip.join().unwrap();
    }

    #[test]
    fn who_takes_nothing_is_given_up() {
        let (here, there) = UnixStream::pair().unwrap();
        assert!(matches!(write_line(&here, vec![b'x'; 16 << 20], SOON), Err(LinesError::Late)));
        drop(there);
        assert!(matches!(write_line(&here, b"x".to_vec(), SOON), Err(LinesError::Io(_))));
    }
}
