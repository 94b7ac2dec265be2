//! A publish that lies whole in the input: method, header and at most one body frame, one after the other.
//!
//! Invariant: takes what [`Connection::next`] would have told of as the same message, and leaves everything else to it, also
//! whatever is wrong.

use warrenmq_wire::{basic, content, frame};

use crate::channels::ChannelState;
use crate::connection::Connection;
use crate::event::Publish;

impl Connection {
    /// Whether a publish on this channel would be taken now.
    #[inline]
    pub fn takes_publish(&mut self, channel: u16) -> bool {
        self.takes_contents() && matches!(self.channel_state(channel), Some(ChannelState::Open))
    }

    /// The publish in front of `input`, which moves past it, if it is whole there, in one body frame at most, and in order.
    /// Otherwise the input stays as it is: [`Connection::next`] says what it holds.
    #[inline]
    pub fn next_publish<'a>(&mut self, input: &mut &'a [u8]) -> Option<Publish<'a>> {
        // What is no publish costs no more than this look.
        let Some(&[frame::METHOD, _, _, _, _, _, _, i0, i1, i2, i3]) = input.first_chunk() else {
            return None;
        };
        if [i0, i1, i2, i3] != basic::PUBLISH_ID || !self.takes_contents() {
            return None;
        }
        let payload_max = self.payload_max();
        let (method, rest) = frame::whole(input, payload_max)?;
        let (_, args) = method.payload.split_first_chunk::<4>()?;
        if !matches!(self.channel_state(method.channel)?, ChannelState::Open) {
            return None;
        }
        let publish = basic::parse_publish(args).ok().filter(|publish| !publish.immediate)?;
        let (header, rest) = frame::whole(rest, payload_max)?;
        let fixed = content::parse_header(header.payload).ok()?;
        let is_header = header.kind == frame::HEADER && header.channel == method.channel;
        if !is_header || (fixed.class_id, fixed.weight) != (basic::CLASS, 0) {
            return None;
        }
        if fixed.body_size > self.message_size_max() {
            return None;
        }
        let (body, rest) = if fixed.body_size == 0 {
            (&[][..], rest)
        } else {
            let (body, rest) = frame::whole(rest, payload_max)?;
            let is_body = body.kind == frame::BODY && body.channel == method.channel;
            if !is_body || body.payload.len() as u64 != fixed.body_size {
                return None;
            }
            (body.payload, rest)
        };
        *input = rest;
        let basic::Publish { route, mandatory, .. } = publish;
        Some(Publish { channel: method.channel, route, mandatory, header: header.payload, body })
    }
}
