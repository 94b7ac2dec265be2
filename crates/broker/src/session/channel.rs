//! What a channel remembers on the broker's side, and the channels of a connection.
//!
//! Invariant: a channel is in confirm mode or in transactions, never both.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use warrenmq_protocol::{Confirms, DeliveryTimes, Outstanding};

use super::transaction::Transaction;
use crate::count::Place;
use crate::inbox::ConsumerKey;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    /// Next delivery tag.
    pub(super) next_tag: u64,
    /// `basic.qos` for consumers to come; 0 is no limit.
    pub(super) prefetch: u16,
    /// `basic.qos` with `global`: shared by all consumers of the channel.
    pub(super) shared: Option<SharedPrefetch>,
    pub(super) outstanding: Outstanding<ConsumerKey>,
    pub(super) delivered: DeliveryTimes,
    pub(super) mode: Mode,
    /// Publishes wait for their confirm.
    pub(super) unconfirmed: bool,
    /// Some of them are on their way to the disk.
    pub(super) on_disk: bool,
    /// By consumer tag.
    pub(super) consumers: BTreeMap<Box<str>, ConsumerKey>,
    /// Sources of messages fetched with basic.get.
    pub(super) getters: Vec<ConsumerKey>,
    /// The queue that an empty name means.
    pub(super) last_queue: Option<Arc<str>>,
    /// The queue behind this channel's direct reply-to.
    pub(super) direct_reply: Option<Arc<str>>,
    /// It counts among the channels of its user.
    _place: Place,
}

#[derive(Debug)]
pub(super) enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Box<Transaction>),
}

/// A prefetch limit shared by several consumers, and who waits for a part of it.
#[derive(Debug, Default)]
pub(super) struct SharedPrefetch {
    pub(super) limit: u64,
    pub(super) used: u64,
    pub(super) hungry: VecDeque<ConsumerKey>,
}

impl Channel {
    pub(super) fn new(number: u16, place: Place) -> Channel {
        Channel {
            number,
            next_tag: 1,
            prefetch: 0,
            shared: None,
            outstanding: Outstanding::default(),
            delivered: DeliveryTimes::default(),
            mode: Mode::Plain,
            unconfirmed: false,
            on_disk: false,
            consumers: BTreeMap::new(),
            getters: Vec::new(),
            last_queue: None,
            direct_reply: None,
            _place: place,
        }
    }

    /// Notes a publish in confirm mode, and whether it goes to the disk; says whether there is anything to confirm.
    #[inline]
    pub(super) fn note_publish(&mut self, is_recorded: impl FnOnce() -> bool) -> bool {
        let Mode::Confirm(confirms) = &mut self.mode else { return false };
        confirms.publish();
        self.unconfirmed = true;
        self.on_disk |= is_recorded();
        true
    }
}

/// Sorted by number; the one used last is found first.
#[derive(Debug, Default)]
pub(super) struct Channels {
    list: Vec<Channel>,
    last: usize,
}

impl Channels {
    #[inline]
    pub(super) fn get_mut(&mut self, number: u16) -> Option<&mut Channel> {
        if self.list.get(self.last).is_none_or(|c| c.number != number) {
            self.last = self.list.binary_search_by_key(&number, |c| c.number).ok()?;
        }
        self.list.get_mut(self.last)
    }

    pub(super) fn insert(&mut self, channel: Channel) {
        if let Err(at) = self.list.binary_search_by_key(&channel.number, |c| c.number) {
            if self.list.is_empty() {
                self.list.reserve_exact(1);
            }
            self.list.insert(at, channel);
        }
    }

    pub(super) fn remove(&mut self, number: u16) -> Option<Channel> {
        let at = self.list.binary_search_by_key(&number, |c| c.number).ok()?;
        Some(self.list.remove(at))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.list.iter_mut()
    }

    pub(super) fn numbers(&self) -> Vec<u16> {
        self.list.iter().map(|c| c.number).collect()
    }
}
