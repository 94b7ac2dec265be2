//! Numbered messages of one queue, for tests that only have to know which of them are there.

use std::net::SocketAddr;
use std::time::Duration;

use crate::frames;
use crate::link::{End, Event, Link};

/// How long a confirm or an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// What a body holds behind its number.
const FILLER: u8 = 0xA5;

/// Declares the durable queue `queue`, publishes `count` persistent messages with numbers from `first` on, each of `octets`
/// octets (at least 8), and waits for the confirm of each before the next. Says how many were confirmed until the connection
/// ended, if it did.
///
/// # Panics
/// When the broker answers something else.
pub fn publish_numbered(
    address: SocketAddr,
    queue: &str,
    first: u64,
    count: u64,
    octets: usize,
) -> (u64, Option<End>) {
    let mut confirmed = 0;
    let mut publish_all = || {
        let mut link = Link::open(address)?;
        link.call(&frames::queue_declare(1, queue, 2, &[0; 4]), (50, 11))?;
        link.call(&frames::method(1, 85, 10, &[0]), (85, 11))?;
        let persistent = [0x10, 0, 2];
        for number in first..first + count {
            let mut body = vec![FILLER; octets];
            body[..8].copy_from_slice(&number.to_be_bytes());
            link.send(&frames::publish(1, queue, false, &persistent, &body))?;
            match link.next(ANSWER_TIME_MAX)? {
                Some(Event::Confirm { taken: true, .. }) => confirmed += 1,
                event => panic!("{event:?} for message {number}"),
            }
        }
        Ok(())
    };
    let end = publish_all().err();
    (confirmed, end)
}

/// Takes all messages out of a queue and says their numbers in order.
///
/// # Panics
/// When the broker does not answer, or a message is none of [`publish_numbered`].
pub fn take_numbered(address: SocketAddr, queue: &str) -> Vec<u64> {
    let mut link = Link::open(address).expect("the broker serves");
    let name = frames::short(queue.as_bytes());
    let get = frames::method(1, 60, 70, &[&[0, 0], &name[..], &[1]].concat());
    let mut numbers = Vec::new();
    loop {
        link.send(&get).expect("the broker lives");
        match link.next(ANSWER_TIME_MAX) {
            Ok(Some(Event::Message(message))) => {
                let number = message.body.first_chunk().expect("a message begins with its number");
                assert!(message.body[8..].iter().all(|octet| *octet == FILLER), "a message is torn");
                numbers.push(u64::from_be_bytes(*number));
            }
            Ok(Some(Event::Method(60, 72, _))) => return numbers,
            other => panic!("{other:?} for a get"),
        }
    }
}
