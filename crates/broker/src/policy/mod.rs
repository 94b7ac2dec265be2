//! Owns policies: what operators say about queues and exchanges by patterns of their names, and limits by name.
//!
//! Invariant: pure. Which policy counts for what, and what it makes of the arguments of a declare, follows from the values that
//! are passed in; who is told of a change is the affair of the vhost.

mod apply;
mod erlang;
mod keys;
mod limits;
mod merge;
mod policies;
#[allow(clippy::module_inception, reason = "the module owns more than the type")]
mod policy;

pub use limits::LimitsOf;
pub use policies::Applied;
pub use policy::{ApplyTo, InvalidPolicy, Policy, PolicyKind};

pub(crate) use apply::effective_arguments;
pub(crate) use limits::limit;
pub(crate) use policies::{Object, Policies};
