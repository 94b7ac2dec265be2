//! One queue as a deterministic value.
//!
//! ```text
//!   commands                                   effects
//!   publish(run) ────────►┌────────────┐──────► deliver(consumer, records of a run)
//!   consume, cancel ─────►│            │──────► hungry(consumer)
//!   credit, pull ────────►│            │──────► dead(messages, reason)
//!   settle, requeue ─────►│   Queue    │──────► gone(positions)
//!   discard, advance ────►│            │
//!   get, purge ──────────►│            │──────► loads(page), freed(place)
//!   paged, loaded ───────►└────────────┘──────► pages to write
//! ```
//!
//! The queue moves *runs* (see [`Run`]): blocks of records that a publishing connection built from one read of its
//! socket. It hands whole runs, or ranges of them, to consumers that have credit, and single messages in turn when
//! several consumers read. Bodies can leave memory as [`Page`]s and come back; where each message stands is kept in sets of
//! positions, which cost bits.
//!
//! Invariants: every message that was published and is not done with is in exactly one place (ready, unacked, or rejected and
//! waiting for its body, or back and waiting for its time); positions only grow; a message that comes back goes where its type of
//! queue has it; where a body is changes
//! when a message is handed out, never in which order. The crate knows no clock, no socket, no store and no randomness: the same
//! commands give the same effects.
#![forbid(unsafe_code)]

mod block;
mod blocks;
mod check;
mod chunk;
mod consumers;
mod delivery;
mod expiries;
mod hand_out;
mod kept;
mod ledger;
mod level;
mod levels;
mod look;
mod page;
mod page_out;
mod paging;
mod positions;
mod queue;
mod rare;
mod redelivered;
mod restore;
mod returns;
mod run;
mod settings;
mod single_active;
mod spans;
mod unsettled;
mod weighing;

pub use consumers::{Consumer, ConsumerSlot, Credit};
pub use delivery::{Attempted, Back, Dead, Delivery, Effects, Pick, Picks, Reason};
pub use look::{Look, read_block};
pub use page::{Page, PageId, PageRange, Place};
pub use positions::Positions;
pub use queue::{ConsumeError, Get, Got, Queue};
pub use rare::{Empty, Rare};
pub use redelivered::Attempts;
pub use restore::Stored;
pub use run::{HIDDEN_MAX, Layout, Record, Records, Run, RunBuilder};
pub use settings::{Kind, Overflow, Retry, RetryWhen, Settings};

/// Where a message stands in its queue: the number of its publish, counted from 0. Never used twice.
pub type Position = u64;

/// Milliseconds since some start; only differences count.
pub type Millis = u64;
