//! A queue at rest is emptied by one consumer that acknowledges everything: what comes must be all that is there, in order.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use warrenmq_tests::{End, Link};

use super::consumer::delivery_of;
use super::message::Message;
use super::oracle::Order;
use super::scene::{self, Scene};

/// How long a queue may give nothing although it says that it holds something.
const STALL_MAX: Duration = Duration::from_secs(20);
/// After so long without a message the queue is asked.
const PATIENCE: Duration = Duration::from_millis(50);
const PREFETCH: u16 = 500;
const ACK_EVERY: u64 = 100;

/// What is known of the order of a queue's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sorted {
    /// Those of each publisher come as they were published.
    ByPublisher,
    /// So within a priority, and no message after one of a lower priority.
    ByPriority,
    /// Nothing: they came from another queue, when somebody rejected them.
    Not,
}

/// Empties a queue and says what was in it.
pub(crate) fn drain(scene: &Scene<'_>, queue: &str, sorted: Sorted) -> Result<HashSet<Message>, End> {
    let mut link = Link::open(scene.address)?;
    scene::consume(&mut link, queue, PREFETCH, false)?;
    let mut order = Order::strict();
    let mut seen = HashSet::new();
    let (mut unacked, mut lowest) = (0, u8::MAX);
    let mut last = (0, Instant::now());
    loop {
        if let Some(event) = link.next(PATIENCE)? {
            let delivery = delivery_of(event)?;
            last = (delivery.tag, Instant::now());
            unacked += 1;
            if sorted == Sorted::Not {
                order = Order::default();
            }
            let Some(message) = scene.delivered(queue, &delivery, &mut order) else { continue };
            scene.oracle().settled(queue, message);
            seen.insert(message);
            if sorted == Sorted::ByPriority && message.priority() > lowest {
                scene.oracle().violation(queue, &format!("{message} comes after one of priority {lowest}"));
            }
            lowest = lowest.min(message.priority());
        }
        let is_idle = last.1.elapsed() >= PATIENCE;
        if unacked >= ACK_EVERY || (is_idle && unacked > 0) {
            link.send(&scene::ack(last.0, true))?;
            unacked = 0;
        } else if is_idle {
            let count = scene::count(&mut link, queue)?;
            if count == 0 && !link.has_arrived() {
                break;
            }
            if last.1.elapsed() > STALL_MAX {
                return Err(End::Refused(format!("{queue} holds {count} messages but gives none")));
            }
        }
    }
    link.close_channel()?;
    scene.oracle().emptied(queue);
    Ok(seen)
}
