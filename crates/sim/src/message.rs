//! Bodies that can be recognised. Invariant: a body is a function of its message's number and length, so that torn, mixed or
//! invented content differs from it.

use crate::rng::Rng;

/// Number of a message, unique in a run. It travels in the property `timestamp` and at the start of the body.
pub type MessageId = u32;

/// What was published.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Octets of its body.
    pub octets: usize,
    /// `delivery-mode` 2.
    pub persistent: bool,
    /// `priority`.
    pub priority: u8,
    /// How long it waits before it is routed, in milliseconds; 0 for what does not wait.
    pub delay: u64,
}

impl Message {
    /// The body.
    pub fn body(&self) -> Vec<u8> {
        let mut words = Rng::new(u64::from(self.id) << 32 | self.octets as u64);
        let mut body = self.id.to_be_bytes().to_vec();
        while body.len() < self.octets {
            body.extend_from_slice(&words.word().to_be_bytes());
        }
        body.truncate(self.octets);
        body
    }
}
