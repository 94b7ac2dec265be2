//! Messages that wait while the broker is killed again and again: what was confirmed comes, and nothing comes before it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use warrenmq_tests::{End, Event, Link, Random, frames, restart_broker, start_broker};

const ROUNDS: u64 = 5;
/// Messages that are published with one write.
const BATCH: u64 = 40;
/// Messages that may wait for their confirm.
const WINDOW: usize = 400;
/// Longest delay.
const DELAY_MS_MAX: u64 = 5_000;
/// How long after the last one is due all have come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is known of all messages.
#[derive(Default)]
struct Known {
    next: u64,
    /// When each is due at the earliest, in Unix time in milliseconds.
    due: BTreeMap<u64, u64>,
    confirmed: BTreeSet<u64>,
    seen: BTreeSet<u64>,
}

#[test]
fn what_was_confirmed_comes_and_not_before_its_time() {
    let mut random = Random::new(5);
    let mut known = Known { next: 1, ..Known::default() };
    let (mut broker, home) = start_broker();
    for _ in 0..ROUNDS {
        let end = Instant::now() + Duration::from_millis(300 + random.below(1200));
        known.round(broker.address(), end, &mut random).expect("nobody is killed yet");
        broker.kill_now().expect("the broker can be killed");
        broker = restart_broker(&home);
    }
    assert!(known.confirmed.len() > 500, "{} confirmed", known.confirmed.len());
    known.read_all(broker.address()).expect("the broker serves");
    let lost: Vec<u64> = known.confirmed.difference(&known.seen).copied().collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    assert!(broker.stop(Duration::from_secs(10)).expect("the broker ends in time").success());
}

impl Known {
    /// Publishes, and reads what comes.
    fn round(&mut self, address: SocketAddr, end: Instant, random: &mut Random) -> Result<(), End> {
        let mut publisher = open(address)?;
        publisher.call(&frames::method(1, 85, 10, &[0]), (85, 11))?;
        let mut reader = consume(address)?;
        let (mut waiting, mut confirmed) = (Vec::new(), 0);
        while Instant::now() < end {
            if waiting.len() - confirmed < WINDOW {
                let mut octets = Vec::new();
                for _ in 0..BATCH {
                    let delay = 1 + random.below(DELAY_MS_MAX);
                    octets.extend(publish(self.next, delay));
                    self.due.insert(self.next, unix_ms() + delay);
                    waiting.push(self.next);
                    self.next += 1;
                }
                publisher.send(&octets)?;
            }
            while let Some(event) = publisher.next(Duration::from_millis(1))? {
                let Event::Confirm { tag, multiple, taken: true } = event else {
                    return Err(End::Refused(format!("no confirm but {event:?}")));
                };
                let first = if multiple { confirmed } else { tag as usize - 1 };
                self.confirmed.extend(&waiting[first..tag as usize]);
                confirmed = tag as usize;
            }
            while let Some(event) = reader.next(Duration::from_millis(1))? {
                self.see(&mut reader, event)?;
            }
        }
        Ok(())
    }

    fn read_all(&mut self, address: SocketAddr) -> Result<(), End> {
        let mut reader = consume(address)?;
        let last = self.due.values().max().copied().unwrap_or(0);
        let left = Duration::from_millis(last.saturating_sub(unix_ms()));
        let end = Instant::now() + left + PATIENCE;
        while Instant::now() < end && !self.confirmed.is_subset(&self.seen) {
            if let Some(event) = reader.next(Duration::from_millis(20))? {
                self.see(&mut reader, event)?;
            }
        }
        Ok(())
    }

    fn see(&mut self, reader: &mut Link, event: Event) -> Result<(), End> {
        let now = unix_ms();
        let Event::Message(delivery) = event else {
            return Err(End::Refused(format!("no message but {event:?}")));
        };
        let number = delivery.body.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
        let due = *self.due.get(&number).expect("it was published");
        // The clocks of two processes on one machine differ by what a millisecond is cut off.
        assert!(now + 2 >= due, "message {number} came {} ms early", due - now);
        self.seen.insert(number);
        reader.send(&frames::method(1, 60, 80, &[&delivery.tag.to_be_bytes()[..], &[0]].concat()))
    }
}

fn open(address: SocketAddr) -> Result<Link, End> {
    let mut link = Link::open(address)?;
    let (exchange, queue) = (frames::short(b"delayed"), frames::short(b"delayed-queue"));
    let kind = frames::long(&[&b"\x0ex-delayed-typeS"[..], &frames::long(b"fanout")].concat());
    let declare = [&[0, 0], &exchange[..], &frames::short(b"x-delayed-message"), &[2], &kind].concat();
    link.call(&frames::method(1, 40, 10, &declare), (40, 11))?;
    link.call(&frames::queue_declare(1, "delayed-queue", 2, &[0; 4]), (50, 11))?;
    let bind = [&[0, 0], &queue[..], &exchange, &[0, 0], &[0; 4]].concat();
    link.call(&frames::method(1, 50, 20, &bind), (50, 21))?;
    Ok(link)
}

fn consume(address: SocketAddr) -> Result<Link, End> {
    let mut link = open(address)?;
    let consume =
        [&[0, 0], &frames::short(b"delayed-queue")[..], &frames::short(b"c"), &[0], &[0; 4]].concat();
    link.call(&frames::method(1, 60, 20, &consume), (60, 21))?;
    Ok(link)
}

fn publish(number: u64, delay: u64) -> Vec<u8> {
    let table = frames::long(&[&b"\x07x-delayl"[..], &delay.to_be_bytes()].concat());
    let properties = [&[0x30, 0], &table[..], &[2]].concat();
    frames::publish_to(1, "delayed", "", false, &properties, &number.to_be_bytes().repeat(2))
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}
