//! Owns what survives a restart besides messages: vhosts, users, permissions, policies, parameters, exchanges, queues,
//! bindings; as RabbitMQ's `definitions.json` and as records for the store.
//!
//! Invariant: what is read back equals what was written, to the type of every argument in a record, and to
//! the value that RabbitMQ itself would read in JSON.

pub mod arguments;
mod binding;
mod codec;
mod exchange;
mod json;
mod key;
mod name;
mod numbers;
mod parameter;
mod permissions;
mod queue;
mod rebuild;
mod record;
mod unsupported;
mod user;
mod vhost;

pub use binding::{Binding, DestinationType};
pub use exchange::Exchange;
pub use json::{Definitions, ImportError, import, import_vhost, import_whole};
pub use key::Key;
pub use name::NAME_LENGTH_MAX;
pub use numbers::QueueNumbers;
pub use parameter::{GlobalParameter, Parameter};
pub use permissions::UserPermissions;
pub use queue::Queue;
pub use rebuild::{Rebuilt, Remains};
pub use record::{Record, RecordError};
pub use user::{Password, UserDefinition};
pub use vhost::Vhost;
pub(crate) use vhost::object;
