//! Whole ways of messages: sessions of one broker, from the octets of a publisher to the octets of a consumer.

mod client;
mod ear;
mod link;
mod node;
mod plan;
mod scene;
mod source;

pub(crate) use client::{opening, publish, table};
pub(crate) use plan::{steps, ways};
