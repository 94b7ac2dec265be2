//! Methods sent ahead of their answers: so many operations on so many connections, with at most a window of unanswered
//! methods on each.
//!
//! Invariant: answers of one channel come in the order of its methods, which is all that AMQP promises; an answer that is not the
//! one that is due ends the run. An operation that has begun is finished, also when the time is up.

use std::collections::VecDeque;

use warrenmq_wire::frame::{self, Frame};

use super::{
    clock::now_ns,
    connection::misfit,
    engine::{Engine, Handler, Key},
    error::PerfError,
    login::{Login, Script},
    meter::Meter,
};

/// A method that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) channel: u16,
    /// Which of the meter's steps it is.
    pub(crate) step: usize,
    /// Class and method id of the answer.
    pub(crate) answer: [u8; 4],
    /// Whether it is the first, and the last, method of its operation.
    pub(crate) begins: bool,
    pub(crate) ends: bool,
}

/// Where the methods come from.
pub(crate) trait Work {
    /// Puts the next method of connection `lane` into `out`; `None` when there is none that can be sent now. A new operation
    /// may be begun only when `begin`.
    ///
    /// # Errors
    /// When a name does not fit AMQP.
    fn next(&mut self, lane: usize, begin: bool, out: &mut Vec<u8>) -> Result<Option<Call>, PerfError>;

    /// The answer to `call` has come.
    fn answered(&mut self, lane: usize, call: Call);
}

/// When a phase ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// At this time of [`now_ns`].
    pub(crate) at_ns: u64,
    /// After so many operations.
    pub(crate) operations: u64,
}

impl End {
    /// After so many operations, however long they take.
    pub(crate) fn after(operations: u64) -> Self {
        Self { at_ns: u64::MAX, operations }
    }
}

/// Connections that are ready for work.
pub(crate) struct Pipeline {
    engine: Engine,
    lanes: Vec<Lane>,
    window: usize,
}

/// One connection.
#[derive(Debug, Default)]
struct Lane {
    /// Unanswered methods of each channel, oldest first, and when they were sent.
    unanswered: Vec<VecDeque<(Call, u64)>>,
    /// Their number.
    count: usize,
}

impl Pipeline {
    /// Logs in on `connections` connections, each with channel 1 open.
    ///
    /// # Errors
    /// What stands against it.
    pub(crate) fn open(
        mut engine: Engine,
        script: &Script,
        connections: usize,
        window: usize,
    ) -> Result<Self, PerfError> {
        let mut entrance = Entrance { script, logins: Vec::new(), open: 0 };
        for _ in 0..connections {
            engine.connect()?;
            entrance.logins.push(None);
            // One after the other: a broker's queue of connections that wait to be accepted is short.
            let wanted = entrance.logins.len();
            while entrance.open < wanted {
                engine.turn(u64::MAX, &mut entrance)?;
                engine.check_silence("the handshake")?;
            }
        }
        let lanes = std::iter::repeat_with(Lane::default).take(connections).collect();
        Ok(Self { engine, lanes, window })
    }

    /// Works until `end`, counted by `meter`.
    ///
    /// # Errors
    /// What the broker says against it.
    pub(crate) fn run(&mut self, work: &mut impl Work, meter: &mut Meter, end: End) -> Result<(), PerfError> {
        let mut run = Run { lanes: &mut self.lanes, window: self.window, work, meter, end, begun: 0 };
        self.engine.forget_silence();
        run.meter.resume()?;
        for key in 0..run.lanes.len() {
            self.engine.send(key, |out| run.fill(key, now_ns(), out))?;
        }
        while run.lanes.iter().any(|lane| lane.count > 0) {
            self.engine.turn(u64::MAX, &mut run)?;
            self.engine.check_silence("a method")?;
            run.meter.tick(now_ns());
        }
        run.meter.pause()
    }
}

/// The handshakes.
struct Entrance<'a> {
    script: &'a Script,
    logins: Vec<Option<Login>>,
    open: usize,
}

impl Handler for Entrance<'_> {
    fn connected(&mut self, key: Key, out: &mut Vec<u8>) {
        self.logins[key] = Some(Login::begin(self.script, out));
    }

    fn frame(&mut self, key: Key, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), PerfError> {
        if let (frame::METHOD, Some(login)) = (frame.kind, self.logins[key]) {
            self.logins[key] = login.answer(self.script, frame.payload, out)?;
            self.open += usize::from(self.logins[key].is_none());
        }
        Ok(())
    }

    fn ended(&mut self, _key: Key) -> bool {
        false
    }
}

/// One phase.
struct Run<'a, W> {
    lanes: &'a mut [Lane],
    window: usize,
    work: &'a mut W,
    meter: &'a mut Meter,
    end: End,
    /// Operations begun.
    begun: u64,
}

impl<W: Work> Run<'_, W> {
    /// Sends as much as the window allows.
    fn fill(&mut self, key: Key, now_ns: u64, out: &mut Vec<u8>) -> Result<(), PerfError> {
        let lane = &mut self.lanes[key];
        while lane.count < self.window {
            let begin = self.begun < self.end.operations && now_ns < self.end.at_ns;
            let Some(call) = self.work.next(key, begin, out)? else {
                break;
            };
            let channel = usize::from(call.channel);
            if lane.unanswered.len() <= channel {
                lane.unanswered.resize_with(channel + 1, VecDeque::new);
            }
            lane.unanswered[channel].push_back((call, now_ns));
            lane.count += 1;
            self.begun += u64::from(call.begins);
        }
        Ok(())
    }
}

impl<W: Work> Handler for Run<'_, W> {
    fn connected(&mut self, _key: Key, _out: &mut Vec<u8>) {}

    fn frame(&mut self, key: Key, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), PerfError> {
        if frame.kind != frame::METHOD {
            return Ok(());
        }
        let now_ns = now_ns();
        let lane = &mut self.lanes[key];
        let due = lane.unanswered.get_mut(usize::from(frame.channel)).and_then(VecDeque::pop_front);
        match due {
            Some((call, sent_ns)) if frame.payload.starts_with(&call.answer) => {
                lane.count -= 1;
                self.meter.answer(call.step, sent_ns, now_ns, call.ends);
                self.work.answered(key, call);
            }
            _ => return Err(misfit("a method", frame.payload)),
        }
        self.fill(key, now_ns, out)
    }

    fn ended(&mut self, _key: Key) -> bool {
        false
    }
}
