//! The broker that a command is for: the one that runs on a data folder, or the folder itself when none does.
//!
//! Invariant: there is never a second owner of the folder: who holds its lock carries the method out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use warrenmq_broker::Failure;
use warrenmq_store::{DataDir, DataDirError};

use crate::config::{self, Config, ConfigError, Overrides};
use crate::control::{self, Lines, LinesError, Refusal, Reply, Request, SocketError};
use crate::serve::{self, OpenError};

#[derive(Clone, Debug, Args)]
pub(super) struct NodeArgs {
    /// Data folder of the broker [default: warrenmq-data] [env: WARRENMQ_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file of the broker [default: none] [env: WARRENMQ_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long a running broker is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Why nothing came back. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    DataDir(DataDirError),
    #[error(
        "a broker{} has the data folder {} but does not listen on its socket {}: it is just starting or stopping, or \
         its log says why it has none; then stop it, and this works on the folder",
        process(*pid), folder.display(), control::path(folder).display()
    )]
    NoSocket { folder: PathBuf, pid: Option<u32> },
    #[error(
        "user {own} may not open {}; only the user that the broker runs as and root may: run this as that user",
        control::path(folder).display()
    )]
    NotAllowed { folder: PathBuf, own: u32 },
    #[error(
        "{} belongs to a process of user {uid}, which is neither the owner of the folder nor you nor root: \
         nothing was sent there",
        control::path(folder).display()
    )]
    Stranger { folder: PathBuf, uid: u32 },
    #[error("the broker cannot be asked: {0}")]
    Socket(SocketError),
    #[error("the broker has not answered in {0} s; --timeout gives it more")]
    Late(u64),
    #[error("the broker has ended the conversation: {0}")]
    Conversation(LinesError),
    #[error("the broker has given an answer that this version does not understand")]
    Unexpected,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Close(#[from] Failure),
}

impl NodeError {
    /// Whether nothing was asked of anybody yet.
    pub(super) fn is_before(&self) -> bool {
        use NodeError::{Config, DataDir, NoSocket, NotAllowed, Socket, Stranger};
        matches!(
            self,
            Config(_) | DataDir(_) | NoSocket { .. } | NotAllowed { .. } | Socket(_) | Stranger { .. }
        )
    }
}

/// Has a method carried out, and returns what came of it.
pub(super) fn call(args: &NodeArgs, method: &str, params: Value) -> Result<Value, NodeError> {
    let Value::Object(params) = params else { return Err(NodeError::Unexpected) };
    let request = Request { method: method.to_owned(), params };
    let overrides =
        Overrides { config: args.config.clone(), data_dir: args.data_dir.clone(), ..Overrides::default() };
    let config = config::load(overrides, std::env::vars_os())?;
    match ask(&config.data_dir, &request, args.timeout)? {
        Some(reply) => match reply {
            Reply::Result(value) => Ok(value),
            Reply::Error(refusal) => Err(refusal.into()),
        },
        None => carry_out(&config, &request),
    }
}

/// Asks the broker that runs; `None` if nobody listens.
fn ask(folder: &Path, request: &Request, timeout: u64) -> Result<Option<Reply>, NodeError> {
    let own = rustix::process::geteuid().as_raw();
    let stream = match control::connect(folder) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
                Some(io::ErrorKind::PermissionDenied) => {
                    Err(NodeError::NotAllowed { folder: folder.to_owned(), own })
                }
                _ => Err(NodeError::Socket(error)),
            };
        }
    };
    let uid = control::peer_uid(&stream).map_err(|error| NodeError::Conversation(error.into()))?;
    if ![own, 0].contains(&uid) && owner(folder) != Some(uid) {
        return Err(NodeError::Stranger { folder: folder.to_owned(), uid });
    }
    let within = Duration::from_secs(timeout);
    let failed = |error| match error {
        LinesError::Late => NodeError::Late(timeout),
        error => NodeError::Conversation(error),
    };
    let mut lines = Lines::new(&stream, usize::MAX);
    let sent = control::write_line(&stream, request.to_line(), within);
    // Who refuses a request before it has come whole says why.
    let reply = match (lines.next(within), sent) {
        (Ok(Some(reply)), _) => reply,
        (_, Err(error)) | (Err(error), Ok(())) => return Err(failed(error)),
        (Ok(None), Ok(())) => return Err(NodeError::Conversation(LinesError::CutShort)),
    };
    serde_json::from_slice(&reply).map(Some).map_err(|_| NodeError::Unexpected)
}

/// Does what the broker would do, on its folder.
fn carry_out(config: &Config, request: &Request) -> Result<Value, NodeError> {
    let in_use = |error| match error {
        DataDirError::InUse { path, pid } => NodeError::NoSocket { folder: path, pid },
        error => NodeError::DataDir(error),
    };
    // The broker would make a folder that is not there; here its name is more likely mistyped.
    drop(DataDir::open_existing(&config.data_dir).map_err(in_use)?);
    let mut data_dir = DataDir::open(&config.data_dir).map_err(in_use)?;
    let on_failure = Arc::new(|failure| tracing::error!("{failure}"));
    let broker = serve::open_broker(config, &mut data_dir, on_failure)?;
    let done = control::call(&broker, request, serve::unix_time_ms());
    serve::write_copy(&broker, &data_dir);
    broker.close()?;
    Ok(done?)
}

fn owner(folder: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|metadata| metadata.uid())
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
