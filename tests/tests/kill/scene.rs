//! What everybody in a round shares: where the broker is, what it has promised, and whether the round is over; and the
//! requests that they send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use warrenmq_tests::{Delivery, End, Link, frames};

use super::message::Message;
use super::oracle::{Oracle, Order};

/// One life of the broker, for those who use it.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) address: SocketAddr,
    /// Consumers come and go.
    pub(crate) is_restless: bool,
    oracle: &'a Mutex<Oracle>,
    is_over: AtomicBool,
    is_killed: AtomicBool,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(address: SocketAddr, oracle: &'a Mutex<Oracle>) -> Self {
        let (is_over, is_killed) = (AtomicBool::new(false), AtomicBool::new(false));
        Scene { address, is_restless: false, oracle, is_over, is_killed }
    }

    /// What the broker has promised.
    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everybody is to come to an end in order.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether everybody is to come to an end in order.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The broker is about to be killed.
    pub(crate) fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
    }

    /// Takes down how somebody's work has ended: a connection ends with the broker, and only with it.
    pub(crate) fn note(&self, who: &str, result: Result<(), End>) {
        match result {
            Ok(()) => {}
            Err(End::Gone) if self.is_killed.load(Ordering::SeqCst) => {}
            Err(end) => self.oracle().violation(who, &end.to_string()),
        }
    }

    /// Takes down a message that has come from a queue; `None` when it is not a message of ours.
    pub(crate) fn delivered(&self, queue: &str, delivery: &Delivery, order: &mut Order) -> Option<Message> {
        match Message::of(delivery) {
            Ok(message) => {
                self.oracle().delivered(queue, message, delivery.redelivered, order);
                Some(message)
            }
            Err(text) => {
                self.oracle().violation(queue, &format!("torn: {text}"));
                None
            }
        }
    }
}

/// basic.publish on channel 1, with mandatory.
pub(crate) fn publish(exchange: &str, key: &str, message: Message) -> Vec<u8> {
    frames::publish_to(1, exchange, key, true, &message.properties(), message.body())
}

/// A durable queue with arguments as they are on the wire; says how many messages are in it.
pub(crate) fn declare(link: &mut Link, queue: &str, arguments: &[u8]) -> Result<u64, End> {
    declare_with(link, queue, 0b10, arguments)
}

/// How many messages are in a queue; an end when there is no such queue.
pub(crate) fn count(link: &mut Link, queue: &str) -> Result<u64, End> {
    declare_with(link, queue, 0b1, &[])
}

fn declare_with(link: &mut Link, queue: &str, bits: u8, arguments: &[u8]) -> Result<u64, End> {
    let request = frames::queue_declare(1, queue, bits, &frames::long(arguments));
    let answer = link.call(&request, (50, 11))?;
    let counts = answer.get(1 + queue.len()..).and_then(|rest| rest.first_chunk::<4>());
    counts
        .map(|count| u64::from(u32::from_be_bytes(*count)))
        .ok_or_else(|| End::Refused("a short answer".to_owned()))
}

/// A durable exchange.
pub(crate) fn declare_exchange(link: &mut Link, exchange: &str, kind: &str) -> Result<(), End> {
    let names = [frames::short(exchange.as_bytes()), frames::short(kind.as_bytes())].concat();
    let arguments = [&[0, 0], &names[..], &[0b10], &[0; 4]].concat();
    link.call(&frames::method(1, 40, 10, &arguments), (40, 11)).map(drop)
}

/// Binds a queue to an exchange with a key, or takes that back.
pub(crate) fn bind(link: &mut Link, queue: &str, exchange: &str, key: &str, undo: bool) -> Result<(), End> {
    let names = [queue, exchange, key].map(|name| frames::short(name.as_bytes())).concat();
    let (method, rest) = if undo { (50, &[0; 4][..]) } else { (20, &[0; 5][..]) };
    let request = frames::method(1, 50, method, &[&[0, 0], &names[..], rest].concat());
    link.call(&request, (50, method + 1)).map(drop)
}

/// queue.delete or queue.purge: both answer with a count of messages.
pub(crate) fn empty(link: &mut Link, queue: &str, delete: bool) -> Result<u64, End> {
    let method = if delete { 40 } else { 30 };
    let arguments = [&[0, 0], &frames::short(queue.as_bytes())[..], &[0]].concat();
    let answer = link.call(&frames::method(1, 50, method, &arguments), (50, method + 1))?;
    let count = answer.first_chunk().ok_or_else(|| End::Refused("a short answer".to_owned()))?;
    Ok(u64::from(u32::from_be_bytes(*count)))
}

/// Consumes a queue with the tag `c`.
pub(crate) fn consume(link: &mut Link, queue: &str, prefetch: u16, automatic: bool) -> Result<(), End> {
    let qos = [&[0; 4], &prefetch.to_be_bytes()[..], &[0]].concat();
    link.call(&frames::method(1, 60, 10, &qos), (60, 11))?;
    let names = [&frames::short(queue.as_bytes())[..], b"\x01c"].concat();
    let arguments = [&[0, 0], &names[..], &[u8::from(automatic) << 1], &[0; 4]].concat();
    link.call(&frames::method(1, 60, 20, &arguments), (60, 21)).map(drop)
}

/// Cancels that consumer; what was on its way has come when this returns.
pub(crate) fn cancel(link: &mut Link) -> Result<(), End> {
    link.call(&frames::method(1, 60, 30, b"\x01c\0"), (60, 31)).map(drop)
}

/// basic.get.
pub(crate) fn get(queue: &str, automatic: bool) -> Vec<u8> {
    let name = frames::short(queue.as_bytes());
    frames::method(1, 60, 70, &[&[0, 0], &name[..], &[u8::from(automatic)]].concat())
}

/// basic.ack.
pub(crate) fn ack(tag: u64, multiple: bool) -> Vec<u8> {
    frames::method(1, 60, 80, &[&tag.to_be_bytes()[..], &[u8::from(multiple)]].concat())
}

/// basic.nack.
pub(crate) fn nack(tag: u64, multiple: bool, requeue: bool) -> Vec<u8> {
    let bits = u8::from(multiple) | u8::from(requeue) << 1;
    frames::method(1, 60, 120, &[&tag.to_be_bytes()[..], &[bits]].concat())
}

/// basic.reject.
pub(crate) fn reject(tag: u64, requeue: bool) -> Vec<u8> {
    frames::method(1, 60, 90, &[&tag.to_be_bytes()[..], &[u8::from(requeue)]].concat())
}

/// A method of tx without arguments, and its answer.
pub(crate) fn tx(link: &mut Link, method: u16) -> Result<(), End> {
    link.call(&frames::method(1, 90, method, &[]), (90, method + 1)).map(drop)
}

/// tx.select.
pub(crate) const TX_SELECT: u16 = 10;
/// tx.commit.
pub(crate) const TX_COMMIT: u16 = 20;
/// tx.rollback.
pub(crate) const TX_ROLLBACK: u16 = 30;

/// confirm.select.
pub(crate) fn confirm(link: &mut Link) -> Result<(), End> {
    link.call(&frames::method(1, 85, 10, &[0]), (85, 11)).map(drop)
}
