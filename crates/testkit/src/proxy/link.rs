//! One connection through the proxy: two sockets, two threads that hand octets on, and what happens to them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;

use super::Shared;
use super::mishap::{Mishap, Mishaps, Pace, When};
use crate::random::Random;

/// How long a thread waits for a socket before it looks at what is to happen.
const PATIENCE: Duration = Duration::from_millis(20);
const READ_OCTETS: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    client: TcpStream,
    broker: TcpStream,
    state: Mutex<State>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State {
    mishaps: Mishaps,
    /// Octets that have passed since the last mishap, and when that was.
    passed: u64,
    since: Instant,
    stalled_until: Option<Instant>,
    /// Set when it was cut; the sides that are still read, if any.
    left: Option<Option<Side>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Broker,
}

/// What a thread may do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Hand on so many octets.
    Pass(u64),
    Wait,
    /// Read and throw away: the other side is gone.
    Swallow,
    End,
}

impl Link {
    /// Begins to hand on octets between the two.
    pub(super) fn start(
        client: TcpStream,
        broker: TcpStream,
        mishaps: Mishaps,
        shared: Arc<Shared>,
    ) -> io::Result<()> {
        for stream in [&client, &broker] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
        }
        let since = Instant::now();
        let state = State { mishaps, passed: 0, since, stalled_until: None, left: None };
        shared.open.fetch_add(1, Relaxed);
        let link = Arc::new(Link { client, broker, state: Mutex::new(state), shared });
        let other = Arc::clone(&link);
        thread::spawn(move || other.pump(Side::Broker));
        thread::spawn(move || link.pump(Side::Client));
        Ok(())
    }

    /// Reads from one side and writes to the other.
    fn pump(&self, from: Side) {
        let (mut source, mut sink) = match from {
            Side::Client => (&self.client, &self.broker),
            Side::Broker => (&self.broker, &self.client),
        };
        let (pace, seed) = {
            let state = self.state.lock();
            (state.mishaps.pace, state.mishaps.seed)
        };
        let mut random = Random::new(seed.wrapping_add(from as u64));
        let mut buffer = vec![0; READ_OCTETS];
        loop {
            match self.next(from) {
                Next::End => return,
                Next::Wait => thread::sleep(PATIENCE / 4),
                next => match source.read(&mut buffer) {
                    Ok(0) => {
                        // Its end is handed on, and what the other side still says as well; but an end that came from here is not.
                        let state = self.state.lock();
                        if state.left.is_none() {
                            let _ = sink.shutdown(Shutdown::Write);
                        }
                        return;
                    }
                    Ok(read) if next != Next::Swallow => {
                        self.pass(&mut sink, from, &buffer[..read], pace, &mut random);
                    }
                    Err(error) if !is_patience(&error) => return self.hang_up(),
                    _ => {}
                },
            }
        }
    }

    /// Hands on octets, up to where something happens that ends it.
    fn pass(&self, sink: &mut &TcpStream, from: Side, mut octets: &[u8], pace: Pace, random: &mut Random) {
        while !octets.is_empty() {
            let allowed = match self.next(from) {
                Next::Pass(allowed) => allowed,
                Next::Wait => {
                    thread::sleep(PATIENCE / 4);
                    continue;
                }
                Next::Swallow | Next::End => return,
            };
            let pace = if self.shared.is_calm.load(Relaxed) { Pace::WHOLE } else { pace };
            if random.chance(pace.late_permille) {
                thread::sleep(Duration::from_millis(random.below(pace.late_max.as_millis() as u64 + 1)));
            }
            let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
            let size = octets.len().min(pace.piece).min(allowed);
            match sink.write(&octets[..size]) {
                Ok(written) => {
                    octets = &octets[written..];
                    self.state.lock().passed += written as u64;
                }
                Err(error) if is_patience(&error) => {}
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// What the thread that reads from a side may do; whatever is due happens now.
    fn next(&self, from: Side) -> Next {
        let mut state = self.state.lock();
        if let Some(left) = state.left {
            return if left == Some(from) { Next::Swallow } else { Next::End };
        }
        if self.shared.is_over.load(Relaxed) {
            state.left = Some(None);
            return Next::End;
        }
        if self.shared.is_calm.load(Relaxed) {
            return Next::Pass(u64::MAX);
        }
        if let Some(until) = state.stalled_until {
            if Instant::now() < until {
                return Next::Wait;
            }
            state.stalled_until = None;
            state.restart();
        }
        let Some(&(When { octets, time }, mishap)) = state.mishaps.ahead.last() else {
            return Next::Pass(u64::MAX);
        };
        if state.passed < octets && state.since.elapsed() < time {
            return Next::Pass(octets - state.passed);
        }
        state.mishaps.ahead.pop();
        self.shared.happened.lock()[mishap.kind()] += 1;
        self.happen(mishap, &mut state);
        Next::Wait
    }

    fn happen(&self, mishap: Mishap, state: &mut State) {
        let close = |stream: &TcpStream| {
            // One that was closed by its other end needs no closing.
            let _ = stream.shutdown(Shutdown::Both);
        };
        match mishap {
            Mishap::Stall(time) => state.stalled_until = Some(Instant::now() + time),
            Mishap::Cut => {
                close(&self.client);
                close(&self.broker);
                state.left = Some(None);
            }
            Mishap::Reset => {
                // The RST leaves when both threads have let go of the sockets, which is soon.
                for stream in [&self.client, &self.broker] {
                    let _ = set_socket_linger(stream, Some(Duration::ZERO));
                }
                state.left = Some(None);
            }
            Mishap::ClientGone => {
                close(&self.client);
                state.left = Some(Some(Side::Broker));
            }
            Mishap::BrokerGone => {
                close(&self.broker);
                state.left = Some(Some(Side::Client));
            }
        }
    }

    /// A side has ended with an error, and so does the other.
    fn hang_up(&self) {
        let mut state = self.state.lock();
        if state.left.is_none() {
            self.happen(Mishap::Cut, &mut state);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Relaxed);
    }
}

impl State {
    /// The next mishap counts from here.
    fn restart(&mut self) {
        self.passed = 0;
        self.since = Instant::now();
    }
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Octets that pass before something happens.
    const BEFORE: u64 = 1000;

    /// A client and the broker's end of its connection, with what happens between them.
    fn pair(pace: Pace, mishap: Option<Mishap>) -> (TcpStream, TcpStream, Arc<Shared>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let connect = |to: &TcpListener| {
            let client = TcpStream::connect(to.local_addr().unwrap()).unwrap();
            let (server, _) = to.accept().unwrap();
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            (client, server)
        };
        let ((client, inner), (outer, broker)) = (connect(&listener), connect(&listener));
        let when = When { octets: BEFORE, time: Duration::from_secs(60) };
        let ahead = mishap.into_iter().map(|mishap| (when, mishap)).collect();
        let shared = Arc::new(Shared::default());
        Link::start(inner, outer, Mishaps { pace, ahead, seed: 5 }, Arc::clone(&shared)).unwrap();
        (client, broker, shared)
    }

    fn octets(count: usize) -> Vec<u8> {
        (0..count).map(|index| (index % 251) as u8).collect()
    }

    /// All that comes until the end of the stream, and how that was.
    fn read_all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
        let mut all = Vec::new();
        let error = stream.read_to_end(&mut all).err().map(|error| error.kind());
        (all, error)
    }

    #[track_caller]
    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn octets_pass_unchanged_in_pieces_both_ways() {
        let late = Pace { piece: 100, late_permille: 100, late_max: Duration::from_millis(2) };
        for pace in [Pace::WHOLE, Pace { piece: 1, ..Pace::WHOLE }, late] {
            let (mut client, mut broker, shared) = pair(pace, None);
            let sent = octets(20_000);
            client.write_all(&sent).unwrap();
            broker.write_all(&sent[..5000]).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(read_all(&mut broker), (sent.clone(), None), "{pace:?}");
            drop(broker);
            assert_eq!(read_all(&mut client), (sent[..5000].to_vec(), None), "{pace:?}");
            wait_until("nothing is left", || shared.open.load(Relaxed) == 0);
        }
    }

    #[test]
    fn a_cut_comes_at_its_octet() {
        let (mut client, mut broker, shared) = pair(Pace::WHOLE, Some(Mishap::Cut));
        client.write_all(&octets(5000)).unwrap();
        assert_eq!(read_all(&mut broker), (octets(5000)[..BEFORE as usize].to_vec(), None));
        // What was sent and not taken makes the end a rough one, or not.
        assert_eq!(read_all(&mut client).0, [0; 0]);
        wait_until("nothing is left", || shared.open.load(Relaxed) == 0);
        assert_eq!(shared.happened.lock()[Mishap::Cut.kind()], 1);
    }

    #[test]
    fn a_reset_is_one() {
        let (mut client, mut broker, _shared) = pair(Pace::WHOLE, Some(Mishap::Reset));
        client.write_all(&octets(BEFORE as usize)).unwrap();
        assert_eq!(read_all(&mut broker).1, Some(ErrorKind::ConnectionReset));
        assert_eq!(read_all(&mut client).1, Some(ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_stall_holds_up_and_loses_nothing() {
        let time = Duration::from_millis(400);
        let (mut client, mut broker, _shared) = pair(Pace::WHOLE, Some(Mishap::Stall(time)));
        client.write_all(&octets(BEFORE as usize)).unwrap();
        let mut before = vec![0; BEFORE as usize];
        broker.read_exact(&mut before).unwrap();
        thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        client.write_all(b"after").unwrap();
        let mut after = [0; 5];
        broker.read_exact(&mut after).unwrap();
        assert_eq!(&after, b"after");
        assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    }

    #[test]
    fn who_is_left_alone_is_not_told() {
        for (mishap, gone_is_last) in [Mishap::ClientGone, Mishap::BrokerGone]
            .into_iter()
            .flat_map(|mishap| [(mishap, true), (mishap, false)])
        {
            let (client, broker, shared) = pair(Pace::WHOLE, Some(mishap));
            let (mut gone, mut left) =
                if mishap == Mishap::ClientGone { (client, broker) } else { (broker, client) };
            // Either side may be the one that said the last octet.
            let (sender, receiver) =
                if gone_is_last { (&mut gone, &mut left) } else { (&mut left, &mut gone) };
            sender.write_all(&octets(BEFORE as usize)).unwrap();
            receiver.read_exact(&mut vec![0; BEFORE as usize]).unwrap();
            assert_eq!(read_all(&mut gone).0, [0; 0], "{mishap:?}");
            left.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            for _ in 0..3 {
                left.write_all(b"is anybody there?").unwrap();
                assert_eq!(left.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "{mishap:?}");
            }
            assert_eq!(shared.open.load(Relaxed), 1);
            drop(left);
            wait_until("its end is seen", || shared.open.load(Relaxed) == 0);
        }
    }

    #[test]
    fn in_the_calm_nothing_happens() {
        let (mut client, mut broker, shared) = pair(Pace::WHOLE, Some(Mishap::Cut));
        shared.is_calm.store(true, Relaxed);
        thread::sleep(Duration::from_millis(50));
        client.write_all(&octets(5000)).unwrap();
        drop(client);
        assert_eq!(read_all(&mut broker), (octets(5000), None));
        assert_eq!(*shared.happened.lock(), [0; Mishap::NAMES.len()]);
    }
}
