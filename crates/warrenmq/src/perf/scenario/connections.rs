//! `perf connection-churn` and `perf connection-count`: opening and closing connections, many at the same time.
//!
//! ```text
//! connect ──► LoggingIn ──channel 1 open──► Open ──► Closing ──close-ok──► Farewell ──end of stream──► gone
//! ```
//! Invariant: at most `--concurrency` connections are on the way from one resting place (nothing, open) to the other. The broker
//! gets the time to close the socket first, as the protocol has it; so the ports of this side are free again at once.

use std::{collections::VecDeque, time::Duration};

use clap::Args;
use warrenmq_wire::{
    frame::{self, Frame},
    method::{self, Method, connection},
};

use super::{LengthArgs, set_up, summary};
use crate::perf::{
    clock::{self, now_ns},
    common::{CommonArgs, parse_seconds},
    connection::misfit,
    engine::{Engine, Handler, Key},
    error::PerfError,
    login::{Login, Script},
    meter::Meter,
    pipeline::End,
    summary::Summary,
};

/// After its close-ok the broker has so long to close the socket.
const FAREWELL_NS: u64 = 1_000_000_000;

/// Arguments of `warrenmq perf connection-churn`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    opening: OpeningArgs,
}

/// Arguments of `warrenmq perf connection-count`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Number of connections, each with one channel.
    #[arg(long = "connections", value_name = "N", default_value_t = 10_000, help_heading = "Run",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Seconds to keep them open.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds, help_heading = "Run")]
    hold: Duration,
    #[command(flatten)]
    opening: OpeningArgs,
}

/// How connections are opened.
#[derive(Debug, Clone, Copy, Args)]
struct OpeningArgs {
    /// Connections that are being opened or closed at the same time.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Run",
          value_parser = clap::value_parser!(u64).range(1..))]
    concurrency: u64,
    /// Send the whole handshake in one go, instead of each answer when its question has come.
    #[arg(long, help_heading = "Run")]
    pipelined: bool,
}

/// Opens and closes connections.
///
/// # Errors
/// What the broker says against it.
pub(super) fn churn(args: &ChurnArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("connection-churn", &args.common);
    args.opening.note(&mut summary);
    let mut meter = Meter::new(&args.common, "open+close", &["open", "close"]);
    let mut swarm = Swarm::new(&args.common, args.opening)?;
    summary.look("before")?;
    swarm.open(&mut meter, args.length.end(), true)?;
    summary.look("after")?;
    summary.phases.push(meter.finish()?);
    Ok(summary)
}

/// Opens all connections, holds them, closes them.
///
/// # Errors
/// What the broker says against it.
pub(super) fn count(args: &CountArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("connection-count", &args.common);
    args.opening.note(&mut summary);
    let mut swarm = Swarm::new(&args.common, args.opening)?;
    summary.look("before")?;
    let mut meter = Meter::new(&args.common, "open", &["open"]);
    swarm.open(&mut meter, End::after(args.count), false)?;
    summary.phases.push(meter.finish()?);
    summary.look("open")?;
    args.common.live(format_args!("holding {} connections for {:?}", args.count, args.hold));
    swarm.hold(args.hold)?;
    summary.look("held")?;
    summary.share("connection", args.count);
    let mut meter = Meter::new(&args.common, "close", &["close"]);
    swarm.close(&mut meter)?;
    summary.phases.push(meter.finish()?);
    summary.look("after")?;
    Ok(summary)
}

/// Connections, and how far each is.
struct Swarm {
    engine: Engine,
    script: Script,
    close: Vec<u8>,
    concurrency: u64,
    peers: Vec<Peer>,
    /// Connections whose close-ok has come, and when they are dropped at the latest.
    farewells: VecDeque<(Key, u64)>,
}

/// One connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    state: State,
    /// When the step that it is in began.
    since_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The socket does not stand yet.
    Connecting,
    LoggingIn(Login),
    Open,
    Closing,
    Farewell,
    Gone,
}

impl Swarm {
    /// Finds out with one connection whether the broker can be used.
    fn new(common: &CommonArgs, opening: OpeningArgs) -> Result<Self, PerfError> {
        let setup = set_up(common)?;
        let engine = Engine::new(setup.peer())?;
        setup.close();
        let mut close = Vec::new();
        let reason =
            connection::Close { reply_code: 200, reply_text: "done".into(), class_id: 0, method_id: 0 };
        method::put(&mut close, 0, &Method::Connection(connection::AMQPMethod::Close(reason)))?;
        Ok(Self {
            engine,
            script: Script::new(&common.uri, "perf", opening.pipelined)?,
            close,
            concurrency: opening.concurrency,
            peers: Vec::new(),
            farewells: VecDeque::new(),
        })
    }

    /// Opens connections until `end`, and closes each at once when `churn`; then an operation is open and close.
    fn open(&mut self, meter: &mut Meter, end: End, churn: bool) -> Result<(), PerfError> {
        let mut begun = 0;
        self.engine.forget_silence();
        meter.resume()?;
        loop {
            let now = now_ns();
            while begun - meter.operations() < self.concurrency && begun < end.operations && now < end.at_ns {
                let key = self.engine.connect()?;
                let peer = Peer { state: State::Connecting, since_ns: now_ns() };
                match self.peers.get_mut(key) {
                    Some(free) => *free = peer,
                    None => self.peers.push(peer),
                }
                begun += 1;
            }
            if begun == meter.operations() {
                break;
            }
            self.turn(meter, churn)?;
        }
        meter.pause()?;
        self.say_farewell(meter)
    }

    /// Closes all connections.
    fn close(&mut self, meter: &mut Meter) -> Result<(), PerfError> {
        let mut begun = 0;
        let mut next = 0;
        self.engine.forget_silence();
        meter.resume()?;
        loop {
            while begun - meter.operations() < self.concurrency && next < self.peers.len() {
                let key = next;
                next += 1;
                if self.peers[key].state == State::Open {
                    self.peers[key] = Peer { state: State::Closing, since_ns: now_ns() };
                    let close = &self.close;
                    self.engine.send(key, |out| {
                        out.extend_from_slice(close);
                        Ok(())
                    })?;
                    begun += 1;
                }
            }
            if begun == meter.operations() {
                break;
            }
            self.turn(meter, false)?;
        }
        meter.pause()?;
        self.say_farewell(meter)
    }

    /// Keeps the connections for `time`.
    ///
    /// # Errors
    /// When the broker closes one.
    fn hold(&mut self, time: Duration) -> Result<(), PerfError> {
        let until_ns = now_ns().saturating_add(clock::nanos(time));
        let mut idle = Idle { peers: &self.peers };
        loop {
            let now = now_ns();
            if now >= until_ns {
                return Ok(());
            }
            self.engine.turn(until_ns - now, &mut idle)?;
        }
    }

    fn turn(&mut self, meter: &mut Meter, churn: bool) -> Result<(), PerfError> {
        let mut moves = Moves {
            script: &self.script,
            close: churn.then_some(&self.close),
            peers: &mut self.peers,
            farewells: &mut self.farewells,
            meter,
        };
        self.engine.turn(u64::MAX, &mut moves)?;
        self.engine.check_silence("a handshake or connection.close")?;
        let now = now_ns();
        meter.tick(now);
        while let Some(&(key, until_ns)) = self.farewells.front() {
            let peer = self.peers[key];
            let is_same = peer.state == State::Farewell && peer.since_ns + FAREWELL_NS == until_ns;
            if is_same && now < until_ns {
                break;
            }
            self.farewells.pop_front();
            if is_same {
                self.peers[key].state = State::Gone;
                self.engine.drop_link(key);
            }
        }
        Ok(())
    }

    /// Waits until the last sockets are closed.
    fn say_farewell(&mut self, meter: &mut Meter) -> Result<(), PerfError> {
        while !self.farewells.is_empty() {
            self.turn(meter, false)?;
        }
        Ok(())
    }
}

/// Connections that are opened or closed.
struct Moves<'a> {
    script: &'a Script,
    /// What is sent when a connection is open.
    close: Option<&'a Vec<u8>>,
    peers: &'a mut [Peer],
    farewells: &'a mut VecDeque<(Key, u64)>,
    meter: &'a mut Meter,
}

impl Moves<'_> {
    fn opened(&mut self, key: Key, out: &mut Vec<u8>) {
        let now = now_ns();
        self.meter.answer(0, self.peers[key].since_ns, now, self.close.is_none());
        self.peers[key] = match self.close {
            Some(close) => {
                out.extend_from_slice(close);
                Peer { state: State::Closing, since_ns: now }
            }
            None => Peer { state: State::Open, since_ns: now },
        };
    }

    fn closed(&mut self, key: Key) {
        let now = now_ns();
        // The last step of the meter, be it the only one.
        let step = usize::from(self.close.is_some());
        self.meter.answer(step, self.peers[key].since_ns, now, true);
        self.peers[key] = Peer { state: State::Farewell, since_ns: now };
        self.farewells.push_back((key, now + FAREWELL_NS));
    }
}

impl Handler for Moves<'_> {
    fn connected(&mut self, key: Key, out: &mut Vec<u8>) {
        self.peers[key].state = State::LoggingIn(Login::begin(self.script, out));
    }

    fn frame(&mut self, key: Key, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), PerfError> {
        if frame.kind != frame::METHOD {
            return Ok(());
        }
        match (self.peers[key].state, frame.payload) {
            (State::LoggingIn(login), payload) => match login.answer(self.script, payload, out)? {
                Some(login) => self.peers[key].state = State::LoggingIn(login),
                None => self.opened(key, out),
            },
            (State::Closing, [0, 10, 0, 51, ..]) => self.closed(key),
            (_, payload) => return Err(misfit("connection.close", payload)),
        }
        Ok(())
    }

    fn ended(&mut self, key: Key) -> bool {
        let peer = &mut self.peers[key];
        let expected = peer.state == State::Farewell;
        peer.state = State::Gone;
        expected
    }
}

/// Connections that rest.
struct Idle<'a> {
    peers: &'a [Peer],
}

impl Handler for Idle<'_> {
    fn connected(&mut self, _key: Key, _out: &mut Vec<u8>) {}

    fn frame(&mut self, _key: Key, frame: Frame<'_>, _out: &mut Vec<u8>) -> Result<(), PerfError> {
        match frame.kind {
            frame::METHOD => Err(misfit("nothing", frame.payload)),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, key: Key) -> bool {
        self.peers[key].state == State::Farewell
    }
}

impl OpeningArgs {
    fn note(self, summary: &mut Summary) {
        summary.option("concurrency", self.concurrency);
        summary.option("pipelined", self.pipelined);
    }
}
