//! When the deliveries of a channel left, well enough to say that one has waited too long for its acknowledgement.
//!
//! Invariant: a delivery is never held to be older than it is. It costs nothing for each message: now and then somebody says which
//! tags have been given out by now, and only so many of these marks are kept.

use std::collections::VecDeque;

use crate::Millis;

/// Marks of one channel. More of them would say it more exactly, and take more memory.
const MARKS_MAX: usize = 64;

/// Ascending tags with ascending times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryTimes {
    marks: VecDeque<Mark>,
}

/// All tags below this one had been given out at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    next_tag: u64,
    at: Millis,
}

impl DeliveryTimes {
    /// Tags up to `next_tag` have been given out by now.
    pub fn mark(&mut self, next_tag: u64, now: Millis) {
        if self.marks.back().is_some_and(|last| last.next_tag == next_tag) {
            return;
        }
        if self.marks.len() == MARKS_MAX {
            // Of each two the later one stays: what the other said seems younger now.
            let mut is_later = true;
            self.marks.retain(|_| {
                is_later = !is_later;
                is_later
            });
        }
        self.marks.push_back(Mark { next_tag, at: now });
    }

    /// When the delivery `oldest`, which is the oldest that waits, had left at the latest. Forgets what is older; `None`: nothing waits,
    /// or it has left since the last mark.
    pub fn left_by(&mut self, oldest: Option<u64>) -> Option<Millis> {
        let Some(oldest) = oldest else {
            self.marks = VecDeque::new();
            return None;
        };
        while self.marks.front().is_some_and(|mark| mark.next_tag <= oldest) {
            self.marks.pop_front();
        }
        self.marks.front().map(|mark| mark.at)
    }

    /// Nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_delivery_has_its_time() {
        let mut times = DeliveryTimes::default();
        assert_eq!((times.is_empty(), times.left_by(Some(1))), (true, None));
        times.mark(4, 100);
        times.mark(4, 150);
        times.mark(9, 200);
        // (oldest delivery that waits, when it had left)
        let cases = [(1, Some(100)), (3, Some(100)), (4, Some(200)), (8, Some(200)), (9, None)];
        for (oldest, at) in cases {
            assert_eq!(times.left_by(Some(oldest)), at, "{oldest}");
        }
        times.mark(20, 300);
        assert_eq!(times.left_by(None), None);
        assert!(times.is_empty());
    }

    #[test]
    fn marks_are_few_and_make_nothing_older() {
        let mut times = DeliveryTimes::default();
        // Tag n leaves at the time n, and a mark follows at once.
        for tag in 1..=10_000 {
            times.mark(tag + 1, tag);
            assert!(times.marks.len() <= MARKS_MAX);
        }
        for oldest in 1..=10_000 {
            let at = times.left_by(Some(oldest)).unwrap();
            assert!(at >= oldest, "{oldest}: {at}");
        }
        assert_eq!(times.left_by(Some(10_000)), Some(10_000));
    }
}
