//! The allocator of the whole process: jemalloc, set up to give memory back.
//!
//! Invariant: pages that have not been used for a second go back to the system, also when nothing is allocated any more
//! (a thread of the allocator sees to it). After a backlog has drained, this is the difference between tens and hundreds
//! of MB. A thread keeps few small pieces for itself: nothing on the path of a message allocates often enough to gain by more, and
//! 10,000 durable queues keep 1.3 kB each instead of 2.3.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The options that jemalloc reads before `main`; `_RJEM_MALLOC_CONF` in the environment goes on top.
// The allocator starts before any code of ours and knows no other way to be told than a symbol of this name, which is its
// alone. It reads a `const char *`: a reference to octets that end with a zero.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: &[u8; 128] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,tcache_max:2048,tcache_nslots_small_min:4,tcache_nslots_small_max:8\0";
