//! The stamp at the head of a message body: when it was to be sent, by whom, and as which of the sender's messages.
//!
//! ```text
//! 0             8            10                   16
//! | sent_ns u64 | producer u16 | sequence, 48 bits | filling …
//! ```
//! Little endian; `sent_ns` is [`super::clock::now_ns`]. Bodies shorter than 16 octets carry no stamp.

/// Octets of a stamp.
pub(crate) const LEN: usize = 16;

const SEQUENCE_BITS: u32 = 48;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

/// One stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When the message was due, or at no rate the time of the write that carried it.
    pub(crate) sent_ns: u64,
    /// Number of the producer in its process.
    pub(crate) producer: u16,
    /// Number of the message, counted by its producer; 48 bits.
    pub(crate) sequence: u64,
}

impl Stamp {
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; LEN] {
        let tail = (self.sequence & SEQUENCE_MASK) << 16 | u64::from(self.producer);
        (u128::from(self.sent_ns) | u128::from(tail) << 64).to_le_bytes()
    }

    #[inline]
    pub(crate) fn from_bytes(bytes: [u8; LEN]) -> Self {
        let whole = u128::from_le_bytes(bytes);
        let tail = (whole >> 64) as u64;
        Self { sent_ns: whole as u64, producer: tail as u16, sequence: tail >> 16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for (sent_ns, producer, sequence) in [(0, 0, 0), (u64::MAX, u16::MAX, SEQUENCE_MASK), (1, 2, 3)] {
            let stamp = Stamp { sent_ns, producer, sequence };
            assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
        }
    }

    #[test]
    fn layout() {
        let bytes = Stamp { sent_ns: 1, producer: 2, sequence: 3 }.to_bytes();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0]);
    }
}
