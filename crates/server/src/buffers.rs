//! Read and write buffers that belong to a worker thread and are borrowed by whichever connection it serves.
//!
//! Invariant: an idle connection owns none, so it costs a few kilobytes however large the buffers are.

use std::cell::RefCell;

/// The buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) read: Vec<u8>,
    pub(crate) write: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Lends the buffers of this thread; `read` is at least `read_octets` long.
pub(crate) fn with<T>(read_octets: usize, use_them: impl FnOnce(&mut Buffers) -> T) -> T {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.read.len() < read_octets {
            buffers.read.resize(read_octets, 0);
        }
        use_them(buffers)
    })
}
