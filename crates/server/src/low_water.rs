//! Waiting for many acknowledgements at once: the low-water mark of a socket (`SO_RCVLOWAT`).
//!
//! A consumer that acknowledges every message on its own costs a wake, a read and a write for each; with a mark the system tells
//! of its input only when so much has come. Invariants: a mark is set only while the session prefers so much at once; what stays
//! below it waits [`PATIENCE_MS`] at most; then the mark goes back to one octet first and the socket is read after that, so
//! nothing that came in between is overlooked. The end of the stream is always told.

use std::io::{ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::{SetSockOpt, sockopt::SetStruct};
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

sockopt_impl!(
    /// Octets that have to be there before the system says that a socket can be read.
    ReceiveLowWater, SetOnly, libc::SOL_SOCKET, libc::SO_RCVLOWAT, i32, SetStruct<i32>
);

/// Longest wait for the mark to be reached, on a clock that counts whole milliseconds: one to two.
const PATIENCE_MS: u64 = 2;
/// So many small reads within [`STREAK_MS`] begin a wait.
const STREAK: u32 = 8;
const STREAK_MS: u64 = 1;
/// A wait that ran out goes on, with a lower mark, if it brought as much as this (eight acknowledgements); otherwise it only cost
/// time.
const WORTH_OCTETS: usize = 8 * 21;
/// A mark that was lowered is doubled when it was reached so often.
const REACHED: u32 = 64;
/// After waits that only cost time there is none for a while: twice as long each time, up to this.
const PAUSE_MS_MAX: u32 = 1024;

/// The low-water mark of one socket.
#[derive(Debug)]
pub(crate) struct LowWater {
    /// What the system was told; 1 is no wait.
    mark: usize,
    /// Small reads in a row since `since`; with a mark, how often it was reached.
    streak: u32,
    /// With a mark: the last read.
    since: u64,
    pause: u32,
    paused_until: u64,
    /// The last read was the one after a wait that ran out.
    ran_out: bool,
}

impl LowWater {
    pub(crate) fn new() -> LowWater {
        LowWater { mark: 1, streak: 0, since: 0, pause: 0, paused_until: 0, ran_out: false }
    }

    /// When the present wait has taken long enough and the socket is to be read.
    pub(crate) fn deadline(&self) -> Option<u64> {
        (self.mark > 1).then_some(self.since + PATIENCE_MS)
    }

    /// Reads what is there, as `poll_read` of the socket.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        now: u64,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let told = Pin::new(&mut *stream).poll_read(cx, into);
        if told.is_ready() || self.deadline().is_none_or(|at| now < at) {
            return told;
        }
        self.tell(stream, 1);
        self.ran_out = true;
        // The runtime was not told of what lay below the mark.
        match (&*SockRef::from(&*stream)).read(into.initialize_unfilled()) {
            Ok(count) => {
                into.advance(count);
                Poll::Ready(Ok(()))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.ran_out = false;
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// `count` octets were read at `now`, and the session now wishes for `wish` at once; 0 is as they come.
    pub(crate) fn note(&mut self, stream: &TcpStream, now: u64, count: usize, wish: usize) {
        if self.mark > 1 {
            self.reached(stream, now, wish);
        } else if std::mem::take(&mut self.ran_out) {
            self.fell_short(stream, now, count, wish);
        } else if wish == 0 || count >= wish {
            self.streak = 0;
        } else {
            if self.streak == 0 || now > self.since + STREAK_MS {
                (self.streak, self.since) = (0, now);
            }
            self.streak += 1;
            if self.streak >= STREAK && now >= self.paused_until {
                (self.streak, self.since) = (0, now);
                self.tell(stream, wish);
            }
        }
    }

    fn reached(&mut self, stream: &TcpStream, now: u64, wish: usize) {
        (self.since, self.pause) = (now, self.pause / 2);
        self.streak += 1;
        let mark = if self.streak.is_multiple_of(REACHED) { 2 * self.mark } else { self.mark };
        self.tell(stream, mark.min(wish).max(1));
    }

    fn fell_short(&mut self, stream: &TcpStream, now: u64, count: usize, wish: usize) {
        (self.streak, self.since) = (0, now);
        if wish > 0 && count >= WORTH_OCTETS {
            // They come more slowly, or the client does not go on before we have settled them: half of it will come in time.
            self.tell(stream, wish.min(count / 2));
        } else {
            self.pause = (2 * self.pause).clamp(1, PAUSE_MS_MAX);
            self.paused_until = now + u64::from(self.pause);
        }
    }

    /// Sets the mark. A system that cannot has none: everything comes as it comes.
    fn tell(&mut self, stream: &TcpStream, mark: usize) {
        if mark != self.mark {
            let set = i32::try_from(mark).is_ok_and(|value| ReceiveLowWater.set(stream, &value).is_ok());
            self.mark = if set { mark } else { 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    const ACK: usize = 21;
    const WISH: usize = 25 * ACK;

    /// What a driver does with its end of a connection.
    struct Reader {
        stream: TcpStream,
        low_water: LowWater,
    }

    impl Reader {
        /// Reads within `wait` what the system tells of, and notes it; `None` when it tells of nothing.
        async fn read(&mut self, now: u64, wait: Duration, wish: usize) -> Option<usize> {
            let mut buffer = [0; 4096];
            let Reader { stream, low_water } = self;
            let read = std::future::poll_fn(|cx| {
                let mut into = ReadBuf::new(&mut buffer);
                low_water.poll_read(stream, cx, now, &mut into).map_ok(|()| into.filled().len())
            });
            let count = tokio::time::timeout(wait, read).await.ok()?.expect("the connection stands");
            low_water.note(stream, now, count, wish);
            Some(count)
        }

        /// Reads at once or not at all.
        fn read_now(&mut self, now: u64, wish: usize) -> Option<usize> {
            let mut buffer = [0; 4096];
            let mut into = ReadBuf::new(&mut buffer);
            let mut cx = Context::from_waker(Waker::noop());
            match self.low_water.poll_read(&mut self.stream, &mut cx, now, &mut into) {
                Poll::Pending => None,
                Poll::Ready(read) => {
                    read.expect("the connection stands");
                    let count = into.filled().len();
                    self.low_water.note(&self.stream, now, count, wish);
                    Some(count)
                }
            }
        }
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    /// Runs `test` with the two ends of a connection; the first waits for the mark since the time 0.
    fn waiting<F: Future<Output = ()>>(test: impl FnOnce(Reader, net::TcpStream) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let mut peer =
                net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            peer.set_nodelay(true).expect("a socket option");
            let (stream, _) = listener.accept().expect("it connects");
            stream.set_nonblocking(true).expect("a socket option");
            let stream = TcpStream::from_std(stream).expect("a socket");
            let mut reader = Reader { stream, low_water: LowWater::new() };
            for _ in 0..STREAK {
                assert_eq!(reader.low_water.deadline(), None);
                peer.write_all(&[0; ACK]).expect("it is read");
                assert_eq!(reader.read(0, LONG, WISH).await, Some(ACK));
            }
            assert_eq!(reader.low_water.deadline(), Some(PATIENCE_MS));
            test(reader, peer).await;
        });
    }

    #[test]
    fn the_system_tells_of_the_mark_and_of_the_end() {
        waiting(|mut reader, mut peer| async move {
            for _ in 0..3 {
                peer.write_all(&[0; WISH - 1]).expect("it is read");
                assert_eq!(reader.read(0, SHORT, WISH).await, None, "below the mark");
                peer.write_all(&[0]).expect("it is read");
                assert_eq!(reader.read(0, LONG, WISH).await, Some(WISH));
            }
            peer.write_all(&[0; 3]).expect("it is read");
            drop(peer);
            assert_eq!(reader.read(0, LONG, 0).await, Some(3), "the end of the stream");
            assert_eq!(reader.read(0, LONG, 0).await, Some(0));
        });
    }

    #[test]
    fn what_stays_below_the_mark_is_read_in_time_and_so_is_what_follows() {
        // Octets that came, the session's wish after them, whether the wait goes on.
        let cases = [
            (0, WISH, false),
            (8, 0, false),
            (3 * ACK, WISH, false),
            (8 * ACK, WISH, true),
            (20 * ACK, WISH, true),
            (20 * ACK, 0, false),
        ];
        for (octets, wish, goes_on) in cases {
            waiting(|mut reader, mut peer| async move {
                peer.write_all(&vec![0; octets]).expect("it is read");
                assert_eq!(reader.read(0, SHORT, WISH).await, None, "below the mark");
                assert_eq!(reader.read_now(PATIENCE_MS - 1, wish), None, "not yet");
                assert_eq!(reader.read_now(PATIENCE_MS, wish).unwrap_or(0), octets);
                assert_eq!(reader.low_water.deadline().is_some(), goes_on, "{octets}");
                let next = if goes_on { octets / 2 } else { 1 };
                peer.write_all(&vec![0; next]).expect("it is read");
                assert_eq!(reader.read(PATIENCE_MS, LONG, 0).await, Some(next), "{octets}");
                assert_eq!(reader.low_water.deadline(), None, "{octets}");
            });
        }
    }

    #[test]
    fn a_lowered_mark_rises_again() {
        waiting(|mut reader, mut peer| async move {
            let mut writes = |octets: usize| peer.write_all(&vec![0; octets]).expect("it is read");
            writes(12 * ACK);
            assert_eq!(reader.read(0, SHORT, WISH).await, None);
            assert_eq!(reader.read_now(PATIENCE_MS, WISH), Some(12 * ACK));
            for mark in [6 * ACK, 12 * ACK, 24 * ACK, WISH] {
                for _ in 0..REACHED {
                    writes(mark);
                    assert_eq!(reader.read(PATIENCE_MS, LONG, WISH).await, Some(mark));
                }
            }
            assert_eq!(reader.low_water.mark, WISH);
        });
    }

    #[test]
    fn a_wait_begins_only_when_it_is_worth_it() {
        // Times, counts and wishes of the reads; whether a wait has begun after the last.
        let small = |times: &[u64]| times.iter().map(|at| (*at, ACK, WISH)).collect::<Vec<_>>();
        let cases = [
            (small(&[0, 0, 0, 0, 1, 1, 1, 1]), true),
            (small(&[0, 0, 0, 0, 1, 1, 1]), false),
            (small(&[0, 0, 0, 0, 1, 1, 1, 2]), false),
            (small(&[0, 9, 9, 9, 9, 9, 9, 9, 9]), true),
            ([small(&[0; 7]), vec![(0, 30, 0)], small(&[0])].concat(), false),
            ([small(&[0; 7]), vec![(0, WISH, WISH)], small(&[0])].concat(), false),
        ];
        for (reads, expected) in cases {
            waiting(|reader, _peer| async move {
                let mut low_water = LowWater::new();
                for (now, count, wish) in &reads {
                    low_water.note(&reader.stream, *now, *count, *wish);
                }
                assert_eq!(low_water.deadline().is_some(), expected, "{reads:?}");
            });
        }
    }

    #[test]
    fn waits_that_only_cost_time_become_rare() {
        waiting(|mut reader, mut peer| async move {
            let mut waits = 1;
            for now in 0..5_000 {
                match reader.low_water.deadline() {
                    None => {
                        let mut small = 0;
                        while small < STREAK && reader.low_water.deadline().is_none() {
                            reader.low_water.note(&reader.stream, now, ACK, WISH);
                            small += 1;
                        }
                    }
                    Some(at) if now < at => continue,
                    Some(_) => {
                        peer.write_all(&[0; ACK]).expect("it is read");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        assert_eq!(reader.read_now(now, WISH), Some(ACK));
                    }
                }
                waits += u32::from(reader.low_water.deadline().is_some());
            }
            assert!((8..=20).contains(&waits), "{waits} waits in 5 s");
        });
    }
}
