//! The thread that tells the broker when deadlines of queues and exchanges have come.
//!
//! A thread of its own and no task of the runtime: under full load every worker is busy, and a task would wait for one to get to it
//! and for the kernel to give that one its turn. A thread that nearly always sleeps is let in at once.
//! Invariant: it sleeps until the soonest deadline, and for ever when there is none; dropping its handle ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use warrenmq_broker::Broker;

use crate::clock::Clock;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Timers {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timers {
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(broker: Arc<Broker>, clock: Clock) -> std::io::Result<Timers> {
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopping);
        let thread =
            thread::Builder::new().name("timers".into()).spawn(move || watch(&broker, clock, &seen))?;
        Ok(Timers { stopping, thread: Some(thread) })
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread of the timers had panicked");
            }
        }
    }
}

/// Wakes a thread that is parked, or keeps it from parking once.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn watch(broker: &Broker, clock: Clock, stopping: &AtomicBool) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while !stopping.load(Ordering::Acquire) {
        broker.handle_timers(clock.now());
        match broker.next_timer(&waker) {
            None => thread::park(),
            Some(next) => {
                let left = clock.at(next).saturating_duration_since(std::time::Instant::now());
                if !left.is_zero() {
                    thread::park_timeout(left);
                }
            }
        }
    }
}
