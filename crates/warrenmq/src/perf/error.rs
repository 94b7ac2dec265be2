//! What can end a run of `perf` early.

use std::{io, net::SocketAddr, path::PathBuf};

use warrenmq_wire::{EncodeError, method::MethodError};

use super::walker::WalkError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PerfError {
    /// No address of the host could be reached.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect { host: String, port: u16, source: io::Error },
    /// The connection broke.
    #[error("connection to {peer}: {source}")]
    Io { peer: SocketAddr, source: io::Error },
    /// The broker closed the socket without a word.
    #[error("the broker at {0} closed the connection")]
    Hangup(SocketAddr),
    /// The broker closed the connection or the channel and said why.
    #[error("the broker closed the {scope}: {code} {text}")]
    Closed { scope: &'static str, code: u16, text: String },
    /// The queue of a consumer is gone.
    #[error("the broker cancelled a consumer: its queue is gone")]
    Cancelled,
    /// A method where another was expected.
    #[error("the broker answered {method} with {answer}")]
    Unexpected { method: &'static str, answer: &'static str },
    /// No answer within the time limit.
    #[error("no answer to {0} within {seconds} s", seconds = super::connection::ANSWER_SECONDS)]
    NoAnswer(&'static str),
    /// The broker reads nothing although little is sent to it.
    #[error("the broker at {0} has read nothing for {seconds} s", seconds = super::connection::ANSWER_SECONDS)]
    Deaf(SocketAddr),
    /// What the broker sent cannot be understood.
    #[error("from the broker: {0}")]
    Walk(#[from] WalkError),
    /// What the broker sent cannot be understood.
    #[error("from the broker: {0}")]
    Method(#[from] MethodError),
    /// An argument does not fit AMQP.
    #[error("{0}")]
    Encode(#[from] EncodeError),
    /// An argument cannot be had.
    #[error("{0}")]
    Argument(String),
    /// The chart could not be written.
    #[error("{0}")]
    Plot(#[from] warrenmq_plot::PlotError),
    /// The process of the broker cannot be read.
    #[error("process {pid}: {source}")]
    Process { pid: u32, source: io::Error },
    /// The broker could not be restarted.
    #[error("restart: {0}")]
    Restart(String),
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
    /// The size of the broker's data folder cannot be found out.
    #[error("{}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    /// The summary cannot be written as JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread has panicked, which is a bug here; its message is on standard error.
    #[error("a worker has panicked")]
    Panicked,
}
