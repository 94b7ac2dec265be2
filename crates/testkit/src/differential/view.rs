//! What could be seen of one step, and of a whole script, on one broker.

use std::collections::{BTreeMap, BTreeSet};

use crate::transcript::received::Message;

/// Something that happened on a connection, in its order there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A line of the client, as a transcript has it.
    Said(String),
    /// A method of the server, and for a delivery the queue that it came from.
    Heard(Message, String),
    /// The server has closed the socket, or has sent what is no frame.
    Closed(String),
    /// An answer that was due has not come.
    Silent(String),
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct View {
    /// By connection.
    pub(crate) events: Vec<(u32, Event)>,
    /// Tags by connection and channel, and whether they were refused.
    pub(crate) confirms: BTreeMap<(u32, u16), BTreeMap<u64, bool>>,
    /// What an onlooker learns of the queues and exchanges that changed.
    pub(crate) objects: BTreeMap<String, String>,
    /// Queues in which several channels had a stake that have ended all at once.
    pub(crate) left_at_once: BTreeSet<String>,
}

/// A script that was played.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Played {
    pub(crate) views: Vec<View>,
    /// The steps between two waits took so long that what expires may have expired among them.
    pub(crate) was_slow: bool,
}
