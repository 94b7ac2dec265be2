//! The keys of the table `[limits]`.
//!
//! Invariant: they are the fields of [`Limits`], all of them under their own names; the compiler compares the two.

use serde::{Deserialize, Serialize};
use warrenmq_broker::Limits;

/// Reads and writes [`Limits`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits", deny_unknown_fields)]
pub(super) struct Keys {
    frame_max: u32,
    frame_max_min: u32,
    handshake_frame_max: u32,
    channel_max: u16,
    heartbeat_seconds: u16,
    handshake_timeout_ms: u64,
    connection_max: u32,
    consumer_max_per_channel: u32,
    message_size_max: u64,
    assembly_octets_max: u64,
    transaction_octets_max: u64,
    outbox_octets_max: usize,
    consumer_window_octets: u32,
    queue_window_octets: u64,
    queue_window_wait_ms: u64,
    read_buffer_octets: usize,
    write_buffer_octets: usize,
    shutdown_timeout_ms: u64,
    consumer_timeout_ms: u64,
    control_request_octets_max: usize,
    control_timeout_ms: u64,
    message_memory_octets: u64,
    queue_memory_octets: u64,
    recent_history_octets: usize,
    delay_max_ms: u64,
    delayed_memory_octets: u64,
    delayed_loaded_max: u64,
    delayed_loaded_octets: u64,
    journal_file_octets: u64,
    journal_group_octets: usize,
    journal_pending_octets_max: u64,
    journal_sync_ms: u64,
    journal_leftover_octets: u64,
    journal_idle_ms: u64,
    pages_pending_octets_max: u64,
    segment_file_octets: u64,
    segment_block_octets: usize,
    segment_files_max: usize,
}
