//! One connection's task: reads, lets the session work, writes.
//!
//! A turn: what others put down → at most [`READS_PER_TURN`] reads → deadlines → at most [`WRITES_PER_TURN`] writes; then the worker
//! thread serves somebody else. Invariants: the buffers go back to the thread before the task sleeps; a socket that does not
//! take what we write is not read, beyond what the session allows.

use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use warrenmq_broker::{Expired, Limits, Session};

use crate::buffers::{self, Buffers};
use crate::clock::Clock;
use crate::low_water::LowWater;

/// Two reads let the first one's publishes gather while the second is made; more starve the neighbours.
const READS_PER_TURN: usize = 2;
/// So many reads of a large body to where it belongs are as one of those: they leave no work but the kernel's. Each turn that ends with more
/// to read wakes another thread, and the body moves to another core.
const DIRECT_READS_PER_READ: usize = 4;
/// Writes of one turn.
const WRITES_PER_TURN: usize = 16;
/// Pieces of one write, when large bodies are written from where they lie.
const PIECES_PER_WRITE: usize = 64;
/// Up to this size a frame that is not whole is copied in front of the next read; a larger one grows in place.
const SMALL_REST_OCTETS: usize = 4096;
/// How long a connection that we closed is read on, so that the peer sees our last octets and no reset.
const LINGER_MS: u64 = 2_000;
/// How long the answer to connection.close waits for a client that is [not ready for it](Session::holds_close_ok).
const CLOSE_OK_MS: u64 = 2;
/// How long a peer that said connection.close may take to close its socket (RabbitMQ: 12 s and more).
const AWAIT_END_MS: u64 = 15_000;

/// The task of one connection.
pub(crate) struct Driver {
    stream: TcpStream,
    session: Session,
    clock: Clock,
    read_octets: usize,
    write_octets: usize,
    /// Input that the session has not used yet.
    rest: Vec<u8>,
    /// The session stopped in the middle of `rest`: it is offered again without a read.
    stopped_early: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// What `sleep` is set to.
    armed: u64,
    /// From when on connection.close is answered, once it has come.
    answers_close: Option<u64>,
    lingering: Option<u64>,
    low_water: LowWater,
}

enum Turn {
    /// Nothing to do until something happens.
    Idle,
    /// There is more: other connections first.
    Again,
    /// The connection is over.
    Over,
}

impl Driver {
    pub(crate) fn new(stream: TcpStream, session: Session, limits: &Limits, clock: Clock) -> Driver {
        Driver {
            stream,
            session,
            clock,
            read_octets: limits.read_buffer_octets,
            write_octets: limits.write_buffer_octets,
            rest: Vec::new(),
            stopped_early: false,
            sleep: None,
            armed: u64::MAX,
            answers_close: None,
            lingering: None,
            low_water: LowWater::new(),
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Turn {
        let mut now = self.clock.now();
        if let Some(until) = self.lingering {
            return self.linger(cx, now, until, buffers);
        }
        if self.session.inbox().is_notified() {
            self.session.handle_inbox(now);
        }
        let Some(read_more) = self.read(cx, &mut now, buffers) else { return Turn::Over };
        if self.session.inbox().is_notified() {
            // What the input has caused for this connection itself goes out with this turn's writes.
            self.session.handle_inbox(now);
        }
        let refused_input = !self.session.wants_input();
        // After the read: what has come in time counts, also when we come late.
        let is_due = self.session.timeout().is_some_and(|at| now >= at);
        let late = match is_due.then(|| self.session.handle_timeout(now)).flatten() {
            None => false,
            Some(Expired::Heartbeat) if self.session.wants_input() && self.has_unread() => true,
            Some(_) => return Turn::Over,
        };
        let written = if self.holds_answer(now) { Some(false) } else { self.write(cx, now) };
        let Some(write_more) = written else { return Turn::Over };
        // What was written has made room for input, and nobody has asked the socket for it yet.
        let read_more = read_more || (refused_input && self.session.wants_input());
        if self.session.is_finished() && self.session.transmit().is_empty() {
            let until = now + if self.session.awaits_end_of_input() { AWAIT_END_MS } else { LINGER_MS };
            self.lingering = Some(until);
            return self.linger(cx, now, until, buffers);
        }
        if late || read_more || write_more || self.session.inbox().is_notified() {
            Turn::Again
        } else {
            Turn::Idle
        }
    }

    /// Says whether there may be more to read at once; `None` when the peer is gone. What was read is not older than the time that
    /// the session is told with it, so that no delay ends too soon.
    fn read(&mut self, cx: &mut Context<'_>, now: &mut u64, buffers: &mut Buffers) -> Option<bool> {
        let more = self.read_some(cx, now, buffers)?;
        if !more {
            self.session.end_input(*now);
        }
        Some(more)
    }

    fn read_some(&mut self, cx: &mut Context<'_>, now: &mut u64, buffers: &mut Buffers) -> Option<bool> {
        let mut left = READS_PER_TURN * DIRECT_READS_PER_READ;
        while left > 0 {
            if self.session.is_finished() || !self.session.wants_input() {
                return Some(false);
            }
            if self.stopped_early {
                let rest = std::mem::take(&mut self.rest);
                self.session.expect_input(false);
                let used = self.session.handle_input(*now, &rest);
                self.keep(rest, used);
                left = left.saturating_sub(DIRECT_READS_PER_READ);
                continue;
            }
            match self.read_direct(cx, now) {
                None => {}
                Some(Poll::Pending) => return Some(false),
                Some(Poll::Ready(Err(_))) => return None,
                Some(Poll::Ready(Ok(()))) => {
                    left -= 1;
                    continue;
                }
            }
            left = left.saturating_sub(DIRECT_READS_PER_READ);
            let front = if self.rest.len() <= SMALL_REST_OCTETS { self.rest.len() } else { 0 };
            let buffer = &mut buffers.read;
            if buffer.len() < front + self.read_octets {
                buffer.resize(front + self.read_octets, 0);
            }
            let (head, tail) = buffer.split_at_mut(front);
            let mut into = ReadBuf::new(&mut tail[..self.read_octets]);
            match self.low_water.poll_read(&mut self.stream, cx, *now, &mut into) {
                Poll::Pending => return Some(false),
                Poll::Ready(Err(_)) => return None,
                Poll::Ready(Ok(())) if into.filled().is_empty() => return None,
                Poll::Ready(Ok(())) => {}
            }
            *now = self.clock.now();
            let now = *now;
            let count = into.filled().len();
            self.session.expect_input(count == self.read_octets);
            if front == self.rest.len() {
                head.copy_from_slice(&self.rest);
                if self.rest.capacity() > SMALL_REST_OCTETS {
                    self.rest = Vec::new();
                }
                self.rest.clear();
                let input = &buffer[..front + count];
                let used = self.session.handle_input(now, input);
                self.rest.extend_from_slice(&input[used..]);
                self.stopped_early = !self.rest.is_empty() && !self.session.wants_input();
            } else {
                let mut rest = std::mem::take(&mut self.rest);
                rest.extend_from_slice(&tail[..count]);
                let used = self.session.handle_input(now, &rest);
                self.keep(rest, used);
            }
            self.low_water.note(&self.stream, now, count, self.session.octets_at_once());
        }
        Some(true)
    }

    /// One read of a large body to where it belongs, without a detour over the thread's buffer; `None` if no such body is due.
    fn read_direct(&mut self, cx: &mut Context<'_>, now: &mut u64) -> Option<Poll<io::Result<()>>> {
        let (body, room) = self.session.direct()?;
        let room = room.min(self.read_octets);
        let mut into = body.limit(room);
        let read = match pin!(self.stream.read_buf(&mut into)).poll(cx) {
            Poll::Pending => return Some(Poll::Pending),
            Poll::Ready(read) => read,
        };
        Some(Poll::Ready(match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let next = self.session.took_direct();
                self.session.expect_input(count == room);
                *now = self.clock.now();
                let used = self.session.handle_input(*now, &next);
                self.keep(next.to_vec(), used);
                Ok(())
            }
            Err(error) => Err(error),
        }))
    }

    /// Whether octets wait in the socket that the runtime has not told of yet: when the whole process was held up, timers may go off
    /// first.
    fn has_unread(&self) -> bool {
        let mut octet = [MaybeUninit::uninit()];
        SockRef::from(&self.stream).peek(&mut octet).is_ok_and(|count| count > 0)
    }

    fn keep(&mut self, mut rest: Vec<u8>, used: usize) {
        rest.drain(..used);
        if rest.is_empty() && rest.capacity() > SMALL_REST_OCTETS {
            rest = Vec::new();
        }
        self.rest = rest;
        self.stopped_early = !self.rest.is_empty() && !self.session.wants_input();
    }

    /// Whether the answer to connection.close is still held back.
    fn holds_answer(&mut self, now: u64) -> bool {
        self.session.holds_close_ok() && now < *self.answers_close.get_or_insert(now + CLOSE_OK_MS)
    }

    /// Says whether there is more to write at once; `None` when the peer is gone.
    fn write(&mut self, cx: &mut Context<'_>, now: u64) -> Option<bool> {
        for _ in 0..WRITES_PER_TURN {
            self.session.fill(self.write_octets);
            if self.session.transmit().is_empty() {
                return Some(false);
            }
            match self.write_once(cx) {
                Poll::Pending => return Some(false),
                Poll::Ready(Ok(0) | Err(_)) => return None,
                Poll::Ready(Ok(count)) => self.session.sent(now, count),
            }
        }
        Some(true)
    }

    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Driver { stream, session, .. } = self;
        if !session.is_in_pieces() {
            return Pin::new(stream).poll_write(cx, session.transmit());
        }
        let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
        let count = session.transmit_pieces(&mut pieces);
        Pin::new(stream).poll_write_vectored(cx, pieces.get(..count).unwrap_or_default())
    }

    /// Our side is done: throws away what still comes until the peer closes, or for a while. A peer that did not close by
    /// itself is told the end at once.
    fn linger(&mut self, cx: &mut Context<'_>, now: u64, until: u64, buffers: &mut Buffers) -> Turn {
        if now >= until {
            return Turn::Over;
        }
        if !self.session.awaits_end_of_input()
            && matches!(Pin::new(&mut self.stream).poll_shutdown(cx), Poll::Ready(Err(_)))
        {
            return Turn::Over;
        }
        for _ in 0..READS_PER_TURN {
            let mut into = ReadBuf::new(&mut buffers.read);
            match Pin::new(&mut self.stream).poll_read(cx, &mut into) {
                Poll::Pending => return Turn::Idle,
                Poll::Ready(Err(_)) => return Turn::Over,
                Poll::Ready(Ok(())) if into.filled().is_empty() => return Turn::Over,
                Poll::Ready(Ok(())) => {}
            }
        }
        Turn::Again
    }

    /// When there is something to do without input.
    fn deadline(&self) -> Option<u64> {
        let read = self.low_water.deadline().filter(|_| self.session.wants_input());
        let answer = self.answers_close.filter(|at| *at > self.clock.now());
        [self.session.timeout(), read, answer].into_iter().flatten().min()
    }

    /// Sets the timer if the deadline came closer; one that moved away is set again when the timer goes off.
    fn arm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.lingering.or_else(|| self.deadline()) else { return Poll::Pending };
        if deadline < self.armed || self.sleep.is_none() {
            let at = tokio::time::Instant::from_std(self.clock.at(deadline));
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
            }
            self.armed = deadline;
        }
        let Some(sleep) = &mut self.sleep else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        self.armed = u64::MAX;
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have been idle for long: queues are used until now.
        self.session.end(self.clock.now());
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.session.inbox().register(cx.waker());
        let octets = this.read_octets;
        let turn = buffers::with(octets, |buffers| {
            let mut write = std::mem::take(&mut buffers.write);
            this.session.lend(&mut write);
            let turn = this.turn(cx, buffers);
            this.session.reclaim(&mut write);
            buffers.write = write;
            turn
        });
        match turn {
            Turn::Over => return Poll::Ready(()),
            Turn::Again => cx.waker().wake_by_ref(),
            Turn::Idle => {}
        }
        // A deadline that has passed is looked at in the next turn.
        if this.arm(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
