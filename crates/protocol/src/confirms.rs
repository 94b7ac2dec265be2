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

    /// The last publish was refused, all before it are safe: the ack to send first, if there is one, and the tag to nack.
    pub fn refuse_last(&mut self) -> (Option<(u64, bool)>, u64) {
        let before = self.published - 1;
        let newly = before - self.confirmed;
        self.confirmed = self.published;
        ((newly > 0).then_some((before, newly > 1)), self.published)
    }

    /// Everything published so far is safe: the tag and the `multiple` flag of the ack to send, if there is one.
    pub fn confirm_all(&mut self) -> Option<(u64, bool)> {
        let newly = self.published - self.confirmed;
        self.confirmed = self.published;
        (newly > 0).then_some((self.published, newly > 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ack_covers_what_gathered() {
        let mut confirms = Confirms::new();
        assert_eq!(confirms.confirm_all(), None);
        confirms.publish();
        assert_eq!(confirms.confirm_all(), Some((1, false)));
        confirms.publish();
        confirms.publish();
        assert_eq!(confirms.confirm_all(), Some((3, true)));
        assert_eq!(confirms.confirm_all(), None);
        confirms.publish();
        confirms.publish();
        assert_eq!(confirms.refuse_last(), (Some((4, false)), 5));
        assert_eq!(confirms.confirm_all(), None);
    }
}
