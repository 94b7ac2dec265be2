//! Messages that an exchange is to hold back: how long, and where they wait.
//!
//! Invariants: a message that is held back is confirmed as one that is routed: when it is on disk, if it is to survive; it is never
//! returned, because where it leads is known only when it is due.

use std::sync::Arc;

use warrenmq_protocol::{Exception, Publish};
use warrenmq_queue::Record;
use warrenmq_routing::Message;
use warrenmq_wire::table::RawTable;

use super::Session;
use super::channel::Mode;
use super::lanes::LaneId;
use super::publish::exchange_of;
use crate::delayed::{self, NoNumber};
use crate::refusal;

impl Session {
    /// How long a message with these headers is to wait, if an exchange on its way holds such back.
    pub(super) fn delay(&self, headers: Option<RawTable<'_>>) -> Result<Option<u64>, Exception> {
        match delayed::delay(headers.as_ref()) {
            Ok(delay) => Ok(delay),
            Err(NoNumber(text)) => {
                let text = format!("invalid header 'x-delay': '{text}' is not a number of milliseconds");
                Err(refusal::precondition(text))
            }
        }
    }

    /// Publishes a message with a delay: as it came, and as it goes on where nothing holds it back. `false`, and nothing is done,
    /// if no exchange on its way does.
    pub(super) fn publish_delayed(
        &mut self,
        publish: &Publish<'_>,
        (came, goes): (Record<'_>, Record<'_>),
        message: &Message<'_>,
        delay: u64,
    ) -> Result<bool, Exception> {
        let name = exchange_of(came.route)?;
        let Some(home) = &self.home else { return Ok(false) };
        let picture = Arc::clone(&home.picture);
        let (mut held, mut queues) = (Vec::new(), Vec::new());
        let routed = picture.topology.route_or_hold(name, message, &mut held, &mut queues);
        if routed.is_err() || held.is_empty() {
            return Ok(false);
        }
        let max = self.limits().delay_max_ms;
        if delay > max {
            let text = format!("invalid header 'x-delay': {delay} is more than delay_max_ms ({max})");
            return Err(refusal::precondition(text));
        }
        self.make_room();
        let Some(home) = self.home.as_mut() else { return Ok(false) };
        let publisher = home.publisher.get_or_insert_default();
        let mut parts = Vec::with_capacity(held.len() + 1);
        for delayed in held.into_iter().filter_map(|id| picture.delayed(id)) {
            let stamp = delayed.stamp(self.now, delay);
            // `None`: the exchange was deleted a moment ago.
            let Some(bucket) = delayed.bucket(stamp, self.now) else { continue };
            let lane = publisher.lane_of(&[bucket.info.id], || Arc::new([Arc::clone(&bucket)]));
            parts.push((lane, delayed.waiting(came, stamp)));
        }
        // What does not pass the exchange is not held back.
        queues.retain(|id| picture.cell(*id).is_some());
        if !queues.is_empty() {
            let targets = || queues.iter().filter_map(|id| picture.cell(*id)).map(Arc::clone).collect();
            let lane = publisher.lane_of(&queues, targets);
            parts.push((lane, goes));
        }
        self.enqueue_parts(publish, &parts)?;
        Ok(true)
    }

    /// One message on several ways.
    fn enqueue_parts(
        &mut self,
        publish: &Publish<'_>,
        parts: &[(LaneId, Record<'_>)],
    ) -> Result<(), Exception> {
        let Some(channel) = self.channels.get_mut(publish.channel) else { return Ok(()) };
        if matches!(channel.mode, Mode::Transaction(_)) {
            // It is returned no more than it would be outside of one.
            let publish = Publish { mandatory: false, ..*publish };
            return parts
                .iter()
                .try_for_each(|(lane, record)| self.publish_in_transaction(*lane, &publish, *record));
        }
        let publisher = self.home.as_ref().and_then(|home| home.publisher.as_ref());
        self.unconfirmed |= channel.note_publish(|| {
            parts.iter().any(|(lane, record)| {
                publisher.is_some_and(|publisher| publisher.is_recorded(*lane, record.persistent))
            })
        });
        for (lane, record) in parts {
            self.push_or_publish_alone(*lane, record, publish.channel);
        }
        Ok(())
    }
}
