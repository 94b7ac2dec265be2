//! ack, nack, reject and recover.
//!
//! Invariant: settlements are gathered per read and reach each queue under one lock; within a channel they keep their order. What is
//! given back keeps its place between publishes, too: a queue may be full with one and not with the other.

use warrenmq_protocol::{Exception, Piece, UnknownTag};
use warrenmq_queue::Back;
use warrenmq_wire::basic::{self, Ack, Nack, Reject};
use warrenmq_wire::frame;

use super::Session;
use super::channel::Mode;
use super::consumers::Sources;
use crate::inbox::ConsumerKey;
use crate::refusal;

/// Room for so many stays with the connection for the next read.
const KEPT_SETTLEMENTS: usize = 1024;

/// Octets of a basic.ack frame.
const ACK_OCTETS: usize = frame::OVERHEAD + 13;
/// More acknowledgements at once than this save nothing more.
const ACKS_AT_ONCE_MAX: u64 = 64;

/// What one input had of acknowledgements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acks {
    /// Deliveries that were acknowledged one at a time.
    singles: usize,
    /// The smallest prefetch of their consumers; `MAX` is none.
    prefetch: u64,
}

impl Default for Acks {
    fn default() -> Acks {
        Acks { singles: 0, prefetch: u64::MAX }
    }
}

impl Acks {
    /// One of them is of a consumer with this prefetch; 0 is none.
    pub(super) fn limit(&mut self, prefetch: u64) {
        if prefetch > 0 {
            self.prefetch = self.prefetch.min(prefetch);
        }
    }

    /// When the input was `used` octets of single acknowledgements and nothing else: how many octets of them had better come at once.
    /// A quarter of the prefetch, so that the consumer has the rest meanwhile; 0 when that is not even two.
    pub(super) fn octets_at_once(&self, used: usize) -> usize {
        let at_once = (self.prefetch / 4).min(ACKS_AT_ONCE_MAX) as usize;
        let nothing_else = self.singles > 0 && used == self.singles * ACK_OCTETS;
        if nothing_else && at_once > 1 { at_once * ACK_OCTETS } else { 0 }
    }
}

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Done with.
    Settle,
    /// Done with, but not in a row: those of the 64 positions from the first on, a multiple of 64, that are meant by the bits.
    SettleSome(u64),
    /// Rejected for good: dead-lettered if the queue does that.
    Discard,
    /// Back into the queue, as a failure or not.
    Requeue(Back),
}

/// Deliveries of one source with their verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settlement {
    pub(super) piece: Piece<ConsumerKey>,
    pub(super) verdict: Verdict,
}

impl Session {
    #[inline]
    pub(super) fn ack(&mut self, number: u16, ack: Ack) {
        self.settle(number, ack.delivery_tag, ack.multiple, Verdict::Settle, basic::ACK);
    }

    pub(super) fn nack(&mut self, number: u16, nack: Nack) {
        let verdict = if nack.requeue { Verdict::Requeue(Back::Returned) } else { Verdict::Discard };
        self.settle(number, nack.delivery_tag, nack.multiple, verdict, basic::NACK);
    }

    pub(super) fn reject(&mut self, number: u16, reject: Reject) {
        // RabbitMQ 4.3 takes a reject for a failure of the consumer, and a nack for none.
        let verdict = if reject.requeue { Verdict::Requeue(Back::Failed) } else { Verdict::Discard };
        self.settle(number, reject.delivery_tag, false, verdict, basic::REJECT);
    }

    #[inline]
    fn settle(&mut self, number: u16, tag: u64, multiple: bool, verdict: Verdict, method: u16) {
        if matches!(verdict, Verdict::Requeue(_)) {
            self.flush_lanes();
            self.gives_back = true;
        }
        if multiple && verdict != Verdict::Settle {
            return self.settle_in_order(number, tag, verdict, method);
        }
        let Some(channel) = self.channels.get_mut(number) else { return };
        let settlements = &mut self.settlements;
        let taken = match &mut channel.mode {
            Mode::Transaction(transaction) => channel.outstanding.take(tag, multiple, |piece| {
                transaction.settlements().push(Settlement { piece, verdict });
            }),
            _ => channel.outstanding.take(tag, multiple, |piece| {
                settlements.push(Settlement { piece, verdict });
            }),
        };
        if let Err(unknown) = taken {
            self.refuse_tag(number, unknown, method);
        }
    }

    /// The same for all up to a tag, where it matters whose goes first.
    #[cold]
    fn settle_in_order(&mut self, number: u16, tag: u64, verdict: Verdict, method: u16) {
        let Some(channel) = self.channels.get_mut(number) else { return };
        let settlements = match &mut channel.mode {
            Mode::Transaction(transaction) => transaction.settlements(),
            _ => &mut self.settlements,
        };
        let before = settlements.len();
        let taken = channel.outstanding.take(tag, true, |piece| {
            settlements.push(Settlement { piece, verdict });
        });
        sort_by_consumer(&self.sources, &mut settlements[before..], |settlement| settlement.piece.source);
        if let Err(unknown) = taken {
            self.refuse_tag(number, unknown, method);
        }
    }

    #[cold]
    fn refuse_tag(&mut self, number: u16, UnknownTag(tag): UnknownTag, method: u16) {
        let exception = refusal::precondition(format!("unknown delivery tag {tag}"));
        let fault = exception.at(basic::CLASS, method).on(number);
        self.fail(&fault);
    }

    /// Everything outstanding on the channel goes back to its queues.
    pub(super) fn recover(&mut self, number: u16, requeue: bool) -> Result<(), Exception> {
        if !requeue {
            return Err(refusal::not_implemented("requeue=false"));
        }
        let before = self.settlements.len();
        if let Some(channel) = self.channels.get_mut(number) {
            let settlements = &mut self.settlements;
            let verdict = Verdict::Requeue(Back::Returned);
            channel.outstanding.take_all(|piece| settlements.push(Settlement { piece, verdict }));
        }
        sort_by_consumer(&self.sources, &mut self.settlements[before..], |settlement| {
            settlement.piece.source
        });
        self.flush_settlements();
        Ok(())
    }

    /// What was outstanding on a channel that has ended goes back to each queue at once.
    pub(super) fn return_all(&mut self, mut pieces: Vec<Piece<ConsumerKey>>) {
        let window = self.window();
        let sources = &self.sources;
        sort_by_consumer(sources, &mut pieces, |piece| piece.source);
        // Not by name: a queue may have been deleted and declared again.
        let queue = |piece: &Piece<ConsumerKey>| sources.get(piece.source).map(|source| source.queue.info.id);
        for group in pieces.chunk_by(|left, right| queue(left) == queue(right)) {
            let Some(source) = sources.get(group[0].source) else { continue };
            source.queue.with(window, &mut self.scratch, |queue, effects| {
                for piece in group {
                    let (first, last) = (piece.first_position, piece.first_position + piece.count - 1);
                    queue.requeue(first, last, Back::Failed, effects);
                }
            });
        }
        for piece in pieces {
            if let Some(source) = self.sources.get_mut(piece.source) {
                source.unacked -= piece.count;
            }
        }
    }

    #[inline]
    pub(super) fn flush_settlements(&mut self) {
        self.gives_back = false;
        if !self.settlements.is_empty() {
            let mut settlements = std::mem::take(&mut self.settlements);
            for group in settlements.chunk_by(|a, b| a.piece.source == b.piece.source) {
                self.settle_group(group);
            }
            settlements.clear();
            settlements.shrink_to(KEPT_SETTLEMENTS);
            self.settlements = settlements;
        }
    }

    /// Settlements of one source, under one lock of its queue.
    fn settle_group(&mut self, group: &[Settlement]) {
        let Some(first) = group.first() else { return };
        let key = first.piece.source;
        let window = self.window();
        let Some(source) = self.sources.get_mut(key) else { return };
        let count: u64 = group.iter().map(|settlement| settlement.piece.count).sum();
        source.unacked -= count;
        let credit = source.slot.filter(|_| source.limited);
        if !source.no_ack {
            let single = |one: &&Settlement| one.piece.count == 1 && one.verdict == Verdict::Settle;
            self.acks.singles += group.iter().filter(single).count();
            self.acks.limit(u64::from(source.prefetch));
        }
        source.queue.with(window, &mut self.scratch, |queue, effects| {
            let mut returned = false;
            for Settlement { piece, verdict } in group {
                let (first, last) = (piece.first_position, piece.first_position + piece.count - 1);
                match verdict {
                    Verdict::Settle => queue.settle(first, last, effects),
                    Verdict::SettleSome(mask) => queue.settle_some(first, *mask, effects),
                    Verdict::Discard => queue.discard(first, last, effects),
                    Verdict::Requeue(back) => {
                        queue.requeue(first, last, *back, effects);
                        returned = true;
                    }
                }
            }
            if returned {
                // Before the consumer, who has room again, can take what is too much.
                queue.drop_returned(effects);
            }
            if let Some(slot) = credit {
                queue.credit(slot, u32::try_from(count).unwrap_or(u32::MAX), 0, effects);
            }
        });
        let (number, counted, gone) =
            (source.channel, source.is_counted(), source.slot.is_none() && source.unacked == 0);
        if gone {
            self.forget_source(key);
        }
        if counted {
            self.free_shared(number, count);
        }
    }
}

/// What one method gives back of several consumers goes back consumer by consumer, by queue and then by tag
/// (`rabbit_channel:foreach_per_queue/3`); what each has goes back at once.
fn sort_by_consumer<T>(sources: &Sources, given_back: &mut [T], source_of: impl Fn(&T) -> ConsumerKey) {
    if given_back.windows(2).all(|pair| source_of(&pair[0]) == source_of(&pair[1])) {
        return;
    }
    let consumer = |one: &T| {
        let source = sources.get(source_of(one))?;
        Some((&source.queue.info.name, source.queue.info.id, &source.tag))
    };
    given_back.sort_by(|left, right| consumer(left).cmp(&consumer(right)));
}
