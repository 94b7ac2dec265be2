//! The index of a direct exchange: from a key to its destinations.

use crate::Map;
use crate::binding::Target;
use crate::set::{self, Set};
use std::sync::Arc;

/// Destinations by binding key. No key has an empty set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Direct {
    keys: Map<Arc<[u8]>, Set<Target>>,
}

impl Direct {
    pub(crate) fn insert(&mut self, key: &Arc<[u8]>, target: Target) {
        self.keys.entry(Arc::clone(key)).or_default().insert(target);
    }

    pub(crate) fn remove(&mut self, key: &[u8], target: &Target) {
        let Some(targets) = self.keys.get_mut(key) else { return };
        targets.remove(target);
        if targets.is_empty() {
            self.keys.remove(key);
        }
    }

    /// The destinations of a message with this routing key.
    pub(crate) fn matches(&self, key: &[u8]) -> set::Iter<'_, Target> {
        self.keys.get(key).map_or(set::Iter::Few([].iter()), Set::iter)
    }
}
