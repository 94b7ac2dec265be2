//! The fronts of messages that a connection has published: all octets in front of the body, and what was found out about them.
//!
//! Publishers repeat themselves: exchange, key and properties of a message are mostly those of some message before. Then looking its
//! front up costs less than reading it. Invariant: for those whose messages are never alike it costs next to nothing: after
//! [`MISSES_MAX`] in a row everything is forgotten, and nothing is looked up for [`PAUSE`] messages.

use warrenmq_protocol::Millis;
use warrenmq_queue::Record;
use warrenmq_wire::Shape;

use super::lanes::LaneId;
use super::remembered::Remembered;

/// So many different messages in a row are never alike.
const MISSES_MAX: u32 = 2048;
/// Then so many are not looked at.
const PAUSE: u32 = 64 * 1024;
/// Larger fronts are not remembered.
const OCTETS_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Fronts {
    fronts: Remembered<Front>,
    /// Messages since the last one that was like one before.
    misses: u32,
}

/// What is known of messages with one front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) channel: u16,
    pub(super) lane: LaneId,
    pub(super) persistent: bool,
    priority: Option<u8>,
    ttl: Option<Millis>,
    /// Octets of the route and of the header.
    route: u16,
    header: u16,
}

impl Fronts {
    /// What is known of messages of this shape.
    #[inline]
    pub(super) fn find(&mut self, shape: Shape<'_>) -> Option<Front> {
        if self.misses >= MISSES_MAX {
            self.misses += 1;
            if self.misses < MISSES_MAX + PAUSE {
                return None;
            }
            self.misses = 0;
        }
        let found = self.fronts.find_another(shape.front());
        self.misses = if found.is_some() { 0 } else { self.misses + 1 };
        if self.misses == MISSES_MAX {
            self.fronts = Remembered::default();
        }
        found
    }

    /// Whether messages are looked up at all, and worth remembering.
    #[inline]
    pub(super) fn are_looked_up(&self) -> bool {
        self.misses < MISSES_MAX
    }

    /// Remembers a message of this shape, which was just looked for, and went into a lane without further ado. If it was found its lane
    /// was not open.
    pub(super) fn remember(&mut self, shape: Shape<'_>, channel: u16, lane: LaneId, record: &Record<'_>) {
        if !self.are_looked_up() || shape.front().len() > OCTETS_MAX || self.fronts.is_last(shape.front()) {
            return;
        }
        let Record { persistent, priority, ttl, route, header, .. } = *record;
        let (route, header) = (route.len() as u16, header.len() as u16);
        let front = Front { channel, lane, persistent, priority, ttl, route, header };
        self.fronts.remember(shape.front(), front);
    }
}

impl Front {
    /// The record of a message with this front.
    #[inline]
    pub(super) fn record<'a>(&self, shape: Shape<'a>, body: &'a [u8]) -> Option<Record<'a>> {
        let (route, header) = shape.parts(usize::from(self.route), usize::from(self.header))?;
        let Front { persistent, priority, ttl, .. } = *self;
        Some(Record { route, hidden: b"", header, body, persistent, priority, ttl, dead: false, due: None })
    }
}

#[cfg(test)]
mod tests {
    use warrenmq_wire::basic;

    use super::*;

    fn message(number: u32) -> Vec<u8> {
        let (mut route, mut out) = (Vec::new(), Vec::new());
        basic::put_route(&mut route, b"", number.to_string().as_bytes());
        basic::put_publish(&mut out, 1, &route, false);
        let mut header = [0; 14];
        (header[1], header[11]) = (60, 4);
        basic::put_content(&mut out, 1, &header, b"body", 1000);
        out
    }

    fn look(fronts: &mut Fronts, number: u32) -> Option<LaneId> {
        let message = message(number);
        let shape = Shape::measure(&message).unwrap();
        let found = fronts.find(shape);
        // Also when it is there: its lane may have been closed.
        let (route, header) = shape.parts(message.len() - 49, 14).unwrap();
        let record = Record {
            route,
            hidden: b"",
            header,
            body: b"body",
            persistent: true,
            priority: None,
            ttl: Some(7),
            dead: false,
            due: None,
        };
        fronts.remember(shape, 3, number, &record);
        found.map(|front| {
            let record = front.record(shape, b"body").unwrap();
            assert_eq!((front.channel, record.persistent, record.ttl), (3, true, Some(7)));
            assert_eq!(record.route[2..], *number.to_string().as_bytes());
            assert_eq!((record.header.len(), record.header[1]), (14, 60));
            front.lane
        })
    }

    #[test]
    fn what_comes_again_is_found_in_any_order() {
        let mut fronts = Fronts::default();
        for number in [1, 2, 3] {
            assert_eq!(look(&mut fronts, number), None);
        }
        for number in [1, 2, 3, 1, 2, 3, 2, 2, 1, 3] {
            assert_eq!(look(&mut fronts, number), Some(number));
        }
        assert_eq!(fronts.fronts.count(), 3, "each is there once");
    }

    /// Messages that are never alike: nothing is kept of them, and hardly one is looked at.
    #[test]
    fn what_never_comes_again_is_forgotten() {
        let mut fronts = Fronts::default();
        assert_eq!(look(&mut fronts, 0), None);
        for number in 1..=MISSES_MAX {
            look(&mut fronts, number);
        }
        let kept =
            |fronts: &mut Fronts| fronts.fronts.find(Shape::measure(&message(0)).unwrap().front()).is_some();
        assert!(!kept(&mut fronts));
        for _ in 1..PAUSE - 1 {
            assert_eq!(look(&mut fronts, 0), None);
            assert!(!kept(&mut fronts));
        }
        look(&mut fronts, 0);
        assert_eq!(look(&mut fronts, 0), Some(0), "it is tried again");
    }
}
