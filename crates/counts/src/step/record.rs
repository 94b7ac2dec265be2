//! Messages to the run that queues and the journal keep.

use std::hint::black_box;

use warrenmq_queue::{Record, Run, RunBuilder};
use warrenmq_wire::basic;

use crate::Work;
use crate::meter::in_the_count;
use crate::wiring;

/// Messages of 16 octets in one read.
pub(super) const IN_A_READ: usize = 2000;

/// A builder of runs.
pub(super) struct Records {
    builder: RunBuilder,
    message: Message,
}

impl Records {
    /// Messages of so many octets.
    pub(super) fn new(octets: usize) -> Records {
        Records { builder: RunBuilder::new(), message: Message::new(octets, false) }
    }
}

impl Work for Records {
    fn work(&mut self) -> u64 {
        let Records { builder, message } = self;
        in_the_count(|| {
            for _ in 0..IN_A_READ {
                builder.push(black_box(&message.record()));
            }
            black_box(builder.finish());
        });
        IN_A_READ as u64
    }
}

/// A run of `count` messages of so many octets.
pub(super) fn run(count: usize, octets: usize, persistent: bool) -> Run {
    let message = Message::new(octets, persistent);
    let mut builder = RunBuilder::new();
    (0..count).for_each(|_| builder.push(&message.record()));
    builder.finish().expect("a run has messages")
}

struct Message {
    route: Vec<u8>,
    header: Vec<u8>,
    body: Vec<u8>,
    persistent: bool,
}

impl Message {
    fn new(octets: usize, persistent: bool) -> Message {
        let mut route = Vec::new();
        basic::put_route(&mut route, b"", wiring::queue(0).as_bytes());
        Message { route, header: vec![0; 14], body: vec![0; octets], persistent }
    }

    fn record(&self) -> Record<'_> {
        Record {
            route: &self.route,
            hidden: b"",
            header: &self.header,
            body: &self.body,
            persistent: self.persistent,
            priority: None,
            ttl: None,
            dead: false,
            due: None,
        }
    }
}
