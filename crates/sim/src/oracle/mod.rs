//! The oracle: what may be said about every copy of every message, and what of that a broker breaks.
//!
//! It hears two things, in the order in which they happen: each operation when the broker has carried it out (used the last of its
//! octets), and everything that the broker says, at the end of the call that made it say so. A *copy* is a message in one queue. Rules:
//!
//! 1. **Nothing is invented or torn**: what is delivered was published to that queue, with that body and those properties.
//! 2. **Nothing is there twice**: a copy that somebody holds, or that is done with, is not delivered again before a crash.
//! 3. **Nothing is lost**: a copy that was taken in is there until somebody is done with it. It may go unseen only by rule: its time to
//!    live is over, a length limit was passed since, it was purged, its queue was deleted.
//! 4. **Order**: a consumer gets the copies of a queue and priority in the order in which they were carried out, those apart that came
//!    back, or may have come back, since the last start. When all have come back (the end of a run), this holds for all.
//! 5. **`redelivered`** is set on a copy that was delivered before, not set on one that never was, and either where that cannot be known
//!    (a crash).
//!    A quorum queue tells how often a copy came back, exactly; where that was not on disk at a crash, not more than that. What came back to it since the last
//!    start has no order.
//! 6. **Confirms** come once, in order, and none is missing in the end; nor is the answer to any call.
//! 7. **A crash** takes what is transient, queues that are not durable, and connections. It may take, and may leave, every persistent
//!    message that was not confirmed; it may bring back every copy that was done with. But the journal is one sequence: where something
//!    was confirmed, everything that was carried out in an earlier call is on disk too, publishes and settlements alike. Those copies must be
//!    there, and must not come back. What a commit-ok or confirm names is on disk itself. What was seen after a crash has come from
//!    the disk and is on it.
//! 8. **A commit** without its commit-ok at a crash has happened or not, as a whole: the first of its publishes or settlements that is
//!    seen decides for the rest.
//! 9. **A dead letter** whose death was not on disk at a crash is in the queue that it died in, or in the one it went to, never in both. What a
//!    queue keeps until all others take it is in none of these before, and in all of them after.
//! 10. **A delayed message** is not seen before it is due, and is there after that when nothing is under way any more; the rest holds for
//!     it as for any other, but for its order.
//! 11. **A clean stop** is a crash before which everything was on disk.
//! 12. **Consumers** of a higher priority that have room get what others do not. Where one is active nobody else gets anything.
//! 13. **What came back** and has to wait is not seen before its time, and counts among the messages that are ready when that has come.
//! 14. **A mandatory message** that no queue gets comes back to its channel, whole, once, in order, before its confirm or commit-ok; nothing
//!     else does.
//! 15. **A refused message** (of another user, or a request whose channel gets no replies) is nowhere and closes its channel; so is all that
//!     follows on that.
//! 16. **Consumers that share a prefetch** never hold more than that together.
//! 17. **A request** names one address for as long as its requester lives, and for nobody else ever. What is published to that while it lives
//!     comes to it, once and in order; what comes later goes nowhere.
//! 18. **One of several queues** has what an exchange gave to one of them, and no other; which one, is known when it is seen, or when all others were
//!     found empty. Where a hash has decided, all that has the same hashed is in the same queue, also after a restart.
//! 19. **Each exchange** on the way is passed once, and each queue behind them gets a message once.

mod carried;
mod channel;
mod choice;
mod copy;
mod crash;
mod dead;
mod end;
mod entry;
mod heard;
mod late;
mod refused;
mod replies;
mod returns;
mod routed_back;
mod routes;
mod ruled;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::link::LinkId;
use crate::message::{Message, MessageId};
use crate::op::Number;
use crate::policy::Policies;
use crate::rules::Rules;
use crate::topology::{Name, Topology};
use crate::way::Way;
use channel::{Channel, Consumer, Hold, Unconfirmed};
use choice::Choice;
use copy::{Copy, CopyId, Group, Moment, Queue, QueueId};
use replies::Replies;
use routed_back::Unrouted;

/// Whether everything is as it should be, and otherwise what is not.
pub type Ruling = Result<(), String>;

/// What is known about everything that clients have done.
#[derive(Debug, Default)]
pub struct Oracle {
    topology: Topology,
    /// Unix time, milliseconds.
    now: u64,
    /// Number of the present call into the broker.
    call: u64,
    /// What was carried out in calls before this one is on disk.
    durable: u64,
    /// The call in which it was started last.
    started: u64,
    /// How often the broker was started.
    incarnation: u32,
    messages: Vec<Message>,
    /// The copies of each message.
    copies_of: Vec<Vec<CopyId>>,
    copies: Vec<Copy>,
    queues: Vec<Queue>,
    names: Vec<Option<QueueId>>,
    exchanges: Vec<Vec<Name>>,
    /// Bound to the direct exchange.
    direct: Vec<Name>,
    /// Bound to the exchange that keeps the last messages.
    remembering: Vec<Name>,
    /// What it has kept since the last start.
    history: VecDeque<MessageId>,
    /// Bound to the exchange that leads to others.
    leading: Vec<Name>,
    /// Which exchange leads to which.
    ways: Vec<Way>,
    choices: Vec<Choice>,
    /// The queues to which a hash leads, by what is hashed.
    learned: BTreeMap<String, Name>,
    policies: Policies,
    channels: BTreeMap<(LinkId, Number), Channel>,
    consumers: BTreeMap<u32, Consumer>,
    /// Those that were cancelled: the rest of a large message may still come, and what stands behind it.
    cancelled: BTreeMap<u32, Consumer>,
    /// The last call that has brought a connection a large message.
    large: BTreeMap<LinkId, u64>,
    /// Octets that may be on their way to each.
    window: u64,
    /// How many consumers there were.
    seats: u64,
    /// Channels that the broker has closed and the client has not.
    shut: BTreeSet<(LinkId, Number)>,
    /// Unconfirmed publishes of channels that were closed in this call.
    closing: BTreeMap<(LinkId, Number), VecDeque<Unconfirmed>>,
    /// Channels that the broker has to close, and what it has to say.
    closes: BTreeMap<(LinkId, Number), String>,
    /// Channels that were closed for a delivery that was late, and have not said so yet.
    overdue: BTreeMap<(LinkId, Number), Hold>,
    /// What has to come back to a channel.
    unrouted: BTreeMap<(LinkId, Number), VecDeque<Unrouted>>,
    replies: Replies,
    groups: Vec<Group>,
    /// Deaths of which one side at least must be there.
    deaths: Vec<(CopyId, CopyId)>,
    /// When the messages are due that wait, by message; 0 for the others.
    dues: Vec<u64>,
    /// What was due by then has come to its queue.
    come: u64,
}

impl Oracle {
    /// Nothing has happened.
    pub fn new(topology: Topology) -> Oracle {
        let names = vec![None; topology.queues.len()];
        let exchanges = vec![Vec::new(); topology.exchanges.len()];
        Oracle { topology, names, exchanges, ..Oracle::default() }
    }

    /// It is so late, in unix milliseconds.
    pub fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// The broker is called.
    pub fn begin_call(&mut self) {
        self.call += 1;
        self.closing.clear();
    }

    /// A message that somebody is going to publish. It gets its number.
    pub fn register(&mut self, message: Message) -> Message {
        let id = self.messages.len() as u32;
        let message = Message { id, ..message };
        self.dues.push(0);
        self.messages.push(message);
        self.copies_of.push(Vec::new());
        message
    }

    /// What counts for the queue of this name, if there is one.
    pub fn rules(&self, name: Name) -> Option<Rules> {
        self.names[name].map(|queue| self.queues[queue].rules)
    }

    /// Queues of these names are there.
    pub fn existing(&self) -> Vec<Name> {
        (0..self.names.len()).filter(|name| self.names[*name].is_some()).collect()
    }

    /// When the last message is due that waits.
    pub fn last_due(&self) -> u64 {
        self.dues.iter().copied().max().unwrap_or(0).max(self.last_wait())
    }

    /// What is due has come to its queue.
    pub fn all_has_come(&mut self) {
        self.come = self.now;
    }

    /// Who consumes from the queue, or waits for an answer to a get.
    fn is_read(&self, queue: QueueId) -> bool {
        self.consumers.values().any(|consumer| consumer.queue == queue)
            || self.channels.values().any(|channel| channel.gets_from(queue))
    }

    fn moment(&self) -> Moment {
        Moment { call: self.call, time: self.now }
    }

    fn describe(&self, id: CopyId) -> String {
        let copy = &self.copies[id];
        format!("message {} in queue q{} ({copy:?})", copy.message, self.queues[copy.queue].name)
    }
}
