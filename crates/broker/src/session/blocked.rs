//! A connection that publishes during an alarm: it is told so and is not read until the alarm is over.
//!
//! Invariant: nothing of a message is taken meanwhile, but what the connection has to be sent still leaves: deliveries, confirms
//! and heartbeats. A connection that does not publish does not notice.

use super::Session;
use crate::alarm::Alarms;

impl Session {
    /// A message has come during an alarm. Says whether there still is one.
    pub(super) fn block(&mut self) -> bool {
        self.blocked = self.broker.alarms().wait(self.id, &self.inbox);
        if self.blocked {
            tracing::debug!(connection = self.id, "blocked: {}", Alarms::REASON);
            self.connection.send_blocked(Alarms::REASON, self.out.buffer());
        }
        self.blocked
    }

    /// The alarm is over.
    pub(super) fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.connection.send_unblocked(self.now, self.out.buffer());
        }
    }

    /// The connection is over: its close-ok has to be read.
    pub(super) fn leave_blocked(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.broker.alarms().leave(self.id);
        }
    }
}
