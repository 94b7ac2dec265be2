//! Queues and bindings that come and go: what was declared is there after each start with what was confirmed in it, what was
//! deleted is not, and a queue that gets the name of a deleted one is empty.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use warrenmq_tests::{End, Event, Link, Random};

use super::consumer::delivery_of;
use super::message::Message;
use super::oracle::Order;
use super::scene::{self, Scene};

/// Queues that are there at the same time.
const LIVE_MAX: usize = 8;
/// Deleted queues that are looked for at a start.
const DELETED_MAX: usize = 5;
/// Queues that are declared in one round.
const ROUND_MAX: usize = 40;
/// Where the queues are bound with their names as keys.
pub(crate) const EXCHANGE: &str = "churn";
/// Of all messages here.
const STREAM: u16 = 1000;

/// What is known of the queues.
#[derive(Debug, Default)]
pub(crate) struct Churn {
    declared: u64,
    published: u64,
    live: VecDeque<String>,
    deleted: VecDeque<String>,
    /// It was being declared or deleted when the broker was killed.
    unknown: Option<String>,
}

impl Churn {
    /// At the start of a broker, before anything else is done: all is as it was when the last one was killed.
    pub(crate) fn check(&mut self, scene: &Scene<'_>, link: &mut Link) -> Result<(), End> {
        if let Some(queue) = self.unknown.take() {
            scene::empty(link, &queue, true)?;
            scene.oracle().deleted(&queue);
        }
        for queue in &self.live {
            let (least, most) = scene.oracle().bounds(queue);
            check_count(scene, link, queue, least..=most)?;
        }
        for queue in &self.deleted {
            // The question costs the connection its channel.
            match scene::count(&mut Link::open(scene.address)?, queue) {
                Err(End::Refused(text)) if text.starts_with("NOT_FOUND") => {}
                other => scene.oracle().violation(queue, &format!("is deleted, but: {other:?}")),
            }
        }
        Ok(())
    }

    /// Declares, publishes and deletes until the round is over.
    pub(crate) fn run(&mut self, scene: &Scene<'_>, random: &mut Random) -> Result<(), End> {
        let mut link = Link::open(scene.address)?;
        scene::confirm(&mut link)?;
        for _ in 0..ROUND_MAX {
            if scene.is_over() {
                break;
            }
            self.declared += 1;
            let queue = format!("c{}", self.declared);
            self.declare(scene, &mut link, &queue)?;
            self.live.push_back(queue.clone());
            self.publish(scene, &mut link, &queue, 1 + random.below(4))?;
            let other = self.live[random.below(self.live.len() as u64) as usize].clone();
            self.publish(scene, &mut link, &other, 1)?;
            if self.live.len() > LIVE_MAX
                && let Some(oldest) = self.live.pop_front()
            {
                self.delete(scene, &mut link, oldest, random)?;
            }
        }
        Ok(())
    }

    fn declare(&mut self, scene: &Scene<'_>, link: &mut Link, queue: &str) -> Result<(), End> {
        self.unknown = Some(queue.to_owned());
        let count = scene::declare(link, queue, &[])?;
        if count > 0 {
            scene.oracle().violation(queue, &format!("has {count} messages when it is declared"));
        }
        scene::bind(link, queue, EXCHANGE, queue, false)?;
        self.unknown = None;
        Ok(())
    }

    /// Publishes with confirms; the binding must be there.
    fn publish(&mut self, scene: &Scene<'_>, link: &mut Link, queue: &str, count: u64) -> Result<(), End> {
        for _ in 0..count {
            self.published += 1;
            let message = Message { stream: STREAM, number: self.published };
            scene.oracle().published(queue, message);
            link.send(&scene::publish(EXCHANGE, queue, message))?;
            match next(link)? {
                Event::Confirm { multiple: false, taken: true, .. } => {
                    scene.oracle().confirmed(queue, message)
                }
                event => return Err(End::Refused(format!("{queue}: {event:?} for a publish"))),
            }
        }
        Ok(())
    }

    /// Deletes a queue, with its messages or after they have left in one way or the other.
    fn delete(
        &mut self,
        scene: &Scene<'_>,
        link: &mut Link,
        queue: String,
        random: &mut Random,
    ) -> Result<(), End> {
        self.unknown = Some(queue.clone());
        let (least, most) = scene.oracle().bounds(&queue);
        let mut expected = least..=most;
        match random.below(4) {
            0 => {
                take_all(scene, link, &queue)?;
                expected = 0..=0;
            }
            1 => {
                let purged = scene::empty(link, &queue, false)?;
                check_in(scene, &queue, &expected, purged);
                expected = 0..=0;
            }
            2 => {
                scene::bind(link, &queue, EXCHANGE, &queue, true)?;
                link.send(&scene::publish(EXCHANGE, &queue, Message { stream: STREAM, number: 0 }))?;
                let answers = [next(link)?, next(link)?];
                if !matches!(answers, [Event::Message(_), Event::Confirm { .. }]) {
                    scene.oracle().violation(&queue, &format!("{answers:?} after its binding was deleted"));
                }
            }
            _ => {}
        }
        let count = scene::empty(link, &queue, true)?;
        check_in(scene, &queue, &expected, count);
        scene.oracle().deleted(&queue);
        if random.below(4) == 0 {
            // A queue of the same name has nothing of the first one.
            self.declare(scene, link, &queue)?;
            self.live.push_back(queue);
            return Ok(());
        }
        self.unknown = None;
        self.deleted.push_back(queue);
        if self.deleted.len() > DELETED_MAX {
            self.deleted.pop_front();
        }
        Ok(())
    }
}

/// Compares how many messages are in a queue that nobody takes from with what must be there and what may be there.
pub(crate) fn check_count(
    scene: &Scene<'_>,
    link: &mut Link,
    queue: &str,
    expected: RangeInclusive<u64>,
) -> Result<(), End> {
    let count = scene::count(link, queue)?;
    check_in(scene, queue, &expected, count);
    Ok(())
}

fn check_in(scene: &Scene<'_>, queue: &str, expected: &RangeInclusive<u64>, count: u64) {
    if !expected.contains(&count) {
        let what = if count < *expected.start() { "lost" } else { "duplicated" };
        scene.oracle().violation(queue, &format!("has {count} messages, not {expected:?}: {what}"));
    }
}

/// Gets and acknowledges all messages of a queue.
fn take_all(scene: &Scene<'_>, link: &mut Link, queue: &str) -> Result<(), End> {
    let mut order = Order::strict();
    loop {
        link.send(&scene::get(queue, false))?;
        let event = next(link)?;
        if matches!(event, Event::Method(60, 72, _)) {
            scene.oracle().emptied(queue);
            return Ok(());
        }
        let delivery = delivery_of(event)?;
        if let Some(message) = scene.delivered(queue, &delivery, &mut order) {
            scene.oracle().settled(queue, message);
        }
        link.send(&scene::ack(delivery.tag, false))?;
    }
}

/// What comes next, which may take a while.
fn next(link: &mut Link) -> Result<Event, End> {
    let event = link.next(Duration::from_secs(30))?;
    event.ok_or_else(|| End::Refused("no answer within 30 s".to_owned()))
}
