//! One queue as a deterministic value.
//!
//! ```text
//!   commands                                   effects
//!   publish(run) ────────►┌────────────┐──────► deliver(consumer, records of a run)
//!   consume, cancel ─────►│            │──────► hungry(consumer)
//!   credit, pull ────────►│   Queue    │
//!   settle, requeue ─────►│            │──────► dead(messages, reason)
//!   discard, advance ────►│            │
//!   give_back, get, purge►└────────────┘
//! ```
//!
//! The queue moves *runs* (see [`Run`]): blocks of records that a publishing connection built from one read of its
//! socket. It hands whole runs, or ranges of them, to consumers that have credit, and single messages in turn when
//! several consumers read. Invariants: every message that was published is in exactly one place (ready, unacked, or
//! handed over for good); positions only grow; a message that comes back goes to its original place. The crate knows no
//! clock, no socket, no store and no randomness: the same commands give the same effects.
#![forbid(unsafe_code)]

mod consumers;
mod delivery;
mod level;
mod queue;
mod run;
mod unacked;

pub use consumers::{Consumer, ConsumerSlot, Credit};
pub use delivery::{Dead, Delivery, Effects, Pick, Picks, Reason};
pub use queue::{ConsumeError, Got, Overflow, Queue, Settings};
pub use run::{Record, Records, Run, RunBuilder};

/// Where a message stands in its queue: the number of its publish, counted from 0. Never used twice.
pub type Position = u64;

/// Milliseconds since some start; only differences count.
pub type Millis = u64;
