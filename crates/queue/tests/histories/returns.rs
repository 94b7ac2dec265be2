//! What the model does with messages that come back.
//!
//! Invariant: of the ready messages those that came back to a quorum queue stand first, in the order in which they came back.

use warrenmq_queue::{Attempted, Attempts, Back, Kind, Position, RetryWhen};

use crate::model::{Caused, Message, Model};

impl Model {
    pub(crate) fn requeue(&mut self, first: Position, last: Position, back: Back, caused: &mut Caused) {
        let mut returned: Vec<Message> =
            self.unacked.extract_if(.., |m| (first..=last).contains(&m.position)).collect();
        returned.sort_by_key(|message| message.position);
        for mut message in returned {
            let is_quorum = self.settings.kind == Kind::Quorum;
            if back == Back::Unsent {
                if is_quorum && message.attempts.returned > 0 {
                    self.line_up(message);
                } else {
                    self.place(message);
                }
                continue;
            }
            message.redelivered = true;
            if !is_quorum && self.settings.retry.is_none() {
                self.place(message);
                continue;
            }
            let Attempts { returned, failed } = message.attempts;
            message.attempts =
                Attempts { returned: returned + 1, failed: failed + u32::from(back == Back::Failed) };
            if self.settings.delivery_limit.is_some_and(|limit| returned + 1 > limit) {
                message.attempts.returned = returned;
                message.attempts.failed = failed;
                message.gave_up = true;
                if self.settings.dead_letters {
                    self.doomed.push(message)
                } else {
                    self.done.push(message)
                }
                self.bury(caused);
                continue;
            }
            message.due = self.due(back, message.attempts);
            if message.due.is_some() {
                self.waiting.push(message);
            } else if is_quorum {
                self.line_up(message);
            } else {
                self.place(message);
            }
        }
    }

    /// Until when a message waits that comes back like this.
    fn due(&self, back: Back, attempts: Attempts) -> Option<u64> {
        let retry = self.settings.retry?;
        let waits = match retry.when {
            RetryWhen::All => true,
            RetryWhen::Failed => back == Back::Failed,
            RetryWhen::Returned => back == Back::Returned,
        };
        let delay = (retry.min * u64::from(attempts.failed.max(1))).min(retry.max.unwrap_or(retry.min));
        waits.then_some(self.now + delay)
    }

    /// Those that have waited long enough are ready.
    pub(crate) fn end_waiting(&mut self) {
        let now = self.now;
        let mut due: Vec<Message> = self.waiting.extract_if(.., |m| m.due <= Some(now)).collect();
        due.sort_by_key(|message| (message.due, message.position));
        for message in due {
            if self.settings.kind == Kind::Quorum {
                self.line_up(message);
            } else {
                self.place(message);
            }
        }
    }

    fn line_up(&mut self, mut message: Message) {
        message.lined_up = true;
        let at = self.ready.iter().position(|other| !other.lined_up).unwrap_or(self.ready.len());
        self.ready.insert(at, message);
    }

    /// Whether anything is not at its place.
    pub(crate) fn any_returns(&self) -> bool {
        let lined_up = self.ready.first().is_some_and(|message| message.lined_up);
        lined_up || !self.waiting.is_empty() || self.doomed.iter().any(|message| message.gave_up)
    }

    /// What a restart would be told, message by message. What came back and is not counted any more is told, too.
    pub(crate) fn attempts(&self) -> Vec<(Position, Attempts, Option<u64>)> {
        let mut told: Vec<_> = self
            .live()
            .filter(|message| message.attempts.returned > 0)
            .map(|message| {
                let waits = self.waiting.iter().any(|other| other.position == message.position);
                (message.position, message.attempts, message.due.filter(|_| waits))
            })
            .collect();
        told.sort_unstable();
        told
    }
}

/// The same of the queue.
pub(crate) fn each_attempt(attempted: &[Attempted]) -> Vec<(Position, Attempts, Option<u64>)> {
    let each = attempted.iter().flat_map(|Attempted { first, last, attempts, due }| {
        (*first..=*last).map(move |position| (position, *attempts, *due))
    });
    each.collect()
}
