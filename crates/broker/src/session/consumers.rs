//! The consumers of one connection, and the sources of what it fetched with basic.get.
//!
//! Invariant: an entry stays as long as deliveries of it are outstanding, even after basic.cancel: they have to find
//! their queue again.

use std::sync::Arc;

use warrenmq_protocol::Millis;
use warrenmq_queue::ConsumerSlot;

use crate::inbox::ConsumerKey;
use crate::queue_cell::QueueCell;

#[derive(Debug)]
pub(super) struct Source {
    pub(super) channel: u16,
    pub(super) queue: Arc<QueueCell>,
    pub(super) tag: Box<[u8]>,
    /// `None`: a source of basic.get, or cancelled.
    pub(super) slot: Option<ConsumerSlot>,
    pub(super) no_ack: bool,
    /// How long its deliveries may wait for their acknowledgement, in milliseconds; `None`: as the queue says.
    pub(super) timeout: Option<Millis>,
    /// Settling gives it credit again.
    pub(super) limited: bool,
    /// Takes part in the channel's shared prefetch: it gets something while there is room.
    pub(super) shared: bool,
    /// Prefetch of its own, 0 for none.
    pub(super) prefetch: u32,
    /// Deliveries sent and not settled.
    pub(super) unacked: u64,
    /// Where they use up a shared prefetch: deliveries that the queue has handed out and that are not sent yet.
    pub(super) unsent: u64,
    /// Octets encoded since the queue last heard of it.
    pub(super) window_used: u64,
}

#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Option<Source>>,
    /// Empty places of the list, so that the next entry need not search for one.
    free: Vec<ConsumerKey>,
    /// How many of them have to acknowledge.
    acking: usize,
}

impl Source {
    /// What its own prefetch leaves; `None` is no limit.
    pub(super) fn allowance(&self) -> Option<u32> {
        let out = u32::try_from(self.unacked + self.unsent).unwrap_or(u32::MAX);
        (self.prefetch > 0).then(|| self.prefetch.saturating_sub(out))
    }

    /// Whether its deliveries use up the shared prefetch: those that need no acknowledgement do not.
    pub(super) fn is_counted(&self) -> bool {
        self.shared && !self.no_ack
    }

    /// Whether it stands for what was fetched with basic.get; consumers always have a tag.
    pub(super) fn is_getter(&self) -> bool {
        self.tag.is_empty()
    }
}

impl Sources {
    /// The key that the next entry gets.
    pub(super) fn next_key(&self) -> ConsumerKey {
        self.free.last().copied().unwrap_or(self.list.len() as ConsumerKey)
    }

    /// Adds an entry under the key that [`Sources::next_key`] has just named.
    pub(super) fn insert(&mut self, key: ConsumerKey, source: Source) {
        debug_assert_eq!(key, self.next_key());
        self.acking += usize::from(!source.no_ack);
        match self.free.pop() {
            Some(_) => self.list[key as usize] = Some(source),
            None => self.list.push(Some(source)),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: ConsumerKey) -> Option<&mut Source> {
        self.list.get_mut(key as usize)?.as_mut()
    }

    pub(super) fn get(&self, key: ConsumerKey) -> Option<&Source> {
        self.list.get(key as usize)?.as_ref()
    }

    pub(super) fn remove(&mut self, key: ConsumerKey) -> Option<Source> {
        let source = self.list.get_mut(key as usize).and_then(Option::take)?;
        self.acking -= usize::from(!source.no_ack);
        self.free.push(key);
        if self.free.len() == self.list.len() {
            self.list = Vec::new();
            self.free = Vec::new();
        }
        Some(source)
    }

    /// Whether any of them has to acknowledge.
    pub(super) fn any_acks(&self) -> bool {
        self.acking > 0
    }

    /// Those that have to acknowledge.
    pub(super) fn acking(&self) -> impl Iterator<Item = &Source> {
        self.list.iter().flatten().filter(|source| !source.no_ack)
    }

    pub(super) fn keys(&self) -> Vec<ConsumerKey> {
        let taken = |(at, source): (usize, &Option<Source>)| source.as_ref().map(|_| at as ConsumerKey);
        self.list.iter().enumerate().filter_map(taken).collect()
    }

    pub(super) fn keys_of(&self, channel: u16) -> Vec<ConsumerKey> {
        let of_channel = |(at, source): (usize, &Option<Source>)| {
            source.as_ref().is_some_and(|s| s.channel == channel).then_some(at as ConsumerKey)
        };
        self.list.iter().enumerate().filter_map(of_channel).collect()
    }
}
