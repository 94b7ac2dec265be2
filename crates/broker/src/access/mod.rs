//! Owns authentication and authorisation: users and their password hashes, SASL responses, permissions.
//!
//! Invariant: every decision is a pure function of stored definitions and what the client sent, and says
//! no when anything is missing, malformed or too expensive to decide.

mod grants;
mod loopback;
mod password;
mod pattern;
mod pcre;
mod permissions;
mod sasl;
mod user;

pub use grants::{GRANTS_MAX, Grants};
pub use loopback::LoopbackUsers;
pub use password::{HashingAlgorithm, PasswordHash, PasswordHashError, SALT_LENGTH};
pub use pattern::{PATTERN_LENGTH_MAX, Pattern, PatternError};
pub use permissions::{Access, Permissions, Resource, ResourceKind, access_refused, vhost_refused};
pub use sasl::{Credentials, Mechanism, SaslError};
pub use user::{LoginRefusal, User};
