//! One blocking connection to the broker with one channel.
//!
//! Invariant: after [`Connection::open`] the socket's reads and writes return within [`TURN`], so that whoever
//! uses it can look whether the run has ended.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use amq_protocol::uri::AMQPUri;
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvFlags, recv},
};
use warrenmq_wire::{
    frame,
    method::{self, Method, basic_cold, channel, connection},
};

use super::{
    clock,
    error::PerfError,
    inbox::Inbox,
    login::start_ok,
    walker::{Delivery, Item},
};

/// The channel that everything happens on.
pub(crate) const CHANNEL: u16 = 1;
/// Longest time that one read or write waits.
pub(crate) const TURN: Duration = Duration::from_millis(100);
/// Longest wait for the answer to a method.
pub(crate) const ANSWER_SECONDS: u64 = 30;
/// Longest wait for close-ok: a broker first works through all that was sent to it, and that work must not fall into
/// the next run.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// Most that one read takes. Pages that are never used cost nothing, so producers have as much.
const INBOX_BYTES: usize = 256 * 1024;
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A connection with channel 1 open.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    inbox: Inbox,
    frame_max: u32,
    /// Deliveries that came before the answer to a method.
    early: Vec<Delivery>,
}

impl Connection {
    /// Connects, logs in, opens the channel.
    ///
    /// # Errors
    /// What stands against it.
    pub(crate) fn open(uri: &AMQPUri, name: &str, frame_max: u32) -> Result<Self, PerfError> {
        let stream = connect(uri)?;
        let peer = stream.peer_addr().map_err(|source| connect_error(uri, source))?;
        let inbox = Inbox::new(INBOX_BYTES);
        let mut this = Self { stream, peer, inbox, frame_max, early: Vec::new() };
        this.configure().map_err(|source| this.io(source))?;
        this.send(&frame::PROTOCOL_HEADER)?;
        this.log_in(uri, name)?;
        let open = Method::Channel(channel::AMQPMethod::Open(channel::Open {}));
        this.call(CHANNEL, &open)?;
        Ok(this)
    }

    /// Sends a method and waits for the next method that is not a delivery: its answer.
    pub(crate) fn call(&mut self, channel: u16, method: &Method) -> Result<Method, PerfError> {
        let mut out = Vec::new();
        method::put(&mut out, channel, method)?;
        self.send(&out)?;
        self.answer(name(method))
    }

    /// Writes all of `bytes`, which are few: a broker that does not take them for a long time is an error.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), PerfError> {
        let mut rest = bytes;
        let mut idle_turns = 0;
        while !rest.is_empty() {
            let count = self.send_some(rest)?;
            rest = rest.get(count..).unwrap_or_default();
            idle_turns = if count == 0 { idle_turns + 1 } else { 0 };
            if TURN * idle_turns >= Duration::from_secs(ANSWER_SECONDS) {
                return Err(PerfError::Deaf(self.peer));
            }
        }
        Ok(())
    }

    /// Writes once; returns zero when nothing could be written within [`TURN`].
    pub(crate) fn send_some(&mut self, bytes: &[u8]) -> Result<usize, PerfError> {
        match (&self.stream).write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if is_timeout(&error) => Ok(0),
            Err(error) => Err(self.last_words(error)),
        }
    }

    /// Reads once, waiting up to [`TURN`]; false when nothing came.
    pub(crate) fn receive(&mut self) -> Result<bool, PerfError> {
        let read = self.inbox.fill(&mut &self.stream);
        self.received(read)
    }

    /// Reads what is there; false when there is nothing.
    pub(crate) fn receive_now(&mut self) -> Result<bool, PerfError> {
        let read = self.inbox.fill(&mut WithoutWaiting(&self.stream));
        self.received(read)
    }

    /// Waits until something can be read or the clock shows `until_ns`, but no longer than [`TURN`]; true when
    /// something can be read.
    pub(crate) fn wait_readable(&self, now_ns: u64, until_ns: u64) -> Result<bool, PerfError> {
        let wait_ns = until_ns.saturating_sub(now_ns).min(TURN.as_nanos() as u64);
        let mut sockets = [PollFd::new(&self.stream, PollFlags::IN)];
        match poll(&mut sockets, Some(&clock::timespec(wait_ns))) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(self.io(error.into())),
        }
    }

    /// The next delivery of what was read, if it is there as a whole; `None` means to ask [`Self::next`].
    #[inline(always)]
    pub(crate) fn next_whole(&mut self) -> Option<Delivery> {
        self.inbox.next_whole()
    }

    /// The next item of what was read.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, PerfError> {
        Ok(self.inbox.next()?)
    }

    /// Deliveries that came before the answers to [`Self::call`], oldest first; leaves none.
    pub(crate) fn take_early(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.early)
    }

    /// The address that was reached.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Largest payload of a body frame.
    pub(crate) fn payload_max(&self) -> usize {
        self.frame_max as usize - frame::OVERHEAD
    }

    /// Says goodbye and waits for the answer; what the broker still sends is thrown away.
    pub(crate) fn close(mut self) {
        let close = Method::Connection(connection::AMQPMethod::Close(connection::Close {
            reply_code: 200,
            reply_text: "done".into(),
            class_id: 0,
            method_id: 0,
        }));
        let mut out = Vec::new();
        if method::put(&mut out, 0, &close).is_err() || self.send(&out).is_err() {
            return;
        }
        let until = Instant::now() + CLOSE_TIME;
        while Instant::now() < until {
            match self.inbox.next() {
                Ok(Some(Item::Method([0, 10, 0, 51, ..]))) | Err(_) => return,
                Ok(Some(_)) => {}
                Ok(None) => {
                    if self.receive().is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn configure(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(TURN))?;
        self.stream.set_write_timeout(Some(TURN))
    }

    fn log_in(&mut self, uri: &AMQPUri, name: &str) -> Result<(), PerfError> {
        use connection::AMQPMethod::{OpenOk, Start, Tune};
        match self.answer("the protocol header")? {
            Method::Connection(Start(_)) => {}
            other => return Err(unexpected("the protocol header", &other)),
        }
        let tune = match self.call(0, &start_ok(uri, name))? {
            Method::Connection(Tune(tune)) => tune,
            other => return Err(unexpected("connection.start-ok", &other)),
        };
        if tune.frame_max != 0 {
            self.frame_max = self.frame_max.min(tune.frame_max);
        }
        let mut out = Vec::new();
        let tune_ok = connection::TuneOk {
            channel_max: tune.channel_max,
            frame_max: self.frame_max,
            // A stalled broker shall show in the figures, not end the run.
            heartbeat: 0,
        };
        method::put(&mut out, 0, &Method::Connection(connection::AMQPMethod::TuneOk(tune_ok)))?;
        self.send(&out)?;
        let open = connection::Open { virtual_host: uri.vhost.as_str().into() };
        match self.call(0, &Method::Connection(connection::AMQPMethod::Open(open)))? {
            Method::Connection(OpenOk(_)) => Ok(()),
            other => Err(unexpected("connection.open", &other)),
        }
    }

    /// Waits for the next method that is not a delivery.
    fn answer(&mut self, to: &'static str) -> Result<Method, PerfError> {
        let until = Instant::now() + Duration::from_secs(ANSWER_SECONDS);
        loop {
            match self.inbox.next()? {
                Some(Item::Method(payload)) => {
                    check(payload)?;
                    return Ok(method::parse(payload)?);
                }
                Some(Item::Delivery(delivery)) => self.early.push(delivery),
                Some(Item::Returned) => {}
                None if Instant::now() >= until => return Err(PerfError::NoAnswer(to)),
                None => {
                    self.receive()?;
                }
            }
        }
    }

    fn received(&self, read: io::Result<usize>) -> Result<bool, PerfError> {
        match read {
            Ok(0) => Err(PerfError::Hangup(self.peer)),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(self.io(error)),
        }
    }

    /// A write failed: the reason that the broker gave for closing, if it can still be read.
    #[cold]
    fn last_words(&mut self, error: io::Error) -> PerfError {
        while let Ok(true) = self.receive() {
            loop {
                match self.inbox.next() {
                    Ok(Some(Item::Method(payload))) => {
                        if let Err(closed) = check(payload) {
                            return closed;
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error.into(),
                }
            }
        }
        self.io(error)
    }

    fn io(&self, source: io::Error) -> PerfError {
        PerfError::Io { peer: self.peer, source }
    }
}

/// Looks at a method that nobody waits for.
///
/// # Errors
/// When it ends the connection, the channel or a consumer.
#[cold]
pub(crate) fn check(payload: &[u8]) -> Result<(), PerfError> {
    match payload {
        [0, 10, 0, 50, ..] | [0, 20, 0, 40, ..] | [0, 60, 0, 30, ..] => {}
        _ => return Ok(()),
    }
    match method::parse(payload)? {
        Method::Connection(connection::AMQPMethod::Close(close)) => {
            Err(closed("connection", close.reply_code, close.reply_text.as_str()))
        }
        Method::Channel(channel::AMQPMethod::Close(close)) => {
            Err(closed("channel", close.reply_code, close.reply_text.as_str()))
        }
        Method::Basic(basic_cold::AMQPMethod::Cancel(_)) => Err(PerfError::Cancelled),
        _ => Ok(()),
    }
}

/// The error for the payload of a method that is not the answer to `method`.
#[cold]
pub(crate) fn misfit(method: &'static str, payload: &[u8]) -> PerfError {
    match check(payload).and_then(|()| Ok(method::parse(payload)?)) {
        Ok(answer) => unexpected(method, &answer),
        Err(error) => error,
    }
}

/// The error for an `answer` that does not fit.
pub(crate) fn unexpected(method: &'static str, answer: &Method) -> PerfError {
    PerfError::Unexpected { method, answer: name(answer) }
}

/// Reads that return what is there.
struct WithoutWaiting<'a>(&'a TcpStream);

impl Read for WithoutWaiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, count) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }
}

fn connect(uri: &AMQPUri) -> Result<TcpStream, PerfError> {
    use std::net::ToSocketAddrs;
    // A URI writes an IPv6 address in brackets, the resolver wants it without.
    let host = uri.authority.host.trim_matches(['[', ']']);
    let addresses =
        (host, uri.authority.port).to_socket_addrs().map_err(|source| connect_error(uri, source))?;
    let mut last = io::Error::new(ErrorKind::NotFound, "no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIME) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(connect_error(uri, last))
}

fn connect_error(uri: &AMQPUri, source: io::Error) -> PerfError {
    PerfError::Connect { host: uri.authority.host.clone(), port: uri.authority.port, source }
}

fn closed(scope: &'static str, code: u16, text: &str) -> PerfError {
    PerfError::Closed { scope, code, text: text.into() }
}

/// The name of a method, for errors.
pub(crate) fn name(method: &Method) -> &'static str {
    let (class, id) = method::method_ids(method);
    method::method_name(class, id).unwrap_or("an unknown method")
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
