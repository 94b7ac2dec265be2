//! Those who take messages out of queues: consumers that settle them in every way there is, one that moves them to another
//! queue in transactions, and one that gets them one by one.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_tests::{Delivery, End, Event, Link, Random};

use super::message::Message;
use super::oracle::Order;
use super::scene::{self, Scene};

/// Without a message for so long, a consumer settles what it has.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long the answer to a get may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// What a consumer does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It acknowledges, and has the queue for itself.
    Acknowledge,
    /// It acknowledges most and returns some, by nack and reject, and by closing its channel.
    Return,
    /// It acknowledges some and rejects some for good: they are dead-lettered.
    Reject,
    /// It acknowledges by receiving.
    Automatic,
}

/// A consumer of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consumer {
    pub(crate) queue: &'static str,
    pub(crate) habit: Habit,
}

impl Consumer {
    /// Consumes until the round is over, in several sessions.
    pub(crate) fn run(self, scene: &Scene<'_>, random: &mut Random) -> Result<(), End> {
        let mut link = Link::open(scene.address)?;
        if self.habit == Habit::Automatic {
            return self.run_automatic(scene, &mut link);
        }
        while !scene.is_over() {
            self.run_session(scene, &mut link, random)?;
            link.open_channel()?;
        }
        Ok(())
    }

    /// From basic.consume to the close of the channel; what is not settled then goes back.
    fn run_session(self, scene: &Scene<'_>, link: &mut Link, random: &mut Random) -> Result<(), End> {
        let prefetch = [1, 10, 100, 1000][random.below(4) as usize];
        let batch = 1 + random.below(u64::from(prefetch)) as usize / 2;
        // Who has seen all messages in order must not return any.
        let is_strict = self.habit == Habit::Acknowledge;
        let stays = is_strict || !scene.is_restless;
        let end = Instant::now() + Duration::from_millis(if stays { 60_000 } else { 50 + random.below(800) });
        let mut order = if is_strict { Order::strict() } else { Order::default() };
        let mut held = BTreeMap::new();
        scene::consume(link, self.queue, prefetch, false)?;
        while !scene.is_over() && Instant::now() < end {
            let event = link.next(PATIENCE)?;
            let is_idle = event.is_none();
            if let Some(delivery) = event.map(delivery_of).transpose()? {
                let message = scene.delivered(self.queue, &delivery, &mut order);
                held.extend(message.map(|message| (delivery.tag, message)));
            }
            if held.len() >= batch || (is_idle && !held.is_empty()) {
                link.send(&self.settle(scene, &mut held, random))?;
            }
        }
        held.into_values().for_each(|message| scene.oracle().returned(self.queue, message));
        scene.oracle().leaves(self.queue);
        link.close_channel()?;
        scene.oracle().left(self.queue);
        Ok(())
    }

    /// Settles some of what is held: up to some message at once, or some one by one.
    fn settle(self, scene: &Scene<'_>, held: &mut BTreeMap<u64, Message>, random: &mut Random) -> Vec<u8> {
        let mut oracle = scene.oracle();
        let at_once = random.below(2) == 0;
        let skipped = if self.habit == Habit::Acknowledge { 0 } else { random.below(held.len() as u64) };
        let tags: Vec<u64> = held.keys().copied().take(held.len() - skipped as usize).collect();
        let last = *tags.last().expect("invariant: it holds something, and keeps less than that");
        let mut bytes = Vec::new();
        let fate = random.below(20);
        for tag in tags {
            let fate = if at_once { fate } else { random.below(20) };
            let message = held.remove(&tag).expect("invariant: it is one of its tags");
            let request = match (self.habit, fate) {
                (Habit::Return, 0..2) => {
                    oracle.returned(self.queue, message);
                    if at_once || fate == 0 {
                        scene::nack(tag, at_once, true)
                    } else {
                        scene::reject(tag, true)
                    }
                }
                (Habit::Reject, 0..8) => {
                    oracle.moved(self.queue, message);
                    if at_once || fate < 4 {
                        scene::nack(tag, at_once, false)
                    } else {
                        scene::reject(tag, false)
                    }
                }
                _ => {
                    oracle.settled(self.queue, message);
                    scene::ack(tag, at_once)
                }
            };
            if !at_once || tag == last {
                bytes.extend(request);
            }
        }
        bytes
    }

    fn run_automatic(self, scene: &Scene<'_>, link: &mut Link) -> Result<(), End> {
        let mut order = Order::default();
        let mut take = |event: Event| -> Result<(), End> {
            let delivery = delivery_of(event)?;
            if let Some(message) = scene.delivered(self.queue, &delivery, &mut order) {
                scene.oracle().settled(self.queue, message);
            }
            Ok(())
        };
        scene::consume(link, self.queue, 0, true)?;
        while !scene.is_over() {
            link.next(PATIENCE)?.map(&mut take).transpose()?;
        }
        scene::cancel(link)?;
        while let Some(event) = link.arrived()? {
            take(event)?;
        }
        Ok(())
    }
}

/// The message of an event, which must be one.
pub(crate) fn delivery_of(event: Event) -> Result<Delivery, End> {
    match event {
        Event::Message(delivery) => Ok(delivery),
        event => Err(End::Refused(format!("no message but {event:?}"))),
    }
}

/// Takes messages from one queue and publishes them to the next, in transactions.
pub(crate) fn move_messages(
    scene: &Scene<'_>,
    (from, to): (&str, &str),
    random: &mut Random,
) -> Result<(), End> {
    let mut link = Link::open(scene.address)?;
    scene::tx(&mut link, scene::TX_SELECT)?;
    scene::consume(&mut link, from, 40, false)?;
    let mut order = Order::strict();
    let mut held: Vec<(u64, Message)> = Vec::new();
    while !scene.is_over() {
        let batch = 1 + random.below(20) as usize;
        while held.len() < batch {
            let Some(event) = link.next(PATIENCE)? else { break };
            let delivery = delivery_of(event)?;
            held.extend(scene.delivered(from, &delivery, &mut order).map(|message| (delivery.tag, message)));
        }
        let bytes: Vec<u8> = held
            .iter()
            .flat_map(|(tag, message)| [scene::publish("", to, *message), scene::ack(*tag, false)])
            .flatten()
            .collect();
        if random.below(8) == 0 {
            held.iter().for_each(|(_, message)| scene.oracle().held(to, *message));
            link.send(&bytes)?;
            scene::tx(&mut link, scene::TX_ROLLBACK)?;
        }
        link.send(&bytes)?;
        held.iter().for_each(|(_, message)| scene.oracle().moved(from, *message));
        scene::tx(&mut link, scene::TX_COMMIT)?;
        held.drain(..).for_each(|(_, message)| scene.oracle().moved_for_good(from, message));
    }
    link.close_channel()
}

/// Gets messages one by one, with and without acknowledgement.
pub(crate) fn get_messages(scene: &Scene<'_>, queue: &str, random: &mut Random) -> Result<(), End> {
    let mut link = Link::open(scene.address)?;
    let mut order = Order::default();
    while !scene.is_over() {
        let automatic = random.below(3) == 0;
        if automatic {
            scene.oracle().unseen(queue, 1);
        }
        link.send(&scene::get(queue, automatic))?;
        let event = link.next(ANSWER_TIME_MAX)?;
        let event = event.ok_or_else(|| End::Refused("no answer to a get".to_owned()))?;
        if automatic {
            scene.oracle().unseen(queue, -1);
        }
        if event == Event::Method(60, 72, vec![0]) {
            thread::sleep(PATIENCE);
            continue;
        }
        let delivery = delivery_of(event)?;
        let Some(message) = scene.delivered(queue, &delivery, &mut order) else { continue };
        if automatic || random.below(4) != 0 {
            scene.oracle().settled(queue, message);
            if !automatic {
                link.send(&scene::ack(delivery.tag, false))?;
            }
        } else {
            scene.oracle().returned(queue, message);
            link.send(&scene::reject(delivery.tag, true))?;
        }
    }
    link.close_channel()
}
