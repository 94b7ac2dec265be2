//! Owns a connection's memory of what it has already been allowed, so that a repeated operation costs a
//! short comparison instead of a regular expression.
//!
//! Invariant: it holds at most [`GRANTS_MAX`] entries, all granted under the generation it was last asked
//! with; refusals are never remembered.

use super::{Access, Permissions, Resource};

/// Most grants remembered. RabbitMQ remembers 12 for a channel; this is for all channels of a connection.
pub const GRANTS_MAX: usize = 32;

/// The last grants of one user in one vhost, most recent last.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    generation: u64,
    recent: Vec<(Access, Box<str>)>,
}

impl Grants {
    /// Whether `permissions` (of this connection's user in its vhost, `None` when it has none any more) allow
    /// `access` to `resource`. `generation` changes whenever any permission on the node does, and empties
    /// the memory.
    pub fn allow(
        &mut self,
        generation: u64,
        permissions: Option<&Permissions>,
        access: Access,
        resource: Resource<'_>,
    ) -> bool {
        if self.generation != generation {
            self.generation = generation;
            self.recent.clear();
        }
        if self.remembers(access, resource.name()) {
            return true;
        }
        let allowed = permissions.is_some_and(|permissions| permissions.allow(access, resource));
        if allowed {
            if self.recent.len() == GRANTS_MAX {
                self.recent.remove(0);
            }
            self.recent.push((access, resource.name().into()));
        }
        allowed
    }

    /// Finds a grant and makes it the most recent one. Searching from the back finds the name in use first.
    fn remembers(&mut self, access: Access, name: &str) -> bool {
        let found = self.recent.iter().rposition(|(own, known)| *own == access && **known == *name);
        if let Some(at) = found {
            self.recent[at..].rotate_left(1);
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_permissions_do() {
        let permissions = Permissions::new("^a", "^b", "").unwrap();
        let mut grants = Grants::default();
        for _ in 0..2 {
            for access in [Access::Configure, Access::Write, Access::Read] {
                for name in ["a1", "b1", "c1"] {
                    let resource = Resource::queue(name);
                    let answer = grants.allow(7, Some(&permissions), access, resource);
                    assert_eq!(answer, permissions.allow(access, resource), "{access} {name}");
                }
            }
        }
    }

    #[test]
    fn keeps_the_most_recent_and_no_more() {
        let all = Permissions::new(".*", ".*", ".*").unwrap();
        let mut grants = Grants::default();
        let mut ask = |permissions: Option<&Permissions>, name: &str| {
            let answer = grants.allow(1, permissions, Access::Write, Resource::exchange(name));
            assert!(grants.recent.len() <= GRANTS_MAX);
            answer
        };
        assert!(ask(Some(&all), "kept"));
        for n in 0..3 * GRANTS_MAX {
            assert!(ask(Some(&all), &format!("x{n}")));
            assert!(ask(None, "kept"), "asked for every time, so never the oldest");
        }
        assert!(!ask(None, "x0"), "forgotten");
        assert!(ask(None, &format!("x{}", 3 * GRANTS_MAX - 1)));
    }

    #[test]
    fn a_new_generation_asks_again() {
        let all = Permissions::new(".*", ".*", ".*").unwrap();
        let mut grants = Grants::default();
        let queue = Resource::queue("q");
        assert!(grants.allow(1, Some(&all), Access::Read, queue));
        assert!(grants.allow(1, None, Access::Read, queue));
        assert!(!grants.allow(1, None, Access::Write, queue));
        assert!(!grants.allow(2, None, Access::Read, queue));
        assert!(grants.allow(2, Some(&all), Access::Read, queue), "a refusal is not remembered");
    }
}
