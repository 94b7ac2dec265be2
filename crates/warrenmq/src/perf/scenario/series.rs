//! Operations that are a fixed series of methods on channel 1, such as queue.declare and queue.delete.
//!
//! Invariant: operation `n` is sent whole on one connection, its methods in order; numbers rise from the first without a gap.

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
    next: u64,
    /// The operation that is under way on each connection, and its next step.
    under_way: Vec<Option<(u64, usize)>>,
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
        Self { steps, next: 0, under_way: vec![None; connections] }
    }
}

impl Work for Series<'_> {
    fn next(&mut self, lane: usize, begin: bool, out: &mut Vec<u8>) -> Result<Option<Call>, PerfError> {
        let Some(under_way) = self.under_way.get_mut(lane) else {
            return Ok(None);
        };
        let (n, index) = match under_way.take() {
            Some(under_way) => under_way,
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
        let ends = index + 1 == self.steps.len();
        if !ends {
            *under_way = Some((n, index + 1));
        }
        Ok(Some(Call { channel: CHANNEL, step: index, answer: step.answer, begins: index == 0, ends }))
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::{
        frame,
        method::{channel, tx},
    };

    use super::*;

    fn steps() -> Vec<Step<'static>> {
        let flow = |n: u64| Method::Channel(channel::AMQPMethod::Flow(channel::Flow { active: n == 1 }));
        let select = |_| Method::Tx(tx::AMQPMethod::Select(tx::Select {}));
        vec![Step::new([0, 20, 0, 21], flow), Step::new([0, 90, 0, 11], select)]
    }

    #[test]
    fn what_has_begun_is_finished_on_its_connection() {
        let mut series = Series::new(2, steps());
        // Connection, whether a new operation may begin, step that is sent, its first argument octet.
        let cases = [
            (0, true, Some((0, 0))),
            (1, true, Some((0, 1))),
            (1, false, Some((1, 0))),
            (1, false, None),
            (0, true, Some((1, 0))),
            (0, false, None),
            (0, true, Some((0, 0))),
        ];
        for (lane, begin, expected) in cases {
            let mut out = Vec::new();
            let call = series.next(lane, begin, &mut out).unwrap();
            assert_eq!(call.map(|call| call.step), expected.map(|(step, _)| step));
            if let (Some(call), Some((_, argument))) = (call, expected) {
                let (frame, _) = frame::split(&out, 1000).unwrap().unwrap();
                assert_eq!((call.begins, call.ends), (call.step == 0, call.step == 1));
                assert_eq!(frame.payload.get(4).copied().unwrap_or_default(), argument);
            }
        }
        assert_eq!(series.next(7, true, &mut Vec::new()).unwrap(), None, "no such connection");
    }
}
