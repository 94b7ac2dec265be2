//! Owns definitions that live in memory, for tests and for the simulation. Invariant: what was committed is seen by
//! every clone, so a clone plays the folder that a restarted broker opens again.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::definition::{Change, DefinitionError, DefinitionStore, KeyValue};

/// A store without a disk. Clones share one content.
#[derive(Debug, Clone, Default)]
pub struct MemoryDefinitions {
    /// Leaf lock, held for one commit or load; nothing is called under it.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    commits: u64,
    commits_left: Option<u64>,
}

impl MemoryDefinitions {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many commits have succeeded.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.state.lock().commits
    }

    /// Lets so many more commits succeed; every later one fails, as a disk that broke.
    pub fn fail_after(&self, commits: u64) {
        self.state.lock().commits_left = Some(commits);
    }
}

impl DefinitionStore for MemoryDefinitions {
    fn load(&mut self) -> Result<Vec<KeyValue>, DefinitionError> {
        Ok(self.state.lock().entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), DefinitionError> {
        changes.iter().try_for_each(Change::check)?;
        let mut state = self.state.lock();
        match &mut state.commits_left {
            Some(0) => return Err(DefinitionError::Failed { reason: "told to fail".to_owned() }),
            Some(left) => *left -= 1,
            None => {}
        }
        for change in changes {
            match change {
                Change::Put { key, value } => state.entries.insert(key.clone(), value.clone()),
                Change::Delete { key } => state.entries.remove(key),
            };
        }
        state.commits += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put { key: key.into(), value: value.into() }
    }

    #[test]
    fn a_clone_sees_what_was_committed_and_failures_change_nothing() {
        let mut store = MemoryDefinitions::new();
        store.commit(&[put("b", "1"), put("a", "2"), put("b", "3")]).unwrap();
        store.commit(&[Change::Delete { key: b"a".to_vec() }, put("c", "4")]).unwrap();
        store.fail_after(1);
        store.commit(&[put("d", "5")]).unwrap();
        store.commit(&[put("e", "6")]).unwrap_err();
        store.commit(&[]).unwrap_err();
        let expected = [("b", "3"), ("c", "4"), ("d", "5")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(store.clone().load().unwrap(), expected);
        assert_eq!(store.commits(), 3);
    }
}
