//! The task that tells the broker when deadlines of queues have come.
//!
//! Invariant: it sleeps until the soonest one, and for ever when there is none; others get their turn between two of its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Sleep;
use warrenmq_broker::Broker;

use crate::clock::Clock;

pub(crate) struct Timers {
    broker: Arc<Broker>,
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
}

impl Timers {
    pub(crate) fn new(broker: Arc<Broker>, clock: Clock) -> Timers {
        Timers { broker, clock, sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())) }
    }
}

impl Future for Timers {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            this.broker.handle_timers(this.clock.now());
            let Some(next) = this.broker.next_timer(cx.waker()) else { return Poll::Pending };
            if next <= this.clock.now() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.sleep.as_mut().reset(tokio::time::Instant::from_std(this.clock.at(next)));
            if this.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
