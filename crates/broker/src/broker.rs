//! The node: its vhosts, users and connections, and the way to the definitions store.
//!
//! Invariant: it starts nothing and waits for nothing by itself; connections are driven from outside, through
//! [`Session`]s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use warrenmq_protocol::{Millis, Settings};
use warrenmq_store::{
    CommitSeq, DefinitionError, DefinitionStore, DefinitionWriter, Disk, Journal, JournalOptions,
    SegmentOptions, Segments, Step, StoreError, TornTail,
};
use warrenmq_wire::method::{AMQPValue, FieldTable, LongString, ShortString};

use crate::access::{Credentials, LoginRefusal, LoopbackUsers, Permissions, User};
use crate::alarm::Alarms;
use crate::changes::Journalist;
use crate::dead_letter;
use crate::definitions;
use crate::delayed::{self, Delays, is_slot};
use crate::directory::Directory;
use crate::failure::{Failure, OnFailure};
use crate::inbox::{Inbox, Notice};
use crate::limits::Limits;
use crate::lock::{Rank, Ranked};
use crate::names::Names;
use crate::queue_cell::{ConnectionId, Scratch};
use crate::queue_ids::QueueIds;
use crate::restore::{self, RestoreError};
use crate::session::Session;
use crate::storage::{self, Inside, Point, Progress, Storage, Threads, Waiting};
use crate::timers::{Due, Timers};
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
    /// The time at the start.
    pub now: Millis,
    /// What a confirm promises.
    pub durability: Durability,
    /// The type of queues that do not say it, in vhosts that do not say it either (`default_queue_type`).
    pub default_queue_type: String,
}

/// What a confirm of a persistent message in durable queues promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk: it survives a power cut.
    #[default]
    Fsync,
    /// The system has it: it survives the end of the process. What RabbitMQ's classic queues promise.
    Os,
}

/// Who writes definitions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commits {
    /// Threads, in groups.
    Threaded,
    /// The caller, at once; what leaves memory is written by [`Broker::step`]. For tests.
    Inline,
    /// Definitions at once, messages by [`Broker::step`] alone. For simulation.
    Stepped,
}

/// The three that move messages between queues and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// Writes a group of the journal.
    Commit,
    /// Moves messages to segments, and lets go of files.
    Write,
    /// Reads a block back.
    Read,
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
    storage: Arc<Storage>,
    commits: Commits,
    threads: Mutex<Option<Threads>>,
    on_failure: OnFailure,
    connections: Mutex<HashMap<ConnectionId, Arc<Inbox>>>,
    next_connection: AtomicU64,
    timers: Arc<Timers>,
    queue_ids: Arc<QueueIds>,
    delays: Arc<Delays>,
    alarms: Alarms,
    /// Parameters of the whole node. Whoever changes a user does that under this lock too, so that changes reach the store in
    /// their order.
    globals: Ranked<BTreeMap<String, Value>>,
}

impl Broker {
    /// Opens a node on what the stores have; makes the default vhost and user when there are none. `on_failure` is called
    /// when definitions or messages can no longer be written: the process has to stop then.
    ///
    /// # Errors
    /// When a store cannot be read, or holds what cannot be.
    pub fn open(
        options: Options,
        mut store: Box<dyn DefinitionStore>,
        disk: Arc<dyn Disk>,
        commits: Commits,
        on_failure: OnFailure,
    ) -> Result<Arc<Broker>, RestoreError> {
        let records = restore::read(store.as_mut())?;
        let scan = warrenmq_store::scan(disk.as_ref())?;
        let segments = Segments::open(Arc::clone(&disk), segment_options(&options.limits))?;
        let queue_ids = Arc::new(QueueIds::default());
        queue_ids.start_above(restore::highest_queue(&records)?);
        queue_ids.start_above(scan.highest_queue);
        let in_segments = segments.queues()?;
        queue_ids.start_above(in_segments.iter().copied().filter(|id| !is_slot(*id)).max().unwrap_or(0));
        let journal = Journal::begin(Arc::clone(&disk), journal_options(&options), &scan)?;
        let waiting = Arc::new(Waiting::default());
        let storage =
            Storage::new(journal, segments, Arc::clone(&waiting), &options.limits, options.epoch_ms);
        let (timers, storage) = (Arc::default(), Arc::new(storage));
        let delays = Delays::new(&timers, &storage, &options);
        let named: BTreeSet<u64> = delayed::in_journal(&scan).chain(in_segments).collect();
        delays.start_above(restore::highest_exchange(&records, &named)?);
        let broker = Broker {
            settings: Arc::new(settings(&options.limits)),
            limits: options.limits.clone(),
            names: Names::new(options.seed),
            directory: Directory::new(LoopbackUsers::new(options.loopback_users.clone())),
            vhosts: RwLock::default(),
            journalist: Journalist::new(definition_writer(store, commits, waiting, &on_failure)),
            storage,
            commits,
            threads: Mutex::default(),
            on_failure,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
            timers,
            queue_ids,
            delays: Arc::new(delays),
            alarms: Alarms::default(),
            globals: Ranked::new(Rank::Definitions, BTreeMap::new()),
            options,
        };
        restore::records(&broker, records)?;
        broker.delays.restore_buckets(named.into_iter());
        broker.recover(&scan)?;
        broker.delays.begin(broker.started_at());
        restore::defaults(&broker, &broker.options)?;
        let broker = Arc::new(broker);
        if commits == Commits::Threaded {
            let on_failure = Arc::clone(&broker.on_failure);
            let tell = Box::new(move |error| on_failure(Failure::Messages(error)));
            *broker.threads.lock() = Some(Threads::start(&broker, &broker.storage, tell));
        }
        Ok(broker)
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

    /// Takes in a definitions.json at `now`; what is there already and is not in it stays. Returns a line for everything that this
    /// version does not support.
    ///
    /// # Errors
    /// When it is not a definitions file, or something in it is refused.
    pub fn load_definitions(&self, json: &[u8], now: Millis) -> Result<Vec<String>, RestoreError> {
        restore::json(self, json, now)
    }

    /// All durable definitions in RabbitMQ's format.
    pub fn export_definitions(&self) -> Vec<u8> {
        restore::export(self)
    }

    /// By which numbers the messages of all durable queues are found on disk; goes with [`Broker::export_definitions`], which does
    /// not say.
    pub fn export_queue_numbers(&self) -> Vec<u8> {
        restore::queue_numbers(self)
    }

    /// Number of the last change to the definitions that is on disk.
    pub fn definitions_version(&self) -> u64 {
        self.definitions_durable().0
    }

    /// Blocks until all definitions of now are on disk. For the start, before clients are told that the broker is ready: their
    /// own definitions are waited for without blocking.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn settle(&self) -> Result<(), DefinitionError> {
        self.journalist.settle()
    }

    /// Does one step of a worker and says whether there may be more to do. Not with [`Commits::Threaded`].
    pub fn step(&self, worker: Worker, now: Millis) -> bool {
        let storage = &self.storage;
        let done = match worker {
            Worker::Commit => storage.commit(now).map(|step| matches!(step, Step::Worked { .. })),
            Worker::Write => storage.write(self, now).map(|progress| progress == Progress::More),
            Worker::Read => storage.read(self, now).map(|progress| progress == Progress::More),
        };
        done.unwrap_or_else(|error| {
            (self.on_failure)(Failure::Messages(error));
            false
        })
    }

    /// Writes what is left and stops the stores. Connections must be gone.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(&self) -> Result<(), Failure> {
        let threads = self.threads.lock().take();
        let messages = match threads {
            Some(threads) => threads.close(|| self.storage.append_last()),
            None => self.storage.close_in_steps(self.options.now),
        };
        let definitions = self.journalist.close().map_err(Failure::Definitions);
        messages.map_err(Failure::Messages).and(definitions)
    }

    /// The RabbitMQ release whose behaviour is followed.
    pub(crate) fn follows(&self) -> &str {
        &self.options.version
    }

    /// Does what is due for queues at `now`: messages and queues that expire.
    pub fn handle_timers(&self, now: Millis) {
        let mut scratch = Scratch { now, ..Scratch::default() };
        let _inside = self.enter(&mut scratch);
        let window = self.limits.queue_window_octets;
        for due in self.timers.take_due(now) {
            let queue = match due {
                Due::Queue(queue) => queue,
                Due::Delayed(delayed) => {
                    if let Some(delayed) = delayed.upgrade() {
                        let next = delayed.turn(self, &mut scratch);
                        self.finish(&mut scratch);
                        delayed.end_turn(next);
                    }
                    continue;
                }
            };
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

    /// Sends dead letters on, hands over what is for the disk, then wakes whom the batch has reached.
    pub(crate) fn finish(&self, scratch: &mut Scratch) {
        dead_letter::publish(self, scratch);
        self.storage.take(&mut scratch.work);
        if self.commits == Commits::Inline {
            while self.step(Worker::Commit, scratch.now) {}
        }
        scratch.touched.wake_all();
    }

    /// Begins a batch of work on queues; see [`Inside`].
    pub(crate) fn enter(&self, scratch: &mut Scratch) -> Inside {
        self.storage.brief(&mut scratch.work);
        self.storage.enter()
    }

    fn recover(&self, scan: &warrenmq_store::Scan) -> Result<(), StoreError> {
        if let Some(torn) = &scan.torn {
            let TornTail { file, offset, octets } = torn;
            tracing::warn!(
                "{file}: {octets} octets from octet {offset} on were being written when the broker died; cut"
            );
        }
        let recovered = storage::recover(self, &self.storage, scan, self.options.now)?;
        if recovered.messages > 0 {
            tracing::info!("recovered {} messages in {} queues", recovered.messages, recovered.queues);
        }
        Ok(())
    }

    pub(crate) fn delays(&self) -> &Delays {
        &self.delays
    }

    /// The time at which it was opened.
    pub(crate) fn started_at(&self) -> Millis {
        self.options.now
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

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(crate) fn definitions_durable(&self) -> CommitSeq {
        self.journalist.durable()
    }

    /// What is on disk.
    pub(crate) fn durable(&self) -> Point {
        Point { seq: self.journalist.durable(), lsn: self.storage.durable() }
    }

    /// Tells the inbox [`Notice::Durable`] once `point` may be on disk.
    pub(crate) fn wait_durable(&self, inbox: &Arc<Inbox>, point: Point) {
        self.storage.waiting.add(inbox);
        self.storage.want(point.lsn);
        // The commit may have ended before the inbox stood in the list.
        if point.is_in(self.durable()) {
            self.storage.waiting.notify_all();
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

    pub(crate) fn globals(&self) -> &Ranked<BTreeMap<String, Value>> {
        &self.globals
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
        let vhost = Arc::new(Vhost::new(
            definition.clone(),
            &self.timers,
            &self.queue_ids,
            &self.storage,
            &self.delays,
            &self.options.default_queue_type,
        ));
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
        let cluster_name = self.globals.lock().get("cluster_name").and_then(Value::as_str).map(str::to_owned);
        let platform = concat!("WarrenMQ ", env!("CARGO_PKG_VERSION"));
        for (name, text) in [
            ("product", self.options.product.as_str()),
            ("version", self.options.version.as_str()),
            ("platform", platform),
            ("copyright", "Copyright the WarrenMQ authors"),
            ("information", "Licensed under the Apache License 2.0"),
            ("cluster_name", cluster_name.as_deref().unwrap_or(&self.options.cluster_name)),
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

impl Drop for Broker {
    fn drop(&mut self) {
        // Who wants to know the outcome calls close.
        if let Some(threads) = self.threads.lock().take() {
            let _ = threads.close(|| {});
        }
    }
}

fn definition_writer(
    store: Box<dyn DefinitionStore>,
    commits: Commits,
    waiting: Arc<Waiting>,
    on_failure: &OnFailure,
) -> Arc<DefinitionWriter> {
    let on_durable = Box::new(move |_| waiting.notify_all());
    let on_failure = Arc::clone(on_failure);
    let tell = Box::new(move |error: DefinitionError| on_failure(Failure::Definitions(error)));
    Arc::new(match commits {
        Commits::Threaded => DefinitionWriter::spawn(store, on_durable, tell),
        Commits::Inline | Commits::Stepped => DefinitionWriter::inline(store, on_durable, tell),
    })
}

fn segment_options(limits: &Limits) -> SegmentOptions {
    SegmentOptions { file_octets: limits.segment_file_octets, open_files_max: limits.segment_files_max }
}

fn journal_options(options: &Options) -> JournalOptions {
    let limits = &options.limits;
    JournalOptions {
        file_octets: limits.journal_file_octets,
        group_octets: limits.journal_group_octets,
        fsync: options.durability == Durability::Fsync,
        lazy_sync_ms: limits.journal_sync_ms,
        // What nobody waits for is written out before it becomes much.
        lazy_sync_octets: limits.journal_file_octets / 2,
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
        content_room: warrenmq_queue::Run::HEAD_ROOM,
    }
}
