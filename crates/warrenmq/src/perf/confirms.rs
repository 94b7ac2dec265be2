//! The confirm window of one producer: which of its messages the broker has not yet answered.
//!
//! Invariant: `outstanding` is the number of published tags that no ack or nack has covered; an answer for a tag that was
//! never published or already answered changes nothing but the count of surprises.

use std::collections::VecDeque;

/// A group of messages that left in one write.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// Delivery tag of its last message.
    last: u64,
    sent_ns: u64,
}

/// Unanswered publishes of a channel in confirm mode.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// Tag of the last message published; tags start at one.
    published: u64,
    /// All tags up to this one are answered.
    settled: u64,
    /// Whether `settled + 1 + index` is answered; never ends in `false`.
    early: VecDeque<bool>,
    early_count: u64,
    groups: VecDeque<Group>,
    unexpected: u64,
}

/// What an answer covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// When the messages left.
    pub(crate) sent_ns: u64,
    /// How many of them the answer covered.
    pub(crate) count: u64,
}

impl Confirms {
    /// Notes `count` messages that are about to leave in one write.
    pub(crate) fn publish(&mut self, count: u64, now_ns: u64) {
        self.published += count;
        self.groups.push_back(Group { last: self.published, sent_ns: now_ns });
    }

    /// Takes an ack or nack; calls `covered` for each group of messages it answers, oldest first.
    pub(crate) fn settle(&mut self, tag: u64, multiple: bool, mut covered: impl FnMut(Settled)) {
        // RabbitMQ's rule for clients' acks, which it keeps for its own: zero with multiple is "all so far".
        let tag = if multiple && tag == 0 { self.published } else { tag };
        if tag > self.published || tag <= self.settled {
            self.unexpected += u64::from(!multiple || tag > self.published);
            return;
        }
        if multiple || tag == self.settled + 1 {
            self.advance(tag, &mut covered);
        } else {
            self.mark(tag, &mut covered);
        }
    }

    /// Messages without an answer.
    #[inline]
    pub(crate) fn outstanding(&self) -> u64 {
        self.published - self.settled - self.early_count
    }

    /// Answers for tags that were not outstanding.
    pub(crate) fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Settles everything up to `tag` and what was answered early right behind it.
    fn advance(&mut self, tag: u64, covered: &mut impl FnMut(Settled)) {
        while self.settled < tag {
            let Some(group) = self.groups.front().copied() else {
                break;
            };
            let until = group.last.min(tag);
            let count = self.take_until(until);
            if count > 0 {
                covered(Settled { sent_ns: group.sent_ns, count });
            }
            self.drop_groups();
        }
        while self.early.front() == Some(&true) {
            self.take_until(self.settled + 1);
            self.drop_groups();
        }
    }

    /// Moves `settled` to `until`; returns how many of the tags passed had no answer before.
    fn take_until(&mut self, until: u64) -> u64 {
        let passed = until - self.settled;
        let recorded = self.early.len().min(usize::try_from(passed).unwrap_or(usize::MAX));
        let early = self.early.drain(..recorded).filter(|&answered| answered).count() as u64;
        self.early_count -= early;
        self.settled = until;
        passed - early
    }

    fn drop_groups(&mut self) {
        while self.groups.front().is_some_and(|group| group.last <= self.settled) {
            self.groups.pop_front();
        }
    }

    /// Answers one tag out of order.
    fn mark(&mut self, tag: u64, covered: &mut impl FnMut(Settled)) {
        let index = usize::try_from(tag - self.settled - 1).unwrap_or(usize::MAX);
        if self.early.len() <= index {
            self.early.resize(index + 1, false);
        }
        if std::mem::replace(&mut self.early[index], true) {
            self.unexpected += 1;
            return;
        }
        self.early_count += 1;
        let group = self.groups.partition_point(|group| group.last < tag);
        if let Some(group) = self.groups.get(group) {
            covered(Settled { sent_ns: group.sent_ns, count: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Publishes groups of the given sizes; group `n` leaves at time `n`.
    fn published(groups: &[u64]) -> Confirms {
        let mut confirms = Confirms::default();
        for (index, &count) in groups.iter().enumerate() {
            confirms.publish(count, index as u64);
        }
        confirms
    }

    #[test]
    fn answers() {
        // Group sizes, answers (tag, multiple), groups covered (sent_ns, count), outstanding, unexpected.
        type Case<'a> = (&'a [u64], &'a [(u64, bool)], &'a [(u64, u64)], u64, u64);
        let cases: [Case; 9] = [
            (&[3], &[(1, false), (2, false), (3, false)], &[(0, 1), (0, 1), (0, 1)], 0, 0),
            (&[3, 2], &[(4, true)], &[(0, 3), (1, 1)], 1, 0),
            (&[3, 2], &[(0, true)], &[(0, 3), (1, 2)], 0, 0),
            (&[3], &[(2, false), (3, true)], &[(0, 1), (0, 2)], 0, 0),
            (&[2, 2], &[(3, false), (2, true), (4, false)], &[(1, 1), (0, 2), (1, 1)], 0, 0),
            (&[2, 2], &[(4, false), (3, false), (1, false)], &[(1, 1), (1, 1), (0, 1)], 1, 0),
            (&[2], &[(2, false), (2, false)], &[(0, 1)], 1, 1),
            (&[2], &[(3, false), (9, true)], &[], 2, 2),
            (&[2], &[(2, true), (1, true), (1, false)], &[(0, 2)], 0, 1),
        ];
        for (groups, answers, covered, outstanding, unexpected) in cases {
            let mut confirms = published(groups);
            let mut seen = Vec::new();
            for &(tag, multiple) in answers {
                confirms.settle(tag, multiple, |settled| seen.push((settled.sent_ns, settled.count)));
            }
            assert_eq!(seen, covered, "{groups:?} {answers:?}");
            assert_eq!(confirms.outstanding(), outstanding, "{groups:?} {answers:?}");
            assert_eq!(confirms.unexpected(), unexpected, "{groups:?} {answers:?}");
        }
    }

    proptest! {
        /// The window agrees with a plain map from tag to group.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((1u64..5, 0u64..40, any::<bool>()), 1..60)) {
            let mut confirms = Confirms::default();
            let mut model = BTreeMap::new();
            let mut published = 0;
            for (now, (count, tag, multiple)) in steps.into_iter().enumerate() {
                confirms.publish(count, now as u64);
                for tag in published + 1..=published + count {
                    model.insert(tag, now as u64);
                }
                published += count;
                let mut covered = 0;
                confirms.settle(tag, multiple, |settled| covered += settled.count);
                let upto = if multiple && tag == 0 { published } else { tag };
                let before = model.len();
                if multiple && upto <= published {
                    model.retain(|&tag, _| tag > upto);
                } else if !multiple {
                    model.remove(&upto);
                }
                prop_assert_eq!(covered, (before - model.len()) as u64);
                prop_assert_eq!(confirms.outstanding(), model.len() as u64);
            }
        }
    }
}
