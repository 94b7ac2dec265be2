//! A consumer: takes messages from its queues, checks their order, measures their latency, acknowledges.
//!
//! Invariant: one look at the clock, one turn of the counters and at most one write for each read, however many messages
//! the read held; only `--eager-acks` asks for one write for each acknowledgement.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use hdrhistogram::Histogram;
use warrenmq_wire::{
    basic,
    method::{FieldTable, Method, basic_cold},
};

use super::{
    args::{Acks, ThroughputArgs},
    clock::now_ns,
    connection::{self, CHANNEL, Connection},
    error::PerfError,
    order::Order,
    tally::Tally,
    topology,
    walker::{Delivery, Item},
};

/// Up to this many messages in a read the latency of each is recorded, above it that of some.
const READ_SMALL: u64 = 32;
/// Of a large read every 64th message's latency is recorded: those whose number has none of these bits. With a rate a large
/// read is what follows a stall, and all of it is recorded.
const SAMPLE_MASK: u64 = 63;

/// One consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    connection: Connection,
    acks: Acks,
    /// Each acknowledgement is written on its own.
    eager: bool,
    /// Whether the messages have a time at which they are due.
    paced: bool,
    /// Messages to take.
    limit: u64,
    /// Its counters.
    pub(crate) tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

/// What changes while a consumer runs.
#[derive(Debug)]
struct Progress {
    acks: Acks,
    limit: u64,
    since_ns: u64,
    taken: u64,
    redelivered: u64,
    stale: u64,
    order: Order,
    /// See [`SAMPLE_MASK`]; a mask because a division here would cost more than all the rest.
    sample_mask: u64,
    /// Deliveries not yet acknowledged, and the last of them.
    unacked: u64,
    last_tag: u64,
    /// Acknowledgements to be written.
    out: Vec<u8>,
}

impl Consumer {
    /// Connects and subscribes. `number` counts the consumers of the run.
    ///
    /// # Errors
    /// What the broker says against it.
    pub(crate) fn open(
        args: &ThroughputArgs,
        number: u16,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, PerfError> {
        let mut connection =
            Connection::open(&args.common.uri, &format!("perf consumer {number}"), args.framemax)?;
        if let Some(prefetch_count) = args.qos {
            let qos = basic_cold::Qos { prefetch_count, global: false };
            connection.call(CHANNEL, &Method::Basic(basic_cold::AMQPMethod::Qos(qos)))?;
        }
        for (tag, queue) in topology::queues(args, number).into_iter().enumerate() {
            let consume = basic_cold::Consume {
                queue: queue.as_str().into(),
                // The walker reads the number back.
                consumer_tag: tag.to_string().as_str().into(),
                no_local: false,
                no_ack: args.acks() == Acks::Auto,
                exclusive: false,
                nowait: false,
                arguments: FieldTable::default(),
            };
            connection.call(CHANNEL, &Method::Basic(basic_cold::AMQPMethod::Consume(consume)))?;
        }
        Ok(Self {
            connection,
            acks: args.acks(),
            eager: args.eager_acks,
            paced: args.rate.is_some(),
            limit: args.cmessages.unwrap_or(u64::MAX),
            tally: Arc::new(Tally::new()),
            stop: Arc::clone(stop),
        })
    }

    /// Consumes until the limit is reached or the run is stopped; returns the connection for its farewell. What was
    /// sent before `since_ns` is counted as stale.
    pub(crate) fn run(mut self, since_ns: u64) -> Result<Option<Connection>, PerfError> {
        let mut progress = Progress {
            acks: self.acks,
            limit: self.limit,
            since_ns,
            taken: 0,
            redelivered: 0,
            stale: 0,
            order: Order::default(),
            sample_mask: 0,
            unacked: 0,
            last_tag: 0,
            out: Vec::new(),
        };
        let early = self.connection.take_early();
        let now = now_ns();
        for delivery in early {
            progress.take(delivery, now, &mut self.tally.latency.lock());
        }
        while !self.stop.load(Relaxed) {
            self.walk(&mut progress)?;
            if progress.taken >= progress.limit {
                break;
            }
            if !self.connection.receive()? {
                progress.acknowledge(false);
            }
        }
        progress.acknowledge(false);
        self.connection.send(&progress.out)?;
        Ok(Some(self.connection))
    }

    /// Goes through what was read.
    fn walk(&mut self, progress: &mut Progress) -> Result<(), PerfError> {
        let now = now_ns();
        let before = progress.taken;
        let mut latency = self.tally.latency.lock();
        loop {
            while let Some(delivery) = self.connection.next_whole() {
                progress.take(delivery, now, &mut latency);
                if self.eager {
                    progress.write_acks(&mut self.connection)?;
                }
            }
            match self.connection.next()? {
                Some(Item::Delivery(delivery)) => {
                    progress.take(delivery, now, &mut latency);
                    if self.eager {
                        progress.write_acks(&mut self.connection)?;
                    }
                }
                Some(Item::Method(payload)) => connection::check(payload)?,
                Some(Item::Returned) => {}
                None => break,
            }
        }
        drop(latency);
        let count = progress.taken - before;
        progress.sample_mask = if count <= READ_SMALL || self.paced { 0 } else { SAMPLE_MASK };
        if count > 0 {
            self.tally.messages.set(progress.taken);
            self.tally.last_ns.set(now);
            self.tally.redelivered.set(progress.redelivered);
            self.tally.stale.set(progress.stale);
            self.tally.violations.set(progress.order.violations());
        }
        progress.write_acks(&mut self.connection)
    }
}

impl Progress {
    #[inline(always)]
    fn take(&mut self, delivery: Delivery, now: u64, latency: &mut Histogram<u64>) {
        if self.taken == self.limit {
            return;
        }
        self.taken += 1;
        let stamp = delivery.stamp.filter(|stamp| stamp.sent_ns >= self.since_ns);
        self.stale += u64::from(stamp.is_none() && delivery.stamp.is_some());
        if delivery.redelivered {
            self.redelivered += 1;
        } else if let Some(stamp) = stamp {
            self.order.see(delivery.consumer as usize, stamp.producer, stamp.sequence);
            if self.taken & self.sample_mask == 0 {
                latency.saturating_record(now.saturating_sub(stamp.sent_ns));
            }
        }
        if let Acks::Every(every) = self.acks {
            self.unacked += 1;
            self.last_tag = delivery.tag;
            if self.unacked >= every {
                self.acknowledge(every > 1);
            }
        }
    }

    /// Writes the acknowledgements that have gathered.
    fn write_acks(&mut self, connection: &mut Connection) -> Result<(), PerfError> {
        if !self.out.is_empty() {
            connection.send(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Acknowledges everything taken, as one multiple or the one message there is.
    fn acknowledge(&mut self, multiple: bool) {
        if self.unacked > 0 {
            basic::put_ack(&mut self.out, CHANNEL, self.last_tag, multiple || self.unacked > 1);
            self.unacked = 0;
        }
    }
}
