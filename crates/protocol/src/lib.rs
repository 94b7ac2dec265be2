//! One AMQP 0-9-1 connection as a value: no I/O, no clock, no randomness.
//!
//! ```text
//!   handle (from the network)       poll (to the broker)          mutate (from the broker)
//!   next(now, input) ──────────► Event::{Hello, StartOk, Open,    send_start, send_tune, open_ok,
//!   handle_timeout(now)          ChannelOpen, Publish, Ack, …,    channel_open_ok, channel_closed,
//!   timeout() = next deadline    Method, Fault, Gone}             fail, close
//! ```
//!
//! [`Connection::next`] only reads; whatever the peer shall see is written by the mutators, into a buffer of the caller.
//! So the caller can first carry out what came before (publish a run, confirm it) and then answer. Time is a number of
//! milliseconds that must not go backwards. Invariant: after [`Event::Gone`] or a fatal frame error nothing of the
//! peer's input is looked at any more; on a channel that waits for close-ok nothing but close and close-ok is.
//!
//! Beside the connection stand two values that a channel needs: [`Confirms`] (publisher confirms) and [`Outstanding`]
//! (deliveries that wait for their acknowledgement).
#![forbid(unsafe_code)]

mod assembly;
mod channels;
mod confirms;
mod connection;
mod delivery_times;
mod event;
mod fault;
mod outstanding;
mod partial;
mod settings;
mod timers;
mod whole;

pub use assembly::Assembled;
pub use confirms::Confirms;
pub use connection::Connection;
pub use delivery_times::DeliveryTimes;
pub use event::{Event, Peer, Publish, StartOk};
pub use fault::{Exception, Fault, erlang_binary};
pub use outstanding::{Outstanding, Piece, UnknownTag};
pub use partial::Tail;
pub use settings::{Settings, Tuning};
pub use timers::Expired;

/// Milliseconds since some start; only differences count.
pub type Millis = u64;
