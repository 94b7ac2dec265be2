//! The exchange that gives each message to one of several queues.
//!
//! Invariant: what it may look at is a text that the oracle can tell, too ([`Chooses::looks_at`]); where it hashes that, the same
//! text means the same queue for ever.

use crate::frames::Table;
use crate::message::Message;
use crate::rng::Rng;
use crate::topology::{Kind, Name};

/// The header that one of them hashes.
pub const HASHED: &str = "hashed";

/// By what it chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooses {
    /// `x-random`.
    Random,
    /// `x-local-random`.
    LocalRandom,
    /// `x-modulus-hash`.
    Modulus,
    /// `x-consistent-hash`: the routing key.
    Key,
    /// `x-consistent-hash` with `hash-header`.
    Header,
    /// `x-consistent-hash` with `hash-property`: the time stamp, which is another one for each message.
    Stamp,
}

impl Chooses {
    /// One of them, and behind the others the queues that it leads to.
    pub fn draw(queues: &mut Vec<Kind>, latest: &mut Rng) -> Chooses {
        use Chooses::{Header, Key, LocalRandom, Modulus, Random, Stamp};
        let chooses = [Random, LocalRandom, Modulus, Modulus, Key, Key, Header, Stamp][latest.below(8)];
        let quorum = latest.chance(1, 4) && chooses != LocalRandom;
        for _ in 0..latest.between(2, 3) {
            queues.push(Kind { durable: true, chosen: true, quorum, ..Kind::default() });
        }
        chooses
    }

    /// Its type.
    pub fn exchange_type(self) -> &'static str {
        match self {
            Chooses::Random => "x-random",
            Chooses::LocalRandom => "x-local-random",
            Chooses::Modulus => "x-modulus-hash",
            Chooses::Key | Chooses::Header | Chooses::Stamp => "x-consistent-hash",
        }
    }

    /// The arguments of its declare.
    pub fn arguments(self) -> Table {
        match self {
            Chooses::Header => Table::default().text("hash-header", HASHED),
            Chooses::Stamp => Table::default().text("hash-property", "timestamp"),
            _ => Table::default(),
        }
    }

    /// The key with which a queue is bound to it: a weight, where it has them.
    pub fn binding_key(self, name: Name) -> String {
        match self.exchange_type() {
            "x-consistent-hash" => (1 + name % 3).to_string(),
            _ => String::new(),
        }
    }

    /// Whether it hashes what it looks at.
    pub fn hashes(self) -> bool {
        !matches!(self, Chooses::Random | Chooses::LocalRandom)
    }

    /// What of a message with this routing key it looks at.
    pub fn looks_at(self, message: &Message, key: &str) -> String {
        match self {
            Chooses::Header => message.hashed.map(|hashed| hashed.to_string()).unwrap_or_default(),
            Chooses::Stamp => message.id.to_string(),
            _ => key.to_owned(),
        }
    }
}
