//! A client's connection as octets: what it says, what it hears, and the broker's session in between.
//!
//! Invariant: what the broker sends is whole frames, and every content is complete before the next method of its channel.

use warrenmq_broker::Session;
use warrenmq_wire::method::{self, Method};
use warrenmq_wire::{content, frame};

/// One method that the broker has sent.
pub(crate) struct Said {
    pub(crate) channel: u16,
    pub(crate) method: Method,
    /// The number in the body, where there is one.
    pub(crate) number: Option<u32>,
}

pub(crate) struct Line {
    session: Session,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Line {
    pub(crate) fn new(session: Session) -> Line {
        Line { session, input: Vec::new(), output: Vec::new() }
    }

    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
    }

    /// One turn of the broker; says whether anything happened.
    pub(crate) fn turn(&mut self, now: u64) -> bool {
        let session = &mut self.session;
        let mut moved = session.inbox().is_notified();
        if moved {
            session.handle_inbox(now);
        }
        if session.timeout().is_some_and(|at| now >= at) {
            moved = true;
            let _ = session.handle_timeout(now);
        }
        if !self.input.is_empty() && session.wants_input() && !session.is_finished() {
            let used = session.handle_input(now, &self.input);
            self.input.drain(..used);
            moved |= used > 0;
        }
        loop {
            session.fill(4096);
            let octets = session.transmit();
            if octets.is_empty() {
                return moved;
            }
            moved = true;
            let count = octets.len();
            self.output.extend_from_slice(octets);
            session.sent(now, count);
        }
    }

    /// Until when the session takes no input.
    pub(crate) fn waits_until(&self) -> Option<u64> {
        (!self.session.wants_input()).then(|| self.session.timeout()).flatten()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.session.is_finished()
    }

    /// All that has come since the last time.
    pub(crate) fn hear(&mut self) -> Vec<Said> {
        let output = std::mem::take(&mut self.output);
        let mut rest = output.as_slice();
        let mut heard = Vec::new();
        while let Some((found, used)) = frame::split(rest, usize::MAX).expect("whole frames") {
            rest = &rest[used..];
            assert_eq!(found.kind, frame::METHOD, "a method is due");
            let method = method::parse(found.payload).expect("a good method");
            let number = has_content(&method).then(|| number(found.channel, &mut rest));
            heard.push(Said { channel: found.channel, method, number });
        }
        assert_eq!(rest, b"", "octets behind the last frame");
        heard
    }
}

fn has_content(method: &Method) -> bool {
    use method::basic_cold::AMQPMethod as Basic;
    matches!(method, Method::Basic(Basic::Deliver(_) | Basic::GetOk(_) | Basic::Return(_)))
}

/// Reads a content; its body begins with a number.
fn number(channel: u16, rest: &mut &[u8]) -> u32 {
    let mut next = |kind| {
        let (found, used) =
            frame::split(rest, usize::MAX).expect("whole frames").expect("the content follows");
        *rest = &rest[used..];
        assert_eq!((found.kind, found.channel), (kind, channel));
        found.payload
    };
    let header = content::parse_header(next(frame::HEADER)).expect("a good header");
    header.check().expect("good properties");
    let mut body = Vec::new();
    while (body.len() as u64) < header.body_size {
        let part = next(frame::BODY);
        assert!(!part.is_empty(), "an empty body frame");
        body.extend_from_slice(part);
    }
    assert_eq!(body.len() as u64, header.body_size);
    u32::from_be_bytes(*body.first_chunk().expect("each body has a number"))
}

/// What a client says, written by hand: a codec beside the one under test.
pub(crate) mod octets {
    use warrenmq_wire::frame;

    pub(crate) fn handshake() -> Vec<u8> {
        let response = b"\0guest\0guest";
        let length = u32::try_from(response.len()).expect("short").to_be_bytes();
        let start_ok = [&[0; 4][..], &short("PLAIN"), &length, response, &short("en_US")].concat();
        let mut out = frame::PROTOCOL_HEADER.to_vec();
        method(&mut out, 0, 10, 11, &start_ok);
        method(&mut out, 0, 10, 31, &[0, 10, 0, 0, 0x10, 0, 0, 0]);
        method(&mut out, 0, 10, 40, &[&short("/")[..], &[0, 0]].concat());
        out
    }

    pub(crate) fn connection_close() -> Vec<u8> {
        one(0, 10, 50, &[0, 200, 0, 0, 0, 0, 0])
    }

    /// With confirms, so that every publish is answered for.
    pub(crate) fn channel_open(channel: u16) -> Vec<u8> {
        [one(channel, 20, 10, &[0]), one(channel, 85, 10, &[0])].concat()
    }

    pub(crate) fn channel_close(channel: u16) -> Vec<u8> {
        one(channel, 20, 40, &[0, 200, 0, 0, 0, 0, 0])
    }

    pub(crate) fn channel_close_ok(channel: u16) -> Vec<u8> {
        one(channel, 20, 41, &[])
    }

    pub(crate) fn declare(channel: u16, queue: usize) -> Vec<u8> {
        on_queue(channel, 50, 10, queue, &[0, 0, 0, 0, 0])
    }

    pub(crate) fn purge(channel: u16, queue: usize) -> Vec<u8> {
        on_queue(channel, 50, 30, queue, &[0])
    }

    pub(crate) fn delete(channel: u16, queue: usize) -> Vec<u8> {
        on_queue(channel, 50, 40, queue, &[0])
    }

    pub(crate) fn get(channel: u16, queue: usize, no_ack: bool) -> Vec<u8> {
        on_queue(channel, 60, 70, queue, &[u8::from(no_ack)])
    }

    pub(crate) fn consume(channel: u16, queue: usize, tag: &str, no_ack: bool, exclusive: bool) -> Vec<u8> {
        let bits = u8::from(no_ack) << 1 | u8::from(exclusive) << 2;
        on_queue(channel, 60, 20, queue, &[&short(tag)[..], &[bits, 0, 0, 0, 0]].concat())
    }

    pub(crate) fn cancel(channel: u16, tag: &str) -> Vec<u8> {
        one(channel, 60, 30, &[&short(tag)[..], &[0]].concat())
    }

    pub(crate) fn qos(channel: u16, count: u16, global: bool) -> Vec<u8> {
        one(channel, 60, 10, &[&[0; 4][..], &count.to_be_bytes(), &[u8::from(global)]].concat())
    }

    pub(crate) fn recover(channel: u16) -> Vec<u8> {
        one(channel, 60, 110, &[1])
    }

    pub(crate) fn ack(channel: u16, tag: u64, multiple: bool) -> Vec<u8> {
        one(channel, 60, 80, &[&tag.to_be_bytes()[..], &[u8::from(multiple)]].concat())
    }

    pub(crate) fn nack(channel: u16, tag: u64, multiple: bool, requeue: bool) -> Vec<u8> {
        let bits = u8::from(multiple) | u8::from(requeue) << 1;
        one(channel, 60, 120, &[&tag.to_be_bytes()[..], &[bits]].concat())
    }

    pub(crate) fn reject(channel: u16, tag: u64, requeue: bool) -> Vec<u8> {
        one(channel, 60, 90, &[&tag.to_be_bytes()[..], &[u8::from(requeue)]].concat())
    }

    /// A message whose body is cut into so many pieces at most.
    pub(crate) fn publish(
        out: &mut Vec<u8>,
        channel: u16,
        queue: usize,
        number: u32,
        mandatory: bool,
        size: usize,
        pieces: usize,
    ) {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(4 + size, 0);
        let args = [&[0, 0, 0][..], &short(&name(queue)), &[u8::from(mandatory)]].concat();
        method(out, channel, 60, 40, &args);
        frame_of(out, frame::HEADER, channel, &header(body.len()));
        for piece in body.chunks(body.len().div_ceil(pieces.max(1))) {
            frame_of(out, frame::BODY, channel, piece);
        }
    }

    /// The beginning of a message: the method, with 1 its header too, with 2 the first octet of its body.
    pub(crate) fn unfinished(channel: u16, queue: usize, number: u32, begun: u8) -> Vec<u8> {
        let mut out = one(channel, 60, 40, &[&[0, 0, 0][..], &short(&name(queue)), &[0]].concat());
        if begun > 0 {
            frame_of(&mut out, frame::HEADER, channel, &header(4));
        }
        if begun > 1 {
            frame_of(&mut out, frame::BODY, channel, &number.to_be_bytes()[..1]);
        }
        out
    }

    /// What is missing after [`unfinished`].
    pub(crate) fn rest_of_message(channel: u16, number: u32, begun: u8) -> Vec<u8> {
        let mut out = Vec::new();
        if begun == 0 {
            frame_of(&mut out, frame::HEADER, channel, &header(4));
        }
        let sent = usize::from(begun > 1);
        frame_of(&mut out, frame::BODY, channel, &number.to_be_bytes()[sent..]);
        out
    }

    /// Something that ends the connection.
    pub(crate) fn garbage(channel: u16, which: u8) -> Vec<u8> {
        let mut out = Vec::new();
        match which % 8 {
            0 => frame_of(&mut out, 9, channel, b"unknown kind"),
            1 => frame_of(&mut out, frame::BODY, channel, b"body without publish"),
            2 => frame_of(&mut out, frame::HEADER, channel, &header(3)),
            3 => method(&mut out, channel, 250, 10, b"unknown class"),
            4 => method(&mut out, channel, 60, 40, &[0, 0, 5]),
            5 => out.extend_from_slice(b"\x01\x00\x01\x00\x00\x00\x04\x00\x14\x00\x0awrong end"),
            6 => out.extend_from_slice(b"\x03\x00\x01\xFF\xFF\xFF\xFFtoo large"),
            _ => method(&mut out, channel, 20, 10, &[0]),
        }
        out
    }

    fn name(queue: usize) -> String {
        format!("q{queue}")
    }

    fn header(size: usize) -> Vec<u8> {
        [&[0, 60, 0, 0][..], &(size as u64).to_be_bytes(), &[0, 0]].concat()
    }

    fn short(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
    }

    fn on_queue(channel: u16, class: u16, id: u16, queue: usize, rest: &[u8]) -> Vec<u8> {
        one(channel, class, id, &[&[0, 0][..], &short(&name(queue)), rest].concat())
    }

    fn one(channel: u16, class: u16, id: u16, args: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        method(&mut out, channel, class, id, args);
        out
    }

    fn method(out: &mut Vec<u8>, channel: u16, class: u16, id: u16, args: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &id.to_be_bytes(), args].concat();
        frame_of(out, frame::METHOD, channel, &payload);
    }

    fn frame_of(out: &mut Vec<u8>, kind: u8, channel: u16, payload: &[u8]) {
        out.push(kind);
        out.extend_from_slice(&channel.to_be_bytes());
        out.extend_from_slice(&u32::try_from(payload.len()).expect("a small frame").to_be_bytes());
        out.extend_from_slice(payload);
        out.push(frame::END);
    }
}
