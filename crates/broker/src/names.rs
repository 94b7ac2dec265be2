//! Names and numbers that the server makes up: `amq.gen-…`, `amq.ctag-…`, salts.
//!
//! Invariant: they come from one seeded generator, so a simulation can repeat them and nobody can guess them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Debug)]
pub(crate) struct Names {
    random: Mutex<StdRng>,
}

impl Names {
    pub(crate) fn new(seed: [u8; 32]) -> Names {
        Names { random: Mutex::new(StdRng::from_seed(seed)) }
    }

    /// `<prefix>-` and 22 characters of URL-safe base64, as RabbitMQ makes them.
    pub(crate) fn generate(&self, prefix: &str) -> String {
        format!("{prefix}-{}", URL_SAFE_NO_PAD.encode(self.octets::<16>()))
    }

    pub(crate) fn octets<const N: usize>(&self) -> [u8; N] {
        let mut octets = [0; N];
        self.random.lock().fill_bytes(&mut octets);
        octets
    }
}
