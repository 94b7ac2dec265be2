//! Those who publish: with confirms, and in transactions.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use warrenmq_tests::{End, Event, Link, Random};

use super::message::Message;
use super::scene::{self, Scene};

/// How long a confirm may take.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(20);
/// Messages that are sent with one write.
const BATCH_MAX: u64 = 50;

/// A publisher with confirms; its numbers go on from round to round.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) stream: u16,
    pub(crate) exchange: &'static str,
    pub(crate) key: &'static str,
    /// Where its messages arrive.
    pub(crate) queues: &'static [&'static str],
    /// Messages in one round.
    pub(crate) limit: u64,
    next: u64,
}

/// Publishes that are not confirmed yet, oldest first.
#[derive(Debug)]
struct Waiting {
    messages: VecDeque<Message>,
    /// Delivery tag of the first.
    first: u64,
    /// When something was sent or confirmed last.
    since: Instant,
}

impl Publisher {
    pub(crate) fn new(
        stream: u16,
        (exchange, key): (&'static str, &'static str),
        queues: &'static [&'static str],
        limit: u64,
    ) -> Self {
        Publisher { stream, exchange, key, queues, limit, next: 1 }
    }

    /// Publishes until the limit is reached or the round is over, and waits for all confirms.
    pub(crate) fn run(&mut self, scene: &Scene<'_>, random: &mut Random) -> Result<(), End> {
        let mut link = Link::open(scene.address)?;
        scene::confirm(&mut link)?;
        let window = [1, 10, 100, 1000][random.below(4) as usize];
        let mut waiting = Waiting { messages: VecDeque::new(), first: 1, since: Instant::now() };
        let last = self.next + self.limit;
        loop {
            let is_done = self.next >= last || scene.is_over();
            let room = window - waiting.messages.len() as u64;
            if is_done && waiting.messages.is_empty() {
                return Ok(());
            }
            if !is_done && room > 0 {
                self.send(scene, &mut link, &mut waiting, 1 + random.below(BATCH_MAX.min(room)))?;
            }
            if !waiting.messages.is_empty() && waiting.since.elapsed() > CONFIRM_TIME_MAX {
                return Err(End::Refused(format!("no confirm within {CONFIRM_TIME_MAX:?}")));
            }
            // With room left only what is there already is read.
            let patience = if is_done || room == 0 { 50 } else { 1 };
            while let Some(event) = link.next(Duration::from_millis(patience))? {
                waiting.take(scene, self.queues, event)?;
                if waiting.messages.len() as u64 <= window / 2 {
                    break;
                }
            }
        }
    }

    fn send(
        &mut self,
        scene: &Scene<'_>,
        link: &mut Link,
        waiting: &mut Waiting,
        count: u64,
    ) -> Result<(), End> {
        let mut bytes = Vec::new();
        let mut oracle = scene.oracle();
        for number in (self.next..).take(count as usize) {
            let message = Message { stream: self.stream, number };
            self.queues.iter().for_each(|queue| oracle.published(queue, message));
            bytes.extend(scene::publish(self.exchange, self.key, message));
            waiting.messages.push_back(message);
        }
        drop(oracle);
        waiting.since = Instant::now();
        self.next += count;
        link.send(&bytes)
    }
}

impl Waiting {
    fn take(&mut self, scene: &Scene<'_>, queues: &[&str], event: Event) -> Result<(), End> {
        let Event::Confirm { tag, multiple, taken: true } = event else {
            return Err(End::Refused(format!("no confirm but {event:?}")));
        };
        let count = (tag + 1).saturating_sub(self.first);
        if count == 0 || count > self.messages.len() as u64 || (count > 1 && !multiple) {
            let text = format!("{event:?} where {} is next of {}", self.first, self.messages.len());
            return Err(End::Refused(text));
        }
        self.first = tag + 1;
        self.since = Instant::now();
        let mut oracle = scene.oracle();
        for message in self.messages.drain(..count as usize) {
            queues.iter().for_each(|queue| oracle.confirmed(queue, message));
        }
        Ok(())
    }
}

/// A publisher in transactions over several queues, each with a stream of its own.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Queues, which are also the keys of the default exchange, with their streams and the next numbers of these.
    pub(crate) targets: Vec<(&'static str, u16, u64)>,
    /// Transactions in one round.
    pub(crate) limit: usize,
}

impl Committer {
    /// Commits, and sometimes rolls back, until the limit is reached or the round is over.
    pub(crate) fn run(&mut self, scene: &Scene<'_>, random: &mut Random) -> Result<(), End> {
        let mut link = Link::open(scene.address)?;
        scene::tx(&mut link, scene::TX_SELECT)?;
        for _ in 0..self.limit {
            if scene.is_over() {
                break;
            }
            let mut members = Vec::new();
            for _ in 0..1 + random.below(6) {
                let target = random.below(self.targets.len() as u64) as usize;
                let (queue, stream, next) = &mut self.targets[target];
                let message = Message { stream: *stream, number: *next };
                *next += 1;
                scene.oracle().held(queue, message);
                link.send(&scene::publish("", queue, message))?;
                members.push(((*queue).to_owned(), message));
            }
            if random.below(10) == 0 {
                scene::tx(&mut link, scene::TX_ROLLBACK)?;
                continue;
            }
            let number = scene.oracle().commits(members);
            scene::tx(&mut link, scene::TX_COMMIT)?;
            scene.oracle().committed(number);
        }
        Ok(())
    }
}
