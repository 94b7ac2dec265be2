//! Messages that leave without being settled: expired, too many, or rejected.
//!
//! Invariant: what is to become a dead letter leaves when its body is in memory, and not before.

use crate::delivery::{Dead, Effects, Reason};
use crate::kept::Kept;
use crate::level::{Head, Level, Slice};
use crate::queue::Queue;
use crate::settings::{Kind, Overflow};
use crate::{Millis, Position};

impl Queue {
    /// When the next message expires, if one can. Where that is known only on disk, it is when to look.
    pub fn deadline(&mut self) -> Option<Millis> {
        let due = if self.returns.is_none() { None } else { self.returns.next_due() };
        if !self.expirable {
            return due;
        }
        let returned = self.returned_expires();
        let Queue { levels, ledger, settings, .. } = self;
        let expires = |level: &mut Level| match level.head(ledger)? {
            Head::Here(slice) => level.piece(&slice).expires(slice.offset, settings.message_ttl),
            Head::Stored(at) => {
                let block = level.blocks.get(at);
                // Once it was asked for, its arrival is what to wait for.
                (!block.loading && block.soonest < Millis::MAX).then_some(block.soonest)
            }
        };
        let at_heads = levels.iter_mut().filter_map(expires).min();
        self.next_look().into_iter().chain(at_heads).chain(due).chain(returned).min()
    }

    /// Takes expired messages off the heads, as RabbitMQ does: one that stands behind a living one waits.
    pub(crate) fn drop_expired(&mut self, effects: &mut Effects) {
        if !self.returns.is_none() {
            self.drop_expired_returns(effects);
        }
        let (ttl, now, fresh) = (self.settings.message_ttl, self.now, self.fresh);
        for at in 0..self.levels.len() {
            while let Some(head) = self.levels[at].head(&mut self.ledger) {
                match head {
                    Head::Here(slice)
                        if slice.first < fresh
                            && (self.levels[at].piece(&slice).expires(slice.offset, ttl))
                                .is_some_and(|expires| expires <= now) =>
                    {
                        self.drop_one(at, &slice, Reason::Expired, effects);
                    }
                    Head::Stored(block) if self.levels[at].blocks.get(block).soonest <= now => {
                        self.want(at, block, effects);
                        break;
                    }
                    _ => break,
                }
            }
        }
    }

    /// To be called after messages have come back, before they are handed out: a classic queue that is full by then drops at once, as
    /// RabbitMQ's does. A quorum queue gives consumers their chance first.
    pub fn drop_returned(&mut self, effects: &mut Effects) {
        if self.settings.kind == Kind::Classic {
            self.drop_overflow(effects);
        }
    }

    /// A full queue loses what came back first, as RabbitMQ's does, then its oldest messages of the lowest priority. What is on disk
    /// stays until it is loaded if it is to be a dead letter, or if its size, known as an average alone, is what has to go.
    pub fn drop_overflow(&mut self, effects: &mut Effects) {
        if self.settings.overflow != Overflow::DropHead {
            return;
        }
        while self.is_above_limit(0, 0) {
            let (lowest, head) = match self.first_returned() {
                Some((at, head)) => (at, Some(head)),
                None => {
                    let has_ready = |level: &Level| !level.ready.is_empty();
                    let Some(lowest) = self.levels.iter().position(has_ready) else { return };
                    (lowest, self.levels[lowest].head(&mut self.ledger))
                }
            };
            match head {
                Some(Head::Here(slice)) => self.drop_one(lowest, &slice, Reason::Maxlen, effects),
                Some(Head::Stored(block)) if self.settings.dead_letters || !self.is_too_long(0) => {
                    return self.want(lowest, block, effects);
                }
                _ => {
                    let returned = self.returns.order.front().map(|(first, _)| *first);
                    let Some(first) = returned.or(self.levels[lowest].ready.first()) else { return };
                    self.levels[lowest].lose(first, first, true, &mut self.ledger, effects);
                    self.redelivered.forget(first, first);
                    self.shorten_order(first, first);
                }
            }
        }
    }

    /// Whether with so many messages more, and so many octets of bodies, more would be ready than may be.
    pub(crate) fn is_above_limit(&self, messages: u64, octets: u64) -> bool {
        let max = self.settings.max_length_bytes;
        self.is_too_long(messages) || max.is_some_and(|max| self.ledger.ready_bodies() + octets > max)
    }

    /// Whether with so many messages more there would be too many, whatever their size.
    fn is_too_long(&self, messages: u64) -> bool {
        let count = || self.ledger.ready + self.waiting() + self.kept() + messages;
        self.settings.max_length.is_some_and(|max| count() > max)
    }

    /// What is doomed in a level and in memory becomes dead letters.
    pub(crate) fn bury(&mut self, at: usize, first: Position, last: Position, effects: &mut Effects) {
        if !self.settings.dead_letters && !self.levels[at].doomed.is_empty() {
            // There were when they died.
            return self.leave(at, (first, last), true, effects);
        }
        let keep_until = self.settings.keep_dead.then(|| Kept::until(self.now));
        let Queue { levels, ledger, redelivered, returns, .. } = self;
        let returns = match keep_until {
            Some(_) if !levels[at].doomed.is_empty() => Some(&mut **returns),
            _ => returns.held(),
        };
        for position in levels[at].bury((first, last), redelivered, returns, keep_until, ledger, effects) {
            let block = self.levels[at].blocks.first_from(position);
            self.want(at, block, effects);
        }
    }

    /// The first message of a slice leaves unsettled.
    pub(crate) fn drop_one(&mut self, at: usize, slice: &Slice, reason: Reason, effects: &mut Effects) {
        if self.settings.dead_letters && self.settings.keep_dead {
            self.levels[at].doom(slice.first, slice.first, &mut self.ledger);
            self.returns.reasons.set(slice.first, slice.first, reason);
            self.bury(at, slice.first, slice.first, effects);
            return self.shorten_order(slice.first, slice.first);
        }
        let (slice, level) = (Slice { count: 1, ..*slice }, &mut self.levels[at]);
        if self.settings.dead_letters {
            let delivery = level.delivery(&slice, &self.redelivered);
            effects.dead.push(Dead { delivery, reason, kept: false });
        }
        let told = !self.settings.dead_letters;
        level.lose(slice.first, slice.first, told, &mut self.ledger, effects);
        self.redelivered.forget(slice.first, slice.first);
        self.shorten_order(slice.first, slice.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::TOGETHER_MS;
    use crate::settings::{Retry, RetryWhen};
    use crate::{Back, Get, Page, Place, Record, Run, RunBuilder, Settings};

    fn run(bodies: &[&[u8]]) -> Run {
        let mut builder = RunBuilder::new();
        for body in bodies {
            let (route, header) = (&[0, 0][..], &[0; 14][..]);
            let (persistent, priority, ttl, dead, due) = (true, None, None, false, None);
            builder.push(&Record { route, hidden: b"", header, body, persistent, priority, ttl, dead, due });
        }
        builder.finish().unwrap()
    }

    /// Everything goes to the disk.
    fn page_out(queue: &mut Queue, effects: &mut Effects) -> Vec<(Place, Page)> {
        let pages = queue.page_out(0, usize::MAX).into_iter().map(|page| (Place(page.id.0, 1), page));
        let pages: Vec<(Place, Page)> = pages.collect();
        pages.iter().for_each(|(place, page)| queue.paged(page.id, *place, effects));
        pages
    }

    /// Answers each load from the pages that were written.
    fn load(queue: &mut Queue, pages: &[(Place, Page)], effects: &mut Effects) -> usize {
        let mut count = 0;
        while let Some((id, place)) = effects.loads.pop() {
            let (_, page) = pages.iter().find(|(at, _)| *at == place).expect("it was written there");
            assert!(queue.loaded(id, place, &page.ranges, page.pieces.concat().into(), effects));
            count += 1;
        }
        count
    }

    #[test]
    fn what_has_waited_is_dropped_if_there_is_no_room_for_it() {
        let retry = Some(Retry { when: RetryWhen::All, min: 20, max: None });
        for (max_length, max_length_bytes) in [(Some(0), None), (None, Some(9))] {
            let mut queue = Queue::new(Settings { retry, ..Settings::default() });
            let mut effects = Effects::new();
            queue.publish(run(&[&[0; 10]]), &mut effects);
            assert!(matches!(queue.get(true, &mut effects), Get::Message(_)));
            queue.configure(Settings { max_length, max_length_bytes, ..queue.settings }, &mut effects);
            queue.requeue(0, 0, Back::Failed, &mut effects);
            queue.drop_returned(&mut effects);
            assert_eq!((queue.ready(), queue.waiting()), (0, 1), "what waits stays");
            queue.advance(20, &mut effects);
            queue.check();
            assert_eq!((queue.ready(), queue.waiting()), (0, 0), "{max_length:?} {max_length_bytes:?}");
        }
    }

    #[test]
    fn what_is_on_disk_is_dropped_by_the_size_of_each_message() {
        let settings = Settings { recorded: true, max_length_bytes: Some(600), ..Settings::default() };
        let mut queue = Queue::new(settings);
        let mut effects = Effects::new();
        queue.publish(run(&[&[0; 10], &[0; 500], &[0; 30]]), &mut effects);
        let pages = page_out(&mut queue, &mut effects);
        assert!(queue.is_stored(0), "the body is on disk alone");
        queue.publish(run(&[&[0; 90]]), &mut effects);
        assert_eq!(queue.ready(), 4, "nothing leaves before its size is known");
        assert_eq!(load(&mut queue, &pages, &mut effects), 1);
        assert_eq!(
            (queue.ready(), queue.ready_size()),
            (2, 30 + 90 + 2),
            "10 octets are not enough, 500 more are"
        );
    }

    /// Small messages of a backlog are gathered, and written together; a policy gives them a time to live.
    #[test]
    fn nothing_expires_before_a_time_to_live_that_came_later() {
        for (is_paged, again) in [(false, false), (true, false), (true, true)] {
            let mut queue = Queue::new(Settings { recorded: true, ..Settings::default() });
            let mut effects = Effects::new();
            let mut arrivals = Vec::new();
            for number in 0..100 {
                arrivals.push(number * 7);
                queue.advance(number * 7, &mut effects);
                queue.publish(run(&[&[0; 10]]), &mut effects);
            }
            let pages = if is_paged { page_out(&mut queue, &mut effects) } else { Vec::new() };
            if again {
                // Everything is read once while nothing expires.
                assert!(matches!(queue.get(false, &mut effects), Get::Stalled));
                load(&mut queue, &pages, &mut effects);
                assert!(matches!(queue.get(false, &mut effects), Get::Message(_)));
                arrivals.remove(0);
            }
            queue.configure(Settings { message_ttl: Some(1000), ..queue.settings }, &mut effects);
            for now in 1000..1800 {
                queue.advance(now, &mut effects);
                queue.hand_out(&mut effects);
                load(&mut queue, &pages, &mut effects);
                let younger = |ttl: u64| arrivals.iter().filter(|at| **at + ttl > now).count() as u64;
                let fit = younger(1000)..=younger(1000 + TOGETHER_MS);
                assert!(fit.contains(&queue.ready()), "{now}: {} of {fit:?}", queue.ready());
            }
            queue.check();
        }
    }

    /// When it expires is noted as its body leaves: it is not read again and again where memory is small.
    #[test]
    fn what_came_back_and_is_on_disk_alone_is_read_when_it_may_have_expired() {
        let settings =
            Settings { kind: Kind::Quorum, recorded: true, message_ttl: Some(5), ..Settings::default() };
        let mut queue = Queue::new(settings);
        let mut effects = Effects::new();
        queue.publish(run(&[&[0; 10]]), &mut effects);
        assert!(matches!(queue.get(true, &mut effects), Get::Message(_)));
        let pages = page_out(&mut queue, &mut effects);
        assert!(queue.is_stored(0), "the body is on disk alone");
        queue.requeue(0, 0, Back::Failed, &mut effects);
        assert_eq!(queue.deadline(), Some(0), "it left before it came back");
        queue.advance(1, &mut effects);
        assert_eq!(queue.deadline(), None, "it is under way");
        assert_eq!(load(&mut queue, &pages, &mut effects), 1);
        assert_eq!(queue.deadline(), Some(5));
        assert_eq!(queue.page_out(0, usize::MAX).len(), 0, "it has its place");
        assert!(queue.is_stored(0), "there is no room for it");
        queue.advance(4, &mut effects);
        queue.hand_out(&mut effects);
        assert_eq!((queue.deadline(), effects.loads.len()), (Some(5), 0), "it is known by now");
        queue.advance(5, &mut effects);
        assert_eq!(load(&mut queue, &pages, &mut effects), 1);
        queue.check();
        assert_eq!((queue.ready(), queue.deadline()), (0, None));
    }
}
