//! Whole ways: publishers and consumers of one broker, each on a connection of its own, which have their turns one after the
//! other.
//!
//! Invariant: after each batch every message that was published has been delivered as often as it had to be, and is settled or
//! counts against a prefetch; so batches are alike.

use crate::Work;
use crate::client::{Client, ack};
use crate::meter::beside_the_count;
use crate::node::Node;
use crate::source::Source;

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
                moved |= publisher.turn();
            }
            if self.stores {
                self.node.store();
            }
            for consumer in &mut self.consumers {
                moved |= consumer.turn();
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
    /// Takes what there is, and acknowledges what it has taken.
    fn turn(&mut self) -> bool {
        let mut moved = self.client.listen();
        for acks in beside_the_count(|| self.acks()) {
            let ear = &mut self.client.ear;
            moved |= self.client.link.turn(&mut &acks[..], &mut |octets| ear.hear(octets));
        }
        moved
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
