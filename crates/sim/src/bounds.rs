//! The limits of a run, so small that a few hundred actions meet every one of them.

use warrenmq_broker::Limits;

use crate::rng::Rng;

/// The largest message in runs that have too large ones, beyond all others.
pub const MESSAGE_OCTETS_MAX: usize = 45_000;

/// Limits of this seed.
pub fn limits(rng: &mut Rng, more: &mut Rng) -> Limits {
    Limits {
        consumer_window_octets: [2 * 1024, 2 * 1024, 16 * 1024][more.below(3)],
        message_memory_octets: rng.between(0, 4096),
        queue_memory_octets: rng.between(0, 2048),
        journal_file_octets: [1024, 2048, 4096, 16 * 1024][rng.below(4)],
        journal_group_octets: [1, 256, 1024, 64 * 1024][rng.below(4)],
        journal_leftover_octets: [0, 200, 1000][rng.below(3)],
        segment_file_octets: [1024, 4096, 32 * 1024][rng.below(3)],
        segment_block_octets: [64, 300, 1000, 8000][rng.below(4)],
        segment_files_max: rng.between(1, 8) as usize,
        delayed_loaded_max: rng.between(1, 8),
        ..small()
    }
}

/// Limits for short histories.
pub fn small() -> Limits {
    Limits {
        // Time passes while clients say hello.
        handshake_timeout_ms: 3_600_000,
        // Clients hold what they have as long as they like.
        consumer_timeout_ms: 0,
        outbox_octets_max: 8 * 1024,
        consumer_window_octets: 2 * 1024,
        queue_window_octets: 8 * 1024,
        read_buffer_octets: 2 * 1024,
        write_buffer_octets: 1024,
        message_memory_octets: 1024,
        queue_memory_octets: 512,
        journal_file_octets: 1024,
        journal_group_octets: 1024,
        journal_pending_octets_max: 8 * 1024,
        journal_sync_ms: 50,
        journal_leftover_octets: 200,
        journal_idle_ms: 200,
        pages_pending_octets_max: 8 * 1024,
        segment_file_octets: 2048,
        segment_block_octets: 300,
        segment_files_max: 4,
        ..Limits::default()
    }
}
