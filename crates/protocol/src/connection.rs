//! The connection: from the protocol header to close-ok.
//!
//! ```text
//! Header ─► Starting ─► Securing ⇄ ─► Tuning ─► Opening ─► Open ─► Closing / PeerClosing ─► Gone
//!               └─────────┴──── failed without a word ──► Silent ─► Gone
//! ```
//! Invariant: an exception before `Open` is told to the peer only where RabbitMQ tells it; otherwise the peer waits.

use std::sync::Arc;

use warrenmq_wire::frame::{self, Frame};
use warrenmq_wire::method::{self, AMQPValue, FieldTable, LongString, Method, MethodError, ShortString};
use warrenmq_wire::reply::ReplyCode;
use warrenmq_wire::{basic, method::channel, method::connection};

use crate::Millis;
use crate::assembly::{Assembly, Progress, at_publish, check_header};
use crate::channels::{ChannelState, Channels};
use crate::event::{Event, Peer, StartOk};
use crate::fault::{Exception, Fault, bad_frame, misplaced_frame, unexpected, unknown_frame};
use crate::partial::{PARTIAL_OCTETS_MIN, Within};
use crate::settings::{BODY_SIZE_MAX, Settings, Tuning};
use crate::timers::{Expired, Timers};

const BASIC_QOS: (u16, u16) = (60, 10);

/// One connection, seen from the broker's side.
#[derive(Debug)]
pub struct Connection {
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: State,
    tuning: Tuning,
    /// Largest payload taken from the peer. RabbitMQ lets clients exceed frame_max by the 8 octets that many forget.
    payload_max: usize,
    peer: Peer,
    pub(crate) channels: Channels,
    /// Octets of unfinished contents over all channels.
    pub(crate) assembling: u64,
    timers: Timers,
    pub(crate) input: Input,
    /// No content is taken.
    pub(crate) holds_contents: bool,
    /// A content stands at the front of the input and was not taken.
    held_up: bool,
}

/// What the next octet of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The first of a frame.
    Frames,
    /// In the middle of a body frame: `left` octets of its payload are still to come, then its end.
    Inside { channel: u16, size: u32, left: u32 },
    /// The framing is lost: whatever comes is thrown away.
    Deaf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Header,
    Starting,
    Securing,
    Tuning,
    Opening,
    Open,
    Closing,
    PeerClosing,
    Silent,
    Gone,
}

impl Connection {
    /// A connection that was accepted at `now` and waits for the protocol header.
    pub fn new(settings: Arc<Settings>, now: Millis) -> Connection {
        let tuning = Tuning { frame_max: settings.handshake_frame_max, channel_max: 0, heartbeat: 0 };
        Connection {
            state: State::Header,
            tuning,
            payload_max: settings.handshake_frame_max as usize,
            peer: Peer::default(),
            channels: Channels::default(),
            assembling: 0,
            timers: Timers::new(now, settings.handshake_timeout),
            input: Input::Frames,
            holds_contents: false,
            held_up: false,
            settings,
        }
    }

    /// What was agreed on in tune-ok; before it only the handshake's frame limit counts.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// What the peer can take.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether connection.open was answered and nobody has closed.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the socket can be closed once everything is written.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Whether the channel is open and not closing.
    pub fn channel_is_open(&mut self, number: u16) -> bool {
        self.channels.get_mut(number).is_some_and(|c| !matches!(c.state, ChannelState::Closing))
    }

    /// Octets came at `now`. Call once per read, before [`Connection::next`].
    pub fn received(&mut self, now: Millis) {
        self.timers.received(now);
    }

    /// Octets went out at `now`. Call once per write.
    pub fn sent(&mut self, now: Millis) {
        self.timers.sent(now);
    }

    /// The next deadline, if there is one.
    pub fn timeout(&self) -> Option<Millis> {
        self.timers.next()
    }

    /// Writes a heartbeat that is due; says if the connection has to end.
    pub fn handle_timeout(&mut self, now: Millis, out: &mut Vec<u8>) -> Option<Expired> {
        let expired = self.timers.expired(now);
        if expired.is_none() && self.timers.heartbeat_due(now) {
            if matches!(self.state, State::Opening | State::Open) {
                frame::put_heartbeat(out);
            }
            self.timers.sent(now);
        }
        expired
    }

    /// Whether [`Connection::next`] stops before the next content: at its header or, in the middle of one, at its next body frame.
    /// What comes before, also its basic.publish, is taken as ever.
    pub fn hold_contents(&mut self, hold: bool) {
        self.holds_contents = hold;
        self.held_up = false;
    }

    /// Whether [`Connection::next`] has stopped at a content.
    pub fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// The next event in `input`, which moves past what was used. `None`: the rest is less than one frame, or begins with a
    /// content that is held.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        loop {
            if matches!(self.state, State::Silent | State::Gone) {
                *input = &[];
                return None;
            }
            if self.input != Input::Frames {
                match self.within(input) {
                    Within::Frames => {}
                    Within::Event(event) => return Some(event),
                    Within::More => return None,
                }
            }
            if self.state == State::Header {
                return self.header(input);
            }
            if let Some(publish) = self.next_publish(input) {
                return Some(Event::Publish(publish));
            }
            let (frame, used) = match frame::split(input, self.payload_max) {
                Ok(Some(split)) => split,
                Ok(None) if self.enter(input) => continue,
                Ok(None) => return None,
                Err(error) => {
                    self.input = Input::Deaf;
                    return Some(Event::Fault(Fault::Connection(bad_frame(&error))));
                }
            };
            if frame.kind == frame::METHOD
                && self.state == State::Open
                && frame.payload.starts_with(&[0, 60, 0])
            {
                match self.hot(frame, used, input) {
                    Hot::Event(event) => return Some(event),
                    Hot::More => return None,
                    Hot::Again => continue,
                    Hot::Not => {}
                }
            }
            if self.holds_contents && self.continues_content(frame) {
                self.held_up = true;
                return None;
            }
            *input = input.get(used..).unwrap_or_default();
            if let Some(event) = self.frame(frame) {
                return Some(event);
            }
        }
    }

    /// Answers [`Event::Hello`].
    pub fn send_start(&mut self, server_properties: FieldTable, mechanisms: &str, out: &mut Vec<u8>) {
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties,
            mechanisms: LongString::from(mechanisms),
            locales: LongString::from("en_US"),
        };
        put(out, 0, Method::Connection(connection::AMQPMethod::Start(start)));
    }

    /// Answers [`Event::StartOk`] or [`Event::SecureOk`] with a further challenge.
    pub fn send_secure(&mut self, challenge: &[u8], out: &mut Vec<u8>) {
        self.state = State::Securing;
        let secure = connection::Secure { challenge: LongString::from(challenge) };
        put(out, 0, Method::Connection(connection::AMQPMethod::Secure(secure)));
    }

    /// The peer is who it says: offers the tuning.
    pub fn send_tune(&mut self, out: &mut Vec<u8>) {
        self.state = State::Tuning;
        let tune = connection::Tune {
            channel_max: self.settings.channel_max,
            frame_max: self.settings.frame_max,
            heartbeat: self.settings.heartbeat,
        };
        put(out, 0, Method::Connection(connection::AMQPMethod::Tune(tune)));
    }

    /// Answers [`Event::Open`].
    pub fn open_ok(&mut self, out: &mut Vec<u8>) {
        self.state = State::Open;
        self.timers.opened();
        put(out, 0, Method::Connection(connection::AMQPMethod::OpenOk(connection::OpenOk {})));
    }

    /// Answers [`Event::UpdateSecret`].
    pub fn update_secret_ok(&mut self, out: &mut Vec<u8>) {
        put(
            out,
            0,
            Method::Connection(connection::AMQPMethod::UpdateSecretOk(connection::UpdateSecretOk {})),
        );
    }

    /// The connection is not read for now, for this reason: tells the peer if it can hear it, and the connection is open. What is
    /// not read has no heartbeats: they are not missed until [`Connection::send_unblocked`].
    pub fn send_blocked(&mut self, reason: &str, out: &mut Vec<u8>) {
        self.timers.pause();
        if self.is_open() && self.peer.connection_blocked {
            let reason = short(reason.chars().take(60).collect());
            put(out, 0, Method::Connection(connection::AMQPMethod::Blocked(connection::Blocked { reason })));
        }
    }

    /// The connection is read again from `now` on: tells the peer if it can hear it, and the connection is open.
    pub fn send_unblocked(&mut self, now: Millis, out: &mut Vec<u8>) {
        self.timers.resume(now);
        if self.is_open() && self.peer.connection_blocked {
            put(out, 0, Method::Connection(connection::AMQPMethod::Unblocked(connection::Unblocked {})));
        }
    }

    /// Answers [`Event::ChannelOpen`].
    pub fn channel_open_ok(&mut self, number: u16, out: &mut Vec<u8>) {
        put(out, number, Method::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})));
    }

    /// Answers [`Event::ChannelClose`]: the number is free again, unless our own close is still unanswered.
    pub fn channel_closed(&mut self, number: u16, out: &mut Vec<u8>) {
        if self.channels.get_mut(number).is_some_and(|c| !matches!(c.state, ChannelState::Closing)) {
            self.forget(number);
        }
        put(out, number, Method::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})));
    }

    /// Answers [`Event::Close`].
    pub fn close_ok(&mut self, out: &mut Vec<u8>) {
        self.state = State::Gone;
        put(out, 0, Method::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {})));
    }

    /// Answers [`Event::BadHeader`] with the version that we speak.
    pub fn refuse_header(&mut self, out: &mut Vec<u8>) {
        self.state = State::Gone;
        out.extend_from_slice(&frame::PROTOCOL_HEADER);
    }

    /// Closes what the fault reaches. Channel faults on a channel that is not open are ignored.
    pub fn fail(&mut self, now: Millis, fault: &Fault, out: &mut Vec<u8>) {
        match fault {
            Fault::Channel(number, exception) => self.close_channel(*number, exception, out),
            Fault::Connection(exception) => self.close(now, exception, out),
        }
    }

    /// Whether a connection exception is told to the peer in the present state, as RabbitMQ decides it
    /// (`rabbit_reader:handle_exception`).
    fn tells(&self, exception: &Exception) -> bool {
        match self.state {
            State::Open | State::Opening => true,
            State::Tuning => exception.code == ReplyCode::NotAllowed,
            State::Starting | State::Securing => match exception.code {
                ReplyCode::AccessRefused => self.peer.authentication_failure_close,
                code => code == ReplyCode::CommandInvalid,
            },
            _ => false,
        }
    }

    fn close(&mut self, now: Millis, exception: &Exception, out: &mut Vec<u8>) {
        if matches!(self.state, State::Closing | State::PeerClosing | State::Silent | State::Gone) {
            return;
        }
        let told = self.tells(exception);
        self.channels = Channels::default();
        self.assembling = 0;
        if told {
            let close = connection::Close {
                reply_code: exception.code.code(),
                reply_text: short(exception.reply_text()),
                class_id: exception.class,
                method_id: exception.method,
            };
            put(out, 0, Method::Connection(connection::AMQPMethod::Close(close)));
            self.state = State::Closing;
            if self.input == Input::Deaf { self.timers.silent(now) } else { self.timers.closing(now) }
        } else {
            self.state = State::Silent;
            self.timers.silent(now);
        }
    }

    fn close_channel(&mut self, number: u16, exception: &Exception, out: &mut Vec<u8>) {
        let Some(channel) = self.channels.get_mut(number) else { return };
        match std::mem::replace(&mut channel.state, ChannelState::Closing) {
            ChannelState::Closing => return,
            ChannelState::Content(assembly) => self.assembling -= assembly.size(),
            ChannelState::Open => {}
        }
        let close = channel::Close {
            reply_code: exception.code.code(),
            reply_text: short(exception.reply_text()),
            class_id: exception.class,
            method_id: exception.method,
        };
        put(out, number, Method::Channel(channel::AMQPMethod::Close(close)));
    }

    fn header<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let Some((header, rest)) = input.split_first_chunk::<8>() else {
            // Wrong from the first octet on: no need to wait for all eight.
            let wrong =
                !frame::PROTOCOL_HEADER.starts_with(input.get(..4.min(input.len())).unwrap_or_default());
            if wrong {
                *input = &[];
            }
            return wrong.then_some(Event::BadHeader);
        };
        *input = rest;
        // `AMQP 1 1 0 9` is the header of 0-9, which RabbitMQ treats as 0-9-1.
        if *header == frame::PROTOCOL_HEADER || header == b"AMQP\x01\x01\x00\x09" {
            self.state = State::Starting;
            return Some(Event::Hello);
        }
        Some(Event::BadHeader)
    }

    /// Publish and acknowledgements, without going through the generic parser.
    fn hot<'a>(&mut self, frame: Frame<'a>, used: usize, input: &mut &'a [u8]) -> Hot<'a> {
        let Some((ids, args)) = frame.payload.split_first_chunk::<4>() else { return Hot::Not };
        let method = u16::from_be_bytes([ids[2], ids[3]]);
        if !matches!(method, basic::PUBLISH | basic::ACK | basic::NACK | basic::REJECT) {
            return Hot::Not;
        }
        let Some(channel) = self.channels.get_mut(frame.channel) else { return Hot::Not };
        if !matches!(channel.state, ChannelState::Open) {
            return Hot::Not;
        }
        let rest = input.get(used..).unwrap_or_default();
        let parsed = match method {
            basic::PUBLISH => match basic::parse_publish(args) {
                Ok(publish) => return self.publish(frame.channel, &publish, rest, input),
                Err(_) => None,
            },
            basic::ACK => basic::parse_ack(args).ok().map(|ack| Event::Ack(frame.channel, ack)),
            basic::NACK => basic::parse_nack(args).ok().map(|nack| Event::Nack(frame.channel, nack)),
            _ => basic::parse_reject(args).ok().map(|reject| Event::Reject(frame.channel, reject)),
        };
        *input = rest;
        Hot::Event(parsed.unwrap_or_else(|| Event::Fault(Fault::Connection(undecodable(frame.payload)))))
    }

    /// A publish that does not lie whole in the input ([`Connection::next_publish`] takes those).
    fn publish<'a>(
        &mut self,
        channel: u16,
        publish: &basic::Publish<'a>,
        rest: &'a [u8],
        input: &mut &'a [u8],
    ) -> Hot<'a> {
        if publish.immediate {
            *input = rest;
            let exception = Exception::new(ReplyCode::NotImplemented, "immediate=true");
            return Hot::Event(Event::Fault(Fault::Connection(at_publish(exception))));
        }
        if self.may_soon_be_whole(channel, rest) {
            return Hot::More;
        }
        if let Some(entry) = self.channels.get_mut(channel) {
            entry.state = ChannelState::Content(Box::new(Assembly::new(channel, publish, &self.settings)));
        }
        *input = rest;
        Hot::Again
    }

    /// Whether only octets of the header or of a small body are missing. The rest of a large one may still be far away, and is not
    /// waited for.
    fn may_soon_be_whole(&self, channel: u16, rest: &[u8]) -> bool {
        if self.holds_contents {
            return false;
        }
        let (header, used) = match frame::split(rest, self.payload_max) {
            Ok(Some(split)) => split,
            Ok(None) => return true,
            Err(_) => return false,
        };
        if header.kind != frame::HEADER || header.channel != channel {
            return false;
        }
        let Ok(size) = check_header(header.payload, &self.settings) else { return false };
        let rest = rest.get(used..).unwrap_or_default();
        size > 0
            && size < u64::from(PARTIAL_OCTETS_MIN)
            && matches!(frame::split(rest, self.payload_max), Ok(None))
    }

    /// Whether contents are taken, of channels that are open.
    #[inline]
    pub(crate) fn takes_contents(&self) -> bool {
        self.state == State::Open && !self.holds_contents && self.input == Input::Frames
    }

    #[inline]
    pub(crate) fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// Largest body that the broker takes.
    #[inline]
    pub(crate) fn message_size_max(&self) -> u64 {
        self.settings.message_size_max.min(BODY_SIZE_MAX)
    }

    #[inline]
    pub(crate) fn channel_state(&mut self, number: u16) -> Option<&ChannelState> {
        self.channels.get_mut(number).map(|channel| &channel.state)
    }

    /// Whether the frame is of the content that its channel expects.
    fn continues_content(&mut self, frame: Frame<'_>) -> bool {
        self.state == State::Open
            && matches!(frame.kind, frame::HEADER | frame::BODY)
            && (self.channels.get_mut(frame.channel))
                .is_some_and(|channel| matches!(channel.state, ChannelState::Content(_)))
    }

    fn frame(&mut self, frame: Frame<'_>) -> Option<Event<'static>> {
        let Frame { kind, channel, payload } = frame;
        if matches!(self.state, State::Closing | State::PeerClosing) {
            return (channel == 0 && kind == frame::METHOD).then(|| self.while_closing(payload)).flatten();
        }
        let known = match kind {
            frame::METHOD => payload.len() >= 4,
            frame::HEADER => payload.len() >= 12,
            frame::BODY => true,
            frame::HEARTBEAT => payload.is_empty(),
            _ => false,
        };
        let fault = if !known {
            unknown_frame(kind, payload)
        } else if channel == 0 {
            match kind {
                frame::HEARTBEAT => return None,
                frame::METHOD => match self.method0(payload) {
                    Ok(event) => return event,
                    Err(exception) => exception,
                },
                _ => misplaced_frame(kind, payload),
            }
        } else if self.state != State::Open || kind == frame::HEARTBEAT {
            misplaced_frame(kind, payload)
        } else {
            match self.channel_frame(frame) {
                Ok(event) => return event,
                Err(exception) => return Some(Event::Fault(exception.on(channel))),
            }
        };
        Some(Event::Fault(Fault::Connection(fault)))
    }

    fn while_closing(&mut self, payload: &[u8]) -> Option<Event<'static>> {
        match method::ids(payload) {
            Some((10, 51)) => {
                self.state = State::Gone;
                Some(Event::Gone)
            }
            Some((10, 50)) => Some(Event::Close),
            _ => None,
        }
    }

    fn method0(&mut self, payload: &[u8]) -> Result<Option<Event<'static>>, Exception> {
        use connection::AMQPMethod as M;
        let (class, id) = method::ids(payload).unwrap_or_default();
        let parsed = method::parse(payload).map_err(|error| unparsable(payload, &error))?;
        match (self.state, parsed) {
            (State::Starting, Method::Connection(M::StartOk(ok))) => {
                self.peer = peer_of(&ok.client_properties);
                Ok(Some(Event::StartOk(Box::new(StartOk {
                    mechanism: ok.mechanism.to_string(),
                    response: ok.response.as_bytes().to_vec(),
                    client_properties: ok.client_properties,
                }))))
            }
            (State::Securing, Method::Connection(M::SecureOk(ok))) => {
                Ok(Some(Event::SecureOk(ok.response.as_bytes().to_vec())))
            }
            (State::Tuning, Method::Connection(M::TuneOk(ok))) => {
                let asked =
                    Tuning { frame_max: ok.frame_max, channel_max: ok.channel_max, heartbeat: ok.heartbeat };
                self.tuning = self.settings.negotiate(asked)?;
                self.payload_max = if asked.frame_max == 0 { usize::MAX } else { asked.frame_max as usize };
                self.timers.set_heartbeat(asked.heartbeat);
                self.state = State::Opening;
                Ok(None)
            }
            (State::Opening, Method::Connection(M::Open(open))) => {
                Ok(Some(Event::Open(open.virtual_host.to_string())))
            }
            (State::Open, Method::Connection(M::UpdateSecret(update))) => {
                Ok(Some(Event::UpdateSecret(update.new_secret.as_bytes().to_vec())))
            }
            (_, Method::Connection(M::Close(_))) => {
                self.state = State::PeerClosing;
                Ok(Some(Event::Close))
            }
            (state, _) => {
                let text = format!("unexpected method in connection state {}", state.name());
                Err(Exception::new(ReplyCode::ChannelError, text).at(class, id))
            }
        }
    }

    fn channel_frame(&mut self, frame: Frame<'_>) -> Result<Option<Event<'static>>, Exception> {
        let Frame { kind, channel: number, payload } = frame;
        let ids = if kind == frame::METHOD { method::ids(payload) } else { None };
        let count = self.channels.len();
        let Some(channel) = self.channels.get_mut(number) else {
            return self.unopened_channel(number, count, ids).map(Some);
        };
        match &mut channel.state {
            ChannelState::Closing => Ok(match ids {
                Some((20, 41)) => {
                    self.forget(number);
                    Some(Event::ChannelFreed(number))
                }
                Some((20, 40)) => Some(Event::ChannelClose(number)),
                _ => None,
            }),
            ChannelState::Content(assembly) => {
                let before = assembly.size();
                let progress = assembly.frame(kind, payload, &self.settings)?;
                self.assembling += assembly.size() - before;
                if self.assembling > self.settings.assembly_octets_max {
                    let text = "too many octets in unfinished messages on this connection";
                    return Err(at_publish(Exception::new(ReplyCode::ResourceError, text)));
                }
                if progress == Progress::More {
                    return Ok(None);
                }
                Ok(self.finish(number).map(Event::Assembled))
            }
            ChannelState::Open => {
                let Some((class, id)) = ids else {
                    return Err(unexpected("expected method frame, got non method frame instead"));
                };
                let parsed = method::parse(payload).map_err(|error| unparsable(payload, &error))?;
                if (class, id) == BASIC_QOS {
                    check_prefetch_size(payload)?;
                }
                match parsed {
                    Method::Channel(channel::AMQPMethod::Open(_)) => {
                        let text = "second 'channel.open' seen";
                        Err(Exception::new(ReplyCode::ChannelError, text).at(class, id))
                    }
                    Method::Channel(channel::AMQPMethod::Close(_)) => Ok(Some(Event::ChannelClose(number))),
                    other => Ok(Some(Event::Method(number, Box::new(other)))),
                }
            }
        }
    }

    fn unopened_channel(
        &mut self,
        number: u16,
        count: usize,
        ids: Option<(u16, u16)>,
    ) -> Result<Event<'static>, Exception> {
        let max = self.tuning.channel_max;
        if max != 0 && count >= usize::from(max) {
            let text =
                format!("number of channels opened ({count}) has reached the negotiated channel_max ({max})");
            return Err(Exception::new(ReplyCode::NotAllowed, text));
        }
        match ids {
            Some((20, 10)) => {
                self.channels.open(number);
                Ok(Event::ChannelOpen(number))
            }
            Some((class, id)) => {
                Err(Exception::new(ReplyCode::ChannelError, "expected 'channel.open'").at(class, id))
            }
            None => Err(unexpected("expected method frame, got non method frame instead")),
        }
    }

    pub(crate) fn finish(&mut self, number: u16) -> Option<Box<crate::Assembled>> {
        let channel = self.channels.get_mut(number)?;
        match std::mem::replace(&mut channel.state, ChannelState::Open) {
            ChannelState::Content(assembly) => {
                self.assembling -= assembly.size();
                Some(Box::new(assembly.finish()))
            }
            other => {
                channel.state = other;
                None
            }
        }
    }

    fn forget(&mut self, number: u16) {
        if let Some(channel) = self.channels.remove(number)
            && let ChannelState::Content(assembly) = channel.state
        {
            self.assembling -= assembly.size();
        }
    }
}

/// What the fast path made of a frame.
enum Hot<'a> {
    Event(Event<'a>),
    /// The rest of the content is still to come; the input was left where it is useful to look again.
    More,
    /// The method was taken; the frames after it go the long way.
    Again,
    /// Not for the fast path.
    Not,
}

impl State {
    /// The name RabbitMQ gives it in texts.
    fn name(self) -> &'static str {
        match self {
            State::Header => "pre_init",
            State::Starting => "starting",
            State::Securing => "securing",
            State::Tuning => "tuning",
            State::Opening => "opening",
            State::Open => "running",
            State::Closing | State::PeerClosing => "closing",
            State::Silent | State::Gone => "closed",
        }
    }
}

fn peer_of(client_properties: &FieldTable) -> Peer {
    let property = |name: &str| client_properties.inner().get(name);
    let has = |name: &str| match property("capabilities") {
        Some(AMQPValue::FieldTable(capabilities)) => {
            matches!(capabilities.inner().get(name), Some(AMQPValue::Boolean(true)))
        }
        _ => false,
    };
    let is_product = |name: &str| matches!(property("product"), Some(AMQPValue::LongString(product)) if product.as_bytes() == name.as_bytes());
    Peer {
        authentication_failure_close: has("authentication_failure_close"),
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
        close_ok_later: is_product("aiormq"),
    }
}

/// The parsed method has no field for it: limits in octets are not implemented, as in RabbitMQ.
fn check_prefetch_size(payload: &[u8]) -> Result<(), Exception> {
    let size = payload.get(4..8).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_be_bytes);
    if size == 0 {
        return Ok(());
    }
    let text = format!("prefetch_size!=0 ({size})");
    Err(Exception::new(ReplyCode::NotImplemented, text).at(BASIC_QOS.0, BASIC_QOS.1))
}

fn undecodable(payload: &[u8]) -> Exception {
    let (class, id) = method::ids(payload).unwrap_or_default();
    let args: Vec<String> = payload.iter().skip(4).take(128).map(u8::to_string).collect();
    let text = format!("cannot decode <<{}>>", args.join(","));
    Exception::new(ReplyCode::FrameError, text).at(class, id)
}

/// RabbitMQ crashes its reader on an unknown method; we name it. The rest is a frame error, as there.
fn unparsable(payload: &[u8], error: &MethodError) -> Exception {
    match error {
        MethodError::UnknownMethod { class, method } => {
            let text = format!("unknown method: class {class}, method {method}");
            Exception::new(ReplyCode::CommandInvalid, text)
        }
        MethodError::BadUtf8 { .. } => Exception::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr"),
        MethodError::BadTable { .. } => {
            let (class, id) = method::ids(payload).unwrap_or_default();
            Exception::new(ReplyCode::SyntaxError, error.to_string()).at(class, id)
        }
        _ => undecodable(payload),
    }
}

fn put(out: &mut Vec<u8>, channel: u16, method: Method) {
    method::put(out, channel, &method).expect("invariant: strings of our own methods are short");
}

fn short(text: String) -> ShortString {
    ShortString::try_new(text).expect("invariant: reply texts are cut to 255 octets")
}
