//! Steps of a message's way, each alone: what one crate does with it.

mod append;
mod decode;
mod enqueue;
mod record;
mod route;

use crate::{Subject, Work};

/// The steps, in the order of a message's life.
pub(crate) fn subjects() -> Vec<Subject> {
    fn step<W: Work + 'static>(
        name: &'static str,
        about: &'static str,
        messages: u64,
        ready: impl Fn() -> W + 'static,
    ) -> Subject {
        Subject { name, about, messages, ready: Box::new(move || Box::new(ready())) }
    }
    vec![
        step("decode", "frames of a publish to an event, 16 octets", 20_000, || decode::Decode::new(16)),
        step("route-direct", "direct exchange, 100 bindings", 12_800, || route::direct(128)),
        step("route-topic", "topic exchange, 10,000 bindings, 1,000 keys", 12_000, || route::topic(12)),
        step("route-headers", "headers exchange, 100 bindings, 100 headers", 6_400, || route::headers(64)),
        step("record", "event to record of a run, 16 octets", 20_000, || record::Records::new(16)),
        step(
            "enqueue",
            "a run to a queue and its auto-ack consumer; for each run",
            1_000,
            enqueue::Enqueue::new,
        ),
        step("journal-append", "runs to the journal's file, 1 KiB", 10_000, || append::Append::new(1024)),
    ]
}
