//! Connections that wait for something to be on disk.
//!
//! Invariant: whoever stands here is told [`Notice::Durable`] after the next commit; it looks itself whether what it waits for
//! is there, and comes back if not.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::inbox::{Inbox, Notice};

/// The list. Its lock is a leaf.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    inboxes: Mutex<Vec<Arc<Inbox>>>,
}

impl Waiting {
    pub(crate) fn add(&self, inbox: &Arc<Inbox>) {
        self.inboxes.lock().push(Arc::clone(inbox));
    }

    /// Something has become durable.
    pub(crate) fn notify_all(&self) {
        let inboxes = std::mem::take(&mut *self.inboxes.lock());
        for inbox in inboxes {
            inbox.notify(Notice::Durable);
        }
    }
}
