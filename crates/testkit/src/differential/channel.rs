//! What a client knows of one of its channels: the deliveries it holds, the publishes that wait for a confirm, and who consumes
//! from which queue.
//!
//! Invariant: it follows from what was said and heard alone, so it is the same for brokers that answer the same.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{is_set, number_of, text_of};
use crate::transcript::received::Message;

/// Transactions and confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Way {
    #[default]
    Plain,
    Confirm,
    Transaction,
}

/// One channel that is open or was.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    pub(crate) is_open: bool,
    /// Frames were sent on it one by one: a method may be taken for something else.
    pub(crate) is_busy: bool,
    /// Between tx.commit and its answer.
    pub(crate) is_committing: bool,
    /// Synchronising methods whose answer is still to come.
    pub(crate) syncs_due: u32,
    way: Way,
    /// Delivery tags in the order in which a script counts them.
    held: Vec<u64>,
    /// Settled in a transaction that has not ended.
    settled: Vec<u64>,
    /// Where deliveries that were to be acknowledged came from, by tag.
    origins: BTreeMap<u64, String>,
    /// What this step has brought: queue with consumer, and tag.
    fresh: Vec<(String, u64)>,
    /// Ranges of tags that several consumers have filled in an order of their own.
    mixed: Vec<(u64, u64)>,
    published: u64,
    unconfirmed: BTreeSet<u64>,
    /// Queue and whether it wants no acknowledgements, by consumer tag.
    consumers: BTreeMap<String, (String, bool)>,
    /// Tags of consumers that have ended; what they got may still be on its way.
    cancelled: BTreeSet<String>,
    /// Of the get that waits for its answer.
    got_from: String,
    get_no_ack: bool,
    last_declared: String,
}

impl Channel {
    /// A channel that has just been opened.
    pub(crate) fn opened() -> Self {
        Channel { is_open: true, ..Channel::default() }
    }

    /// Whether publishes wait for their confirm.
    pub(crate) fn awaits_confirms(&self) -> bool {
        self.is_open && !self.unconfirmed.is_empty()
    }

    /// Notes what the client says; it has been resolved.
    pub(crate) fn said(&mut self, message: &Message) {
        match message.method.name {
            "basic.publish" if self.way == Way::Confirm => {
                self.published += 1;
                self.unconfirmed.insert(self.published);
            }
            "confirm.select" if is_set(message, "no-wait") => self.select_confirms(),
            "basic.consume" => {
                let queue = self.queue_of(message);
                let tag = text_of(message, "consumer-tag");
                if self.cancelled.remove(&tag) {
                    self.consumers.remove(&tag);
                }
                self.consumers.entry(tag).or_insert((queue, is_set(message, "no-ack")));
            }
            "basic.cancel" if is_set(message, "no-wait") => self.cancel(message),
            "basic.get" => {
                self.got_from = self.queue_of(message);
                self.get_no_ack = is_set(message, "no-ack");
            }
            "basic.ack" | "basic.nack" => self.settle(message, is_set(message, "multiple")),
            "basic.reject" => self.settle(message, false),
            "basic.recover" | "basic.recover-async" => self.held.clear(),
            "tx.commit" => self.is_committing = true,
            _ => {}
        }
    }

    /// Notes what the server says.
    pub(crate) fn heard(&mut self, message: &Message) {
        match message.method.name {
            "queue.declare-ok" => self.last_declared = text_of(message, "queue"),
            "confirm.select-ok" => self.select_confirms(),
            "tx.select-ok" => self.way = Way::Transaction,
            "tx.commit-ok" => {
                self.is_committing = false;
                self.settled.clear();
            }
            "tx.rollback-ok" => {
                self.held.append(&mut self.settled);
                self.held.sort_unstable();
            }
            "basic.consume-ok" => {
                // A consumer without a name has got one.
                if let Some(consumer) = self.consumers.remove("") {
                    self.consumers.insert(text_of(message, "consumer-tag"), consumer);
                }
            }
            "basic.cancel-ok" | "basic.cancel" => self.cancel(message),
            "basic.deliver" => {
                let tag = number_of(message, "delivery-tag") as u64;
                let (queue, no_ack) = self.consumer(message);
                self.fresh.push((format!("{queue} {}", text_of(message, "consumer-tag")), tag));
                if !no_ack {
                    self.hold(tag, queue);
                }
            }
            "basic.get-ok" => {
                let tag = number_of(message, "delivery-tag") as u64;
                self.fresh.push((String::new(), tag));
                if !self.get_no_ack {
                    self.hold(tag, self.got_from.clone());
                }
            }
            _ => {}
        }
    }

    /// The queue that a delivery came from, as far as the client knows.
    pub(crate) fn source(&self, message: &Message) -> String {
        self.consumer(message).0
    }

    /// The queues that it consumes from or holds messages of.
    pub(crate) fn stakes(&self) -> BTreeSet<String> {
        let held = self.held.iter().chain(&self.settled).filter_map(|tag| self.origins.get(tag));
        let consumers = self.consumers.iter().filter(|(tag, _)| !self.cancelled.contains(*tag));
        consumers.map(|(_, (queue, _))| queue).chain(held).cloned().collect()
    }

    /// Takes the tags that a confirm is about out of those that wait.
    pub(crate) fn confirm(&mut self, tag: u64, multiple: bool) -> Vec<u64> {
        let confirmed: Vec<u64> = if multiple {
            self.unconfirmed.iter().copied().filter(|other| tag == 0 || *other <= tag).collect()
        } else {
            self.unconfirmed.get(&tag).copied().into_iter().collect()
        };
        for tag in &confirmed {
            self.unconfirmed.remove(tag);
        }
        confirmed
    }

    /// Ends a step: its deliveries get the order in which scripts count them, consumer by consumer.
    pub(crate) fn end_step(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let first_consumer = self.fresh[0].0.clone();
        if self.fresh.iter().any(|(consumer, _)| *consumer != first_consumer) {
            let tags = self.fresh.iter().map(|(_, tag)| *tag);
            if let (Some(first), Some(last)) = (tags.clone().min(), tags.max()) {
                self.mixed.push((first, last));
            }
        }
        let rank =
            |tag: u64| self.fresh.iter().find(|(_, other)| *other == tag).map(|(queue, _)| queue.clone());
        let mut ranked: Vec<_> = self.held.iter().map(|tag| (rank(*tag), *tag)).collect();
        ranked.sort();
        self.held = ranked.into_iter().map(|(_, tag)| tag).collect();
        self.fresh.clear();
    }

    /// The tag that a script's number stands for. With `multiple` it never lies within a range that consumers have filled in an
    /// order of their own, because then it would not be the same messages for every broker.
    pub(crate) fn resolve(&self, tag: i128, multiple: bool) -> i128 {
        let resolved = match usize::try_from(-tag) {
            Ok(0) | Err(_) => tag,
            Ok(index) if self.held.is_empty() => index as i128,
            Ok(index) => self.held[(index - 1) % self.held.len()].into(),
        };
        let within = |range: &&(u64, u64)| (i128::from(range.0)..i128::from(range.1)).contains(&resolved);
        match self.mixed.iter().find(within) {
            Some((first, last)) if multiple => {
                let last_held = self.held.iter().filter(|tag| (first..=last).contains(tag)).max();
                last_held.map_or(resolved, |tag| (*tag).into())
            }
            _ => resolved,
        }
    }

    fn cancel(&mut self, message: &Message) {
        self.cancelled.insert(text_of(message, "consumer-tag"));
    }

    fn hold(&mut self, tag: u64, queue: String) {
        self.held.push(tag);
        self.origins.insert(tag, queue);
    }

    fn select_confirms(&mut self) {
        self.way = Way::Confirm;
    }

    fn queue_of(&self, message: &Message) -> String {
        let queue = text_of(message, "queue");
        if queue.is_empty() { self.last_declared.clone() } else { queue }
    }

    fn consumer(&self, message: &Message) -> (String, bool) {
        self.consumers.get(&text_of(message, "consumer-tag")).cloned().unwrap_or_default()
    }

    fn settle(&mut self, message: &Message, multiple: bool) {
        let tag = number_of(message, "delivery-tag");
        let is_settled = |held: &u64| {
            let held = i128::from(*held);
            held == tag || multiple && (tag == 0 || held <= tag)
        };
        let settled: Vec<u64> = self.held.iter().copied().filter(is_settled).collect();
        self.held.retain(|held| !is_settled(held));
        if self.way == Way::Transaction {
            self.settled.extend(settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::method;
    use super::*;

    fn with_deliveries(deliveries: &[(&str, u64)]) -> Channel {
        let mut channel = Channel::opened();
        for consumer in ["c", "d"] {
            channel.said(&method(&format!("basic.consume 1 queue=q{consumer} consumer-tag={consumer}")));
        }
        for (consumer, tag) in deliveries {
            channel.heard(&method(&format!("basic.deliver 1 {consumer} {tag}")));
        }
        channel.end_step();
        channel
    }

    #[test]
    fn deliveries_are_counted_queue_by_queue() {
        let channel = with_deliveries(&[("d", 1), ("c", 2), ("d", 3)]);
        let tags: Vec<_> = (1..=4).map(|index| channel.resolve(-index, false)).collect();
        assert_eq!(tags, [2, 1, 3, 2]);
        assert_eq!((channel.resolve(0, true), channel.resolve(7, true)), (0, 7));
        assert_eq!(channel.resolve(-1, true), 3, "all of a mixed range");
        assert_eq!(Channel::opened().resolve(-2, false), 2, "nothing is held");
    }

    #[test]
    fn what_is_settled_is_not_held() {
        let mut channel = with_deliveries(&[("c", 1), ("c", 2), ("c", 3)]);
        channel.said(&method("basic.ack 1 2 true"));
        assert_eq!(channel.resolve(-2, false), 3);
    }

    #[test]
    fn a_channel_has_a_stake_in_what_it_consumes_and_holds() {
        let mut channel = with_deliveries(&[("c", 1)]);
        channel.said(&method("basic.get 1 queue=qg"));
        channel.heard(&method("basic.get-ok 1 2"));
        assert_eq!(channel.stakes().into_iter().collect::<Vec<_>>(), ["qc", "qd", "qg"]);
        channel.said(&method("basic.ack 1 2"));
        channel.heard(&method("basic.cancel-ok 1 c"));
        assert_eq!(channel.stakes().into_iter().collect::<Vec<_>>(), ["qc", "qd"], "one is still held");
    }

    #[test]
    fn confirms_are_taken_out_once() {
        let mut channel = Channel::opened();
        channel.heard(&method("confirm.select-ok 1"));
        for _ in 0..4 {
            channel.said(&method("basic.publish 1"));
        }
        assert_eq!(channel.confirm(2, false), [2]);
        assert_eq!(channel.confirm(3, true), [1, 3]);
        assert_eq!(channel.confirm(3, false), [0; 0]);
        assert!(channel.awaits_confirms());
    }
}
