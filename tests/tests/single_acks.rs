//! A consumer that acknowledges each message on its own, as fast as it can, and then stops in the middle: what the broker is
//! slow to look at must not be overlooked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use warrenmq_tests::frames::{self, method, short};
use warrenmq_tests::{Event, Link, start_broker, wait_until};

const PREFETCH: u16 = 100;
/// Far longer than the broker waits for more, far shorter than a heartbeat.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing comes for so long when nothing is to come.
const SILENCE: Duration = Duration::from_millis(50);

/// Messages in the queue of each test.
const MESSAGES: u64 = 2_000;

/// A consumer with all its prefetch outstanding.
struct Consumer {
    link: Link,
    /// The last delivery.
    delivered: u64,
    acknowledged: u64,
}

impl Consumer {
    fn open(address: SocketAddr) -> Consumer {
        let mut link = Link::open(address).expect("the broker serves");
        link.call(&frames::queue_declare(1, "q", 0, &[0; 4]), (50, 11)).expect("a queue");
        let message = frames::publish(1, "q", false, &[0, 0], b"octets");
        link.send(&message.repeat(MESSAGES as usize)).expect("the broker reads");
        let [high, low] = PREFETCH.to_be_bytes();
        link.call(&method(1, 60, 10, &[0, 0, 0, 0, high, low, 0]), (60, 11)).expect("a prefetch");
        let consume = [&[0, 0], &short(b"q")[..], &short(b"c"), &[0], &[0; 4]].concat();
        link.call(&method(1, 60, 20, &consume), (60, 21)).expect("a consumer");
        let mut consumer = Consumer { link, delivered: 0, acknowledged: 0 };
        consumer.take_until(u64::from(PREFETCH));
        consumer
    }

    /// Acknowledges the next so many, each on its own, with `pause` between them, and takes what comes meanwhile.
    fn acknowledge(&mut self, count: u64, pause: Duration) {
        for _ in 0..count {
            if self.acknowledged == self.delivered {
                self.take_until(self.delivered + 1);
            }
            self.acknowledged += 1;
            let arguments = [&self.acknowledged.to_be_bytes()[..], &[0]].concat();
            self.link.send(&method(1, 60, 80, &arguments)).expect("the broker reads");
            let until = Instant::now() + pause;
            while let Some(event) = self.link.next(Duration::from_micros(1)).expect("the connection stands") {
                self.take(&event);
            }
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let Event::Message(delivery) = event else { panic!("{event:?}") };
        self.delivered += 1;
        assert_eq!(delivery.tag, self.delivered);
    }

    /// Waits until so many have been delivered.
    fn take_until(&mut self, delivered: u64) {
        while self.delivered < delivered {
            let event = self.link.next(PATIENCE).expect("the connection stands");
            let event = event.unwrap_or_else(|| {
                panic!("{} are acknowledged, and {} was the last delivery", self.acknowledged, self.delivered)
            });
            self.take(&event);
        }
    }
}

#[test]
fn each_is_settled_wherever_the_client_stops() {
    let (broker, _home) = start_broker();
    let mut consumer = Consumer::open(broker.address());
    let stops = [0, 1, 3, 7, 8, 9, 15, 16, 24, 25, 26, 30];
    for (stop, pause) in stops.into_iter().zip([0, 5, 20].into_iter().cycle()) {
        consumer.acknowledge(100 + stop, Duration::from_micros(pause));
        // As many as were acknowledged have been replaced, and no more.
        consumer.take_until(consumer.acknowledged + u64::from(PREFETCH));
        assert_eq!(consumer.link.next(SILENCE).expect("the connection stands"), None);
    }
}

#[test]
fn a_request_behind_acknowledgements_is_answered() {
    let (broker, _home) = start_broker();
    let mut consumer = Consumer::open(broker.address());
    let longest = (0..10).map(|count| {
        consumer.acknowledge(100 + count, Duration::from_micros(10));
        let asked = Instant::now();
        let passive = frames::queue_declare(1, "q", 1, &[0; 4]);
        consumer.link.call(&passive, (50, 11)).expect("an answer");
        let time = asked.elapsed();
        consumer.take_until(consumer.acknowledged + u64::from(PREFETCH));
        time
    });
    assert!(longest.max() < Some(PATIENCE));
}

#[test]
fn what_was_acknowledged_last_stays_so_when_the_client_goes() {
    let close = method(0, 10, 50, &[0, 200, 0, 0, 0, 0, 0]);
    for (farewell, count) in [(&close[..], 203), (&[], 207), (&[], 211)] {
        let (broker, _home) = start_broker();
        let mut consumer = Consumer::open(broker.address());
        consumer.acknowledge(count, Duration::from_micros(10));
        consumer.link.send(farewell).expect("the broker reads");
        drop(consumer);
        let mut other = Link::open(broker.address()).expect("the broker serves");
        wait_until("all others are back", || {
            let passive = frames::queue_declare(1, "q", 1, &[0; 4]);
            let answer = other.call(&passive, (50, 11)).expect("an answer");
            let ready = u32::from_be_bytes(*answer[2..].first_chunk().expect("a count"));
            u64::from(ready) == MESSAGES - count
        });
    }
}
