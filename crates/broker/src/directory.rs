//! Users, their permissions and what they have open.
//!
//! Invariant: whoever looks something up gets a value that never changes; a change makes a new generation, so that
//! remembered decisions are made again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::access::{Credentials, LoginRefusal, LoopbackUsers, Permissions, User};
use crate::count::{Count, Place};
use crate::policy::limit;

/// The users of a node. Its lock is a leaf: nothing is called while it is held.
#[derive(Debug)]
pub(crate) struct Directory {
    entries: RwLock<Entries>,
    generation: AtomicU64,
    loopback: LoopbackUsers,
}

#[derive(Debug, Default)]
struct Entries {
    users: BTreeMap<String, Arc<User>>,
    /// By user, then vhost.
    permissions: BTreeMap<(String, String), Arc<Permissions>>,
    /// Of whoever has ever connected.
    loads: BTreeMap<String, UserLoad>,
}

/// What a user has open.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserLoad {
    connections: Count,
    channels: Count,
}

impl Directory {
    pub(crate) fn new(loopback: LoopbackUsers) -> Directory {
        Directory { entries: RwLock::default(), generation: AtomicU64::new(1), loopback }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn log_in(
        &self,
        credentials: &Credentials<'_>,
        peer: IpAddr,
    ) -> Result<Arc<User>, LoginRefusal> {
        let found = credentials.user().and_then(|name| self.entries.read().users.get(name).cloned());
        let Some(user) = found else {
            return Err(LoginRefusal::InvalidCredentials { user: credentials.user_lossy() });
        };
        user.check_password(credentials.password)?;
        self.loopback.check(&user.name, peer)?;
        Ok(user)
    }

    pub(crate) fn permissions(&self, user: &str, vhost: &str) -> Option<Arc<Permissions>> {
        self.entries.read().permissions.get(&(user.to_owned(), vhost.to_owned())).cloned()
    }

    /// The user of that name, as it is now.
    pub(crate) fn user(&self, name: &str) -> Option<Arc<User>> {
        self.entries.read().users.get(name).cloned()
    }

    /// Takes a place for a connection of a user, and returns what its channels are counted with.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter(&self, user: &str) -> Result<(Place, UserLoad), u64> {
        let limit = self.limit(user, "max-connections");
        let known = self.entries.read().loads.get(user).cloned();
        let load =
            known.unwrap_or_else(|| self.entries.write().loads.entry(user.to_owned()).or_default().clone());
        let place = load.connections.enter(limit).ok_or_else(|| limit.unwrap_or_default())?;
        Ok((place, load))
    }

    /// Takes a place for a channel of a user.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn enter_channel(&self, user: &str, load: &UserLoad) -> Result<Place, u64> {
        let limit = self.limit(user, "max-channels");
        load.channels.enter(limit).ok_or_else(|| limit.unwrap_or_default())
    }

    fn limit(&self, user: &str, name: &str) -> Option<u64> {
        limit(&self.entries.read().users.get(user)?.limits, name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.read().users.is_empty()
    }

    pub(crate) fn put_user(&self, user: User) {
        self.entries.write().users.insert(user.name.clone(), Arc::new(user));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn put_permissions(&self, user: &str, vhost: &str, permissions: Permissions) {
        let key = (user.to_owned(), vhost.to_owned());
        self.entries.write().permissions.insert(key, Arc::new(permissions));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn users(&self) -> Vec<Arc<User>> {
        self.entries.read().users.values().cloned().collect()
    }

    pub(crate) fn all_permissions(&self) -> Vec<(String, String, Arc<Permissions>)> {
        let entries = self.entries.read();
        entries
            .permissions
            .iter()
            .map(|((user, vhost), p)| (user.clone(), vhost.clone(), Arc::clone(p)))
            .collect()
    }
}
