//! AMQP 0-9-1 on the wire: bytes to frames, methods, content headers and field tables, and back.
//!
//! Invariant: no input makes anything here panic, recurse without bound or allocate out of proportion to
//! the bytes that the peer has really sent. Lengths inside the input are claims; they are checked
//! against what is there before anything is read or reserved.
//!
//! Publish, deliver, get-ok, return, ack, nack, reject and content are written by hand ([`basic`],
//! [`content`]) and do not allocate. Every other method goes through the crate `amq-protocol` ([`method`]),
//! but only after our own walk over its arguments, because that crate recurses without limit into nested
//! tables.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod basic;
pub mod content;
mod cursor;
mod delivery;
mod error;
pub mod frame;
pub mod method;
mod method_table;
pub mod reply;
mod same;
mod shape;
pub mod table;

pub use delivery::{Consumer, Delivery};
pub use error::{DecodeError, EncodeError};
pub use same::same;
pub use shape::Shape;
