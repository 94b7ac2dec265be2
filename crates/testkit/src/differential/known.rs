//! What RabbitMQ 3.10 is known to do otherwise than the releases that WarrenMQ follows, or otherwise than WarrenMQ on purpose. Each
//! entry is counted when it is met; none is passed over in silence. `docs/compatibility.md` has the same for users.

use super::view::{Event, View};
use crate::transcript::received::Message;
use crate::transcript::value::{Typed, Value};

/// A difference after which the two brokers are in different states.
#[derive(Debug)]
pub(crate) struct Known {
    /// What it is, and which release does what.
    pub(crate) name: &'static str,
    /// A part of a line that the reference alone has; empty where it need not have one.
    reference: &'static str,
    /// The same of WarrenMQ.
    judged: &'static str,
}

const PARTINGS: [Known; 7] = [
    Known {
        name: "a wrong user-id beside a wrong expiration, CC or BCC: 3.10 names the user-id first",
        reference: "user_id property set to",
        judged: "PRECONDITION_FAILED - invalid ",
    },
    Known {
        name: "unknown exchange type: 503 and the end of the connection in 3.10, 406 on the channel since 3.13",
        reference: "reply-code=503 reply-text=\"COMMAND_INVALID - unknown exchange type",
        judged: "reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type",
    },
    Known {
        name: "unknown exchange type: 503 and the end of the connection in 3.10, 406 on the channel since 3.13",
        reference: "reply-code=503 reply-text=\"COMMAND_INVALID - invalid exchange type",
        judged: "reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type",
    },
    Known {
        name: "delivery-mode other than 1 and 2: 406 in 3.10, taken for 1 since 3.13",
        reference: "invalid message: {delivery_mode_unknown,",
        judged: "",
    },
    Known {
        name: "unknown method: all releases close the socket without a word, WarrenMQ says 503 (on purpose)",
        reference: "S <close>",
        judged: "COMMAND_INVALID - unknown method",
    },
    Known {
        name: "malformed arguments of a method: all releases close the socket without a word, WarrenMQ says 502 (on purpose)",
        reference: "S <close>",
        judged: "reply-code=502",
    },
    Known {
        name: "a body longer than announced: 505 at the next method in 3.10, 501 at once since 4.3",
        reference: "",
        judged: "FRAME_ERROR - content body frame exceeds remaining content size",
    },
];

/// The entry that explains why these lines differ.
pub(crate) fn parting(reference: &[String], judged: &[String]) -> Option<&'static Known> {
    let only = |these: &[String], those: &[String], part: &str| {
        part.is_empty() || these.iter().any(|line| line.contains(part) && !those.contains(line))
    };
    PARTINGS
        .iter()
        .find(|known| only(reference, judged, known.reference) && only(judged, reference, known.judged))
}

/// Takes out of a view of WarrenMQ what 3.10 does not have and what has no consequence; returns what was met.
pub(crate) fn equalise(judged: &mut View) -> Vec<&'static str> {
    let mut met = Vec::new();
    for message in messages_of(judged) {
        if remove_headers(message, b"x-last-death-") {
            met.push("x-last-death-… headers: since 3.13, not in 3.10");
        }
    }
    met
}

fn messages_of(view: &mut View) -> impl Iterator<Item = &mut Message> {
    view.events.iter_mut().filter_map(|(_, event)| match event {
        Event::Heard(message, _) => Some(message),
        _ => None,
    })
}

/// Removes headers by the beginning of their names; true when there was one.
fn remove_headers(message: &mut Message, beginning: &[u8]) -> bool {
    let mut removed = false;
    let Some(content) = &mut message.content else { return false };
    for property in content.properties.iter_mut().flatten() {
        if let Value::Table(headers) = property {
            let before = headers.len();
            headers.retain(|(key, _): &(Vec<u8>, Typed)| !key.starts_with(beginning));
            removed |= headers.len() < before;
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_explains_only_its_own_difference() {
        let line = |text: &str| vec![text.to_owned()];
        let reference = line(
            "1: S connection.close 0 reply-code=503 reply-text=\"COMMAND_INVALID - invalid exchange type 'x'\"",
        );
        let judged = line(
            "1: S channel.close 1 reply-code=406 reply-text=\"PRECONDITION_FAILED - unknown exchange type 'x'\"",
        );
        assert!(parting(&reference, &judged).is_some());
        assert!(parting(&reference, &line("1: S exchange.declare-ok 1")).is_none());
        assert!(parting(&judged, &judged).is_none());
    }
}
