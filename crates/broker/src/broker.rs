//! The node: its vhosts, users and connections, and the way to the definitions store.
//!
//! Invariant: it starts nothing and waits for nothing by itself; connections are driven from outside, through
//! [`Session`]s.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use warrenmq_protocol::{Millis, Settings};
use warrenmq_store::{CommitSeq, DefinitionError, DefinitionStore, DefinitionWriter};
use warrenmq_wire::method::{AMQPValue, FieldTable, LongString, ShortString};

use crate::access::{Credentials, LoginRefusal, LoopbackUsers, Permissions, User};
use crate::alarm::Alarms;
use crate::changes::Journalist;
use crate::dead_letter;
use crate::definitions;
use crate::directory::Directory;
use crate::inbox::{Inbox, Notice};
use crate::limits::Limits;
use crate::names::Names;
use crate::queue_cell::{ConnectionId, Scratch};
use crate::queue_ids::QueueIds;
use crate::restore::{self, RestoreError};
use crate::session::Session;
use crate::timers::Timers;
use crate::vhost::{Deletion, Vhost};

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its bounds.
    pub limits: Limits,
    /// Users that may only connect from this machine (`loopback_users`).
    pub loopback_users: Vec<String>,
    /// Made with all permissions when there is no user yet (`default_user`).
    pub default_user: String,
    /// Its password (`default_pass`).
    pub default_pass: String,
    /// Made when there is no vhost yet (`default_vhost`).
    pub default_vhost: String,
    /// `cluster_name` in the server properties.
    pub cluster_name: String,
    /// `product` in the server properties. Clients choose their behaviour by it (kombu's prefetch, for one), so it is RabbitMQ's
    /// unless an operator says otherwise; `platform` and `information` tell what this is.
    pub product: String,
    /// `version` in the server properties: the RabbitMQ release whose behaviour is followed.
    pub version: String,
    /// Where made-up names and salts come from.
    pub seed: [u8; 32],
    /// Unix time in milliseconds when the time that the broker is told was 0; for timestamps that clients see.
    pub epoch_ms: u64,
}

/// How definitions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// By a thread, in groups.
    Threaded,
    /// At once, in the caller's thread; for tests and simulation.
    Inline,
}

/// A running node.
pub struct Broker {
    pub(crate) limits: Limits,
    pub(crate) settings: Arc<Settings>,
    pub(crate) names: Names,
    options: Options,
    vhosts: RwLock<BTreeMap<String, Arc<Vhost>>>,
    directory: Directory,
    journalist: Journalist,
    waiting: Arc<Waiting>,
    connections: Mutex<HashMap<ConnectionId, Arc<Inbox>>>,
    next_connection: AtomicU64,
    timers: Arc<Timers>,
    queue_ids: Arc<QueueIds>,
    alarms: Alarms,
}

/// Connections that wait for definitions to be on disk.
#[derive(Debug, Default)]
struct Waiting {
    inboxes: Mutex<Vec<Arc<Inbox>>>,
}

impl Broker {
    /// Opens a node on what the store has; makes the default vhost and user when it has none. `on_failure` is called
    /// when definitions can no longer be written: the process has to stop then.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what cannot be.
    pub fn open(
        options: Options,
        mut store: Box<dyn DefinitionStore>,
        commits: Commits,
        on_failure: Box<dyn Fn(DefinitionError) + Send>,
    ) -> Result<Arc<Broker>, RestoreError> {
        let records = restore::read(store.as_mut())?;
        let waiting = Arc::new(Waiting::default());
        let on_durable = {
            let waiting = Arc::clone(&waiting);
            Box::new(move |_| waiting.notify_all())
        };
        let writer = match commits {
            Commits::Threaded => DefinitionWriter::spawn(store, on_durable, on_failure),
            Commits::Inline => DefinitionWriter::inline(store, on_durable, on_failure),
        };
        let broker = Broker {
            settings: Arc::new(settings(&options.limits)),
            limits: options.limits.clone(),
            names: Names::new(options.seed),
            directory: Directory::new(LoopbackUsers::new(options.loopback_users.clone())),
            options,
            vhosts: RwLock::default(),
            journalist: Journalist::new(Arc::new(writer)),
            waiting,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
            timers: Arc::default(),
            queue_ids: Arc::default(),
            alarms: Alarms::default(),
        };
        broker.queue_ids.start_above(restore::highest_queue(&records)?);
        restore::records(&broker, records)?;
        restore::defaults(&broker, &broker.options)?;
        Ok(Arc::new(broker))
    }

    /// Takes a connection that was accepted from `peer` at `now`.
    pub fn connect(self: &Arc<Self>, peer: SocketAddr, now: Millis) -> Session {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::new());
        self.connections.lock().insert(id, Arc::clone(&inbox));
        Session::new(Arc::clone(self), id, peer, inbox, now)
    }

    /// Asks every connection to close with 320 and this explanation.
    pub fn close_connections(&self, explanation: &str) {
        let inboxes: Vec<Arc<Inbox>> = self.connections.lock().values().cloned().collect();
        for inbox in inboxes {
            inbox.notify(Notice::Close(explanation.to_owned()));
        }
    }

    /// Connections that are there, whether their handshake is done or not.
    pub fn connection_count(&self) -> usize {
        self.connections.lock().len()
    }

    /// What it is short of.
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The bounds it was opened with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes in a definitions.json; what is there already stays. Returns a line for everything that this version does not
    /// support.
    ///
    /// # Errors
    /// When it is not a definitions file, or something in it is refused.
    pub fn load_definitions(&self, json: &[u8]) -> Result<Vec<String>, RestoreError> {
        restore::json(self, json)
    }

    /// All durable definitions in RabbitMQ's format.
    pub fn export_definitions(&self) -> Vec<u8> {
        restore::export(self)
    }

    /// Number of the last change to the definitions that is on disk.
    pub fn definitions_version(&self) -> u64 {
        self.durable().0
    }

    /// Blocks until all definitions of now are on disk. For the start, before clients are told that the broker is ready: their
    /// own definitions are waited for without blocking.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn settle(&self) -> Result<(), DefinitionError> {
        self.journalist.settle()
    }

    /// Writes what is left and stops the store. Connections must be gone.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(&self) -> Result<(), DefinitionError> {
        self.journalist.close()
    }

    /// The RabbitMQ release whose behaviour is followed.
    pub(crate) fn follows(&self) -> &str {
        &self.options.version
    }

    /// Does what is due for queues at `now`: messages and queues that expire.
    pub fn handle_timers(&self, now: Millis) {
        let mut scratch = Scratch { now, ..Scratch::default() };
        let window = self.limits.queue_window_octets;
        while let Some(queue) = self.timers.take_due(now) {
            let Some(queue) = queue.upgrade() else { continue };
            if queue.deadline(window, &mut scratch)
                && let Some(vhost) = self.vhost(&queue.info.vhost)
            {
                let unused = Deletion { if_unused: true, if_empty: false };
                if let Err(exception) = vhost.delete_queue(&queue, unused, &self.journalist, &mut scratch) {
                    tracing::debug!("{} did not expire: {}", queue.named(), exception.explanation);
                }
            }
            self.finish(&mut scratch);
        }
    }

    /// When [`Broker::handle_timers`] is next due; `waker` is woken when that becomes sooner.
    pub fn next_timer(&self, waker: &std::task::Waker) -> Option<Millis> {
        self.timers.register(waker);
        self.timers.next()
    }

    /// Sends dead letters on, then wakes whom they and others have reached.
    pub(crate) fn finish(&self, scratch: &mut Scratch) {
        dead_letter::publish(self, scratch);
        scratch.touched.wake_all();
    }

    pub(crate) fn epoch_ms(&self) -> u64 {
        self.options.epoch_ms
    }

    pub(crate) fn disconnected(&self, id: ConnectionId) {
        self.connections.lock().remove(&id);
    }

    pub(crate) fn journalist(&self) -> &Journalist {
        &self.journalist
    }

    pub(crate) fn durable(&self) -> CommitSeq {
        self.journalist.durable()
    }

    /// Tells the inbox [`Notice::Durable`] once definitions up to `seq` may be on disk.
    pub(crate) fn wait_durable(&self, inbox: &Arc<Inbox>, seq: CommitSeq) {
        self.waiting.inboxes.lock().push(Arc::clone(inbox));
        // The commit may have ended before the inbox stood in the list.
        if self.durable() >= seq {
            self.waiting.notify_all();
        }
    }

    pub(crate) fn log_in(
        &self,
        credentials: &Credentials<'_>,
        peer: IpAddr,
    ) -> Result<Arc<User>, LoginRefusal> {
        self.directory.log_in(credentials, peer)
    }

    pub(crate) fn permissions(&self, user: &str, vhost: &str) -> Option<Arc<Permissions>> {
        self.directory.permissions(user, vhost)
    }

    pub(crate) fn access_generation(&self) -> u64 {
        self.directory.generation()
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.read().get(name).cloned()
    }

    pub(crate) fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.vhosts.read().values().cloned().collect()
    }

    /// The vhost of that name, made if need be; says whether it is new.
    pub(crate) fn add_vhost(&self, definition: &definitions::Vhost) -> (Arc<Vhost>, bool) {
        let mut vhosts = self.vhosts.write();
        if let Some(vhost) = vhosts.get(&definition.name) {
            return (Arc::clone(vhost), false);
        }
        let vhost = Arc::new(Vhost::new(definition.clone(), &self.timers, &self.queue_ids));
        vhosts.insert(definition.name.clone(), Arc::clone(&vhost));
        (vhost, true)
    }

    /// What connection.start tells clients. Only capabilities that are there.
    pub(crate) fn server_properties(&self) -> FieldTable {
        let mut capabilities = FieldTable::default();
        for name in [
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "consumer_priorities",
            "direct_reply_to",
            "per_consumer_qos",
            "authentication_failure_close",
        ] {
            insert(&mut capabilities, name, AMQPValue::Boolean(true));
        }
        let mut properties = FieldTable::default();
        let platform = concat!("WarrenMQ ", env!("CARGO_PKG_VERSION"));
        for (name, text) in [
            ("product", self.options.product.as_str()),
            ("version", self.options.version.as_str()),
            ("platform", platform),
            ("copyright", "Copyright the WarrenMQ authors"),
            ("information", "Licensed under the Apache License 2.0"),
            ("cluster_name", self.options.cluster_name.as_str()),
        ] {
            insert(&mut properties, name, AMQPValue::LongString(LongString::from(text)));
        }
        insert(&mut properties, "capabilities", AMQPValue::FieldTable(capabilities));
        properties
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("connections", &self.connection_count()).finish_non_exhaustive()
    }
}

impl Waiting {
    fn notify_all(&self) {
        let inboxes = std::mem::take(&mut *self.inboxes.lock());
        for inbox in inboxes {
            inbox.notify(Notice::Durable);
        }
    }
}

fn insert(table: &mut FieldTable, name: &str, value: AMQPValue) {
    let name = ShortString::try_new(name).expect("invariant: names of properties are short");
    table.insert(name, value);
}

fn settings(limits: &Limits) -> Settings {
    Settings {
        frame_max: limits.frame_max,
        frame_max_min: limits.frame_max_min,
        handshake_frame_max: limits.handshake_frame_max,
        channel_max: limits.channel_max,
        heartbeat: limits.heartbeat_seconds,
        handshake_timeout: limits.handshake_timeout_ms,
        message_size_max: limits.message_size_max,
        assembly_octets_max: limits.assembly_octets_max,
    }
}
