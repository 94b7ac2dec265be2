//! Owns the number of things that are there at one time, and may not become too many.
//!
//! Invariant: a place that was taken is given back once, when its [`Place`] goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Place(Count);

impl Count {
    /// Takes a place, if there are fewer than `limit`.
    pub(crate) fn enter(&self, limit: Option<u64>) -> Option<Place> {
        let below = |count: u64| limit.is_none_or(|limit| count < limit).then_some(count + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).ok().map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let count = Count::default();
        assert!(count.enter(Some(0)).is_none());
        let first = count.enter(Some(2));
        let second = count.enter(None);
        assert!(first.is_some() && second.is_some() && count.enter(Some(2)).is_none());
        drop(first);
        assert!(count.enter(Some(1)).is_none() && count.enter(Some(2)).is_some());
    }
}
