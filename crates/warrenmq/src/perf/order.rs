//! The order check: what one consumer gets from one queue, seen per producer, must have increasing sequence numbers.
//!
//! A broker keeps the order of one publishing channel on its way to one consumer. Redelivered messages are outside that
//! promise and must not be shown to [`Order::see`].

/// Last sequence number seen for each queue and producer of one consumer.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// By queue, then by producer; zero is "none yet", else the sequence number plus one.
    next: Vec<Vec<u64>>,
    violations: u64,
}

impl Order {
    /// Notes a message of `queue` (the consumer's own numbering).
    #[inline]
    pub(crate) fn see(&mut self, queue: usize, producer: u16, sequence: u64) {
        let producer = usize::from(producer);
        match self.next.get_mut(queue).and_then(|queue| queue.get_mut(producer)) {
            Some(next) => {
                self.violations += u64::from(sequence < *next);
                *next = sequence + 1;
            }
            None => self.first(queue, producer, sequence),
        }
    }

    /// Messages whose sequence number was not above that of the message before.
    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    #[cold]
    fn first(&mut self, queue: usize, producer: usize, sequence: u64) {
        if self.next.len() <= queue {
            self.next.resize_with(queue + 1, Vec::new);
        }
        let producers = &mut self.next[queue];
        if producers.len() <= producer {
            producers.resize(producer + 1, 0);
        }
        producers[producer] = sequence + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_of() {
        // Messages as (queue, producer, sequence), and the violations among them.
        type Case<'a> = (&'a [(usize, u16, u64)], u64);
        let cases: [Case; 6] = [
            (&[(0, 0, 0), (0, 0, 1), (0, 0, 5)], 0),
            (&[(0, 0, 1), (0, 0, 1)], 1),
            (&[(0, 0, 3), (0, 0, 2), (0, 0, 3)], 1),
            (&[(0, 0, 9), (0, 1, 0), (0, 0, 10), (0, 1, 1)], 0),
            (&[(0, 0, 9), (7, 0, 0), (0, 0, 8), (7, 0, 1)], 1),
            (&[(0, 9, 0), (0, 3, 0), (0, 9, 0)], 1),
        ];
        for (messages, violations) in cases {
            let mut order = Order::default();
            for &(queue, producer, sequence) in messages {
                order.see(queue, producer, sequence);
            }
            assert_eq!(order.violations(), violations, "{messages:?}");
        }
    }
}
