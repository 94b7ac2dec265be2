//! Owns the definition of what a user may do in a vhost.

use serde::{Deserialize, Serialize};

use super::name;
use crate::access::{Pattern, Permissions};

/// Permissions together with whose and where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPermissions {
    /// The user.
    pub user: String,
    /// The vhost.
    #[serde(default, deserialize_with = "name::deserialize")]
    pub vhost: String,
    /// See [`Permissions::configure`].
    pub configure: Pattern,
    /// See [`Permissions::write`].
    pub write: Pattern,
    /// See [`Permissions::read`].
    pub read: Pattern,
}

impl UserPermissions {
    /// The three patterns alone.
    pub fn permissions(&self) -> Permissions {
        Permissions { configure: self.configure.clone(), write: self.write.clone(), read: self.read.clone() }
    }
}
