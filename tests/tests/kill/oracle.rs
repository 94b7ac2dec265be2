//! What the broker has promised about each message in each queue, kept by those who made it promise: whatever comes out of a
//! queue is compared with it, and whatever does not come out when the queue is empty.
//!
//! An *epoch* is the life of one broker process. Calls that say what a client does come before its bytes are sent, calls that
//! say what the broker did after they were read.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::message::Message;

/// A settlement that is older than this when the process is killed has been written: it may not be lost. Nobody is promised so
/// much; it is what keeps a settlement from being lost later, with the file that it was written to.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);

/// No more than so many violations of a queue are told one by one.
const TOLD_MAX: usize = 20;

/// A name of a queue.
pub(crate) type Name = String;

/// All queues, transactions and violations.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    queues: BTreeMap<Name, Queue>,
    transactions: Vec<Transaction>,
    epoch: u32,
    /// Of each epoch that has ended: what was settled in it until then was settled for good.
    for_good: Vec<Option<Instant>>,
    violations: Vec<String>,
    delivered: u64,
    returned: u64,
}

/// What is known of a queue.
#[derive(Debug, Default)]
struct Queue {
    messages: BTreeMap<Message, Entry>,
    /// Of each stream, messages below this number have left for good.
    gone_below: HashMap<u16, u64>,
    /// Messages that may have left without being seen: an answer to a get without acknowledgement was lost.
    unseen: u64,
    /// Consumers acknowledge by receiving: a message may leave unseen whenever the broker dies.
    automatic: bool,
    /// Of each stream, messages up to this number may come late: they were on their way to a consumer that has left.
    late: HashMap<u16, u64>,
    /// Consumers that are about to leave: meanwhile any message may come late.
    leaving: u32,
    /// Where messages go that are moved or dead-lettered from here.
    moves_to: Option<Name>,
    told: usize,
}

/// What is known of a message in a queue.
#[derive(Debug, Clone, Copy)]
struct Entry {
    state: State,
    /// The epoch in which it was published.
    since: u32,
    /// It is on disk: confirmed, or given out by a process that has found it there.
    sure: bool,
    /// It was given out at least once.
    seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the queue, as far as it is sure.
    Ready,
    /// With a consumer, in this epoch.
    Out(u32),
    /// Acknowledged, in this epoch. The acknowledgement may be lost with the process.
    Settled(u32, Instant),
    /// It must not come: its transaction was not committed, or it is elsewhere.
    Held,
}

/// Messages that are in their queues all or not at all.
#[derive(Debug)]
struct Transaction {
    members: Vec<(Name, Message)>,
    sure: bool,
}

/// The order in which one consumer gets the messages of each stream and priority.
#[derive(Debug, Default)]
pub(crate) struct Order {
    last: HashMap<(u16, u8), u64>,
    /// All messages count, not only those that are given out for the first time.
    strict: bool,
}

impl Order {
    /// For a consumer that has the queue for itself and returns nothing.
    pub(crate) fn strict() -> Self {
        Order { strict: true, ..Order::default() }
    }
}

impl Oracle {
    /// A queue whose consumers acknowledge by receiving.
    pub(crate) fn automatic(&mut self, queue: &str) {
        self.queue(queue).automatic = true;
    }

    /// A message that is moved from `from` is in exactly one of both.
    pub(crate) fn moves(&mut self, from: &str, to: &str) {
        self.queue(from).moves_to = Some(to.to_owned());
    }

    /// A message is published to a queue.
    pub(crate) fn published(&mut self, queue: &str, message: Message) {
        let entry = Entry { state: State::Ready, since: self.epoch, sure: false, seen: false };
        self.queue(queue).messages.insert(message, entry);
    }

    /// The broker has confirmed it.
    pub(crate) fn confirmed(&mut self, queue: &str, message: Message) {
        let ledger = self.queue(queue);
        let Some(entry) = ledger.messages.get_mut(&message) else { return };
        entry.sure = true;
        let moved = matches!(entry.state, State::Settled(..)).then(|| ledger.moves_to.clone()).flatten();
        if let Some(entry) = moved.and_then(|to| self.queue(&to).messages.get_mut(&message)) {
            entry.sure = true;
        }
    }

    /// A queue has given a message out.
    pub(crate) fn delivered(&mut self, queue: &str, message: Message, redelivered: bool, order: &mut Order) {
        self.delivered += 1;
        if let Err(what) = self.take(queue, message, redelivered) {
            self.violation(queue, &format!("{message} {what}"));
        }
        let ledger = self.queue(queue);
        let late = ledger.late.get(&message.stream).is_some_and(|late| message.number <= *late);
        if !order.strict && (redelivered || late || ledger.leaving > 0) {
            return;
        }
        let place = (message.stream, message.priority());
        if let Some(last) = order.last.insert(place, message.number).filter(|last| *last >= message.number) {
            let flag = if redelivered { "redelivered" } else { "for the first time" };
            self.violation(queue, &format!("{message} comes {flag} after number {last}: reordered"));
        }
    }

    /// A message goes back to its queue.
    pub(crate) fn returned(&mut self, queue: &str, message: Message) {
        if let Some(entry) = self.queue(queue).messages.get_mut(&message) {
            entry.state = State::Ready;
        }
    }

    /// A consumer is about to leave: what was on its way to it goes back to its place, which others may have passed.
    pub(crate) fn leaves(&mut self, queue: &str) {
        self.queue(queue).leaving += 1;
    }

    /// It has left.
    pub(crate) fn left(&mut self, queue: &str) {
        let ledger = self.queue(queue);
        ledger.leaving -= 1;
        let mut end = Message { stream: u16::MAX, number: u64::MAX };
        while let Some((last, _)) = ledger.messages.range(..end).next_back() {
            ledger.late.insert(last.stream, last.number);
            end = Message { stream: last.stream, number: 0 };
        }
    }

    /// A message is acknowledged.
    pub(crate) fn settled(&mut self, queue: &str, message: Message) {
        let epoch = self.epoch;
        if let Some(entry) = self.queue(queue).messages.get_mut(&message) {
            entry.state = State::Settled(epoch, Instant::now());
        }
    }

    /// A message leaves its queue for the one where that queue's messages go.
    pub(crate) fn moved(&mut self, queue: &str, message: Message) {
        let sure = self.queue(queue).messages.get(&message).is_some_and(|entry| entry.sure);
        self.settled(queue, message);
        if let Some(to) = self.queue(queue).moves_to.clone() {
            self.published(&to, message);
            if sure {
                self.confirmed(&to, message);
            }
        }
    }

    /// It has left for good: the broker has committed that.
    pub(crate) fn moved_for_good(&mut self, queue: &str, message: Message) {
        let ledger = self.queue(queue);
        if let Some(entry) = ledger.messages.get_mut(&message) {
            entry.state = State::Held;
        }
        if let Some(to) = ledger.moves_to.clone() {
            self.confirmed(&to, message);
        }
    }

    /// A message is published, but must not come: it is not committed.
    pub(crate) fn held(&mut self, queue: &str, message: Message) {
        let entry = Entry { state: State::Held, since: self.epoch, sure: false, seen: false };
        self.queue(queue).messages.insert(message, entry);
    }

    /// Held messages are to be committed; the number is for [`Oracle::committed`].
    pub(crate) fn commits(&mut self, members: Vec<(Name, Message)>) -> usize {
        for (queue, message) in &members {
            self.published(queue, *message);
        }
        self.transactions.push(Transaction { members, sure: false });
        self.transactions.len() - 1
    }

    /// The broker has committed them.
    pub(crate) fn committed(&mut self, transaction: usize) {
        self.transactions[transaction].sure = true;
        for (queue, message) in self.transactions[transaction].members.clone() {
            self.confirmed(&queue, message);
        }
    }

    /// A get without acknowledgement is asked (`+1`) or answered (`-1`).
    pub(crate) fn unseen(&mut self, queue: &str, change: i64) {
        let unseen = &mut self.queue(queue).unseen;
        *unseen = unseen.saturating_add_signed(change);
    }

    /// The process was killed, at this time.
    pub(crate) fn killed(&mut self, at: Instant) {
        self.end_epoch(at.checked_sub(SETTLED_AFTER));
    }

    /// The process has ended in order.
    pub(crate) fn stopped(&mut self) {
        self.end_epoch(Some(Instant::now()));
    }

    /// A queue was deleted: nothing that was in it may come in one of its name.
    pub(crate) fn deleted(&mut self, queue: &str) {
        self.forget(queue, |_| true);
    }

    /// A queue has nothing to give any more: all that was sure has been seen, and nothing may come again but what was settled
    /// in this epoch.
    pub(crate) fn emptied(&mut self, queue: &str) {
        let epoch = self.epoch;
        let ledger = self.queue(queue);
        let is_missing = |message: &Message, entry: &Entry| match entry.state {
            State::Ready => entry.sure && (message.is_persistent() || entry.since == epoch),
            State::Out(out) => out == epoch || (entry.sure && message.is_persistent()),
            State::Settled(..) | State::Held => false,
        };
        let all = ledger.messages.iter();
        let missing: Vec<_> = all.filter(|(message, entry)| is_missing(message, entry)).collect();
        let missing: Vec<_> = missing.into_iter().map(|(message, entry)| (*message, *entry)).collect();
        let unseen = std::mem::take(&mut ledger.unseen);
        let forgiven = missing.len() as u64 <= unseen
            || (ledger.automatic && missing.iter().all(|(_, entry)| entry.since < epoch));
        if !forgiven {
            for (message, entry) in missing {
                self.violation(queue, &format!("{message} is lost: {entry:?}, in epoch {epoch}"));
            }
        }
        self.forget(queue, |entry| !matches!(entry.state, State::Settled(settled, _) if settled == epoch));
    }

    /// Transactions of which a part is there and a part is not, when all their queues have been emptied or looked through.
    pub(crate) fn check_transactions(&mut self, seen: impl Fn(&str, Message) -> bool) {
        for transaction in std::mem::take(&mut self.transactions) {
            let there = transaction.members.iter().filter(|(queue, message)| seen(queue, *message)).count();
            let all = transaction.members.len();
            if there != all && (there != 0 || transaction.sure) {
                let text = format!("{there} of {all} messages of a transaction are there: {transaction:?}");
                self.violation("a transaction", &text);
            }
        }
    }

    /// How many messages a queue holds that nobody has taken from: at least and at most.
    pub(crate) fn bounds(&self, queue: &str) -> (u64, u64) {
        let Some(ledger) = self.queues.get(queue) else { return (0, 0) };
        let (mut least, mut most) = (0, 0);
        for (message, entry) in &ledger.messages {
            let may_be = match entry.state {
                State::Ready => message.is_persistent() || entry.since == self.epoch,
                State::Out(epoch) => epoch < self.epoch && message.is_persistent(),
                State::Settled(epoch, at) => epoch < self.epoch && !self.is_for_good(epoch, at),
                State::Held => false,
            };
            most += u64::from(may_be);
            let is = may_be && entry.sure && !matches!(entry.state, State::Settled(..));
            least += u64::from(is);
        }
        (least.saturating_sub(ledger.unseen), most)
    }

    /// Something that must not be, seen by others.
    pub(crate) fn violation(&mut self, place: &str, what: &str) {
        let told = &mut self.queue(place).told;
        *told += 1;
        if *told <= TOLD_MAX {
            self.violations.push(format!("{place}: {what}"));
        }
    }

    /// All that must not be.
    pub(crate) fn violations(&self) -> Vec<String> {
        let more = |(place, queue): (&Name, &Queue)| {
            let more = queue.told.checked_sub(TOLD_MAX + 1)? + 1;
            Some(format!("{place}: and {more} more"))
        };
        self.violations.iter().cloned().chain(self.queues.iter().filter_map(more)).collect()
    }

    /// Deliveries, those of settled messages that came back, and messages that are known of.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        (self.delivered, self.returned, self.queues.values().map(|queue| queue.messages.len()).sum())
    }

    fn end_epoch(&mut self, for_good: Option<Instant>) {
        self.for_good.push(for_good);
        self.epoch += 1;
        self.queues.values_mut().for_each(|queue| queue.leaving = 0);
    }

    /// Whether a settlement in an epoch that has ended cannot be lost.
    fn is_for_good(&self, epoch: u32, at: Instant) -> bool {
        self.for_good.get(epoch as usize).is_some_and(|until| Some(at) <= *until)
    }

    fn take(&mut self, queue: &str, message: Message, redelivered: bool) -> Result<(), String> {
        let epoch = self.epoch;
        let ledger = self.queue(queue);
        let moves_to = ledger.moves_to.clone();
        let Some(entry) = ledger.messages.get_mut(&message) else {
            let known = ledger.gone_below.get(&message.stream).is_some_and(|below| message.number < *below);
            return Err(
                if known { "comes again though it had left for good" } else { "is invented" }.to_owned()
            );
        };
        let before = *entry;
        entry.state = State::Out(epoch);
        entry.seen = true;
        entry.sure |= entry.since < epoch;
        if let State::Settled(..) = before.state {
            self.returned += 1;
            if let Some(to) = moves_to {
                self.held(&to, message);
            }
        }
        let wrong = match before.state {
            State::Out(out) if out == epoch => "is duplicated: a consumer has it already",
            State::Settled(settled, _) if settled == epoch => {
                "comes again after it was settled, without a kill"
            }
            State::Settled(settled, at) if self.is_for_good(settled, at) => {
                "comes again after it was settled for good"
            }
            State::Held => "must not be here: its transaction was not committed, or it is in another queue",
            _ if before.since < epoch && !message.is_persistent() => {
                "is transient and has outlived the process"
            }
            _ if before.seen && !redelivered => "is not redelivered though it was given out before",
            _ => return Ok(()),
        };
        Err(format!("{wrong}; it was {before:?}, this is epoch {epoch}"))
    }

    /// Forgets messages that have left for good.
    fn forget(&mut self, queue: &str, has_left: impl Fn(&Entry) -> bool) {
        let ledger = self.queue(queue);
        let Queue { messages, gone_below, .. } = ledger;
        messages.retain(|message, entry| {
            let left = has_left(entry);
            if left {
                let below = gone_below.entry(message.stream).or_default();
                *below = (*below).max(message.number + 1);
            }
            !left
        });
    }

    fn queue(&mut self, name: &str) -> &mut Queue {
        if !self.queues.contains_key(name) {
            self.queues.insert(name.to_owned(), Queue::default());
        }
        self.queues.get_mut(name).expect("invariant: it has just been made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSISTENT: u16 = 2;

    fn message(number: u64) -> Message {
        Message { stream: PERSISTENT, number }
    }

    fn transient() -> Message {
        (1..).map(|number| Message { stream: 1, number }).find(|m| !m.is_persistent()).unwrap()
    }

    /// An oracle that knows of messages 1 to 9 in queue `q`, all confirmed, and the order of a consumer.
    fn nine() -> (Oracle, Order) {
        let mut oracle = Oracle::default();
        for number in 1..10 {
            oracle.published("q", message(number));
            oracle.confirmed("q", message(number));
        }
        (oracle, Order::default())
    }

    fn take_all(oracle: &mut Oracle, numbers: impl IntoIterator<Item = u64>, redelivered: bool) {
        let mut order = Order::default();
        for number in numbers {
            oracle.delivered("q", message(number), redelivered, &mut order);
            oracle.settled("q", message(number));
        }
        oracle.emptied("q");
    }

    #[track_caller]
    fn assert_told(oracle: &Oracle, expected: &[&str]) {
        let violations = oracle.violations();
        assert_eq!(violations.len(), expected.len(), "{violations:#?}");
        for (violation, expected) in violations.iter().zip(expected) {
            assert!(violation.contains(expected), "{violation:?} is not about {expected:?}");
        }
    }

    #[test]
    fn what_all_brokers_may_do_is_no_violation() {
        let (mut oracle, mut order) = nine();
        oracle.published("q", message(10));
        oracle.published("q", transient());
        oracle.confirmed("q", transient());
        oracle.delivered("q", message(1), false, &mut order);
        oracle.settled("q", message(1));
        oracle.delivered("q", message(2), false, &mut order);
        oracle.returned("q", message(2));
        oracle.delivered("q", message(3), false, &mut order);
        oracle.delivered("q", message(2), true, &mut order);
        assert_eq!(oracle.bounds("q"), (7, 8));
        oracle.killed(Instant::now());
        // The transient one has gone, the first may return, the last was not confirmed.
        assert_eq!(oracle.bounds("q"), (8, 10));
        take_all(&mut oracle, 1..10, true);
        assert_told(&oracle, &[]);
        // Those that were settled just now may return after a kill.
        assert_eq!(oracle.counts(), (13, 1, 9));
        oracle.killed(Instant::now());
        take_all(&mut oracle, [4], true);
        assert_told(&oracle, &[]);
    }

    #[test]
    fn a_lost_message_is_told() {
        let (mut oracle, _) = nine();
        take_all(&mut oracle, [1, 2, 3, 4, 6, 7, 8, 9], false);
        assert_told(&oracle, &["2/5 (persistent"]);
        let (mut oracle, mut order) = nine();
        // Taken, and neither settled nor returned before the kill.
        oracle.delivered("q", message(1), false, &mut order);
        oracle.killed(Instant::now());
        take_all(&mut oracle, 2..10, true);
        assert_told(&oracle, &["is lost"]);
    }

    #[test]
    fn a_message_that_was_found_on_disk_must_stay_there() {
        let mut oracle = Oracle::default();
        oracle.published("q", message(1));
        oracle.killed(Instant::now());
        oracle.delivered("q", message(1), true, &mut Order::default());
        oracle.killed(Instant::now());
        take_all(&mut oracle, [], true);
        assert_told(&oracle, &["is lost"]);
    }

    #[test]
    fn a_transient_message_is_lost_only_by_a_kill() {
        let mut oracle = Oracle::default();
        oracle.published("q", transient());
        oracle.confirmed("q", transient());
        oracle.emptied("q");
        assert_told(&oracle, &["transient"]);
        let mut oracle = Oracle::default();
        oracle.published("q", transient());
        oracle.confirmed("q", transient());
        oracle.killed(Instant::now());
        oracle.delivered("q", transient(), true, &mut Order::default());
        assert_told(&oracle, &["outlived the process"]);
    }

    #[test]
    fn a_duplicate_is_told() {
        let (mut oracle, mut order) = nine();
        oracle.delivered("q", message(1), false, &mut order);
        oracle.delivered("q", message(1), true, &mut Order::default());
        assert_told(&oracle, &["is duplicated"]);
        let (mut oracle, _) = nine();
        oracle.killed(Instant::now());
        take_all(&mut oracle, (1..10).chain([5]), true);
        assert_told(&oracle, &["comes again after it was settled, without a kill"]);
    }

    #[test]
    fn a_message_that_comes_again_is_told() {
        let (mut oracle, _) = nine();
        take_all(&mut oracle, 1..10, false);
        oracle.killed(Instant::now());
        oracle.emptied("q");
        oracle.killed(Instant::now());
        oracle.delivered("q", message(1), true, &mut Order::default());
        assert_told(&oracle, &["left for good"]);
        let (mut oracle, mut order) = nine();
        oracle.delivered("q", message(1), false, &mut order);
        oracle.settled("q", message(1));
        oracle.stopped();
        assert_eq!(oracle.bounds("q"), (8, 8));
        oracle.delivered("q", message(1), true, &mut order);
        assert_told(&oracle, &["settled for good"]);
        // A kill shortly afterwards may lose a settlement, one long afterwards may not.
        for (after, told) in [(Duration::ZERO, 0), (2 * SETTLED_AFTER, 1)] {
            let (mut oracle, mut order) = nine();
            oracle.delivered("q", message(1), false, &mut order);
            oracle.settled("q", message(1));
            oracle.killed(Instant::now() + after);
            oracle.delivered("q", message(1), true, &mut Order::default());
            assert_eq!(oracle.violations().len(), told, "{after:?}");
        }
        let (mut oracle, mut order) = nine();
        oracle.deleted("q");
        oracle.delivered("q", message(1), true, &mut order);
        assert_told(&oracle, &["left for good"]);
    }

    #[test]
    fn a_wrong_flag_is_told() {
        let (mut oracle, mut order) = nine();
        oracle.delivered("q", message(1), false, &mut order);
        oracle.killed(Instant::now());
        oracle.delivered("q", message(1), false, &mut Order::default());
        assert_told(&oracle, &["is not redelivered"]);
    }

    #[test]
    fn an_invented_message_is_told() {
        let (mut oracle, mut order) = nine();
        oracle.delivered("q", message(10), false, &mut order);
        oracle.delivered("other", message(1), false, &mut Order::default());
        assert_told(&oracle, &["q: 2/10", "other: 2/1"]);
    }

    #[test]
    fn another_order_is_told() {
        let (mut oracle, mut order) = nine();
        let same = |number: &u64| message(*number).priority() == message(1).priority();
        let numbers: Vec<u64> = (1..10).filter(same).collect();
        oracle.delivered("q", message(numbers[1]), false, &mut order);
        oracle.delivered("q", message(numbers[0]), false, &mut order);
        assert_told(&oracle, &["reordered"]);
        // What a consumer has left behind may be late, what comes afterwards may not.
        let (mut oracle, mut order) = nine();
        let after: Vec<u64> = (10..30).filter(same).collect();
        oracle.leaves("q");
        oracle.left("q");
        after.iter().for_each(|number| oracle.published("q", message(*number)));
        for number in [numbers[1], after[1], numbers[0], after[0]] {
            oracle.delivered("q", message(number), false, &mut order);
        }
        assert_told(&oracle, &[&format!("2/{} ", after[0])]);
        let (mut oracle, mut order) = (nine().0, Order::strict());
        oracle.killed(Instant::now());
        oracle.delivered("q", message(numbers[1]), true, &mut order);
        oracle.delivered("q", message(numbers[0]), true, &mut order);
        assert_told(&oracle, &["reordered"]);
    }

    #[test]
    fn a_transaction_is_there_whole_or_not_at_all() {
        let members = || vec![("a".to_owned(), message(1)), ("b".to_owned(), message(2))];
        for (committed, there, told) in
            [(true, 2, 0), (true, 1, 1), (true, 0, 1), (false, 2, 0), (false, 1, 1), (false, 0, 0)]
        {
            let mut oracle = Oracle::default();
            oracle.held("a", message(1));
            oracle.held("b", message(2));
            let number = oracle.commits(members());
            if committed {
                oracle.committed(number);
            }
            oracle.check_transactions(|_, message| message.number <= there);
            assert_eq!(oracle.violations().len(), told, "{committed} {there}");
        }
        let mut oracle = Oracle::default();
        oracle.held("a", message(1));
        oracle.delivered("a", message(1), false, &mut Order::default());
        assert_told(&oracle, &["must not be here"]);
    }

    #[test]
    fn a_moved_message_is_in_one_queue() {
        // Given: the kill comes after the move or not; the message is then in the first queue, in the second one.
        for (for_good, first, second, told) in [
            (false, true, false, 0),
            (false, false, true, 0),
            (false, true, true, 1),
            (false, false, false, 1),
            (true, false, true, 0),
            (true, true, false, 2),
            (true, true, true, 1),
            (true, false, false, 1),
        ] {
            let mut oracle = Oracle::default();
            oracle.moves("q", "r");
            oracle.published("q", message(1));
            oracle.confirmed("q", message(1));
            oracle.delivered("q", message(1), false, &mut Order::default());
            oracle.moved("q", message(1));
            if for_good {
                oracle.moved_for_good("q", message(1));
            }
            oracle.killed(Instant::now());
            take_all(&mut oracle, first.then_some(1), true);
            if second {
                oracle.delivered("r", message(1), true, &mut Order::default());
                oracle.settled("r", message(1));
            }
            oracle.emptied("r");
            let violations = oracle.violations();
            assert_eq!(violations.len(), told, "{for_good} {first} {second}: {violations:?}");
        }
    }

    #[test]
    fn a_lost_answer_excuses_one_missing_message() {
        for (missing, told) in [(1, 0), (2, 2)] {
            let (mut oracle, _) = nine();
            oracle.unseen("q", 1);
            oracle.killed(Instant::now());
            take_all(&mut oracle, missing + 1..10, true);
            assert_eq!(oracle.violations().len(), told);
        }
    }
}
