//! Dead letters that several connections cause at the same time: each publisher's arrive in the order in which they were published,
//! as with RabbitMQ, whose queues send them on one after the other.

use std::net::SocketAddr;
use std::thread;

use warrenmq_tests::frames::{self, long, method, queue_declare, short};
use warrenmq_tests::{Event, Link, start_broker};

const PUBLISHERS: u64 = 3;
/// Messages of each.
const MESSAGES: u64 = 3_000;
/// Of one write: few, so that publishers take turns at the queue.
const MESSAGES_AT_ONCE: u64 = 5;

#[test]
fn those_pushed_out_by_many_keep_the_order_of_each() {
    let (broker, _home) = start_broker();
    let address = broker.address();
    let mut link = Link::open(address).expect("the broker serves");
    let text = |key: &str, value: &str| [&short(key.as_bytes())[..], b"S", &long(value.as_bytes())].concat();
    let arguments = [
        text("x-dead-letter-exchange", ""),
        text("x-dead-letter-routing-key", "dead"),
        [&short(b"x-max-length")[..], b"I", &1_u32.to_be_bytes()].concat(),
    ];
    link.call(&queue_declare(1, "source", 0, &long(&arguments.concat())), (50, 11)).expect("a queue");
    link.call(&queue_declare(1, "dead", 0, &[0; 4]), (50, 11)).expect("a queue");
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || publish(address, publisher));
        }
    });
    let consume = [&[0, 0], &short(b"dead")[..], &short(b"c"), &[0b10], &[0; 4]].concat();
    link.call(&method(1, 60, 20, &consume), (60, 21)).expect("a consumer");
    let mut last = [0; PUBLISHERS as usize];
    // All but the one that is still in its queue.
    for _ in 0..PUBLISHERS * MESSAGES - 1 {
        let Ok(Some(Event::Message(message))) = link.next(std::time::Duration::from_secs(30)) else {
            panic!("after {last:?} nothing more comes");
        };
        let number = u64::from_be_bytes(message.body[8..].try_into().expect("two numbers"));
        let publisher = usize::from(message.body[7]);
        assert!(number > last[publisher], "{number} of {publisher} comes after {}", last[publisher]);
        last[publisher] = number;
    }
}

fn publish(address: SocketAddr, publisher: u64) {
    let mut link = Link::open(address).expect("the broker serves");
    for first in (1..=MESSAGES).step_by(MESSAGES_AT_ONCE as usize) {
        let messages = (first..first + MESSAGES_AT_ONCE).flat_map(|number| {
            let body = [publisher.to_be_bytes(), number.to_be_bytes()].concat();
            frames::publish(1, "source", false, &[0, 0], &body)
        });
        link.send(&messages.collect::<Vec<_>>()).expect("the broker reads");
    }
    // What was sent before the answer was worked off.
    link.call(&queue_declare(1, "source", 1, &[0; 4]), (50, 11)).expect("the queue");
}
