//! The channels of one connection: which numbers are taken and what each waits for.
//!
//! ```text
//!          channel.open                    fail
//!  (free) ─────────────► Open ──────────────────────► Closing ──close-ok──► (free)
//!                          └── channel.close / close-ok ─────────────────► (free)
//! ```
//! Invariant: an unfinished content exists only on an open channel.

use crate::assembly::Assembly;

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) number: u16,
    pub(crate) state: ChannelState,
}

#[derive(Debug)]
pub(crate) enum ChannelState {
    Open,
    /// A publish was seen; its header or body is still to come.
    Content(Box<Assembly>),
    /// We sent channel.close.
    Closing,
}

/// Sorted by number: a connection has few channels, and looks for the same one again and again.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    list: Vec<Channel>,
    last: usize,
}

impl Channels {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u16) -> Option<&mut Channel> {
        if self.list.get(self.last).is_none_or(|c| c.number != number) {
            self.last = self.list.binary_search_by_key(&number, |c| c.number).ok()?;
        }
        self.list.get_mut(self.last)
    }

    pub(crate) fn open(&mut self, number: u16) {
        if let Err(at) = self.list.binary_search_by_key(&number, |c| c.number) {
            if self.list.is_empty() {
                self.list.reserve_exact(1);
            }
            self.list.insert(at, Channel { number, state: ChannelState::Open });
        }
    }

    pub(crate) fn remove(&mut self, number: u16) -> Option<Channel> {
        let at = self.list.binary_search_by_key(&number, |c| c.number).ok()?;
        Some(self.list.remove(at))
    }
}
