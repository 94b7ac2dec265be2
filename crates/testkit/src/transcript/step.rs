//! What one line of a transcript asks for. Names of methods and fields are resolved, variables are not: what they stand for is
//! known only while a transcript runs.

use super::scan::Pattern;
use super::spec::Method;

/// The broker that a transcript runs against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// WarrenMQ, and every broker that keeps to what it follows.
    #[default]
    Default,
    /// RabbitMQ 3.10, which answers some things otherwise: lines marked `[3.10]`.
    RabbitMq310,
}

/// With which targets a line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Only(Target),
    Except(Target),
}

impl Condition {
    pub(crate) fn holds(self, target: Target) -> bool {
        match self {
            Condition::Always => true,
            Condition::Only(only) => target == only,
            Condition::Except(except) => target != except,
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// Line number, from 1.
    pub(crate) line: usize,
    /// The line as it is written.
    pub(crate) source: String,
    pub(crate) connection: u32,
    pub(crate) condition: Condition,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Open(OpenOptions),
    /// The client goes away without a word.
    Drop,
    SendMethod(MethodLine),
    SendFrame {
        kind: u8,
        channel: u16,
        payload: FramePayload,
    },
    SendBytes(Vec<u8>),
    Expect {
        expected: Expected,
        /// Consecutive steps with this mark may be met in any order.
        in_any_order: bool,
    },
    /// The rest of the transcript is not for this target.
    Skip(String),
}

/// What the client says while it opens a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenOptions {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) vhost: String,
    /// Names of capabilities that the client claims to have.
    pub(crate) capabilities: Vec<String>,
    /// `None`: what the server proposes.
    pub(crate) channel_max: Option<u16>,
    /// `None`: what the server proposes.
    pub(crate) frame_max: Option<u32>,
    /// In seconds; 0 switches heartbeats off.
    pub(crate) heartbeat: u16,
}

impl Default for OpenOptions {
    /// The user that every RabbitMQ has, without capabilities and heartbeats.
    fn default() -> Self {
        OpenOptions {
            user: "guest".to_owned(),
            password: "guest".to_owned(),
            vhost: "/".to_owned(),
            capabilities: Vec::new(),
            channel_max: None,
            frame_max: None,
            heartbeat: 0,
        }
    }
}

/// A method with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MethodLine {
    pub(crate) method: &'static Method,
    pub(crate) channel: u16,
    /// One for each field of the method.
    pub(crate) fields: Vec<Pattern>,
    /// For methods that carry content.
    pub(crate) content: Option<ContentLine>,
}

/// Properties and body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContentLine {
    /// One for each property, `None` where it is absent.
    pub(crate) properties: Vec<Option<Pattern>>,
    pub(crate) body: Pattern,
    /// Sizes of the first body frames that are sent; the rest follows in frames as large as they may be.
    pub(crate) split: Vec<usize>,
}

/// A frame that is sent by itself, to say what no client library would.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FramePayload {
    Method(MethodLine),
    Header { class_id: u16, body_size: u64, properties: Vec<Option<Pattern>> },
    Bytes(Vec<u8>),
}

/// What the server is to send or do next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Method(MethodLine),
    Bytes(Vec<u8>),
    /// It closes the socket.
    Close,
    /// It is silent for so many milliseconds.
    Nothing(u64),
    /// Acks that together confirm each tag of this range once; those of different queues may overtake each other.
    Confirmed {
        channel: u16,
        first: u64,
        last: u64,
    },
}
