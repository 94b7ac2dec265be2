//! Every bound of the broker in one place, with its default.
//!
//! Invariant: no buffer, table or queue between tasks is without a limit that stands here, in the configuration under
//! the same name, and in `config/warrenmq.toml`.

/// Named limits; octets, milliseconds or counts, as the name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame in octets (`frame_max`; RabbitMQ: 131072).
    pub frame_max: u32,
    /// Smallest `frame_max` that a client may ask for (specification: 4096).
    pub frame_max_min: u32,
    /// Largest frame before tune-ok, in octets (RabbitMQ's `initial_frame_max`: 8192).
    pub handshake_frame_max: u32,
    /// Channels per connection (`channel_max`; RabbitMQ: 2047).
    pub channel_max: u16,
    /// Heartbeat interval proposed to clients, in seconds; 0 switches it off (RabbitMQ: 60).
    pub heartbeat_seconds: u16,
    /// Time for the handshake up to connection.open (RabbitMQ: 10000).
    pub handshake_timeout_ms: u64,
    /// Connections of the whole node.
    pub connection_max: u32,
    /// Consumers per channel; 0 is no limit, as in RabbitMQ.
    pub consumer_max_per_channel: u32,
    /// Largest message body (`max_message_size`; RabbitMQ 3.13: 128 MiB, 4.0: 16 MiB).
    pub message_size_max: u64,
    /// Unfinished messages of one connection, over all its channels.
    pub assembly_octets_max: u64,
    /// Publishes held by uncommitted transactions of one channel.
    pub transaction_octets_max: u64,
    /// What waits to be written to one client; beyond it its socket is not read.
    pub outbox_octets_max: usize,
    /// Deliveries on their way to one consumer, beside its prefetch.
    pub consumer_window_octets: u32,
    /// Ready octets between publishers and consumers that keep up; beyond it publishers wait for moments.
    pub queue_window_octets: u64,
    /// After so long a waiting publisher looks whether consumers took at least an eighth of the window. If not, the queue is a
    /// backlog, and nobody waits for it.
    pub queue_window_wait_ms: u64,
    /// Octets of one read of a socket.
    pub read_buffer_octets: usize,
    /// Octets gathered for one write to a socket.
    pub write_buffer_octets: usize,
    /// Time for clients to answer connection.close when the broker stops.
    pub shutdown_timeout_ms: u64,
    /// Time for a delivery to be acknowledged, if neither its consumer nor its queue says otherwise; 0 is no limit
    /// (`consumer_timeout`; RabbitMQ: 1800000).
    pub consumer_timeout_ms: u64,
    /// Largest request on the control socket; definitions that are imported are in one.
    pub control_request_octets_max: usize,
    /// Time for a request on the control socket to come, and for its reply to be taken.
    pub control_timeout_ms: u64,
    /// Octets of messages in memory, over all queues; beyond it queues keep no more than what consumers get next.
    pub message_memory_octets: u64,
    /// Octets of messages of one queue in memory; beyond it they are on disk alone, durable or not.
    pub queue_memory_octets: u64,
    /// Octets of the messages that an exchange of type `x-recent-history` keeps.
    pub recent_history_octets: usize,
    /// Longest delay of a message at an exchange that delays.
    pub delay_max_ms: u64,
    /// Octets of delayed messages in memory while none of them is near, over all exchanges; as few as 4 KiB for each of their slots.
    pub delayed_memory_octets: u64,
    /// Messages of one slot of an exchange that are sorted in memory shortly before they are due; a slot with more is parted.
    pub delayed_loaded_max: u64,
    /// Octets of them.
    pub delayed_loaded_octets: u64,
    /// Size of a file of the journal.
    pub journal_file_octets: u64,
    /// Octets that are written, and synced, at once.
    pub journal_group_octets: usize,
    /// Octets that wait for the journal; beyond it publishers are not read.
    pub journal_pending_octets_max: u64,
    /// What nobody waits for is synced after so long.
    pub journal_sync_ms: u64,
    /// Of a queue with no more than this in a journal file that goes, messages are appended to the journal again instead of
    /// moving to a segment.
    pub journal_leftover_octets: u64,
    /// When nothing was appended for so long, everything moves out of the journal, so that it becomes small.
    pub journal_idle_ms: u64,
    /// Octets that wait to be written to segments; beyond it publishers are not read.
    pub pages_pending_octets_max: u64,
    /// Size of a file of a queue.
    pub segment_file_octets: u64,
    /// Size of a block in it, which is read at once; a larger message makes a larger block.
    pub segment_block_octets: usize,
    /// Files of queues that are open for writing.
    pub segment_files_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_max: 131_072,
            frame_max_min: 4096,
            handshake_frame_max: 8192,
            channel_max: 2047,
            heartbeat_seconds: 60,
            handshake_timeout_ms: 10_000,
            connection_max: 100_000,
            consumer_max_per_channel: 0,
            message_size_max: 128 * 1024 * 1024,
            assembly_octets_max: 256 * 1024 * 1024,
            transaction_octets_max: 256 * 1024 * 1024,
            outbox_octets_max: 1024 * 1024,
            consumer_window_octets: 512 * 1024,
            queue_window_octets: 2 * 1024 * 1024,
            queue_window_wait_ms: 20,
            read_buffer_octets: 128 * 1024,
            write_buffer_octets: 128 * 1024,
            shutdown_timeout_ms: 3_000,
            consumer_timeout_ms: 1_800_000,
            control_request_octets_max: 64 * 1024 * 1024,
            control_timeout_ms: 30_000,
            message_memory_octets: 64 * 1024 * 1024,
            queue_memory_octets: 4 * 1024 * 1024,
            recent_history_octets: 16 * 1024 * 1024,
            delay_max_ms: 365 * 24 * 60 * 60 * 1000,
            delayed_memory_octets: 8 * 1024 * 1024,
            delayed_loaded_max: 4096,
            delayed_loaded_octets: 1024 * 1024,
            journal_file_octets: 32 * 1024 * 1024,
            journal_group_octets: 1024 * 1024,
            journal_pending_octets_max: 4 * 1024 * 1024,
            journal_sync_ms: 200,
            journal_leftover_octets: 64 * 1024,
            journal_idle_ms: 1_000,
            pages_pending_octets_max: 8 * 1024 * 1024,
            segment_file_octets: 4 * 1024 * 1024,
            segment_block_octets: 128 * 1024,
            segment_files_max: 256,
        }
    }
}
