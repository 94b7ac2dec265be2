//! One connection: its socket, what was read from it and not yet worked off, and whether it consumes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::control;
use crate::translate::{self, Translator};

/// Most that one read takes.
const READ_BYTES: usize = 128 * 1024;
/// What a client says before its first frame.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

/// A client.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// Channel and tag under which it consumes.
    pub(crate) consumer: Option<(u16, Vec<u8>)>,
    buffer: Vec<u8>,
    /// Octets at the start of the buffer that were not worked off.
    held: usize,
    greeted: bool,
}

/// What a peer has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Methods, all answered.
    Methods,
    /// At least the beginning of a message, which is still held.
    Messages,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, consumer: None, buffer: vec![0; READ_BYTES], held: 0, greeted: false }
    }

    /// Reads once and answers methods up to the first message.
    ///
    /// # Errors
    /// When the peer is gone, or asks for what there is not.
    pub(crate) fn listen(&mut self) -> io::Result<Said> {
        self.read()?;
        let mut answer = Vec::new();
        let said = self.answer(&mut answer);
        self.stream.write_all(&answer)?;
        said
    }

    /// Hands on the messages that are held and those that follow, until a method comes that is no publish.
    ///
    /// # Errors
    /// When the peer is gone. A failed write to `sink` ends the writing alone.
    pub(crate) fn pump(&mut self, translator: &mut Translator, sink: Option<&TcpStream>) -> io::Result<()> {
        let mut sink = sink;
        let mut out = Vec::with_capacity(2 * READ_BYTES);
        loop {
            let held = self.buffer.get(..self.held).unwrap_or_default();
            let taken = translator.translate(held, &mut out);
            let rest = held.get(taken..).unwrap_or_default();
            let ended = translate::is_other_method(rest);
            if sink.is_some_and(|mut stream| stream.write_all(&out).is_err()) {
                sink = None;
            }
            out.clear();
            self.consume(taken);
            if ended {
                let mut answer = Vec::new();
                let said = self.answer(&mut answer);
                self.stream.write_all(&answer)?;
                if said? == Said::Methods {
                    return Ok(());
                }
                continue;
            }
            self.read()?;
        }
    }

    /// Answers the whole methods that are held.
    fn answer(&mut self, answer: &mut Vec<u8>) -> io::Result<Said> {
        loop {
            let held = self.buffer.get(..self.held).unwrap_or_default();
            if !self.greeted {
                if held.len() < PROTOCOL_HEADER.len() {
                    return Ok(Said::Methods);
                }
                if !held.starts_with(PROTOCOL_HEADER) {
                    return Err(ErrorKind::InvalidData.into());
                }
                control::greet(answer);
                self.greeted = true;
                self.consume(PROTOCOL_HEADER.len());
                continue;
            }
            if translate::is_publish(held) {
                return Ok(Said::Messages);
            }
            let Some((channel, payload, length)) = translate::method(held)? else {
                return Ok(Said::Methods);
            };
            if let Some(tag) = control::answer(channel, payload, answer)? {
                self.consumer = Some((channel, tag));
            }
            self.consume(length);
        }
    }

    /// Reads behind what is held.
    fn read(&mut self) -> io::Result<()> {
        let room = self.buffer.get_mut(self.held..).unwrap_or_default();
        match self.stream.read(room)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.held += count;
                Ok(())
            }
        }
    }

    /// Forgets the first `count` octets.
    fn consume(&mut self, count: usize) {
        self.buffer.copy_within(count..self.held, 0);
        self.held -= count;
    }
}
