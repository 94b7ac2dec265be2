//! Owns the permissions of one user in one vhost, and the texts of their refusals.
//!
//! Invariant: the default exchange is judged, and named in a refusal, as `amq.default`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Pattern, PatternError};

/// Three patterns over the names of queues and exchanges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Names that may be declared and deleted.
    pub configure: Pattern,
    /// Names that may be published to, bound to or purged from.
    pub write: Pattern,
    /// Names that may be consumed or bound from.
    pub read: Pattern,
}

/// The kind of access an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Declaring and deleting.
    Configure,
    /// Publishing into.
    Write,
    /// Taking out of.
    Read,
}

/// What an operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Queue or exchange; shown in refusals, not part of the decision.
    pub kind: ResourceKind,
    name: &'a str,
}

/// The kinds of resource that permissions speak about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// A queue.
    Queue,
    /// An exchange.
    Exchange,
}

impl Permissions {
    /// Compiles the three patterns, as `rabbitmqctl set_permissions` takes them.
    pub fn new(configure: &str, write: &str, read: &str) -> Result<Self, PatternError> {
        Ok(Self {
            configure: Pattern::new(configure)?,
            write: Pattern::new(write)?,
            read: Pattern::new(read)?,
        })
    }

    /// Whether these permissions allow `access` to `resource`.
    pub fn allow(&self, access: Access, resource: Resource<'_>) -> bool {
        let pattern = match access {
            Access::Configure => &self.configure,
            Access::Write => &self.write,
            Access::Read => &self.read,
        };
        pattern.matches(resource.name())
    }
}

impl<'a> Resource<'a> {
    /// The queue of that name.
    pub fn queue(name: &'a str) -> Self {
        Self { kind: ResourceKind::Queue, name }
    }

    /// The exchange of that name; empty is the default exchange.
    pub fn exchange(name: &'a str) -> Self {
        Self { kind: ResourceKind::Exchange, name: if name.is_empty() { "amq.default" } else { name } }
    }

    /// The name that patterns are matched against.
    pub fn name(&self) -> &'a str {
        self.name
    }
}

/// The text of the 403 that closes a channel (`rabbit_access_control:check_resource_access`).
pub fn access_refused(access: Access, resource: Resource<'_>, vhost: &str, user: &str) -> String {
    let Resource { kind, name } = resource;
    format!("{access} access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'")
}

/// The text of the 530 that answers `connection.open` of a user without permissions in the vhost.
pub fn vhost_refused(vhost: &str, user: &str) -> String {
    format!("access to vhost '{vhost}' refused for user '{user}'")
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "queue",
            Self::Exchange => "exchange",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_access_has_its_own_pattern() {
        let permissions = Permissions::new("^conf", "^amq\\.default$|^w", "").unwrap();
        // (access, resource, allowed)
        let cases = [
            (Access::Configure, Resource::queue("config"), true),
            (Access::Configure, Resource::queue("w1"), false),
            (Access::Write, Resource::exchange("w1"), true),
            (Access::Write, Resource::exchange(""), true),
            (Access::Write, Resource::exchange("amq.default"), true),
            (Access::Write, Resource::queue(""), false),
            (Access::Read, Resource::queue("config"), false),
            (Access::Read, Resource::exchange(""), false),
        ];
        for (access, resource, allowed) in cases {
            assert_eq!(permissions.allow(access, resource), allowed, "{access} {resource:?}");
        }
    }

    #[test]
    fn refusals_read_as_rabbitmq_writes_them() {
        let texts = [
            access_refused(Access::Configure, Resource::queue("q"), "/", "u"),
            access_refused(Access::Write, Resource::exchange(""), "/", "u"),
            access_refused(Access::Read, Resource::exchange("x"), "a b", "ü"),
            vhost_refused("/", "u"),
        ];
        assert_eq!(
            texts,
            [
                "configure access to queue 'q' in vhost '/' refused for user 'u'",
                "write access to exchange 'amq.default' in vhost '/' refused for user 'u'",
                "read access to exchange 'x' in vhost 'a b' refused for user 'ü'",
                "access to vhost '/' refused for user 'u'",
            ]
        );
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Permissions::new(".*", "(", ".*").unwrap_err();
        assert_eq!(error.pattern, "(");
    }
}
