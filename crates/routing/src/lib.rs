//! Which queues a message goes to: exchanges and bindings of one vhost as an immutable picture.
//!
//! A [`Topology`] is a value. Its owner keeps a master copy, changes it and publishes clones; a clone costs
//! a few reference counts, because all maps and sets below are persistent and share what a change did not
//! touch. Readers route on the clone they hold, without a lock, and see either all of a change or nothing.
//!
//! Invariants: nothing here does I/O, reads a clock, draws a number or waits. The queues of a route depend on nothing but
//! the picture, the exchange and the [`Message`], which brings a number for those who choose by chance. A bind costs the logarithm of the number of
//! bindings; removing a queue costs its own bindings, not those of the exchanges it was bound to. Neither
//! routing nor changing recurses into exchanges, so cycles of exchange bindings end.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

mod binding;
mod check;
mod consistent;
mod direct;
mod exchange;
mod hash;
mod headers;
mod index;
mod message;
mod numbered;
mod route;
mod rule;
mod set;
mod term;
mod topic;
mod topology;
mod value;

pub use binding::{Binding, Destination, QueueId};
pub use check::{check_binding, check_exchange, history_length};
pub use exchange::{DELAYED_TYPE, DelayId, Exchange, ExchangeKind, Name};
pub use message::{Dependence, Message};
pub use route::NoExchange;
pub use topology::{Removed, Topology};

/// A persistent map by hash. The hasher is seeded per process; nothing that leaves this crate depends on
/// the order of such a map.
type Map<K, V> = imbl::GenericHashMap<K, V, foldhash::fast::RandomState, imbl::shared_ptr::DefaultSharedPtr>;
