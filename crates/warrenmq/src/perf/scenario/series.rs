//! Operations that are a fixed series of methods on channel 1, such as queue.declare and queue.delete.
//!
//! Invariant: an operation stays on one connection, and its next method is sent when the answer to the last has come, as ordinary
//! clients do (RabbitMQ 3.10.8 breaks down at a basic.cancel that follows its basic.consume at once); what is sent ahead are other
//! operations. Numbers rise from 0 without a gap.

use std::collections::VecDeque;

use warrenmq_wire::method::{self, Method};

use crate::perf::{
    connection::CHANNEL,
    error::PerfError,
    pipeline::{Call, Work},
};

/// A method of the series.
pub(super) struct Step<'a> {
    /// Class and method id of its answer.
    answer: [u8; 4],
    /// The method of operation `n`.
    method: Box<dyn Fn(u64) -> Method + 'a>,
}

/// The operations.
pub(super) struct Series<'a> {
    steps: Vec<Step<'a>>,
    /// The operation that begins next.
    next: u64,
    lanes: Vec<Lane>,
}

/// The operations that have begun on one connection: their numbers and the index of a step.
#[derive(Debug, Clone, Default)]
struct Lane {
    /// In the order of sending, which is that of the answers.
    unanswered: VecDeque<(u64, usize)>,
    /// Those whose next step may be sent.
    answered: VecDeque<(u64, usize)>,
}

impl<'a> Step<'a> {
    /// `method` says what is sent for operation `n`, `answer` what has to come back: class and method id.
    pub(super) fn new(answer: [u8; 4], method: impl Fn(u64) -> Method + 'a) -> Self {
        Self { answer, method: Box::new(method) }
    }
}

impl<'a> Series<'a> {
    /// On so many connections, from operation 0 on.
    pub(super) fn new(connections: usize, steps: Vec<Step<'a>>) -> Self {
        Self { steps, next: 0, lanes: vec![Lane::default(); connections] }
    }
}

impl Work for Series<'_> {
    fn next(&mut self, lane: usize, begin: bool, out: &mut Vec<u8>) -> Result<Option<Call>, PerfError> {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return Ok(None);
        };
        let (n, index) = match lane.answered.pop_front() {
            Some(operation) => operation,
            None if begin => {
                self.next += 1;
                (self.next - 1, 0)
            }
            None => return Ok(None),
        };
        let Some(step) = self.steps.get(index) else {
            return Ok(None);
        };
        method::put(out, CHANNEL, &(step.method)(n))?;
        lane.unanswered.push_back((n, index));
        let ends = index + 1 == self.steps.len();
        Ok(Some(Call { channel: CHANNEL, step: index, answer: step.answer, begins: index == 0, ends }))
    }

    fn answered(&mut self, lane: usize, call: Call) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && let Some((n, index)) = lane.unanswered.pop_front()
            && !call.ends
        {
            lane.answered.push_back((n, index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::{frame, method::basic_cold};

    use super::*;

    fn steps() -> Vec<Step<'static>> {
        // Any method that carries the number.
        let ack = |delivery_tag| {
            Method::Basic(basic_cold::AMQPMethod::Ack(basic_cold::Ack { delivery_tag, multiple: false }))
        };
        vec![Step::new([0, 60, 0, 80], ack), Step::new([0, 60, 0, 80], ack)]
    }

    /// Sends what is next; the number of the operation and the step.
    fn next(series: &mut Series, lane: usize, begin: bool) -> Option<(u64, Call)> {
        let mut out = Vec::new();
        let call = series.next(lane, begin, &mut out).unwrap()?;
        let (frame, _) = frame::split(&out, 1000).unwrap().unwrap();
        let n = u64::from_be_bytes(*frame.payload[4..].first_chunk().unwrap());
        assert_eq!((call.begins, call.ends), (call.step == 0, call.step == 1));
        Some((n, call))
    }

    #[test]
    fn an_operation_waits_for_its_answer_on_its_connection() {
        let mut series = Series::new(2, steps());
        let numbered = |sent: Option<(u64, Call)>| sent.map(|(n, call)| (n, call.step));
        let (_, first) = next(&mut series, 0, true).unwrap();
        assert_eq!(numbered(next(&mut series, 0, true)), Some((1, 0)), "ahead of the answer");
        assert_eq!(numbered(next(&mut series, 1, true)), Some((2, 0)));
        assert_eq!(numbered(next(&mut series, 0, false)), None, "nothing is answered");
        series.answered(0, first);
        assert_eq!(numbered(next(&mut series, 1, false)), None, "not on this connection");
        let (n, last) = next(&mut series, 0, true).unwrap();
        assert_eq!((n, last.step), (0, 1), "before a new one begins");
        series.answered(0, first);
        series.answered(0, last);
        assert_eq!(numbered(next(&mut series, 0, false)), Some((1, 1)));
        assert_eq!(numbered(next(&mut series, 0, false)), None, "all are at their end");
        assert_eq!(numbered(next(&mut series, 7, true)), None, "no such connection");
    }
}
