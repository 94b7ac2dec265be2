//! The index of exchanges that choose one binding by number: `x-random`, `x-local-random` and `x-modulus-hash`.
//!
//! Invariant: bindings stand in the order of their destinations' names, so that a number means the same one after a restart.
//! A destination that is bound twice stands there twice, as in RabbitMQ.

use crate::binding::{Bound, Target};
use crate::hash;
use std::sync::Arc;

/// All bindings of an exchange, sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbered {
    bindings: imbl::Vector<Arc<Bound>>,
}

impl Numbered {
    pub(crate) fn insert(&mut self, bound: &Arc<Bound>) {
        if let Err(place) = self.bindings.binary_search(bound) {
            self.bindings.insert(place, Arc::clone(bound));
        }
    }

    pub(crate) fn remove(&mut self, bound: &Arc<Bound>) {
        if let Ok(place) = self.bindings.binary_search(bound) {
            self.bindings.remove(place);
        }
    }

    /// Where the binding leads that a number out of all `u64` chooses; each has the same share of them.
    pub(crate) fn by_chance(&self, chance: u64) -> Option<&Target> {
        self.bindings.get(hash::below(chance, self.bindings.len())).map(|bound| &bound.target)
    }

    /// Where the binding leads whose number is the hash of the keys modulo the number of bindings.
    pub(crate) fn by_keys(&self, keys: &[&[u8]]) -> Option<&Target> {
        let hash = keys.iter().fold(0, |hash, key| hash::mix(hash ^ hash::octets(key)));
        let place = hash.checked_rem(self.bindings.len() as u64)?;
        self.bindings.get(usize::try_from(place).ok()?).map(|bound| &bound.target)
    }
}
