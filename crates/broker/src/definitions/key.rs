//! Owns the keys of definitions in the store.
//!
//! ```text
//! key = kind (1 octet), { length (u32), octets }
//!
//! 1 vhost        name                          4 exchange     vhost, name
//! 2 user         name                          5 queue        vhost, name
//! 3 permissions  vhost, user                   6 binding      vhost, source, destination type, destination,
//!                                                             routing key, arguments (wire form)
//! 7 policy           vhost, name                9 parameter         vhost, component, name
//! 8 operator policy  vhost, name               10 global parameter  name
//! ```
//! Invariant: two definitions have the same key only if they are of the same thing. In the order of their keys,
//! definitions come after everything that they refer to; policies refer to names, not to things.

use warrenmq_wire::method::FieldTable;

use super::codec::{put_table, put_text};
use super::{Binding, DestinationType};
use crate::policy::PolicyKind;

pub(super) const VHOST: u8 = 1;
pub(super) const USER: u8 = 2;
pub(super) const PERMISSIONS: u8 = 3;
pub(super) const EXCHANGE: u8 = 4;
pub(super) const QUEUE: u8 = 5;
pub(super) const BINDING: u8 = 6;
pub(super) const POLICY: u8 = 7;
pub(super) const OPERATOR_POLICY: u8 = 8;
pub(super) const PARAMETER: u8 = 9;
pub(super) const GLOBAL_PARAMETER: u8 = 10;

/// What a definition is of.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the names of the things")]
pub enum Key<'a> {
    /// A vhost.
    Vhost { name: &'a str },
    /// A user.
    User { name: &'a str },
    /// The permissions of a user in a vhost.
    Permissions { vhost: &'a str, user: &'a str },
    /// An exchange.
    Exchange { vhost: &'a str, name: &'a str },
    /// A queue.
    Queue { vhost: &'a str, name: &'a str },
    /// A binding: its key is all of it.
    Binding {
        vhost: &'a str,
        source: &'a str,
        destination_type: DestinationType,
        destination: &'a str,
        routing_key: &'a str,
        arguments: &'a FieldTable,
    },
    /// A policy of that kind.
    Policy { kind: PolicyKind, vhost: &'a str, name: &'a str },
    /// A runtime parameter.
    Parameter { vhost: &'a str, component: &'a str, name: &'a str },
    /// A runtime parameter of the whole node.
    GlobalParameter { name: &'a str },
}

impl Key<'_> {
    /// The octets of the key.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Vhost { name } => texts(VHOST, &[name]),
            Self::User { name } => texts(USER, &[name]),
            Self::Permissions { vhost, user } => texts(PERMISSIONS, &[vhost, user]),
            Self::Exchange { vhost, name } => texts(EXCHANGE, &[vhost, name]),
            Self::Queue { vhost, name } => texts(QUEUE, &[vhost, name]),
            Self::Binding { vhost, source, destination_type, destination, routing_key, arguments } => {
                let mut key = texts(BINDING, &[vhost, source]);
                key.push(match destination_type {
                    DestinationType::Queue => b'q',
                    DestinationType::Exchange => b'e',
                });
                put_text(&mut key, destination);
                put_text(&mut key, routing_key);
                put_table(&mut key, arguments);
                key
            }
            Self::Policy { kind: PolicyKind::User, vhost, name } => texts(POLICY, &[vhost, name]),
            Self::Policy { kind: PolicyKind::Operator, vhost, name } => {
                texts(OPERATOR_POLICY, &[vhost, name])
            }
            Self::Parameter { vhost, component, name } => texts(PARAMETER, &[vhost, component, name]),
            Self::GlobalParameter { name } => texts(GLOBAL_PARAMETER, &[name]),
        }
    }
}

impl<'a> From<&'a Binding> for Key<'a> {
    fn from(binding: &'a Binding) -> Self {
        Self::Binding {
            vhost: &binding.vhost,
            source: &binding.source,
            destination_type: binding.destination_type,
            destination: &binding.destination,
            routing_key: &binding.routing_key,
            arguments: &binding.arguments,
        }
    }
}

fn texts(kind: u8, texts: &[&str]) -> Vec<u8> {
    let mut key = vec![kind];
    for text in texts {
        put_text(&mut key, text);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_laid_out_as_documented() {
        let cases: &[(Key<'_>, &[u8])] = &[
            (Key::Vhost { name: "/" }, b"\x01\0\0\0\x01/"),
            (Key::User { name: "kim" }, b"\x02\0\0\0\x03kim"),
            (Key::Permissions { vhost: "/", user: "kim" }, b"\x03\0\0\0\x01/\0\0\0\x03kim"),
            (Key::Exchange { vhost: "/", name: "" }, b"\x04\0\0\0\x01/\0\0\0\0"),
            (Key::Queue { vhost: "v", name: "q" }, b"\x05\0\0\0\x01v\0\0\0\x01q"),
            (
                Key::Binding {
                    vhost: "v",
                    source: "x",
                    destination_type: DestinationType::Exchange,
                    destination: "y",
                    routing_key: "k",
                    arguments: &FieldTable::default(),
                },
                b"\x06\0\0\0\x01v\0\0\0\x01xe\0\0\0\x01y\0\0\0\x01k\0\0\0\0",
            ),
            (Key::Policy { kind: PolicyKind::User, vhost: "/", name: "p" }, b"\x07\0\0\0\x01/\0\0\0\x01p"),
            (
                Key::Policy { kind: PolicyKind::Operator, vhost: "/", name: "p" },
                b"\x08\0\0\0\x01/\0\0\0\x01p",
            ),
            (
                Key::Parameter { vhost: "/", component: "c", name: "p" },
                b"\x09\0\0\0\x01/\0\0\0\x01c\0\0\0\x01p",
            ),
            (Key::GlobalParameter { name: "p" }, b"\x0a\0\0\0\x01p"),
        ];
        for (key, octets) in cases {
            assert_eq!(key.encode(), *octets, "{key:?}");
        }
    }

    #[test]
    fn parts_never_run_together() {
        let key = |vhost, name| Key::Queue { vhost, name }.encode();
        let keys = [key("ab", "c"), key("a", "bc"), key("abc", ""), key("", "abc")];
        for (at, left) in keys.iter().enumerate() {
            for right in &keys[at + 1..] {
                assert_ne!(left, right);
            }
        }
    }
}
