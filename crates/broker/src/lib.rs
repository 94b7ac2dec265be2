//! Owns what a node is configured with: who may log in, what they may touch, and the definitions of
//! vhosts, exchanges, queues and bindings, in RabbitMQ's exchange format and as records for the store.
//!
//! Invariant: nothing here does I/O, reads a clock or draws random numbers; they are arguments.

pub mod access;
pub mod definitions;
