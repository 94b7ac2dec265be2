//! Which queues have entries in a journal file. Invariant: once the file is closed the map is final.

use std::collections::HashMap;
use std::sync::Arc;

/// What a file holds of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InFile {
    /// The highest position that was published.
    pub highest: Option<u64>,
    /// Whether anything was settled.
    pub settles: bool,
    /// Whether anything was noted.
    pub notes: bool,
}

/// The queues with entries in one file, while it is written or read.
#[derive(Debug, Default)]
pub(super) struct FileQueues {
    map: HashMap<u64, InFile>,
    /// The queue of the last entry, whose state in `map` is old: neighbours mostly have the same queue.
    recent: Option<(u64, InFile)>,
}

impl FileQueues {
    /// `count` messages came to `queue`, the first at position `first`.
    pub(super) fn published(&mut self, queue: u64, first: u64, count: u32) {
        let last = first.saturating_add(u64::from(count).saturating_sub(1));
        let in_file = self.of(queue);
        in_file.highest = in_file.highest.max(Some(last));
    }

    /// Something of `queue` was settled.
    pub(super) fn settled(&mut self, queue: u64) {
        self.of(queue).settles = true;
    }

    /// Something of `queue` was noted.
    pub(super) fn noted(&mut self, queue: u64) {
        self.of(queue).notes = true;
    }

    /// The queues that messages came to; one may be named twice.
    pub(super) fn with_publishes(&self) -> impl Iterator<Item = u64> + '_ {
        let all = self.map.iter().map(|(queue, in_file)| (*queue, *in_file)).chain(self.recent);
        all.filter(|(_, in_file)| in_file.highest.is_some()).map(|(queue, _)| queue)
    }

    pub(super) fn finish(mut self) -> Arc<HashMap<u64, InFile>> {
        self.flush();
        Arc::new(self.map)
    }

    fn of(&mut self, queue: u64) -> &mut InFile {
        if self.recent.is_none_or(|(recent, _)| recent != queue) {
            self.flush();
        }
        let map = &self.map;
        &mut self.recent.get_or_insert_with(|| (queue, map.get(&queue).copied().unwrap_or_default())).1
    }

    fn flush(&mut self) {
        if let Some((queue, in_file)) = self.recent.take() {
            self.map.insert(queue, in_file);
        }
    }
}
