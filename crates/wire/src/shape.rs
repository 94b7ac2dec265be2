//! What publishes have in common that differ in nothing but the octets of their bodies.
//!
//! ```text
//! | method frame | header frame | head of the body frame | body | 0xCE |
//! └────────────────── front ────────────────────────────┘
//! ```
//! Invariant: octets that match a shape mean what the message meant from which the shape was taken, body aside: same channel,
//! route, flags, properties and size.

use crate::{basic, frame, same};

/// The frames of a publish without the octets of its body.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    front: &'a [u8],
    body: usize,
}

/// Octets of a method frame in front of the route of basic.publish, and behind it: flags and end.
const BEFORE_ROUTE: usize = frame::HEAD + basic::PUBLISH_ID.len() + 2;
const BEHIND_ROUTE: usize = 2;

impl<'a> Shape<'a> {
    /// Of the publish in front of `input`, by its first octets and the lengths that its frames have in their heads. Nothing says that
    /// it is in order: that has to be known of a message with the same front. `None` when there is no basic.publish, or less than its
    /// front.
    #[inline]
    pub fn measure(input: &'a [u8]) -> Option<Shape<'a>> {
        let &[frame::METHOD, _, _, s0, s1, s2, s3, i0, i1, i2, i3] = input.first_chunk()? else {
            return None;
        };
        if [i0, i1, i2, i3] != basic::PUBLISH_ID {
            return None;
        }
        let method = u32::from_be_bytes([s0, s1, s2, s3]) as usize + frame::OVERHEAD;
        // Head and size of the header frame, class, weight, size of the body.
        let &[_, _, _, s0, s1, s2, s3, _, _, _, _, b0, b1, b2, b3, b4, b5, b6, b7] =
            input.get(method..)?.first_chunk()?;
        let body = usize::try_from(u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])).ok()?;
        let header = u32::from_be_bytes([s0, s1, s2, s3]) as usize + frame::OVERHEAD;
        // An empty body has no frame: then the end of the header frame stands for the end.
        let front = if body == 0 { method + header - 1 } else { method + header + frame::HEAD };
        Some(Shape { front: input.get(..front)?, body })
    }

    /// Everything in front of the body.
    #[inline]
    pub fn front(&self) -> &'a [u8] {
        self.front
    }

    /// Octets of the body.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.body
    }

    /// Route and payload of the header, which have these lengths, as is known of a message with the same front.
    #[inline]
    pub fn parts(&self, route: usize, header: usize) -> Option<(&'a [u8], &'a [u8])> {
        let (route, rest) = self.front.get(BEFORE_ROUTE..)?.split_at_checked(route)?;
        Some((route, rest.get(BEHIND_ROUTE + frame::HEAD..)?.get(..header)?))
    }

    /// The body of the message whose front is in front of `input`, if it lies there whole, and what follows it.
    #[inline]
    pub fn body<'b>(&self, input: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let (body, rest) = input.get(self.front.len()..)?.split_at_checked(self.body)?;
        let (end, rest) = rest.split_first()?;
        (*end == frame::END).then_some((body, rest))
    }

    /// The body of a message of this shape that lies whole in front of `input`, and what follows it.
    #[inline]
    pub fn next<'b>(&self, input: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let front = input.get(..self.front.len())?;
        self.body(input).filter(|_| same(front, self.front))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: &[u8], body: &[u8]) -> Vec<u8> {
        let (mut route, mut out) = (Vec::new(), Vec::new());
        basic::put_route(&mut route, b"ex", key);
        basic::put_publish(&mut out, 1, &route, false);
        let mut header = [0; 14];
        header[1] = 60;
        header[11] = body.len() as u8;
        basic::put_content(&mut out, 1, &header, body, 1000);
        out
    }

    #[test]
    fn another_body_matches_and_nothing_else() {
        let first = message(b"key", b"body");
        let shape = Shape::measure(&first).unwrap();
        let (route, header) = shape.parts(7, 14).unwrap();
        assert_eq!((route, header[0], header[11]), (&b"\x02ex\x03key"[..], 0, 4));
        let cases: [(Vec<u8>, Option<&[u8]>); 6] = [
            (message(b"key", b"BODY"), Some(b"BODY")),
            (message(b"kez", b"body"), None),
            (message(b"key", b"bod"), None),
            (message(b"key", b"bodyy"), None),
            (message(b"key", b""), None),
            (message(b"key2", b"body"), None),
        ];
        for (other, body) in cases {
            let input = [&other[..], b"rest"].concat();
            assert_eq!(shape.next(&input), body.map(|body| (body, &b"rest"[..])), "{other:?}");
            for cut in 0..other.len() {
                assert_eq!(shape.next(&other[..cut]), None, "a part of a message");
            }
        }
        let mut bad_end = first.clone();
        *bad_end.last_mut().unwrap() = 0;
        assert_eq!(shape.next(&bad_end), None);
        let empty = message(b"key", b"");
        let shape = Shape::measure(&empty).unwrap();
        assert_eq!(shape.next(&empty), Some((&b""[..], &b""[..])));
        assert_eq!(shape.next(&first), None);
    }
}
