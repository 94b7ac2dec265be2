//! Owns the list of users that may only connect from this machine (`loopback_users`, by default `guest`).
//!
//! Invariant: an IPv4 address inside an IPv6 one is judged as the IPv4 address it is.

use std::net::IpAddr;

use super::LoginRefusal;

/// Names of users whose logins are refused unless the peer's address is loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopbackUsers {
    names: Vec<String>,
}

impl LoopbackUsers {
    /// Restricts these users; none when the list is empty.
    pub fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Whether `user` may connect from `address`.
    pub fn check(&self, user: &str, address: IpAddr) -> Result<(), LoginRefusal> {
        if address.to_canonical().is_loopback() || !self.names.iter().any(|name| name == user) {
            Ok(())
        } else {
            Err(LoginRefusal::NotLoopback { user: user.to_owned() })
        }
    }
}

/// RabbitMQ's default: only `guest`.
impl Default for LoopbackUsers {
    fn default() -> Self {
        Self::new(vec!["guest".to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_connects_from_this_machine_only() {
        let everyone = LoopbackUsers::new(Vec::new());
        // (user, address, allowed)
        let cases = [
            ("guest", "127.0.0.1", true),
            ("guest", "127.8.9.10", true),
            ("guest", "::1", true),
            ("guest", "::ffff:127.0.0.1", true),
            ("guest", "10.0.0.1", false),
            ("guest", "::ffff:10.0.0.1", false),
            ("guest", "fe80::1", false),
            ("guest", "0.0.0.0", false),
            ("kim", "10.0.0.1", true),
            ("Guest", "10.0.0.1", true),
        ];
        for (user, address, allowed) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(LoopbackUsers::default().check(user, address).is_ok(), allowed, "{user} {address}");
            assert_eq!(everyone.check(user, address), Ok(()));
        }
    }

    #[test]
    fn refusal_reads_as_rabbitmq_logs_it() {
        let refusal = LoopbackUsers::default().check("guest", IpAddr::from([192, 0, 2, 1])).unwrap_err();
        assert_eq!(refusal.to_string(), "user 'guest' can only connect via localhost");
    }
}
