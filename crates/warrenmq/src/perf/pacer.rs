//! Pacing: which messages are due at a moment, when the next ones are, and when each was.
//!
//! ```text
//! up to 10,000 a second      |    |    |    |    |     one by one, each at its own time
//! above                      ‖         ‖         ‖     in groups, 100 us apart
//! ```
//! Invariant: message `n` (from zero) is due at a time that follows from `n` alone, whatever happened before. So a producer
//! that fell behind catches up, the mean rate is exact, and what waited for the producer is counted as late. It reads no
//! clock; times are arguments in nanoseconds.

/// Time between two groups: above 10,000 messages a second waking up for each would cost more than the messages do.
const GROUP_NS: u64 = 100_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The schedule of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Pacer {
    start_ns: u64,
    rate: Option<u64>,
    /// Messages that are due at the same time.
    group: u64,
    sent: u64,
}

/// Messages that were due at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at_ns: u64,
    pub(crate) count: u64,
}

impl Pacer {
    /// `rate` is in messages a second, `None` is as fast as possible.
    pub(crate) fn new(rate: Option<u64>, start_ns: u64) -> Self {
        let rate = rate.filter(|&rate| rate > 0);
        let in_group = u128::from(rate.unwrap_or(1)) * u128::from(GROUP_NS);
        let group = u64::try_from(in_group.div_ceil(NANOS_PER_SECOND)).unwrap_or(u64::MAX);
        Self { start_ns, rate, group, sent: 0 }
    }

    /// The same schedule, begun later by the part `number / of` of the time between two groups: so that producers of the
    /// same rate do not all write at the same time.
    pub(crate) fn shifted(mut self, number: u16, of: u16) -> Self {
        self.start_ns += self.between_ns() / u64::from(of.max(1)) * u64::from(number);
        self
    }

    /// Time between two messages, or two groups of them.
    pub(crate) fn between_ns(&self) -> u64 {
        self.offset_ns(self.group)
    }

    /// Messages that may be sent now.
    #[inline]
    pub(crate) fn due(&self, now_ns: u64) -> u64 {
        let Some(rate) = self.rate else {
            return u64::MAX;
        };
        let Some(elapsed_ns) = now_ns.checked_sub(self.start_ns) else {
            return 0;
        };
        let passed = u128::from(elapsed_ns) * u128::from(rate) / NANOS_PER_SECOND;
        let group = u128::from(self.group);
        u64::try_from((passed / group + 1) * group).unwrap_or(u64::MAX).saturating_sub(self.sent)
    }

    /// When the next message is due; to be asked after [`Self::due`] returned zero.
    pub(crate) fn next_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.offset_ns(self.sent))
    }

    /// Up to `max` messages of the same time, which are now sent. Without a rate they are all due now.
    #[inline]
    pub(crate) fn send(&mut self, max: u64, now_ns: u64) -> Due {
        let due = match self.rate {
            None => Due { at_ns: now_ns, count: max },
            Some(_) => {
                let begun = self.sent % self.group;
                let at_ns = self.start_ns.saturating_add(self.offset_ns(self.sent - begun));
                Due { at_ns, count: max.min(self.group - begun) }
            }
        };
        self.sent += due.count;
        due
    }

    /// Whether there is a schedule.
    pub(crate) fn is_paced(&self) -> bool {
        self.rate.is_some()
    }

    /// From the start to the time of message `number`, the first of its group.
    fn offset_ns(&self, number: u64) -> u64 {
        let Some(rate) = self.rate else {
            return 0;
        };
        u64::try_from((u128::from(number) * NANOS_PER_SECOND).div_ceil(u128::from(rate))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7_000_000_000;

    fn pacer(rate: u64, sent: u64) -> Pacer {
        let mut pacer = Pacer::new(Some(rate), START);
        while pacer.sent < sent {
            pacer.send(sent - pacer.sent, 0);
        }
        pacer
    }

    #[test]
    fn due_at() {
        // rate, sent before, nanoseconds since the start, messages due
        let cases = [
            (1_000, 0, 0, 1),
            (1_000, 1, 0, 0),
            (1_000, 1, 999_999, 0),
            (1_000, 1, 1_000_000, 1),
            (1_000, 1, 5_500_000, 5),
            (3, 1, 333_333_333, 0),
            (3, 1, 333_333_334, 1),
            (5_000, 10, 1_000_000, 0),
            (10_000, 1, 99_999, 0),
            (10_000, 1, 100_000, 1),
            (20_000, 0, 0, 2),
            (20_000, 2, 99_999, 0),
            (20_000, 3, 100_000, 1),
            (1_000_000, 0, 1_000_000_000, 1_000_100),
        ];
        for (rate, sent, since_start, due) in cases {
            let found = pacer(rate, sent).due(START + since_start);
            assert_eq!(found, due, "rate {rate}, sent {sent}, after {since_start} ns");
        }
        assert_eq!(Pacer::new(Some(u64::MAX), START).due(u64::MAX), u64::MAX);
        assert_eq!(pacer(1_000, 0).due(START - 1), 0, "before the start");
    }

    #[test]
    fn without_a_rate_everything_is_due_now() {
        for rate in [None, Some(0)] {
            let mut pacer = Pacer::new(rate, START).shifted(3, 4);
            assert_eq!(pacer.send(1 << 40, 77), Due { at_ns: 77, count: 1 << 40 });
            assert_eq!(pacer.due(0), u64::MAX);
        }
    }

    #[test]
    fn waits_for_exactly_the_next_message() {
        for rate in [1, 3, 7, 999, 5_000, 10_000, 10_001, 200_000, 1_234_567] {
            let mut pacer = pacer(rate, 0);
            for _ in 0..1_000 {
                let next = pacer.next_ns();
                let count = pacer.due(next);
                assert_eq!(count, pacer.group, "rate {rate}");
                assert_eq!(pacer.due(next.wrapping_sub(1)), 0, "rate {rate}");
                assert_eq!(pacer.send(u64::MAX, 0), Due { at_ns: next, count }, "rate {rate}");
            }
        }
    }

    #[test]
    fn late_messages_keep_their_times() {
        let mut pacer = pacer(20_000, 0);
        let times: Vec<_> = [1, 5, 1, 1].map(|max| pacer.send(max, START + 1_000_000)).into();
        let due = |group: u64, count| Due { at_ns: START + group * GROUP_NS, count };
        assert_eq!(times, [due(0, 1), due(0, 1), due(1, 1), due(1, 1)]);
    }

    #[test]
    fn producers_take_turns() {
        let starts =
            |rate, of| (0..of).map(move |number| Pacer::new(Some(rate), 0).shifted(number, of).next_ns());
        assert!(starts(1_000, 4).eq([0, 250_000, 500_000, 750_000]));
        assert!(starts(100_000, 2).eq([0, 50_000]));
    }
}
