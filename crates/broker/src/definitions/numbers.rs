//! Owns the file that says which queue has which number, beside `definitions.json`, which RabbitMQ would have to understand.
//!
//! Invariant: what is read back equals what was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The numbers by which the messages of durable queues are found on disk (see [`super::Queue::id`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueNumbers {
    vhosts: BTreeMap<String, BTreeMap<String, u64>>,
}

impl QueueNumbers {
    /// Notes the number of a queue.
    pub fn insert(&mut self, vhost: &str, queue: &str, number: u64) {
        self.vhosts.entry(vhost.to_owned()).or_default().insert(queue.to_owned(), number);
    }

    /// The number of a queue, if it is known.
    pub fn get(&self, vhost: &str, queue: &str) -> Option<u64> {
        self.vhosts.get(vhost)?.get(queue).copied()
    }

    /// The octets of the file.
    pub fn export(&self) -> Vec<u8> {
        let mut out =
            serde_json::to_vec_pretty(self).expect("invariant: names and numbers are JSON in memory");
        out.push(b'\n');
        out
    }

    /// Reads the file; `None` when it is not one.
    pub fn import(octets: &[u8]) -> Option<QueueNumbers> {
        serde_json::from_slice(octets).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut numbers = QueueNumbers::default();
        numbers.insert("/", "a \"b\"", u64::MAX);
        numbers.insert("/", "ä", 7);
        numbers.insert("other", "", 1);
        let octets = numbers.export();
        let text = "{\n  \"/\": {\n    \"a \\\"b\\\"\": 18446744073709551615,\n    \"ä\": 7\n  },\n  \"other\": {\n    \"\": 1\n  }\n}\n";
        assert_eq!(String::from_utf8_lossy(&octets), text);
        let read = QueueNumbers::import(&octets).expect("it is one");
        assert_eq!(read, numbers);
        assert_eq!((read.get("/", "ä"), read.get("other", "ä")), (Some(7), None));
        for octets in [&b""[..], b"[]", b"{\"/\": {\"q\": -1}}", b"{"] {
            assert_eq!(QueueNumbers::import(octets), None);
        }
    }
}
