//! A delivery whose body fits into one frame: basic.deliver, header and body, and more like it by copying.
//!
//! ```text
//! | deliver: …, tag, redelivered, route | header | head of the body frame | body | 0xCE |
//! └──────────── copied, with a tag of its own ────────────────────────────┘
//! ```
//! Invariant: the octets are those of [`crate::basic::put_deliver`] and [`crate::basic::put_content`].

use std::ops::Range;

use crate::basic::{deliver_head, short};
use crate::frame;

/// Where a delivery stands in the output that it was put into; worth something only as long as nothing is taken from there.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// All but the octets of the body and the end of its frame.
    front: Range<usize>,
    /// Where the delivery tag begins, from the start on.
    tag: usize,
    has_body: bool,
}

/// What deliveries to one consumer have in common.
#[derive(Clone, Copy, Debug)]
pub struct Consumer<'a> {
    /// Number of its channel.
    pub channel: u16,
    /// Its tag, at most 255 octets.
    pub tag: &'a [u8],
}

impl Delivery {
    /// Appends a delivery. `route` and `header` are in wire form and checked; the body has to fit into one frame.
    #[inline]
    pub fn put(
        out: &mut Vec<u8>,
        consumer: Consumer<'_>,
        (delivery_tag, redelivered): (u64, bool),
        route: &[u8],
        header: &[u8],
        body: &[u8],
    ) -> Delivery {
        let Consumer { channel, tag } = consumer;
        let tag = short(tag);
        let [c0, c1] = channel.to_be_bytes();
        let [h0, h1, h2, h3] = (header.len() as u32).to_be_bytes();
        let start = out.len();
        let args = 1 + tag.len() + 9 + route.len();
        out.reserve(args + header.len() + body.len() + 11 + 3 * frame::OVERHEAD);
        out.extend_from_slice(&deliver_head(channel, args, tag.len() as u8));
        out.extend_from_slice(tag);
        let tag = out.len() - start;
        let [t0, t1, t2, t3, t4, t5, t6, t7] = delivery_tag.to_be_bytes();
        out.extend_from_slice(&[t0, t1, t2, t3, t4, t5, t6, t7, u8::from(redelivered)]);
        out.extend_from_slice(route);
        out.extend_from_slice(&[frame::END, frame::HEADER, c0, c1, h0, h1, h2, h3]);
        out.extend_from_slice(header);
        let has_body = !body.is_empty();
        if has_body {
            let [b0, b1, b2, b3] = (body.len() as u32).to_be_bytes();
            out.extend_from_slice(&[frame::END, frame::BODY, c0, c1, b0, b1, b2, b3]);
        }
        let front = start..out.len();
        out.extend_from_slice(body);
        out.push(frame::END);
        Delivery { front, tag, has_body }
    }

    /// Appends a delivery that differs from this one in its tag and the octets of its body alone, which are as many.
    #[inline]
    pub fn put_like(&self, out: &mut Vec<u8>, delivery_tag: u64, body: &[u8]) {
        debug_assert_eq!(self.has_body, !body.is_empty());
        let start = out.len();
        out.reserve(self.front.len() + body.len() + 1);
        out.extend_from_within(self.front.clone());
        let tag = start + self.tag;
        if let Some(place) = out.get_mut(tag..tag + 8) {
            place.copy_from_slice(&delivery_tag.to_be_bytes());
        }
        out.extend_from_slice(body);
        out.push(frame::END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basic;

    #[test]
    fn the_same_octets_as_frame_by_frame() {
        for (tag, body, other) in [(&b"ctag"[..], &b"body"[..], &b"BODY"[..]), (b"", b"", b"")] {
            let mut route = Vec::new();
            basic::put_route(&mut route, b"exchange", b"key");
            let expected = |delivery_tag, body: &[u8]| {
                let mut out = Vec::new();
                basic::put_deliver(&mut out, 0x1234, tag, delivery_tag, true, &route);
                basic::put_content(&mut out, 0x1234, b"content header", body, 4);
                out
            };
            let mut out = b"before".to_vec();
            let consumer = Consumer { channel: 0x1234, tag };
            let delivery = Delivery::put(&mut out, consumer, (1, true), &route, b"content header", body);
            delivery.put_like(&mut out, u64::MAX - 7, other);
            let both = [b"before".to_vec(), expected(1, body), expected(u64::MAX - 7, other)].concat();
            assert_eq!(out, both);
        }
    }
}
