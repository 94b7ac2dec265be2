//! Many connections in one thread: sockets that do not block, and what they are ready for.
//!
//! Invariant: a [`Key`] names one connection from [`Engine::connect`] until it has ended or was dropped, and no other
//! before the next turn. All that a handler puts into `out` leaves in order, by one write for each read where the socket takes it.
//!
//! It is the epoll of `rustix`, which the program has for its other system calls; `mio` would be an epoll with the
//! same calls and one more dependency.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    net::{AddressFamily, SocketFlags, SocketType, bind, socket_with},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use warrenmq_wire::frame::{self, Frame};

use super::{
    clock,
    connection::{ANSWER_SECONDS, TURN},
    error::PerfError,
    walker::WalkError,
};

/// Most that one read takes, and the largest frame.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Most events that one turn looks at.
const EVENTS: usize = 1024;
/// Connections from one address of the loopback network; its ports are not many more. See [`Engine::connect`].
const LINKS_PER_ADDRESS: usize = 20_000;

/// Number of a connection.
pub(crate) type Key = usize;

/// What a scenario does with what happens.
pub(crate) trait Handler {
    /// The socket of `key` stands; what is put into `out` is sent.
    fn connected(&mut self, key: Key, out: &mut Vec<u8>);

    /// A frame has come.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn frame(&mut self, key: Key, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), PerfError>;

    /// The broker has closed the socket, which is gone now. False when that was not to happen, which ends the run.
    fn ended(&mut self, key: Key) -> bool;
}

/// The connections of a run.
pub(crate) struct Engine {
    epoll: OwnedFd,
    peer: SocketAddr,
    links: Vec<Option<Link>>,
    free: Vec<Key>,
    events: Vec<epoll::Event>,
    /// What is read goes here; only what is left of an unfinished frame is kept for each connection.
    scratch: Box<[u8]>,
    heard: Instant,
}

/// One socket.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    peer: SocketAddr,
    connected: bool,
    /// To be sent, but for the first `sent` octets.
    out: Vec<u8>,
    sent: usize,
    /// The beginning of a frame.
    rest: Vec<u8>,
}

impl Engine {
    /// For connections to `peer`. Raises this process's limit of open files to what the system lets it.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(crate) fn new(peer: SocketAddr) -> Result<Self, PerfError> {
        let limit = getrlimit(Resource::Nofile);
        // Where it may not be raised, the connections that do not fit say so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| PerfError::Io { peer, source: error.into() })?;
        Ok(Self {
            epoll,
            peer,
            links: Vec::new(),
            free: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH_BYTES].into(),
            heard: Instant::now(),
        })
    }

    /// Begins to connect. On loopback the connections come from 127.0.0.1, 127.0.0.2, … in turn when they are more than one address
    /// has ports for.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn connect(&mut self) -> Result<Key, PerfError> {
        let key = self.free.pop().unwrap_or(self.links.len());
        let stream = self.begin(key).map_err(|source| self.connect_error(source))?;
        if key == self.links.len() {
            self.links.push(None);
        }
        self.links[key] = Some(Link {
            stream,
            peer: self.peer,
            connected: false,
            out: Vec::new(),
            sent: 0,
            rest: Vec::new(),
        });
        Ok(key)
    }

    /// Puts something into the way out of `key`, which leaves at once.
    ///
    /// # Errors
    /// Those of `put`, and when the connection is broken.
    pub(crate) fn send(
        &mut self,
        key: Key,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), PerfError>,
    ) -> Result<(), PerfError> {
        match self.links.get_mut(key).and_then(Option::as_mut) {
            Some(link) => {
                put(&mut link.out)?;
                link.flush()
            }
            None => Ok(()),
        }
    }

    /// Closes the socket of `key`, if it is there.
    pub(crate) fn drop_link(&mut self, key: Key) {
        if self.links.get_mut(key).and_then(Option::take).is_some() {
            self.free.push(key);
        }
    }

    /// Waits up to `wait_ns`, but no longer than [`TURN`], and handles what has happened.
    ///
    /// # Errors
    /// Those of the connections and of the handler.
    pub(crate) fn turn(&mut self, wait_ns: u64, handler: &mut impl Handler) -> Result<(), PerfError> {
        let wait_ns = wait_ns.min(TURN.as_nanos() as u64);
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&clock::timespec(wait_ns))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(self.io(error.into())),
        }
        if !events.is_empty() {
            self.heard = Instant::now();
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            self.service(data.u64() as Key, flags, handler)?;
        }
        self.events = events;
        Ok(())
    }

    /// Called while answers are expected.
    ///
    /// # Errors
    /// When nothing has come for too long.
    pub(crate) fn check_silence(&self, to: &'static str) -> Result<(), PerfError> {
        if self.heard.elapsed() > Duration::from_secs(ANSWER_SECONDS) {
            return Err(PerfError::NoAnswer(to));
        }
        Ok(())
    }

    /// Called when answers begin to be expected after a time without.
    pub(crate) fn forget_silence(&mut self) {
        self.heard = Instant::now();
    }

    fn begin(&self, key: Key) -> io::Result<TcpStream> {
        let family = if self.peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let network = key / LINKS_PER_ADDRESS;
        if network > 0
            && let SocketAddr::V4(peer) = self.peer
            && peer.ip().is_loopback()
        {
            let [.., c, d] = (network as u32 + 1).to_be_bytes();
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, c, d), 0))?;
        }
        match rustix::net::connect(&socket, &self.peer) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        // Edges only: a readiness is told once, so a connection costs one registration and no more.
        let wanted = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &stream, EventData::new_u64(key as u64), wanted)?;
        Ok(stream)
    }

    fn service(&mut self, key: Key, flags: EventFlags, handler: &mut impl Handler) -> Result<(), PerfError> {
        let Some(link) = self.links.get_mut(key).and_then(Option::as_mut) else {
            return Ok(());
        };
        if !link.connected {
            if let Some(source) = link.stream.take_error().unwrap_or_else(Some) {
                return Err(self.connect_error(source));
            }
            if !flags.contains(EventFlags::OUT) {
                return Ok(());
            }
            link.connected = true;
            handler.connected(key, &mut link.out);
        }
        let at_end = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if (at_end || flags.contains(EventFlags::IN))
            && !link.read(key, at_end, &mut self.scratch, handler)?
        {
            self.drop_link(key);
            return if handler.ended(key) { Ok(()) } else { Err(PerfError::Hangup(self.peer)) };
        }
        link.flush()
    }

    fn connect_error(&self, source: io::Error) -> PerfError {
        PerfError::Connect { host: self.peer.ip().to_string(), port: self.peer.port(), source }
    }

    fn io(&self, source: io::Error) -> PerfError {
        PerfError::Io { peer: self.peer, source }
    }
}

impl Link {
    /// Reads what is there and hands it over frame by frame, to the end of the stream when `at_end`; false when that has
    /// been reached.
    fn read(
        &mut self,
        key: Key,
        at_end: bool,
        scratch: &mut [u8],
        handler: &mut impl Handler,
    ) -> Result<bool, PerfError> {
        loop {
            let have = self.rest.len();
            scratch[..have].copy_from_slice(&self.rest);
            let room = scratch.len() - have;
            let count = match self.stream.read(&mut scratch[have..]) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_end(&error) => return Ok(false),
                Err(source) => return Err(PerfError::Io { peer: self.peer, source }),
            };
            let mut rest = scratch.get(..have + count).unwrap_or_default();
            while let Some((frame, used)) =
                frame::split(rest, SCRATCH_BYTES - frame::OVERHEAD).map_err(WalkError::from)?
            {
                rest = rest.get(used..).unwrap_or_default();
                handler.frame(key, frame, &mut self.out)?;
            }
            self.rest.clear();
            self.rest.extend_from_slice(rest);
            // A read that was not filled has taken all there was; what comes later is a new edge.
            if count < room && !at_end {
                return Ok(true);
            }
        }
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> Result<(), PerfError> {
        while self.connected && self.sent < self.out.len() {
            match self.stream.write(self.out.get(self.sent..).unwrap_or_default()) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The broker has closed; why, is still to be read.
                Err(error) if is_end(&error) => break,
                Err(source) => return Err(PerfError::Io { peer: self.peer, source }),
            }
        }
        if self.connected {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Sends a heartbeat first and counts what comes back.
    struct Counting {
        frames: usize,
        ended: usize,
    }

    impl Handler for Counting {
        fn connected(&mut self, _key: Key, out: &mut Vec<u8>) {
            frame::put_heartbeat(out);
        }

        fn frame(&mut self, _key: Key, frame: Frame<'_>, _out: &mut Vec<u8>) -> Result<(), PerfError> {
            assert_eq!(frame.kind, frame::HEARTBEAT);
            self.frames += 1;
            Ok(())
        }

        fn ended(&mut self, _key: Key) -> bool {
            self.ended += 1;
            true
        }
    }

    /// A peer that answers one heartbeat with `count`, in pieces, and closes.
    fn peer(count: usize, piece: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            let mut octets = Vec::new();
            for _ in 0..count {
                frame::put_heartbeat(&mut octets);
            }
            for octets in octets.chunks(piece) {
                if stream.write_all(octets).is_err() {
                    return;
                }
            }
        });
        address
    }

    #[test]
    fn frames_come_whole_and_the_end_is_told() {
        // Frames, octets of a piece.
        for (count, piece) in [(3, 1), (100, 7), (100_000, 1 << 20), (0, 1)] {
            let mut engine = Engine::new(peer(count, piece)).unwrap();
            let mut counting = Counting { frames: 0, ended: 0 };
            let key = engine.connect().unwrap();
            while engine.links[key].is_some() {
                engine.check_silence("a heartbeat").unwrap();
                engine.turn(u64::MAX, &mut counting).unwrap();
            }
            assert_eq!((counting.frames, counting.ended), (count, 1), "{count} in pieces of {piece}");
            assert_eq!(engine.free, [key]);
        }
    }

    #[test]
    fn more_connections_than_ports_come_from_more_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut engine = Engine::new(listener.local_addr().unwrap()).unwrap();
        // How many there are already; where the next one comes from.
        for (there, source) in
            [(0, "127.0.0.1"), (LINKS_PER_ADDRESS, "127.0.0.2"), (LINKS_PER_ADDRESS * 256, "127.0.1.1")]
        {
            engine.links.resize_with(there, || None);
            assert_eq!(engine.connect().unwrap(), there);
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from.ip().to_string(), source);
        }
    }
}
