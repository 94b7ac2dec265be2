//! One client connection inside the broker: from octets to queues and back, without sockets, threads or clocks.
//!
//! The driver of the socket calls, in this order: [`Session::handle_input`] with what was read, [`Session::handle_inbox`]
//! when woken, [`Session::handle_timeout`] when the deadline has passed, then [`Session::fill`] and
//! [`Session::transmit`] for what is to be written; before it sleeps it looks at [`Inbox::is_notified`]. Invariants: locks are
//! taken inside these calls and never kept; other connections are woken at the end of each call, when all locks are free;
//! publishes and settlements that gathered are carried out before any other method, and before the call returns; publishes alone
//! may wait longer, for input that [`Session::expect_input`] has announced.

mod ack_timeout;
mod alike;
mod blocked;
mod channel;
mod consume;
mod consumers;
mod declare;
mod delay;
mod deliver;
mod direct_reply;
mod fronts;
mod handshake;
mod history;
mod lanes;
mod leave;
mod out;
mod promises;
mod publish;
mod publisher;
mod remembered;
mod settle;
mod transaction;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use warrenmq_protocol::{Connection, Event, Exception, Expired, Fault, Millis, Tail};
use warrenmq_queue::Run;
use warrenmq_routing::QueueId;
use warrenmq_store::CommitSeq;
use warrenmq_wire::method::{self, Method};
use warrenmq_wire::reply::ReplyCode;

use crate::access::{Access, Grants, Permissions, Resource, User, access_refused};
use crate::broker::Broker;
use crate::chance::Chance;
use crate::count::Place;
use crate::directory::UserLoad;
use crate::inbox::{Inbox, Mail, Notice};
use crate::limits::Limits;
use crate::queue_cell::{ConnectionId, QueueCell, Scratch};
use crate::storage::{Inside, Point};
use crate::vhost::{Asker, Picture, Vhost};
use channel::Channels;
use consumers::Sources;
use deliver::Pending;
use handshake::Login;
use out::Out;
use promises::Promises;
use publisher::Publisher;
use settle::{Acks, Settlement};

/// A connection as the broker sees it.
#[derive(Debug)]
pub struct Session {
    broker: Arc<Broker>,
    id: ConnectionId,
    peer: SocketAddr,
    connection: Connection,
    inbox: Arc<Inbox>,
    out: Out,
    login: Login,
    /// Since connection.open.
    home: Option<Box<Home>>,
    channels: Channels,
    sources: Sources,
    /// Deliveries that are not encoded yet.
    pending: VecDeque<Pending>,
    settlements: Vec<Settlement>,
    /// Some of them give messages back: they come before what is published next.
    gives_back: bool,
    /// Of the last input.
    acks: Acks,
    /// See [`Session::octets_at_once`].
    octets_at_once: usize,
    scratch: Scratch,
    mail: Mail,
    /// The driver has more input at hand.
    more_input: bool,
    /// What this publisher waits for.
    waits: Option<Wait>,
    /// The run that the message stands in which is being published, if it was large.
    adopted: Option<Run>,
    /// It has published during an alarm.
    blocked: bool,
    /// Some channel has publishes that are not confirmed.
    unconfirmed: bool,
    promises: Promises,
    /// Where the last publishes stand in the journal.
    point: Point,
    /// The broker knows that this connection waits for the disk.
    awaits_disk: bool,
    /// A basic.get that waits until its queue has read its head back.
    fetch: Option<Fetch>,
    exclusive_queues: BTreeMap<QueueId, Arc<QueueCell>>,
    /// When deliveries that wait for their acknowledgement are looked at; `None`: none does, or it may for ever.
    acks_due: Option<Millis>,
    now: Millis,
    released: bool,
    closed_by_peer: bool,
}

/// What a publisher waits for.
#[derive(Debug)]
enum Wait {
    /// A queue whose window is full.
    Queue {
        queue: Arc<QueueCell>,
        /// Octets that were ready when it began, or last looked.
        ready: u64,
        /// When it looks again.
        until: Millis,
    },
    /// The disk is behind.
    Disk,
}

/// A basic.get.
#[derive(Debug)]
struct Fetch {
    channel: u16,
    queue: Arc<QueueCell>,
    no_ack: bool,
}

/// Where the user is and what it may do.
#[derive(Debug)]
struct Home {
    vhost: Arc<Vhost>,
    user: Arc<User>,
    permissions: Option<Arc<Permissions>>,
    grants: Grants,
    picture: Arc<Picture>,
    generation: u64,
    /// From the first publish on.
    publisher: Option<Box<Publisher>>,
    /// From the first message on that is routed by chance.
    chance: Option<Chance>,
    /// It counts among the connections of its vhost and its user; until it is released.
    places: Option<(Place, Place)>,
    load: UserLoad,
}

impl Session {
    pub(crate) fn new(
        broker: Arc<Broker>,
        id: ConnectionId,
        peer: SocketAddr,
        inbox: Arc<Inbox>,
        now: Millis,
    ) -> Session {
        Session {
            connection: Connection::new(Arc::clone(&broker.settings), now),
            broker,
            id,
            peer,
            inbox,
            out: Out::default(),
            login: Login::default(),
            home: None,
            channels: Channels::default(),
            sources: Sources::default(),
            pending: VecDeque::new(),
            settlements: Vec::new(),
            gives_back: false,
            acks: Acks::default(),
            octets_at_once: 0,
            scratch: Scratch { now, ..Scratch::default() },
            mail: Mail::default(),
            more_input: false,
            waits: None,
            adopted: None,
            blocked: false,
            unconfirmed: false,
            promises: Promises::default(),
            point: Point::default(),
            awaits_disk: false,
            fetch: None,
            exclusive_queues: BTreeMap::new(),
            acks_due: None,
            now,
            released: false,
            closed_by_peer: false,
        }
    }

    /// Where others put things down for this connection; the driver registers its waker here.
    pub fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Takes whole frames from `input` and carries them out; returns how many octets it used. Fewer than all are used when the
    /// last frame is not whole, or when too much waits to be written or this publisher has to wait: then the driver offers the rest
    /// again after [`Session::wants_input`].
    pub fn handle_input(&mut self, now: Millis, input: &[u8]) -> usize {
        let _inside = self.begin(now);
        self.connection.received(now);
        self.refresh();
        self.acks = Acks::default();
        let mut rest = input;
        loop {
            self.connection.hold_contents(self.broker.alarms().is_set());
            while self.out.len() <= self.limits().outbox_octets_max && self.fetch.is_none() {
                if self.publish_whole(&mut rest) {
                    continue;
                }
                let Some(event) = self.connection.next(&mut rest) else { break };
                self.handle(event);
            }
            // An alarm that has ended meanwhile has held up nothing.
            if !self.connection.is_held_up() || self.block() {
                break;
            }
        }
        let used = input.len() - rest.len();
        self.finish_batch(used);
        self.octets_at_once = self.acks.octets_at_once(used);
        used
    }

    /// How many octets of input had better come at once, after what the last input was; 0 is as they come. When a consumer
    /// acknowledges each message on its own, a driver that waits for so much, though no longer than about a millisecond, saves
    /// most of the work, and the consumer has enough messages in the meantime.
    pub fn octets_at_once(&self) -> usize {
        self.octets_at_once
    }

    /// Says whether more input is at hand than the next [`Session::handle_input`] gets. Then publishes may wait for it, so that
    /// queues get more at once; the driver has to read on, or to call [`Session::end_input`].
    pub fn expect_input(&mut self, more: bool) {
        self.more_input = more;
    }

    /// There is no more input for now: what has waited for it is carried out.
    pub fn end_input(&mut self, now: Millis) {
        self.more_input = false;
        if self.publisher().is_some_and(|publisher| publisher.any_open()) {
            let _inside = self.begin(now);
            self.finish_batch(0);
        }
    }

    /// Where the next octets of the input belong, if they are of a large body: they may be appended there without a detour, and at most
    /// so many of them. Then call [`Session::took_direct`], before anything else.
    pub fn direct(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        self.connection.direct()
    }

    /// Takes in what was appended to [`Session::direct`]; what is returned has to be given to [`Session::handle_input`], also if it
    /// is empty.
    pub fn took_direct(&mut self) -> Tail {
        self.connection.took_direct()
    }

    /// Takes in what others have put down.
    pub fn handle_inbox(&mut self, now: Millis) {
        let _inside = self.begin(now);
        self.receive_mail();
        self.finish_batch(0);
    }

    /// Does what is due at `now`. `Some`: the connection has to end.
    pub fn handle_timeout(&mut self, now: Millis) -> Option<Expired> {
        let _inside = self.begin(now);
        let (window, step) = (self.window(), self.limits().queue_window_wait_ms);
        if let Some(Wait::Queue { queue, ready, until }) = &mut self.waits
            && now >= *until
        {
            match queue.wait_on(&self.inbox, *ready, window) {
                Some(more) => (*ready, *until) = (more, now + step),
                None => self.waits = None,
            }
        }
        if self.acks_due.is_some_and(|at| now >= at) {
            self.check_acks();
            self.finish_batch(0);
        }
        if self.connection.timeout().is_none_or(|at| now < at) {
            return None;
        }
        self.connection.handle_timeout(now, self.out.buffer())
    }

    /// When [`Session::handle_timeout`] is next due.
    pub fn timeout(&self) -> Option<Millis> {
        let wait = match &self.waits {
            Some(Wait::Queue { until, .. }) => Some(*until),
            _ => None,
        };
        [self.connection.timeout(), wait, self.acks_due].into_iter().flatten().min()
    }

    /// Whether the socket may be read: not while much waits to be written, and not while this publisher waits for a queue, for
    /// the disk or for the end of an alarm.
    pub fn wants_input(&self) -> bool {
        let waits = self.waits.is_some() || self.fetch.is_some() || self.blocked;
        !waits && self.out.len() <= self.limits().outbox_octets_max
    }

    /// Whether deliveries wait to be encoded by [`Session::fill`].
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty() && !self.out.is_held()
    }

    /// What may be written now: all of it, or as much as lies in one place if it [is in pieces](Session::is_in_pieces). Empty only if
    /// nothing may be written.
    pub fn transmit(&self) -> &[u8] {
        self.out.transmit()
    }

    /// Whether large bodies wait, which are written from where they lie: see [`Session::transmit_pieces`].
    pub fn is_in_pieces(&self) -> bool {
        self.out.is_in_pieces()
    }

    /// What may be written now, as far as there are `pieces` for it; returns how many it took.
    pub fn transmit_pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>]) -> usize {
        self.out.transmit_pieces(pieces)
    }

    /// `count` octets of [`Session::transmit`] or [`Session::transmit_pieces`] were written.
    pub fn sent(&mut self, now: Millis, count: usize) {
        self.connection.sent(now);
        self.out.advance(count);
    }

    /// Lends the session a buffer to write into while it is active.
    pub fn lend(&mut self, spare: &mut Vec<u8>) {
        self.out.lend(spare);
    }

    /// Takes the buffer back if it is empty.
    pub fn reclaim(&mut self, spare: &mut Vec<u8>) {
        self.out.reclaim(spare);
    }

    /// Whether the connection is over: the socket goes once everything is written.
    pub fn is_finished(&self) -> bool {
        self.connection.is_gone() && self.out.len() == 0
    }

    /// The connection is over, or about to be dropped: what ends with it ends at `now`.
    pub fn end(&mut self, now: Millis) {
        let _inside = self.begin(now);
        self.release();
    }

    /// Whether the peer closes the socket: after its connection.close RabbitMQ leaves that to it.
    pub fn awaits_end_of_input(&self) -> bool {
        self.closed_by_peer
    }

    /// Whether the peer has said connection.close and had better not be answered in the same moment: see
    /// [`Peer::close_ok_later`](warrenmq_protocol::Peer::close_ok_later).
    pub fn holds_close_ok(&self) -> bool {
        self.closed_by_peer && self.connection.peer().close_ok_later
    }

    /// Begins a batch, which ends when what is returned is dropped, after [`Broker::finish`].
    #[must_use]
    fn begin(&mut self, now: Millis) -> Inside {
        self.now = now;
        self.scratch.now = now;
        self.broker.enter(&mut self.scratch)
    }

    fn limits(&self) -> &Limits {
        &self.broker.limits
    }

    fn window(&self) -> u64 {
        self.broker.limits.queue_window_octets
    }

    fn asker(&self) -> Asker {
        Asker { connection: self.id }
    }

    #[inline]
    fn handle(&mut self, event: Event<'_>) {
        match event {
            Event::Publish(publish) => {
                self.publish(publish);
            }
            Event::Assembled(message) => self.publish_assembled(*message),
            Event::Ack(number, ack) => self.ack(number, ack),
            Event::Nack(number, nack) => self.nack(number, nack),
            Event::Reject(number, reject) => self.reject(number, reject),
            other => {
                self.flush();
                self.handle_cold(other);
                self.refresh();
            }
        }
    }

    fn handle_cold(&mut self, event: Event<'_>) {
        match event {
            Event::Method(number, method) => self.method(number, *method),
            Event::ChannelOpen(number) => self.open_channel(number),
            Event::ChannelClose(number) => {
                self.leave_channel(number);
                self.connection.channel_closed(number, self.out.buffer());
            }
            Event::ChannelFreed(_) => {}
            Event::Fault(fault) => self.fail(&fault),
            Event::Close => {
                self.release();
                self.closed_by_peer = true;
                self.connection.close_ok(self.out.buffer());
            }
            Event::Gone => self.release(),
            handshake => self.handshake(handshake),
        }
    }

    /// Everything that is not on the path of a message.
    fn method(&mut self, number: u16, method: Method) {
        let (class, id) = method::method_ids(&method);
        let done = match method {
            Method::Exchange(method) => self.exchange_method(number, method),
            Method::Queue(method) => self.queue_method(number, method),
            Method::Basic(method) => self.basic_method(number, method),
            Method::Confirm(_) => self.confirm_select(number, &method),
            Method::Tx(method) => self.tx_method(number, method),
            Method::Access(_) => {
                put_access_request_ok(self.out.buffer(), number);
                Ok(())
            }
            Method::Channel(method) => self.channel_method(number, method),
            _ => Err(unimplemented()),
        };
        if let Err(exception) = done {
            self.fail(&exception.at(class, id).on(number));
        }
    }

    fn channel_method(&mut self, number: u16, channel: method::channel::AMQPMethod) -> Result<(), Exception> {
        use method::channel::{AMQPMethod, FlowOk};
        match channel {
            AMQPMethod::Flow(flow) if flow.active => {
                self.reply(number, Method::Channel(AMQPMethod::FlowOk(FlowOk { active: true })));
                Ok(())
            }
            AMQPMethod::Flow(_) => Err(crate::refusal::not_implemented("active=false")),
            AMQPMethod::FlowOk(_) => Ok(()),
            _ => Err(unimplemented()),
        }
    }

    /// Closes a channel or the connection after what came before is carried out.
    fn fail(&mut self, fault: &Fault) {
        self.flush();
        match fault {
            Fault::Channel(number, exception) => {
                tracing::info!(
                    connection = self.id,
                    channel = number,
                    "channel closed: {}",
                    exception.reply_text()
                );
                self.connection.fail(self.now, fault, self.out.buffer());
                self.leave_channel(*number);
            }
            Fault::Connection(exception) => {
                tracing::info!(connection = self.id, "connection closed: {}", exception.reply_text());
                self.release();
                self.connection.fail(self.now, fault, self.out.buffer());
            }
        }
    }

    fn reply(&mut self, number: u16, method: Method) {
        if method::put(self.out.buffer(), number, &method).is_err() {
            // Only a server-made string could be too long; the peer's were checked when they were parsed.
            tracing::error!(connection = self.id, "a reply could not be encoded");
        }
    }

    /// Makes what follows wait until these definitions are on disk.
    fn hold(&mut self, seq: Option<CommitSeq>) {
        if let Some(seq) = seq {
            self.out.hold(Point { seq, ..Point::default() });
        }
    }

    /// Lets the broker tell this connection when something becomes durable, if it waits for that.
    fn await_disk(&mut self) {
        if !self.awaits_disk {
            for point in [self.out.waits_for(), self.promises.waits_for()].into_iter().flatten() {
                self.awaits_disk = true;
                self.broker.wait_durable(&self.inbox, point);
            }
        }
    }

    /// Refuses what the user may not do.
    fn permit(&mut self, access: Access, resource: Resource<'_>) -> Result<(), Exception> {
        let generation = self.broker.access_generation();
        let Some(home) = self.home.as_mut() else { return Err(unimplemented()) };
        if home.grants.allow(generation, home.permissions.as_deref(), access, resource) {
            return Ok(());
        }
        Err(crate::refusal::refused(access_refused(access, resource, &home.vhost.name, &home.user.name)))
    }

    #[inline]
    fn publisher(&mut self) -> Option<&mut Publisher> {
        self.home.as_mut()?.publisher.as_deref_mut()
    }

    /// A number for a message whose route may be left to chance.
    fn draw_chance(&mut self) -> u64 {
        let Some(home) = &mut self.home else { return 0 };
        home.chance.get_or_insert_with(|| Chance::new(&self.broker.names)).next()
    }

    fn vhost(&self) -> Result<Arc<Vhost>, Exception> {
        self.home.as_ref().map(|home| Arc::clone(&home.vhost)).ok_or_else(unimplemented)
    }

    /// Looks at the vhost's picture again if it has changed.
    fn refresh(&mut self) {
        let Some(home) = &self.home else { return };
        let generation = home.vhost.generation();
        if home.generation != generation {
            // What was routed by the old picture goes where that says.
            self.flush_lanes();
            if let Some(home) = &mut self.home {
                home.generation = generation;
                home.picture = home.vhost.picture();
                home.publisher = None;
            }
        }
    }

    /// Carries out what has gathered.
    fn flush(&mut self) {
        self.flush_publishes();
        self.flush_settlements();
    }

    /// Ends a batch that has used so many octets of input.
    fn finish_batch(&mut self, octets: usize) {
        if !self.gathers(octets) {
            self.flush_lanes();
            if self.inbox.is_notified() && self.channels.iter_mut().any(|channel| channel.unconfirmed) {
                // What this connection publishes to itself is delivered before it is confirmed, in one write, as by RabbitMQ.
                self.receive_mail();
                self.fill(self.limits().write_buffer_octets);
            }
            self.flush_publishes();
        }
        self.flush_settlements();
        self.finish();
        self.await_disk();
    }

    /// Ends the work on queues: wakes whom it has reached, but for this connection itself.
    fn finish(&mut self) {
        self.scratch.touched.leave_out(&self.inbox);
        self.broker.finish(&mut self.scratch);
    }

    /// Whether publishes wait for more input.
    fn gathers(&mut self, octets: usize) -> bool {
        let (more, now) = (self.more_input, self.now);
        let publisher = self.publisher().filter(|publisher| more && publisher.any_open());
        publisher.is_some_and(|publisher| publisher.gathers(octets, now))
    }

    fn receive_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.mail);
        if self.inbox.swap(&mut mail) {
            for (key, delivery) in mail.deliveries.drain(..) {
                self.pending.push_back(Pending::new(key, delivery));
            }
            for notice in mail.notices.drain(..) {
                self.notice(notice);
            }
        }
        if mail.deliveries.capacity() > 1024 {
            mail.deliveries = Vec::new();
        }
        self.mail = mail;
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Hungry(key) => self.hungry(key),
            Notice::Cancelled(key) => self.cancelled_by_queue(key),
            Notice::Drained => self.waits = None,
            Notice::Unblocked => self.unblock(),
            Notice::Durable => {
                self.awaits_disk = false;
                self.out.release(self.broker.durable());
                self.keep_promises();
            }
            Notice::Loaded => self.fetch_again(),
            Notice::Close(reason) => {
                self.fail(&Fault::Connection(Exception::new(ReplyCode::ConnectionForced, reason)));
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _inside = self.begin(self.now);
        self.release();
        self.broker.finish(&mut self.scratch);
        self.broker.disconnected(self.id);
    }
}

fn unimplemented() -> Exception {
    Exception::new(ReplyCode::CommandInvalid, "unimplemented method")
}

/// access.request-ok with ticket 1, RabbitMQ's answer to everybody. Written by hand: the generated method has no ticket.
fn put_access_request_ok(out: &mut Vec<u8>, number: u16) {
    let [high, low] = number.to_be_bytes();
    out.extend_from_slice(&[1, high, low, 0, 0, 0, 6, 0, 30, 0, 11, 0, 1, warrenmq_wire::frame::END]);
}
