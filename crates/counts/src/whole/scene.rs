//! Whole ways: publishers and consumers of one broker, each on a connection of its own, which have their turns one after the
//! other.
//!
//! Invariant: after each batch every message that was published has been delivered as often as it had to be, and is settled or
//! counts against a prefetch; so batches are alike.

use super::client::{Client, ack};
use super::node::Node;
use super::source::Source;
use crate::Work;
use crate::meter::in_the_count;

/// Who publishes and who consumes.
pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) consumers: Vec<Consumer>,
    /// Messages that each publisher sends in a batch.
    pub(crate) batch: u64,
    /// How many consumers get each message.
    pub(crate) copies: u64,
    /// The storage has its turns.
    pub(crate) stores: bool,
    pub(crate) counted: Counted,
}

/// What of a scene counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// All that the broker does.
    All,
    /// Handing over to consumers: the turns in which they send nothing.
    Deliver,
    /// Settling: the turns in which they acknowledge.
    Settle,
}

impl Counted {
    fn count<R>(self, what: Counted, part: impl FnOnce() -> R) -> R {
        if self == Counted::All || self == what { in_the_count(part) } else { part() }
    }
}

/// A publisher with its messages.
pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) source: Source,
    pub(crate) confirms: bool,
    pub(crate) published: u64,
}

/// A consumer and how it acknowledges.
pub(crate) struct Consumer {
    pub(crate) client: Client,
    /// So many deliveries with one basic.ack; 0: it does not.
    pub(crate) ack_every: u64,
    /// Each basic.ack comes alone.
    pub(crate) acks_alone: bool,
    pub(crate) acked: u64,
}

impl Work for Scene {
    fn work(&mut self) -> u64 {
        let before: u64 = self.consumers.iter().map(|consumer| consumer.client.ear.delivered).sum();
        for publisher in &mut self.publishers {
            publisher.source.permit(self.batch);
            publisher.published += self.batch;
        }
        loop {
            let mut moved = false;
            for publisher in &mut self.publishers {
                moved |= self.counted.count(Counted::All, || publisher.turn());
            }
            if self.stores {
                self.counted.count(Counted::All, || self.node.store());
            }
            for consumer in &mut self.consumers {
                moved |= self.counted.count(Counted::Deliver, || consumer.client.listen());
                for acks in consumer.acks() {
                    moved |= self.counted.count(Counted::Settle, || consumer.acknowledge(&acks));
                }
            }
            if !moved {
                break;
            }
        }
        let published = self.batch * self.publishers.len() as u64;
        let after: u64 = self.consumers.iter().map(|consumer| consumer.client.ear.delivered).sum();
        assert_eq!(after - before, published * self.copies, "everything is delivered");
        for publisher in self.publishers.iter().filter(|publisher| publisher.confirms) {
            assert_eq!(publisher.client.ear.confirmed, publisher.published, "everything is confirmed");
        }
        published * self.copies
    }
}

impl Publisher {
    fn turn(&mut self) -> bool {
        let ear = &mut self.client.ear;
        self.client.link.turn(&mut self.source, &mut |octets| ear.hear(octets))
    }
}

impl Consumer {
    fn acknowledge(&mut self, mut acks: &[u8]) -> bool {
        let ear = &mut self.client.ear;
        self.client.link.turn(&mut acks, &mut |octets| ear.hear(octets))
    }

    /// What it sends now, one element for each time that the broker reads.
    fn acks(&mut self) -> Vec<Vec<u8>> {
        let mut acks = Vec::new();
        while self.ack_every > 0 && self.acked + self.ack_every <= self.client.ear.delivered {
            self.acked += self.ack_every;
            acks.push(ack(self.acked, self.ack_every > 1));
        }
        if self.acks_alone || acks.is_empty() { acks } else { vec![acks.concat()] }
    }
}
