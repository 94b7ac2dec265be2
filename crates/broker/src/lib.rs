//! The broker: vhosts, users, permissions, definitions, queues and the sessions of clients, joined under the lock rules.
//!
//! Invariant: no sockets, no clock and no asynchronous runtime here: octets, times and a seed come in as arguments, and the
//! only threads are those that write and read files, which a test can do without. So the whole broker also runs in one thread.
#![forbid(unsafe_code)]

pub mod access;
mod alarm;
mod broker;
mod chance;
mod changes;
mod count;
mod dead_letter;
pub mod definitions;
mod delayed;
mod delivery_count;
mod directory;
mod failure;
mod inbox;
mod limits;
mod lock;
mod names;
mod parameters;
pub mod policy;
mod properties;
mod queue_cell;
mod queue_ids;
mod refusal;
mod restore;
mod session;
mod storage;
mod timers;
mod vhost;

pub use alarm::Alarms;
pub use broker::{Broker, Commits, Durability, Options, Worker};
pub use delayed::{DelayedExchange, PendingMessage};
pub use failure::{Failure, OnFailure};
pub use inbox::Inbox;
pub use limits::Limits;
pub use parameters::ParameterError;
pub use restore::RestoreError;
pub use session::Session;
pub use warrenmq_protocol::Expired;
