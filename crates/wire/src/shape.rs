//! What publishes have in common that differ in nothing but the octets of their bodies.
//!
//! ```text
//! | method frame | header frame | head of the body frame | body | 0xCE |
//! └────────────────── front ────────────────────────────┘
//! ```
//! Invariant: octets that match a shape mean what the message meant from which the shape was taken, body aside: same channel,
//! route, flags, properties and size.

use crate::frame::END;
use crate::same;

/// The frames of a publish without the octets of its body, taken from a message that was decoded.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    front: &'a [u8],
    body: usize,
}

impl<'a> Shape<'a> {
    /// Of `message`: a publish, whole, whose body of `body` octets came in one frame, or in none when it is empty.
    #[inline]
    pub fn of(message: &'a [u8], body: usize) -> Option<Shape<'a>> {
        let front = message.len().checked_sub(body + 1)?;
        Some(Shape { front: message.get(..front)?, body })
    }

    /// The body of a message of this shape that lies whole in front of `input`, and what follows it.
    #[inline]
    pub fn next<'b>(&self, input: &'b [u8]) -> Option<(&'b [u8], &'b [u8])> {
        let (front, rest) = input.split_at_checked(self.front.len())?;
        let (body, rest) = rest.split_at_checked(self.body)?;
        let (end, rest) = rest.split_first()?;
        (*end == END && same(front, self.front)).then_some((body, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::basic;

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
        let shape = Shape::of(&first, 4).unwrap();
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
        let shape = Shape::of(&empty, 0).unwrap();
        assert_eq!(shape.next(&empty), Some((&b""[..], &b""[..])));
        assert_eq!(shape.next(&first), None);
    }
}
