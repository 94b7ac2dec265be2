//! What went wrong, and how far it reaches: one channel or the whole connection.
//!
//! Invariant: an exception with a hard reply code always closes the connection (AMQP 0-9-1 §1.2, constants).

use warrenmq_wire::frame::FrameError;
use warrenmq_wire::reply::ReplyCode;

/// A refusal with its reply code and explanation, before it is known how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The reply code.
    pub code: ReplyCode,
    /// The text after `NAME - `.
    pub explanation: String,
    /// Class of the failing method, 0 when there is none.
    pub class: u16,
    /// Id of the failing method, 0 when there is none.
    pub method: u16,
}

impl Exception {
    /// An exception that names no method.
    pub fn new(code: ReplyCode, explanation: impl Into<String>) -> Exception {
        Exception { code, explanation: explanation.into(), class: 0, method: 0 }
    }

    /// The same, caused by this method.
    pub fn at(self, class: u16, method: u16) -> Exception {
        Exception { class, method, ..self }
    }

    /// The reply text as sent: `NAME - explanation`, at most 255 octets.
    pub fn reply_text(&self) -> String {
        warrenmq_wire::reply::reply_text(self.code, &self.explanation)
    }

    /// The fault that this is on a channel: hard codes and channel 0 reach the whole connection.
    pub fn on(self, channel: u16) -> Fault {
        if channel == 0 || self.code.is_hard() {
            Fault::Connection(self)
        } else {
            Fault::Channel(channel, self)
        }
    }
}

/// An exception with its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes one channel.
    Channel(u16, Exception),
    /// Closes the connection.
    Connection(Exception),
}

pub(crate) fn unexpected(explanation: &str) -> Exception {
    Exception::new(ReplyCode::UnexpectedFrame, explanation)
}

/// RabbitMQ's text for a frame that cannot be (`rabbit_reader`, `frame_error`).
pub(crate) fn bad_frame(error: &FrameError) -> Exception {
    let (kind, payload, reason) = match error {
        FrameError::TooLarge { kind, size, max, .. } => (*kind, &[][..], {
            // RabbitMQ lets frames exceed the limit by 8 octets and names the limit without them.
            format!(
                "{{frame_too_large,{size},{}}}",
                max.saturating_sub(warrenmq_wire::frame::OVERHEAD as u32)
            )
        }),
        FrameError::BadEnd { kind, end, first, size, .. } => {
            let shown = if *size <= 16 { first.as_slice() } else { first.get(..16).unwrap_or(first) };
            let text = snippet_of(*size as usize, shown);
            let text = format!("type {kind}, {text}: {{invalid_frame_end_marker,{end}}}");
            return Exception::new(ReplyCode::FrameError, text);
        }
    };
    Exception::new(ReplyCode::FrameError, format!("type {kind}, {}: {reason}", snippet(payload)))
}

/// A frame of a type that AMQP does not know, or a heartbeat with a payload.
pub(crate) fn unknown_frame(kind: u8, payload: &[u8]) -> Exception {
    Exception::new(ReplyCode::FrameError, format!("type {kind}, {}: unknown_frame", snippet(payload)))
}

/// A frame where it may not stand.
pub(crate) fn misplaced_frame(kind: u8, payload: &[u8]) -> Exception {
    unexpected(&format!("type {kind}, {}", snippet(payload)))
}

/// Octets as Erlang prints a binary: quoted when all are printable, else as numbers. Reply texts contain it.
pub fn erlang_binary(octets: &[u8]) -> String {
    let printable = |octet: &u8| matches!(octet, 32..=126 | b'\t' | b'\n' | b'\r');
    if !octets.is_empty() && octets.iter().all(printable) {
        let mut text = String::from("<<\"");
        for octet in octets {
            match octet {
                b'"' => text.push_str("\\\""),
                b'\\' => text.push_str("\\\\"),
                b'\n' => text.push_str("\\n"),
                b'\r' => text.push_str("\\r"),
                b'\t' => text.push_str("\\t"),
                other => text.push(char::from(*other)),
            }
        }
        text + "\">>"
    } else {
        let numbers: Vec<String> = octets.iter().map(u8::to_string).collect();
        format!("<<{}>>", numbers.join(","))
    }
}

fn snippet(payload: &[u8]) -> String {
    snippet_of(payload.len(), payload.get(..16).unwrap_or(payload))
}

fn snippet_of(size: usize, shown: &[u8]) -> String {
    let which = if size <= 16 { "all" } else { "first 16" };
    format!("{which} octets = {}", erlang_binary(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_print_as_in_erlang() {
        assert_eq!(erlang_binary(b""), "<<>>");
        assert_eq!(erlang_binary(b"a\"b"), "<<\"a\\\"b\">>");
        assert_eq!(erlang_binary(&[0, 10, 255]), "<<0,10,255>>");
    }

    #[test]
    fn hard_codes_reach_the_connection() {
        let soft = Exception::new(ReplyCode::NotFound, "x");
        let hard = Exception::new(ReplyCode::NotAllowed, "x");
        assert_eq!(soft.clone().on(3), Fault::Channel(3, soft.clone()));
        assert_eq!(soft.clone().on(0), Fault::Connection(soft));
        assert_eq!(hard.clone().on(3), Fault::Connection(hard));
    }
}
