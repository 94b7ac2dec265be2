//! Pacing: how many messages are due at a moment, and when the next one is.
//!
//! Invariant: message `n` (from zero) is due at `start + n / rate`, whatever happened before, so a producer that fell
//! behind catches up and the mean rate is exact. It reads no clock; times are arguments in nanoseconds.

/// Above this rate messages are sent in groups: waking up costs more than the messages do.
const TICK_NS: u64 = 100_000;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The schedule of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Pacer {
    start_ns: u64,
    rate: Option<u64>,
    sent: u64,
}

impl Pacer {
    /// `rate` is in messages a second, `None` is as fast as possible.
    pub(crate) fn new(rate: Option<u64>, start_ns: u64) -> Self {
        Self { start_ns, rate: rate.filter(|&rate| rate > 0), sent: 0 }
    }

    /// Messages that may be sent now.
    #[inline]
    pub(crate) fn due(&self, now_ns: u64) -> u64 {
        let Some(rate) = self.rate else {
            return u64::MAX;
        };
        let elapsed_ns = u128::from(now_ns.saturating_sub(self.start_ns));
        let due_in_all = elapsed_ns * u128::from(rate) / NANOS_PER_SECOND + 1;
        u64::try_from(due_in_all).unwrap_or(u64::MAX).saturating_sub(self.sent)
    }

    /// Notes that `count` messages were sent.
    #[inline]
    pub(crate) fn sent(&mut self, count: u64) {
        self.sent += count;
    }

    /// When to look again after [`Self::due`] returned zero: the next message's time, but not before a tick has
    /// passed, so that high rates do not cost one wake a message.
    pub(crate) fn next_ns(&self, now_ns: u64) -> u64 {
        let Some(rate) = self.rate else {
            return now_ns;
        };
        let offset_ns = (u128::from(self.sent) * NANOS_PER_SECOND).div_ceil(u128::from(rate));
        let due_ns = self.start_ns.saturating_add(u64::try_from(offset_ns).unwrap_or(u64::MAX));
        let groups = u128::from(rate) * u128::from(TICK_NS) > NANOS_PER_SECOND;
        if groups { due_ns.max(now_ns + TICK_NS) } else { due_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7_000_000_000;

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
            (1_000_000, 0, 1_000_000_000, 1_000_001),
            (u64::MAX, 0, u64::MAX - START, u64::MAX),
        ];
        for (rate, sent, since_start, due) in cases {
            let mut pacer = Pacer::new(Some(rate), START);
            pacer.sent(sent);
            assert_eq!(
                pacer.due(START + since_start),
                due,
                "rate {rate}, sent {sent}, after {since_start} ns"
            );
        }
    }

    #[test]
    fn without_a_rate_everything_is_due() {
        for rate in [None, Some(0)] {
            let mut pacer = Pacer::new(rate, START);
            pacer.sent(1 << 40);
            assert_eq!(pacer.due(START), u64::MAX);
        }
    }

    #[test]
    fn at_low_rates_waits_for_exactly_the_next_message() {
        for rate in [1, 3, 7, 999, 5_000, 10_000] {
            let mut pacer = Pacer::new(Some(rate), START);
            for _ in 0..1_000 {
                pacer.sent(1);
                let next = pacer.next_ns(START);
                assert_eq!(pacer.due(next), 1, "rate {rate}");
                assert_eq!(pacer.due(next - 1), 0, "rate {rate}");
            }
        }
    }

    #[test]
    fn at_high_rates_waits_a_tick() {
        let mut pacer = Pacer::new(Some(2_000_000), START);
        pacer.sent(pacer.due(START));
        let next = pacer.next_ns(START);
        assert_eq!(next, START + TICK_NS);
        assert_eq!(pacer.due(next), 200);
    }
}
