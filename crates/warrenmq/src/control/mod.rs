//! What a running broker does for its owner, over a Unix socket in the data folder: `serve` listens, `ctl` asks.
//!
//! Invariant: the same methods do the same when no broker runs and `ctl` has opened the data folder itself. The conversation is
//! described in docs/internals/control-protocol.md.

mod lines;
mod methods;
mod protocol;
mod settings;
mod socket;

pub(crate) use lines::{Lines, LinesError, write_line};
pub(crate) use methods::call;
pub(crate) use protocol::{Refusal, RefusalCode, Reply, Request};
pub(crate) use socket::{SocketError, bind, connect, path, peer_uid};
