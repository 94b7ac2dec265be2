//! Which queues a message goes to: exchanges and bindings of one vhost as an immutable picture.
//!
//! A [`Topology`] is a value. Its owner keeps a master copy, changes it and publishes clones; a clone costs
//! a few reference counts, because all maps and sets below are persistent and share what a change did not
//! touch. Readers route on the clone they hold, without a lock, and see either all of a change or nothing.
//!
//! Invariants: nothing here does I/O, reads a clock or waits. The queues of a route depend on nothing but
//! the picture, the exchange, the keys and the headers. A bind costs the logarithm of the number of
//! bindings; removing a queue costs its own bindings, not those of the exchanges it was bound to. Neither
//! routing nor changing recurses into exchanges, so cycles of exchange bindings end.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

mod binding;
mod direct;
mod exchange;
mod headers;
mod index;
mod route;
mod rule;
mod set;
mod topic;
mod topology;
mod value;

pub use binding::{Binding, Destination, QueueId};
pub use exchange::{Exchange, ExchangeKind, Name};
pub use route::NoExchange;
pub use rule::check_headers_arguments;
pub use topology::{Removed, Topology};

/// A persistent map by hash. The hasher is seeded per process; nothing that leaves this crate depends on
/// the order of such a map.
type Map<K, V> = imbl::GenericHashMap<K, V, foldhash::fast::RandomState, imbl::shared_ptr::DefaultSharedPtr>;
