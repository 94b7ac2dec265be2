//! A producer: publishes as fast as the pacer, the confirm window and the broker let it.
//!
//! Invariant: every write is whole messages. At most one write's worth of messages (or the window) is between two looks
//! at the clock and at the broker's answers.

use std::{
    num::NonZeroU64,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustix::thread::set_current_timer_slack;
use warrenmq_wire::{
    basic,
    method::{Method, confirm},
};

use super::{
    args::ThroughputArgs,
    batch::{Batch, Template},
    clock::now_ns,
    confirms::Confirms,
    connection::{self, CHANNEL, Connection},
    error::PerfError,
    pacer::{Due, Pacer},
    stamp::Stamp,
    tally::Tally,
    topology,
    walker::{Item, WalkError},
};

/// Without confirms the broker has nothing to say but why it closes; this many writes go by between two looks.
const WRITES_UNHEARD: u32 = 64;
/// So many [`connection::TURN`]s without progress a write may take after the end of the run: 5 s.
const TURNS_OVER_MAX: u32 = 50;
/// The last stretch before a message is due is spent looking at the clock: a wake-up comes late by about as much.
const SPIN_NS: u64 = 60_000;
/// All producers together spend at most one part in so many of a core on that; the broker needs the cores too.
const SPIN_PART: u64 = 5;
/// So long after the start of the run the first message is due, for each producer: their threads are to stand by then.
const START_NS_EACH: u64 = 50_000;
/// A window is filled in so many writes, so that the broker works on one while the next is written.
const WRITES_PER_WINDOW: u64 = 4;

/// One producer.
#[derive(Debug)]
pub(crate) struct Producer {
    connection: Connection,
    batch: Batch,
    /// Its number in every stamp.
    number: u16,
    /// Number of producers.
    of: u16,
    /// Messages a second.
    rate: Option<u64>,
    /// Messages to publish.
    limit: u64,
    /// Size of the confirm window; `None` without confirms.
    window: Option<u64>,
    /// Its counters.
    pub(crate) tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

/// What changes while a producer runs.
#[derive(Debug)]
struct Progress {
    pacer: Pacer,
    /// See [`SPIN_NS`].
    spin_ns: u64,
    confirms: Confirms,
    /// Messages published; the next one's sequence number.
    sequence: u64,
    writes_unheard: u32,
}

impl Producer {
    /// Connects, asks for confirms, builds the messages. `number` counts the producers of the run.
    ///
    /// # Errors
    /// What the broker says against it.
    pub(crate) fn open(
        args: &ThroughputArgs,
        number: u16,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, PerfError> {
        let mut connection =
            Connection::open(&args.common.uri, &format!("perf producer {number}"), args.framemax)?;
        if args.confirm.is_some() {
            let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
            connection.call(CHANNEL, &Method::Confirm(select))?;
        }
        let template = Template {
            size: args.size as usize,
            mandatory: args.mandatory(),
            payload_max: connection.payload_max(),
        };
        let routes = topology::routes(args, number);
        let properties = args.message.properties(args.persistent()).map_err(PerfError::Argument)?;
        let period = usize::try_from(args.message.period(routes.len())).unwrap_or(usize::MAX);
        Ok(Self {
            connection,
            batch: Batch::new(&template, &routes, &properties, period)?,
            number,
            of: args.producers,
            rate: args.rate,
            limit: args.pmessages.unwrap_or(u64::MAX),
            window: args.confirm,
            tally: Arc::new(Tally::new()),
            stop: Arc::clone(stop),
        })
    }

    /// Publishes until the limit is reached and confirmed, or the run is stopped; returns the connection for its
    /// farewell, unless it ends inside a message. The schedule begins right after `start_ns`.
    pub(crate) fn run(mut self, start_ns: u64) -> Result<Option<Connection>, PerfError> {
        if self.rate.is_some() {
            // The default, 50 us, would make bursts of a steady rate. Where it cannot be had the rate is still right.
            let _ = set_current_timer_slack(NonZeroU64::new(1));
        }
        let start_ns = start_ns + START_NS_EACH * u64::from(self.of);
        let pacer = Pacer::new(self.rate, start_ns).shifted(self.number, self.of);
        let mut progress = Progress {
            spin_ns: SPIN_NS.min(pacer.between_ns() / (SPIN_PART * u64::from(self.of.max(1)))),
            pacer,
            confirms: Confirms::default(),
            sequence: 0,
            writes_unheard: 0,
        };
        while !self.stop.load(Relaxed) {
            let now = now_ns();
            let left = self.limit - progress.sequence;
            if left == 0 && progress.confirms.outstanding() == 0 {
                break;
            }
            let room = self.room(&progress);
            let due = progress.pacer.due(now);
            match left.min(room).min(due) {
                0 if left > 0 && room > 0 => self.wait(now, &mut progress)?,
                0 => {
                    self.connection.receive()?;
                    self.hear(&mut progress)?;
                }
                count if self.publish(count, now, &mut progress)? => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(self.connection))
    }

    /// Waits until the next message is due, or something has been heard.
    fn wait(&mut self, now: u64, progress: &mut Progress) -> Result<(), PerfError> {
        let next = progress.pacer.next_ns();
        if next > now + progress.spin_ns {
            if self.connection.wait_readable(now, next - progress.spin_ns)? {
                self.connection.receive_now()?;
                self.hear(progress)?;
            }
            return Ok(());
        }
        while now_ns() < next {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Messages that may be written now as far as the window is concerned.
    fn room(&self, progress: &Progress) -> u64 {
        let Some(window) = self.window else {
            return u64::MAX;
        };
        let part = window.div_ceil(WRITES_PER_WINDOW);
        window.saturating_sub(progress.confirms.outstanding()).min(part)
    }

    /// Writes up to `count` messages; false when the run was stopped in the middle of one and the broker
    /// would not take the rest.
    fn publish(&mut self, count: u64, now: u64, progress: &mut Progress) -> Result<bool, PerfError> {
        let messages = self.batch.take(count);
        self.schedule(messages.clone(), now, progress);
        let mut rest = self.batch.bytes(messages);
        let mut turns_over = 0;
        loop {
            let written = self.connection.send_some(rest)?;
            rest = rest.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            if written == 0 {
                // The broker takes nothing: is it waiting for us to read, or is the run over? After the end it still
                // gets time to take whole messages, for what it has of them must not fall into the next run.
                turns_over += u32::from(self.stop.load(Relaxed));
                if turns_over > TURNS_OVER_MAX {
                    return Ok(false);
                }
                self.connection.receive_now()?;
                hear(&mut self.connection, &self.tally, progress)?;
            }
        }
        self.tally.messages.set(progress.sequence);
        self.tally.last_ns.set(now_ns());
        progress.writes_unheard += 1;
        if self.window.is_some() && self.room(progress) > 0 || progress.writes_unheard >= WRITES_UNHEARD {
            progress.writes_unheard = 0;
            self.connection.receive_now()?;
            self.hear(progress)?;
        }
        Ok(true)
    }

    /// Notes when each of the messages was due, in its stamp and for its confirm.
    fn schedule(&mut self, mut messages: Range<usize>, now: u64, progress: &mut Progress) {
        while !messages.is_empty() {
            let Due { at_ns, count } = progress.pacer.send(messages.len() as u64, now);
            let stamp = Stamp { sent_ns: at_ns, producer: self.number, sequence: progress.sequence };
            let end = messages.start + count as usize;
            self.batch.stamp(messages.start..end, stamp);
            messages.start = end;
            progress.sequence += count;
            if self.window.is_some() {
                progress.confirms.publish(count, at_ns);
            }
            if progress.pacer.is_paced() {
                self.tally.lateness.lock().saturating_record_n(now.saturating_sub(at_ns), count);
            }
        }
    }

    fn hear(&mut self, progress: &mut Progress) -> Result<(), PerfError> {
        hear(&mut self.connection, &self.tally, progress)
    }
}

/// Goes through what was read.
fn hear(connection: &mut Connection, tally: &Tally, progress: &mut Progress) -> Result<(), PerfError> {
    let now = now_ns();
    let mut latency = tally.latency.lock();
    let (mut confirmed, mut nacked) = (0, 0);
    while let Some(item) = connection.next()? {
        let Item::Method(payload) = item else {
            tally.returned.add(u64::from(item == Item::Returned));
            continue;
        };
        match payload {
            [0, 60, 0, 80, args @ ..] => {
                let ack = basic::parse_ack(args).map_err(|_| WalkError::Malformed("basic.ack"))?;
                progress.confirms.settle(ack.delivery_tag, ack.multiple, |settled| {
                    confirmed += settled.count;
                    latency.saturating_record_n(now.saturating_sub(settled.sent_ns), settled.count);
                });
            }
            [0, 60, 0, 120, args @ ..] => {
                let nack = basic::parse_nack(args).map_err(|_| WalkError::Malformed("basic.nack"))?;
                progress.confirms.settle(nack.delivery_tag, nack.multiple, |settled| nacked += settled.count);
            }
            other => connection::check(other)?,
        }
    }
    tally.confirmed.add(confirmed);
    tally.nacked.add(nacked);
    tally.unexpected.set(progress.confirms.unexpected());
    Ok(())
}
