//! Publisher confirms of one channel.
//!
//! Invariant: confirms never overtake each other: what is confirmed is always everything up to a number.

/// Counts the publishes of a channel in confirm mode and what of them was confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirms {
    published: u64,
    confirmed: u64,
}

impl Confirms {
    /// Starts at confirm.select; the first publish after it has number 1.
    pub fn new() -> Confirms {
        Confirms::default()
    }

    /// Numbers one publish.
    #[inline]
    pub fn publish(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// Numbers `count` publishes.
    #[inline]
    pub fn publish_more(&mut self, count: u64) {
        self.published += count;
    }

    /// Number of the last publish.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Everything up to `tag` is safe: the tag and the `multiple` flag of the ack to send, if there is one.
    pub fn confirm(&mut self, tag: u64) -> Option<(u64, bool)> {
        let newly = tag.saturating_sub(self.confirmed);
        self.confirmed = self.confirmed.max(tag);
        (newly > 0).then_some((tag, newly > 1))
    }

    /// `tag`, the one after all that were confirmed, was refused: the tag to nack.
    pub fn refuse(&mut self, tag: u64) -> u64 {
        debug_assert_eq!(self.confirmed + 1, tag, "what is before it is confirmed first");
        self.confirmed = self.confirmed.max(tag);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ack_covers_what_gathered() {
        let mut confirms = Confirms::new();
        assert_eq!(confirms.confirm(0), None);
        confirms.publish();
        assert_eq!(confirms.confirm(1), Some((1, false)));
        confirms.publish();
        confirms.publish();
        confirms.publish();
        assert_eq!(confirms.confirm(3), Some((3, true)), "the fourth waits");
        assert_eq!(confirms.confirm(3), None);
        confirms.publish();
        assert_eq!(confirms.published(), 5);
        assert_eq!(confirms.confirm(4), Some((4, false)));
        assert_eq!(confirms.refuse(5), 5);
        assert_eq!(confirms.confirm(5), None);
    }
}
