//! Moves octets between sockets and the broker's sessions. Nothing else.
//!
//! Invariant: no decision about AMQP is made here; one task per connection reads, lets the session work, and writes, for a
//! bounded time per turn.
#![forbid(unsafe_code)]

mod buffers;
mod clock;
mod driver;
mod listeners;
mod low_water;
mod run;
mod stop;
mod timers;

pub use listeners::{BindError, Listeners};
pub use run::{ExitReport, run};
pub use stop::Stop;
