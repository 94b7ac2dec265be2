//! Deliveries that are not acknowledged in time: RabbitMQ closes their channel (`consumer_timeout`).
//!
//! Invariant: a delivery is never found late before it is. Nothing is done for each message: while something waits, all channels are
//! looked at now and then, and of each only its oldest delivery, as `rabbit_channel:evaluate_consumer_timeout/1` does.

use warrenmq_protocol::{Exception, Millis};
use warrenmq_wire::method::FieldTable;
use warrenmq_wire::reply::ReplyCode;

use super::Session;
use super::consumers::Source;
use crate::queue_cell::QueueCell;
use crate::refusal;

/// Between two looks there is this part of the shortest timeout, within these bounds. RabbitMQ looks once a minute.
const LOOKS_PER_TIMEOUT: Millis = 32;
const PAUSE_MIN: Millis = 20;
const PAUSE_MAX: Millis = 60_000;

/// A delivery that waits for too long.
struct Late {
    channel: u16,
    tag: u64,
    timeout: Millis,
}

impl Source {
    /// How long its deliveries may wait for their acknowledgement; `None` is for ever. What the consumer has asked for comes first, then
    /// what counts for the queue, then what is configured.
    fn ack_timeout(&self, configured: Millis) -> Option<Millis> {
        let own = self.timeout.or_else(|| self.queue.consumer_timeout());
        own.or_else(|| (configured > 0).then_some(configured))
    }
}

impl Session {
    /// Deliveries have left that wait for an acknowledgement: sees to it that somebody looks.
    #[inline]
    pub(super) fn expect_acks(&mut self) {
        if self.acks_due.is_none() {
            self.watch_acks();
        }
    }

    /// A consumer is new, perhaps with a shorter timeout than others.
    pub(super) fn watch_acks(&mut self) {
        let now = self.now;
        let mut waits = false;
        for channel in self.channels.iter_mut().filter(|channel| channel.outstanding.count() > 0) {
            channel.delivered.mark(channel.next_tag, now);
            waits = true;
        }
        if waits {
            let due = now.saturating_add(self.pause());
            self.acks_due = Some(self.acks_due.map_or(due, |before| before.min(due)));
        } else {
            // What was settled since may have had a longer timeout: the next delivery says when to look.
            self.acks_due = None;
        }
    }

    /// Closes the channels that have a delivery which waits for too long. Called when that is due.
    pub(super) fn check_acks(&mut self) {
        let (now, configured) = (self.now, self.limits().consumer_timeout_ms);
        let mut late = Vec::new();
        let mut soonest: Option<Millis> = None;
        let mut waits = false;
        for channel in self.channels.iter_mut() {
            let oldest = channel.outstanding.oldest();
            if oldest.is_some() {
                channel.delivered.mark(channel.next_tag, now);
                waits = true;
            }
            let left_by = channel.delivered.left_by(oldest.map(|(tag, _)| tag));
            let (Some((tag, key)), Some(left_by)) = (oldest, left_by) else { continue };
            let timeout = self.sources.get(key).and_then(|source| source.ack_timeout(configured));
            let Some(timeout) = timeout else { continue };
            let due = left_by.saturating_add(timeout).saturating_add(1);
            if due <= now {
                late.push(Late { channel: channel.number, tag, timeout });
            } else {
                soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
            }
        }
        self.acks_due = waits.then(|| now.saturating_add(self.pause()).min(soonest.unwrap_or(Millis::MAX)));
        for Late { channel, tag, timeout } in late {
            tracing::warn!(
                connection = self.id,
                channel,
                "delivery {tag} was not acknowledged in {timeout} ms"
            );
            let text = format!(
                "delivery acknowledgement on channel {channel} timed out. Timeout value used: {timeout} ms. \
                 This timeout value can be configured, see consumers doc guide to learn more"
            );
            self.fail(&Exception::new(ReplyCode::PreconditionFailed, text).on(channel));
        }
    }

    /// Until the next look. Also when nobody has a timeout: a policy may come.
    fn pause(&self) -> Millis {
        let configured = self.limits().consumer_timeout_ms;
        let timeouts = self.sources.acking().filter_map(|source| source.ack_timeout(configured));
        timeouts
            .min()
            .map_or(PAUSE_MAX, |shortest| (shortest / LOOKS_PER_TIMEOUT).clamp(PAUSE_MIN, PAUSE_MAX))
    }
}

/// The consumer argument `x-consumer-timeout`: milliseconds.
pub(super) fn consumer_timeout(
    arguments: &FieldTable,
    queue: &QueueCell,
) -> Result<Option<Millis>, Exception> {
    let Some(value) = arguments.inner().get("x-consumer-timeout") else { return Ok(None) };
    let why = match refusal::integer(value) {
        Some(number) if number >= 0 => return Ok(Some(number.unsigned_abs())),
        Some(number) => format!("{{value_negative,{number}}}"),
        None => format!("\"expected integer, got {}\"", refusal::type_name(value)),
    };
    Err(refusal::precondition(format!("invalid arg 'x-consumer-timeout' for {}: {why}", queue.named())))
}
