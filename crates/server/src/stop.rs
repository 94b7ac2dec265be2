//! The wish to stop, from a signal or from a failure.
//!
//! Invariant: the first reason stays.

use std::sync::OnceLock;

use tokio::sync::Notify;

/// Asked to stop from any thread; [`crate::run()`] listens.
#[derive(Debug, Default)]
pub struct Stop {
    reason: OnceLock<String>,
    notify: Notify,
}

impl Stop {
    /// Nothing asked yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks the server to stop; later reasons are ignored.
    pub fn request(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            self.notify.notify_one();
        }
    }

    /// Why, if it was asked.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    pub(crate) async fn requested(&self) -> &str {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.notify.notified().await;
        }
    }
}
