//! Deliveries of one channel that wait for ack, nack or reject.
//!
//! Invariant: spans are disjoint and each is stored under its last delivery tag, so that acknowledging from the front
//! changes an entry in place.

use std::collections::BTreeMap;

/// An acknowledgement named a delivery tag that is not outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTag(pub u64);

/// Outstanding deliveries. `S` says where they came from (a consumer of a queue).
#[derive(Debug)]
pub struct Outstanding<S> {
    spans: BTreeMap<u64, Piece<S>>,
    count: u64,
}

/// Deliveries with ascending tags whose messages stand at ascending positions of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<S> {
    /// Where they came from.
    pub source: S,
    /// Delivery tag of the first.
    pub first_tag: u64,
    /// Position of the first.
    pub first_position: u64,
    /// How many, at least 1.
    pub count: u64,
}

impl<S> Default for Outstanding<S> {
    fn default() -> Self {
        Outstanding { spans: BTreeMap::new(), count: 0 }
    }
}

impl<S: Copy + PartialEq> Outstanding<S> {
    /// How many deliveries wait.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Delivery tag of the oldest one, and where it came from.
    pub fn oldest(&self) -> Option<(u64, S)> {
        self.spans.values().next().map(|span| (span.first_tag, span.source))
    }

    /// Notes `count` deliveries with ascending tags from `first_tag`, of ascending positions from `first_position`. Tags must be
    /// above all earlier ones.
    pub fn record(&mut self, source: S, first_tag: u64, first_position: u64, count: u64) {
        self.count += count;
        let mut span = Piece { source, first_tag, first_position, count };
        if let Some(last) = self.spans.last_entry()
            && last.get().continues_into(&span)
        {
            let last = last.remove();
            span = Piece { count: last.count + count, ..last };
        }
        self.spans.insert(span.first_tag + span.count - 1, span);
    }

    /// Takes out the delivery `tag`, or with `multiple` all up to it; tag 0 with `multiple` means all. The pieces
    /// are handed to `each`, oldest first.
    ///
    /// As in RabbitMQ the tag itself must be outstanding, also with `multiple`.
    pub fn take(
        &mut self,
        tag: u64,
        multiple: bool,
        mut each: impl FnMut(Piece<S>),
    ) -> Result<(), UnknownTag> {
        if tag == 0 && multiple {
            self.take_all(each);
            return Ok(());
        }
        let Some((&last_tag, span)) = self.spans.range_mut(tag..).next() else { return Err(UnknownTag(tag)) };
        if span.first_tag > tag {
            return Err(UnknownTag(tag));
        }
        if multiple {
            while let Some(entry) = self.spans.first_entry()
                && *entry.key() < tag
            {
                let whole = entry.remove();
                self.count -= whole.count;
                each(whole);
            }
            self.take_front(tag, &mut each);
        } else {
            if span.first_tag < tag {
                let before = span.split_front(tag - span.first_tag);
                debug_assert!(tag <= last_tag);
                self.spans.insert(tag - 1, before);
            }
            self.take_front(tag, &mut each);
        }
        Ok(())
    }

    /// Puts back what was taken, for a transaction that is rolled back.
    pub fn restore(&mut self, piece: Piece<S>) {
        self.count += piece.count;
        self.spans.insert(piece.first_tag + piece.count - 1, piece);
    }

    /// Takes out everything, oldest first.
    pub fn take_all(&mut self, mut each: impl FnMut(Piece<S>)) {
        for (_, span) in std::mem::take(&mut self.spans) {
            each(span);
        }
        self.count = 0;
    }

    /// Takes the front of the span that holds `tag`, up to and with it.
    fn take_front(&mut self, tag: u64, each: &mut impl FnMut(Piece<S>)) {
        let Some((&last_tag, span)) = self.spans.range_mut(tag..).next() else { return };
        let taken = if last_tag == tag { *span } else { span.split_front(tag + 1 - span.first_tag) };
        if last_tag == tag {
            self.spans.remove(&tag);
        }
        self.count -= taken.count;
        each(taken);
    }
}

impl<S: Copy + PartialEq> Piece<S> {
    fn continues_into(&self, next: &Piece<S>) -> bool {
        self.source == next.source
            && self.first_tag + self.count == next.first_tag
            && self.first_position + self.count == next.first_position
    }

    fn split_front(&mut self, count: u64) -> Piece<S> {
        let front = Piece { count, ..*self };
        self.first_tag += count;
        self.first_position += count;
        self.count -= count;
        front
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags 1-10 are positions 100-109 of source 'a', tags 11-12 positions 7-8 of source 'b'.
    fn sample() -> Outstanding<char> {
        let mut outstanding = Outstanding::default();
        outstanding.record('a', 1, 100, 4);
        outstanding.record('a', 5, 104, 6);
        outstanding.record('b', 11, 7, 2);
        outstanding
    }

    #[test]
    fn tags_are_taken_as_rabbitmq_does() {
        type Took = Result<Vec<(char, u64, u64)>, UnknownTag>;
        let cases: [(&[(u64, bool)], Took); 8] = [
            (&[(1, false)], Ok(vec![('a', 100, 1)])),
            (&[(5, false)], Ok(vec![('a', 104, 1)])),
            (&[(11, true)], Ok(vec![('a', 100, 10), ('b', 7, 1)])),
            (&[(0, true)], Ok(vec![('a', 100, 10), ('b', 7, 2)])),
            (&[(13, false)], Err(UnknownTag(13))),
            (&[(0, false)], Err(UnknownTag(0))),
            (&[(5, false), (5, false)], Err(UnknownTag(5))),
            // 3 is gone: multiple up to it is refused although 1 and 2 are there.
            (&[(3, false), (3, true)], Err(UnknownTag(3))),
        ];
        for (acks, expected) in cases {
            let mut outstanding = sample();
            let mut took = Ok(vec![]);
            for (tag, multiple) in acks {
                let mut pieces = vec![];
                took = outstanding
                    .take(*tag, *multiple, |p| pieces.push((p.source, p.first_position, p.count)))
                    .map(|()| pieces);
            }
            assert_eq!(took, expected, "{acks:?}");
        }
    }

    #[test]
    fn the_oldest_is_the_first_that_is_left() {
        let mut outstanding = sample();
        for (taken, oldest) in [(3, (1, 'a')), (1, (2, 'a')), (2, (4, 'a'))] {
            outstanding.take(taken, false, |_| {}).unwrap();
            assert_eq!(outstanding.oldest(), Some(oldest));
        }
        outstanding.take(10, true, |_| {}).unwrap();
        assert_eq!(outstanding.oldest(), Some((11, 'b')));
    }

    #[test]
    fn every_order_takes_each_tag_once() {
        let mut outstanding = sample();
        let mut seen = vec![];
        for tag in [12, 3, 1, 7, 2, 10, 11, 4, 9, 5, 8, 6] {
            outstanding.take(tag, false, |p| seen.push((p.source, p.first_position, p.count))).unwrap();
        }
        assert_eq!((outstanding.count(), outstanding.oldest()), (0, None));
        seen.sort_unstable();
        let expected: Vec<_> = (100..110).map(|p| ('a', p, 1)).chain([('b', 7, 1), ('b', 8, 1)]).collect();
        assert_eq!(seen, expected);
    }
}
