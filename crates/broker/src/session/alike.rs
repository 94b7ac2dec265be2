//! Publishes that are like others of their connection: most messages differ from some message before them in nothing but the octets
//! of their bodies, and then a comparison stands for all that was found out about that one.
//!
//! Invariant: takes only what `publish.rs` would have put into the same lane, open there, in plain mode or with confirms.

use warrenmq_protocol::Publish;
use warrenmq_wire::{Shape, content};

use super::Session;
use super::channel::Mode;
use super::lanes::LaneId;
use super::publish::record_of;

impl Session {
    /// Publishes the message that lies whole in front of `input`, and those behind it that differ in nothing but the octets of
    /// their bodies. `false` when there is none.
    #[inline]
    pub(super) fn publish_whole(&mut self, input: &mut &[u8]) -> bool {
        let Some(shape) = Shape::measure(input) else { return false };
        if let Some((number, lane)) = self.publish_again(shape, input) {
            self.publish_more(number, lane, shape, input);
            return true;
        }
        let Some(publish) = self.connection.next_publish(input) else { return false };
        let Some(lane) = self.publish(publish) else { return true };
        if shape.body_len() == publish.body.len() && !self.publish_more(publish.channel, lane, shape, input) {
            self.remember(shape, &publish, lane);
        }
        true
    }

    /// Publishes a message whose front is that of an earlier one, if that is remembered and its lane is open: says which that is, and
    /// which channel.
    #[inline]
    fn publish_again(&mut self, shape: Shape<'_>, input: &mut &[u8]) -> Option<(u16, LaneId)> {
        let publisher = self.home.as_mut()?.publisher.as_deref_mut()?;
        let front = publisher.fronts.find(shape)?;
        if !self.connection.takes_publish(front.channel) {
            return None;
        }
        let (body, rest) = shape.body(input)?;
        let channel = self.channels.get_mut(front.channel)?;
        if matches!(channel.mode, Mode::Transaction(_))
            || !publisher.push_again(front.lane, &front.record(shape, body)?)
        {
            return None;
        }
        self.unconfirmed |= channel.note_publish(|| publisher.is_recorded(front.lane, front.persistent));
        *input = rest;
        Some((front.channel, front.lane))
    }

    /// Adds the messages in front of `input` that have this shape to the lane that the last one went into. `false` if there are none.
    #[inline]
    fn publish_more(&mut self, number: u16, lane: LaneId, shape: Shape<'_>, input: &mut &[u8]) -> bool {
        let mut next = shape.next(input);
        if next.is_none() {
            return false;
        }
        let Some(builder) = self.publisher().and_then(|publisher| publisher.open_lane(lane)) else {
            return false;
        };
        let mut count = 0;
        while let Some((body, rest)) = next
            && builder.push_like(body)
        {
            count += 1;
            *input = rest;
            next = shape.next(rest);
        }
        if let Some(channel) = self.channels.get_mut(number)
            && let Mode::Confirm(confirms) = &mut channel.mode
        {
            confirms.publish_more(count);
        }
        count > 0
    }

    /// Remembers the front of a message that went into its lane without further ado and was not followed by one like it.
    fn remember(&mut self, shape: Shape<'_>, publish: &Publish<'_>, lane: LaneId) {
        if let Some(publisher) = self.publisher()
            && publisher.fronts.are_looked_up()
            && let Ok(header) = content::parse_header(publish.header)
        {
            publisher.fronts.remember(shape, publish.channel, lane, &record_of(publish, &header));
        }
    }
}
