//! One client: what it knows from what it has read, which may be less than what the broker has said.
//!
//! Invariant: it never breaks the protocol: it settles what it was given, once, and asks nothing more while it waits for an answer.

use std::collections::{BTreeMap, VecDeque};

use crate::frames::{Arguments, Heard, PAYLOAD_MAX, PROTOCOL_HEADER, Said, ids, put_method};
use crate::link::Link;
use crate::op::{Ask, Number, Op};
use crate::topology::Topology;

/// A client with its connection.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub link: Link,
    /// Open channels.
    pub channels: BTreeMap<Number, View>,
    /// What it waits for an answer to.
    waiting: Option<Op>,
    /// What it asks next.
    todo: VecDeque<Op>,
    /// connection.open-ok has come.
    is_open: bool,
    /// connection.close-ok has come.
    pub is_closed: bool,
}

/// A channel as the client sees it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What it does.
    pub mode: Mode,
    /// Deliveries to be settled.
    pub unsettled: Vec<u64>,
    /// Deliveries that were settled in the open transaction.
    pub in_transaction: Vec<u64>,
    /// Consumers, and whether they acknowledge when a message is sent.
    pub consumers: BTreeMap<u32, bool>,
    /// They share a prefetch.
    pub shares: bool,
    /// The one that gets replies.
    pub gets_replies: Option<u32>,
}

/// What a channel does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing special.
    #[default]
    Plain,
    /// Confirms.
    Confirm,
    /// Transactions.
    Tx,
}

impl Client {
    /// A client that has begun its handshake.
    pub fn new(mut link: Link) -> Client {
        link.write(PROTOCOL_HEADER);
        Client {
            link,
            channels: BTreeMap::new(),
            waiting: None,
            todo: VecDeque::new(),
            is_open: false,
            is_closed: false,
        }
    }

    /// Whether it may ask for something.
    pub fn is_free(&self) -> bool {
        self.is_open && !self.is_closed && self.waiting.is_none() && self.todo.is_empty()
    }

    /// Whether it has something to ask that it did not ask yet.
    pub fn has_todo(&self) -> bool {
        self.is_open && self.waiting.is_none() && !self.todo.is_empty()
    }

    /// Whether it waits for the answer to a get.
    pub fn waits_for_get(&self) -> bool {
        matches!(self.waiting, Some(Op { ask: Ask::Get { .. }, .. }))
    }

    /// Whether it waits for a commit: until that is on disk it hears of nothing else.
    pub fn waits_for_commit(&self) -> bool {
        matches!(self.waiting, Some(Op { ask: Ask::Commit, .. }))
    }

    /// Puts an operation behind the others.
    pub fn plan(&mut self, op: Op) {
        self.todo.push_back(op);
    }

    /// Sends what may be sent; says what.
    pub fn send(&mut self, topology: &Topology, addresses: &[String]) -> Option<Op> {
        if !self.is_open || self.waiting.is_some() {
            return None;
        }
        let op = self.todo.pop_front()?;
        if let Some(view) = self.channels.get_mut(&op.channel) {
            view.asks(&op.ask);
        }
        self.link.ask(op.clone(), |op, out| op.write(topology, addresses, out));
        if op.is_call() {
            self.waiting = Some(op.clone());
        }
        Some(op)
    }

    /// Reads one thing that has come; says what.
    pub fn read(&mut self) -> Option<Heard> {
        let heard = self.link.read()?;
        match &heard.said {
            Said::Deliver { consumer, tag, .. } => {
                if let Some(view) = self.channels.get_mut(&heard.channel)
                    && view.consumers.get(consumer) != Some(&true)
                {
                    view.unsettled.push(*tag);
                }
            }
            Said::GetOk { tag, .. } => {
                let waiting = self.waiting.take();
                if let (Some(Op { ask: Ask::Get { no_ack: false, .. }, .. }), Some(view)) =
                    (waiting, self.channels.get_mut(&heard.channel))
                {
                    view.unsettled.push(*tag);
                }
            }
            Said::Return { .. } | Said::Ack(..) | Said::Nack(..) => {}
            Said::Close(..) => self.closed(heard.channel),
            Said::Reply(id, _) if !self.is_open => self.shake_hands(*id),
            Said::Reply(..) => {
                if let Some(op) = self.waiting.take() {
                    self.answered(&op);
                }
            }
        }
        Some(heard)
    }

    /// The broker has closed a channel: what was to be asked on it is forgotten, and it is opened again.
    fn closed(&mut self, channel: Number) {
        self.channels.remove(&channel);
        self.todo.retain(|op| op.channel != channel);
        match self.waiting.as_ref().map(|op| (op.channel, &op.ask)) {
            // Its own close has met the broker's, and will be answered, which does not answer that.
            Some((_, Ask::CloseConnection)) => return,
            Some((on, Ask::CloseChannel)) if on == channel => {}
            Some((on, _)) if on == channel => self.waiting = None,
            _ => {}
        }
        self.todo.push_front(Op { channel, ask: Ask::OpenChannel });
        self.todo.push_front(Op { channel, ask: Ask::CloseOk });
    }

    fn shake_hands(&mut self, id: (u16, u16)) {
        let mut out = Vec::new();
        match id {
            ids::CONNECTION_START => {
                let login = Arguments::new().longstr(&[]).shortstr("PLAIN").longstr(b"\0guest\0guest");
                put_method(&mut out, 0, ids::CONNECTION_START_OK, &login.shortstr("en_US"));
            }
            ids::CONNECTION_TUNE => {
                let tuning = Arguments::new().short(100).long(PAYLOAD_MAX as u32 + 8).short(0);
                put_method(&mut out, 0, ids::CONNECTION_TUNE_OK, &tuning);
                let open = Arguments::new().shortstr("/").shortstr("").octet(0);
                put_method(&mut out, 0, ids::CONNECTION_OPEN, &open);
            }
            _ => self.is_open = true,
        }
        self.link.write(&out);
    }

    fn answered(&mut self, op: &Op) {
        let view = self.channels.get_mut(&op.channel);
        match (&op.ask, view) {
            (Ask::OpenChannel, _) => {
                self.channels.insert(op.channel, View::default());
            }
            (Ask::CloseChannel, _) => {
                self.channels.remove(&op.channel);
            }
            (Ask::CloseConnection, _) => self.is_closed = true,
            (Ask::Confirm, Some(view)) => view.mode = Mode::Confirm,
            (Ask::Tx, Some(view)) => view.mode = Mode::Tx,
            (Ask::Commit, Some(view)) => view.in_transaction.clear(),
            (Ask::Rollback, Some(view)) => {
                view.unsettled.append(&mut view.in_transaction);
                view.unsettled.sort_unstable();
            }
            (Ask::Recover, Some(view)) => view.unsettled.clear(),
            (Ask::Cancel(consumer), Some(view)) => {
                view.consumers.remove(consumer);
                view.gets_replies.take_if(|replies| replies == consumer);
            }
            _ => {}
        }
    }
}

impl View {
    /// What is asked for now.
    fn asks(&mut self, ask: &Ask) {
        match ask {
            Ask::Settle { tag, multiple, .. } => self.settle(*tag, *multiple),
            Ask::Consume { consumer, no_ack, .. } => {
                self.consumers.insert(*consumer, *no_ack);
            }
            Ask::ConsumeReplies(consumer) => {
                self.consumers.insert(*consumer, true);
                self.gets_replies = Some(*consumer);
            }
            Ask::Prefetch(_) => self.shares = false,
            Ask::Share(_) => self.shares = true,
            _ => {}
        }
    }

    fn settle(&mut self, tag: u64, multiple: bool) {
        let is_meant = |other: &u64| *other == tag || (multiple && *other < tag);
        if self.mode == Mode::Tx {
            self.in_transaction.extend(self.unsettled.iter().copied().filter(is_meant));
        }
        self.unsettled.retain(|other| !is_meant(other));
    }
}
