//! A connection for many messages: one thread writes requests and reads what comes, frame by frame. It never waits but in a
//! read with a bound, so that a broker may be killed at any moment, and it says so when the broker was not killed but
//! closed the connection or a channel.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::frames::{self, Frame};

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// One read of the socket.
const READ_OCTETS: usize = 128 * 1024;
/// The frame size that is agreed on.
const FRAME_MAX: u32 = 131_072;

/// Class and method of what a link sends and waits for.
type Ids = (u16, u16);

/// A connection of `guest` to `/` with channel 1 open. Dropping it closes the socket without a word.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    received: Vec<u8>,
    /// Octets of `received` that are read.
    parsed: usize,
    /// A delivery whose content is not whole yet, with the octets of its body once the header has said them.
    partial: Option<(Delivery, Option<u64>)>,
    /// What came while an answer was awaited.
    early: VecDeque<Event>,
}

/// What a broker sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// basic.ack or basic.nack: what became of publishes.
    Confirm {
        /// The publish, counted from 1 on its channel.
        tag: u64,
        /// All before it too.
        multiple: bool,
        /// Whether the broker has taken it.
        taken: bool,
    },
    /// A message.
    Message(Delivery),
    /// Any other method.
    Method(u16, u16, Vec<u8>),
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// basic.deliver.
    Deliver,
    /// basic.get-ok.
    Get,
    /// basic.return.
    Return,
}

/// A message as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// By which method.
    pub way: Way,
    /// Its delivery tag; 0 for a return.
    pub tag: u64,
    /// The flag of that name.
    pub redelivered: bool,
    /// Flags and properties, as they were published.
    pub properties: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is nothing more to read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The socket has ended or broken, as it does when the broker is killed.
    Gone,
    /// The broker closed channel or connection, did not answer, or sent what nobody can read.
    Refused(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone => f.write_str("the connection has ended"),
            End::Refused(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Gone
    }
}

impl Link {
    /// Connects and opens channel 1.
    ///
    /// # Errors
    /// [`End`].
    pub fn open(address: SocketAddr) -> Result<Self, End> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut link =
            Link { stream, received: Vec::new(), parsed: 0, partial: None, early: VecDeque::new() };
        link.send(b"AMQP\x00\x00\x09\x01")?;
        link.answer((10, 10))?;
        let plain = [&[0; 4], &frames::short(b"PLAIN")[..], &frames::long(b"\0guest\0guest"), b"\x05en_US"];
        link.send(&frames::method(0, 10, 11, &plain.concat()))?;
        link.answer((10, 30))?;
        let tune = [&2047_u16.to_be_bytes()[..], &FRAME_MAX.to_be_bytes(), &[0, 0]].concat();
        link.send(&frames::method(0, 10, 31, &tune))?;
        link.call(&frames::method(0, 10, 40, b"\x01/\0\0"), (10, 41))?;
        link.open_channel()?;
        Ok(link)
    }

    /// Opens channel 1 (again).
    ///
    /// # Errors
    /// [`End`].
    pub fn open_channel(&mut self) -> Result<(), End> {
        self.call(&frames::method(1, 20, 10, &[0]), (20, 11)).map(drop)
    }

    /// Closes channel 1; what was on its way to it is discarded.
    ///
    /// # Errors
    /// [`End`].
    pub fn close_channel(&mut self) -> Result<(), End> {
        self.send(&frames::method(1, 20, 40, &[0, 200, 0, 0, 0, 0, 0]))?;
        let result = self.answer((20, 41)).map(drop);
        self.early.clear();
        result
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// [`End::Gone`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a request and returns the arguments of its answer; all that comes before is kept for [`Link::next`].
    ///
    /// # Errors
    /// [`End`]; also when the answer does not come within 30 s.
    pub fn call(&mut self, request: &[u8], answer: (u16, u16)) -> Result<Vec<u8>, End> {
        self.send(request)?;
        self.answer(answer)
    }

    /// What comes next, or `None` when nothing comes for so long.
    ///
    /// # Errors
    /// [`End`].
    pub fn next(&mut self, patience: Duration) -> Result<Option<Event>, End> {
        match self.early.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.read(patience),
        }
    }

    /// What has arrived already.
    ///
    /// # Errors
    /// [`End`].
    pub fn arrived(&mut self) -> Result<Option<Event>, End> {
        match self.early.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.parse(),
        }
    }

    /// Whether something came while an answer was awaited.
    pub fn has_arrived(&self) -> bool {
        !self.early.is_empty()
    }

    fn answer(&mut self, wanted: Ids) -> Result<Vec<u8>, End> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read(left)? {
                Some(Event::Method(class, method, arguments)) if (class, method) == wanted => {
                    return Ok(arguments);
                }
                Some(event) => self.early.push_back(event),
                None => return Err(End::Refused(format!("no answer {wanted:?} within {ANSWER_TIME_MAX:?}"))),
            }
        }
    }

    fn read(&mut self, patience: Duration) -> Result<Option<Event>, End> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.parse()? {
                return Ok(Some(event));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            self.received.drain(..self.parsed);
            self.parsed = 0;
            let filled = self.received.len();
            self.received.resize(filled + READ_OCTETS, 0);
            let read = self.stream.read(&mut self.received[filled..]);
            self.received.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(End::Gone),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next event of what has been read from the socket.
    fn parse(&mut self) -> Result<Option<Event>, End> {
        while let Some((frame, rest)) = frames::split(&self.received[self.parsed..]) {
            self.parsed = self.received.len() - rest.len();
            if let Some(event) = take(&mut self.partial, frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// What a frame means; `None` while a content is not whole, and for heartbeats.
fn take(partial: &mut Option<(Delivery, Option<u64>)>, frame: Frame<'_>) -> Result<Option<Event>, End> {
    let unexpected = || End::Refused(format!("unexpected {frame:?}"));
    match (frame.kind, partial.take()) {
        (frames::METHOD, None) => {
            let event = method(frame.payload).ok_or_else(unexpected)??;
            if let Event::Message(delivery) = event {
                *partial = Some((delivery, None));
                return Ok(None);
            }
            return Ok(Some(event));
        }
        (frames::HEADER, Some((mut delivery, None))) => {
            let (fixed, properties) = frame.payload.split_first_chunk::<12>().ok_or_else(unexpected)?;
            let size = u64::from_be_bytes(*fixed.last_chunk().ok_or_else(unexpected)?);
            delivery.properties = properties.to_vec();
            *partial = Some((delivery, Some(size)));
        }
        (frames::BODY, Some((mut delivery, Some(size)))) => {
            delivery.body.extend(frame.payload);
            *partial = Some((delivery, Some(size)));
        }
        (8, kept) => *partial = kept,
        _ => return Err(unexpected()),
    }
    match partial.take() {
        Some((delivery, Some(size))) if delivery.body.len() as u64 == size => {
            Ok(Some(Event::Message(delivery)))
        }
        Some((delivery, Some(size))) if delivery.body.len() as u64 > size => {
            Err(End::Refused(format!("{} octets of a body of {size}", delivery.body.len())))
        }
        kept => {
            *partial = kept;
            Ok(None)
        }
    }
}

/// A method; `None` when it is shorter than it must be, and an end when it closes something.
fn method(payload: &[u8]) -> Option<Result<Event, End>> {
    let (&[c0, c1, m0, m1], arguments) = payload.split_first_chunk::<4>()?;
    let ids = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
    let message = |way, tag, redelivered: u8| {
        let redelivered = redelivered & 1 == 1;
        Event::Message(Delivery { way, tag, redelivered, properties: Vec::new(), body: Vec::new() })
    };
    let tag_and_bits = |octets: &[u8]| {
        let (tag, rest) = octets.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*tag), *rest.first()?))
    };
    let event = match ids {
        (10, 50) | (20, 40) => {
            let length = usize::from(*arguments.get(2)?);
            let text = String::from_utf8_lossy(arguments.get(3..3 + length)?).into_owned();
            return Some(Err(End::Refused(text)));
        }
        (60, 60) => {
            let (tag, bits) = tag_and_bits(arguments.get(1 + usize::from(*arguments.first()?)..)?)?;
            message(Way::Deliver, tag, bits)
        }
        (60, 71) => {
            let (tag, bits) = tag_and_bits(arguments)?;
            message(Way::Get, tag, bits)
        }
        (60, 50) => message(Way::Return, 0, 0),
        (60, 80) | (60, 120) => {
            let (tag, bits) = tag_and_bits(arguments)?;
            Event::Confirm { tag, multiple: bits & 1 == 1, taken: ids.1 == 80 }
        }
        (class, method) => Event::Method(class, method, arguments.to_vec()),
    };
    Some(Ok(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_a_message_when_it_is_whole() {
        let deliver = frames::method(1, 60, 60, &[b"\x01c", &7_u64.to_be_bytes()[..], b"\x01\0\0"].concat());
        let (frame, _) = frames::split(&deliver).unwrap();
        let mut partial = None;
        assert_eq!(take(&mut partial, frame), Ok(None));
        let header = frames::header(1, 3, &[0, 0]);
        assert_eq!(take(&mut partial, frames::split(&header).unwrap().0), Ok(None));
        let parts = [frames::frame(frames::BODY, 1, b"a"), frames::frame(frames::BODY, 1, b"bc")];
        assert_eq!(take(&mut partial, frames::split(&parts[0]).unwrap().0), Ok(None));
        let message = take(&mut partial, frames::split(&parts[1]).unwrap().0);
        let expected = Delivery {
            way: Way::Deliver,
            tag: 7,
            redelivered: true,
            properties: vec![0, 0],
            body: b"abc".to_vec(),
        };
        assert_eq!(message, Ok(Some(Event::Message(expected))));
        assert_eq!(partial, None);
        // A body without its header, and one that is too long.
        assert!(take(&mut partial, frames::split(&parts[1]).unwrap().0).is_err());
        let mut partial = Some((
            Delivery { way: Way::Get, tag: 1, redelivered: false, properties: vec![], body: vec![] },
            Some(1),
        ));
        assert!(take(&mut partial, frames::split(&parts[1]).unwrap().0).is_err());
    }

    #[test]
    fn a_close_is_an_end_with_its_text() {
        let close = [&[1, 0x94][..], b"\x02no\0\0\0\0"].concat();
        let bytes = frames::method(1, 20, 40, &close);
        let frame = frames::split(&bytes).unwrap().0;
        assert_eq!(take(&mut None, frame), Err(End::Refused("no".to_owned())));
    }
}
