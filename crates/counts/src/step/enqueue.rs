//! Runs into a queue, out of it to its consumer, and settled. What that costs does not depend on how many messages a run has, so runs
//! are counted.

use std::hint::black_box;

use warrenmq_queue::{Consumer, Credit, Effects, Queue, Run, Settings};

use super::record::{IN_A_READ, run};
use crate::Work;
use crate::meter::in_the_count;

/// A queue with an auto-ack consumer.
pub(super) struct Enqueue {
    queue: Queue,
    effects: Effects,
    run: Run,
    next: u64,
}

impl Enqueue {
    pub(super) fn new() -> Enqueue {
        let (mut queue, mut effects) = (Queue::new(Settings::default()), Effects::new());
        let consumer =
            Consumer { exclusive: false, priority: 0, credit: Credit::Messages(None), window: i64::MAX / 2 };
        queue.consume(consumer, &mut effects).expect("nobody is exclusive");
        Enqueue { queue, effects, run: run(IN_A_READ, 16, false), next: 0 }
    }
}

impl Work for Enqueue {
    fn work(&mut self) -> u64 {
        let Enqueue { queue, effects, run, next } = self;
        in_the_count(|| {
            queue.publish(run.clone(), effects);
            black_box(&effects.deliveries);
            effects.deliveries.clear();
            queue.settle(*next, *next + IN_A_READ as u64 - 1, effects);
        });
        *next += IN_A_READ as u64;
        assert_eq!((queue.ready(), queue.unacked()), (0, 0), "all is handed out and settled");
        1
    }
}
