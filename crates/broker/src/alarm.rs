//! Alarms: is the node short of something that publishers use up, and which connections wait for that to end?
//!
//! Invariant: a connection that waits stands in the list until it leaves or is told that it may go on; so no end of an alarm
//! is missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::inbox::{Inbox, Notice};
use crate::queue_cell::ConnectionId;

/// The alarms of a node. Whoever watches the machine sets and clears them; connections that publish meanwhile are told
/// connection.blocked and are not read until they are cleared.
#[derive(Debug, Default)]
pub struct Alarms {
    /// Looked at for each read of a socket, and changed together with `waiting`.
    disk: AtomicBool,
    /// Its own small lock: held only to look and to change, never together with another.
    waiting: Mutex<HashMap<ConnectionId, Arc<Inbox>>>,
}

impl Alarms {
    /// What a client is told in connection.blocked (RabbitMQ's text).
    pub(crate) const REASON: &str = "low on disk";

    /// Too little of the disk is free. Setting what is set changes nothing.
    pub fn set_disk(&self) {
        if !self.disk.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "disk resource limit alarm set: publishers will be blocked until this alarm clears"
            );
        }
    }

    /// Enough is free again: whoever waits goes on.
    pub fn clear_disk(&self) {
        let told = {
            let mut waiting = self.waiting.lock();
            if !self.disk.swap(false, Ordering::AcqRel) {
                return;
            }
            std::mem::take(&mut *waiting)
        };
        tracing::warn!("disk resource limit alarm cleared: {} connections go on", told.len());
        for inbox in told.values() {
            inbox.notify(Notice::Unblocked);
        }
    }

    /// Whether there is an alarm.
    pub fn is_set(&self) -> bool {
        self.disk.load(Ordering::Acquire)
    }

    /// Connections that wait.
    pub fn blocked_connections(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Puts a connection on the list, to be told [`Notice::Unblocked`]. Says whether there is still something to wait for.
    pub(crate) fn wait(&self, id: ConnectionId, inbox: &Arc<Inbox>) -> bool {
        let mut waiting = self.waiting.lock();
        // Cleared under this lock: either it is seen here, or the list is told.
        if !self.is_set() {
            return false;
        }
        waiting.insert(id, Arc::clone(inbox));
        true
    }

    /// Takes a connection off the list.
    pub(crate) fn leave(&self, id: ConnectionId) {
        self.waiting.lock().remove(&id);
    }
}
