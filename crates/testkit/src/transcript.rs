//! Transcripts: a conversation with a broker as text, one line for each method, that is both the script of the client and the
//! expectation of what the server says. The format is described in `tests/transcripts/README.md`. Nothing here uses the codec
//! of the broker, so that a transcript is a judge of it.

pub(crate) mod codec;
pub(crate) mod connection;
mod conversation;
mod corpus;
pub(crate) mod parse;
mod peer;
pub(crate) mod received;
mod recorder;
mod recording;
mod run;
pub(crate) mod scan;
pub(crate) mod spec;
pub(crate) mod step;
pub(crate) mod value;
mod variables;

use std::time::Duration;

pub use conversation::Conversation;
pub use corpus::Transcript;
pub use peer::{Arrival, Peer, TcpPeer};
pub use recorder::{Recorder, Said, Side};
pub use recording::{properties_of, transcript_of};
pub use run::{Mismatch, run_transcript};
pub use step::Target;

/// How long a server may take for what a line expects. RabbitMQ waits 3 s before it closes a socket on some mistakes.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How a client's bytes are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Each frame is handed over whole.
    #[default]
    Whole,
    /// Each byte is handed over by itself.
    ByteByByte,
    /// All that a client says before somebody else has a word is handed over in one piece.
    Together,
}

/// How a transcript is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How the client's bytes are cut.
    pub mode: Mode,
    /// Which lines count.
    pub target: Target,
}

/// How a transcript without a mismatch has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every line was met.
    Passed,
    /// It is not for this target; the text is the reason it gives.
    Skipped(String),
}
