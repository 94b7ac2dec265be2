//! A message of the loop: its stream and its number say everything else about it, so that whatever a queue gives can be
//! compared octet by octet with what was published, and nothing has to be remembered but the two numbers.

use std::fmt;
use std::sync::LazyLock;

use warrenmq_tests::{Delivery, Random};

/// The largest body.
pub(crate) const BODY_MAX: usize = 1 << 20;

/// The flags of priority, delivery-mode, message-id and of a table of headers.
const FLAGS: u16 = 1 << 12 | 1 << 11 | 1 << 7;
const HEADERS: u16 = 1 << 13;

/// One message: number `number` of the publisher `stream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) stream: u16,
    pub(crate) number: u64,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_persistent() { "persistent" } else { "transient" };
        write!(f, "{}/{} ({kind}, {} octets)", self.stream, self.number, self.body().len())
    }
}

impl Message {
    /// Streams with an odd number hold transient messages too, one of four.
    pub(crate) fn is_persistent(self) -> bool {
        self.stream.is_multiple_of(2) || !self.hash(1).is_multiple_of(4)
    }

    /// 0 to 4, most of them 0.
    pub(crate) fn priority(self) -> u8 {
        (self.hash(2) % 10).saturating_sub(5) as u8
    }

    /// A part of octets that look random, at a place of its own: no two long bodies begin alike.
    pub(crate) fn body(self) -> &'static [u8] {
        static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut random = Random::new(7);
            (0..2 * BODY_MAX).map(|_| random.below(256) as u8).collect()
        });
        let first = (self.hash(3) % BODY_MAX as u64) as usize;
        &NOISE[first..first + self.length()]
    }

    /// Flags and properties.
    pub(crate) fn properties(self) -> Vec<u8> {
        let mode = if self.is_persistent() { 2 } else { 1 };
        let id = format!("{}/{}", self.stream, self.number);
        let mut properties = FLAGS.to_be_bytes().to_vec();
        properties.extend([mode, self.priority(), id.len() as u8]);
        properties.extend(id.as_bytes());
        properties
    }

    /// The message that arrived, when nothing of it is wrong. What a broker adds to the headers is no part of it.
    pub(crate) fn of(delivery: &Delivery) -> Result<Message, String> {
        let properties = without_headers(&delivery.properties)
            .ok_or_else(|| format!("broken properties {:?}", delivery.properties))?;
        let text = properties.get(5..).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default();
        let numbers = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (stream, number) = numbers.ok_or_else(|| format!("nobody's properties {properties:?}"))?;
        let message = Message { stream, number };
        if properties != message.properties() {
            return Err(format!("{message} has the properties {properties:?}"));
        }
        let expected = message.body();
        if delivery.body == expected {
            return Ok(message);
        }
        let same = expected.iter().zip(&delivery.body).take_while(|(a, b)| a == b).count();
        Err(format!("{message} has {} octets, of which the first {same} are right", delivery.body.len()))
    }

    fn length(self) -> usize {
        let (kind, size) = (self.hash(4) % 10_000, self.hash(5) as usize);
        match kind {
            0..500 => 0,
            500..4_000 => size % 64,
            4_000..8_700 => size % 1_024,
            8_700..9_930 => size % (16 << 10),
            9_930..9_995 => size % (128 << 10),
            _ => size % (BODY_MAX + 1),
        }
    }

    fn hash(self, salt: u64) -> u64 {
        Random::new((u64::from(self.stream) << 40 | self.number) * 8 + salt).below(u64::MAX)
    }
}

/// Properties with the table of headers taken out.
fn without_headers(properties: &[u8]) -> Option<Vec<u8>> {
    let (flags, rest) = properties.split_first_chunk::<2>()?;
    let flags = u16::from_be_bytes(*flags);
    if flags & HEADERS == 0 {
        return Some(properties.to_vec());
    }
    let (size, rest) = rest.split_first_chunk::<4>()?;
    let rest = rest.get(u32::from_be_bytes(*size) as usize..)?;
    Some([&(flags & !HEADERS).to_be_bytes(), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use warrenmq_tests::Way;

    fn delivery(message: Message) -> Delivery {
        let (properties, body) = (message.properties(), message.body().to_vec());
        Delivery { way: Way::Deliver, tag: 1, redelivered: false, properties, body }
    }

    fn long() -> Message {
        let mut messages = (1..).map(|number| Message { stream: 3, number });
        messages.find(|message| message.body().len() > 1_000).unwrap()
    }

    #[test]
    fn what_was_published_is_recognised() {
        for number in 1..2_000 {
            let message = Message { stream: 3, number };
            assert_eq!(Message::of(&delivery(message)), Ok(message));
        }
        let mut dead = delivery(long());
        dead.properties =
            [&(FLAGS | HEADERS).to_be_bytes()[..], &[0, 0, 0, 3, 1, b'k', b'V'], &dead.properties[2..]]
                .concat();
        assert_eq!(Message::of(&dead), Ok(long()));
    }

    #[test]
    fn every_kind_of_message_comes_up() {
        let messages: Vec<Message> = (1..20_000).map(|number| Message { stream: 1, number }).collect();
        let count = |is: fn(&Message) -> bool| messages.iter().filter(|message| is(message)).count();
        assert!(count(|m| m.is_persistent()) > 10_000 && count(|m| !m.is_persistent()) > 3_000);
        assert!(count(|m| m.body().is_empty()) > 500 && count(|m| m.body().len() > 128 << 10) > 2);
        for priority in 0..5 {
            assert!(messages.iter().any(|message| message.priority() == priority));
        }
    }

    type Change = fn(&mut Delivery);

    #[test]
    fn a_torn_message_is_reported() {
        let cases: [(&str, Change, &str); 7] = [
            ("an octet changed", |d| d.body[500] ^= 1, "the first 500 are right"),
            ("the end cut", |d| d.body.truncate(700), "has 700 octets, of which the first 700"),
            ("an octet more", |d| d.body.push(0), "octets, of which"),
            ("half of another body", |d| d.body[600..1000].fill(0), "the first 6"),
            ("another mode", |d| d.properties[2] = 9, "has the properties"),
            ("an identity of nobody", |d| d.properties.truncate(5), "nobody's properties"),
            ("no properties", |d| d.properties.clear(), "broken properties"),
        ];
        for (what, change, expected) in cases {
            let mut torn = delivery(long());
            change(&mut torn);
            let error = Message::of(&torn).expect_err(what);
            assert!(error.contains(expected), "{what}: {error}");
        }
        // The body of one and the properties of the other.
        let mut swapped = delivery(long());
        swapped.properties = Message { stream: 4, ..long() }.properties();
        assert!(Message::of(&swapped).is_err());
    }
}
