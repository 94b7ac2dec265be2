//! The listener of the control socket: a thread that accepts, and one for each client.
//!
//! Invariant: clients are few, their time is bounded, and nobody waits for them, neither other clients nor the broker. The socket's file
//! is gone before the data folder is given back.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use warrenmq_broker::{Broker, Limits};

use super::machine;
use crate::control::{self, Lines, LinesError, Refusal, RefusalCode, Reply, Request, SocketError};

/// Clients at once.
const CLIENTS_MAX: usize = 8;
/// While there are clients, those that have left are looked for after so many seconds.
const REAP_SECONDS: i64 = 1;
/// Pause after a failed accept: the process may be out of descriptors for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The thread that accepts.
#[derive(Debug)]
pub(super) struct Control {
    socket: PathBuf,
    /// Closing it stops the thread.
    stop: UnixStream,
    thread: JoinHandle<()>,
}

/// What it works with.
struct Server {
    broker: Arc<Broker>,
    listener: UnixListener,
    stopped: UnixStream,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    thread: JoinHandle<()>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the system refused what the control socket needs: {0}")]
    System(#[from] io::Error),
}

impl Control {
    /// Opens the socket in a data folder whose lock is ours, and serves it.
    pub(super) fn start(broker: Arc<Broker>, folder: &Path) -> Result<Control, ControlError> {
        let listener = control::bind(folder)?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let server = Server { broker, listener, stopped, clients: Vec::new() };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || server.run())?;
        Ok(Control { socket: control::path(folder), stop, thread })
    }

    /// Removes the socket and ends the threads; a request that is being carried out is finished, its reply may be lost.
    pub(super) fn finish(self) {
        if let Err(error) = std::fs::remove_file(&self.socket) {
            tracing::warn!("{} cannot be removed: {error}", self.socket.display());
        }
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the control socket has failed");
        }
    }
}

impl Server {
    fn run(mut self) {
        while self.wait() {
            self.clients.retain(|client| !client.thread.is_finished());
            match self.listener.accept() {
                Ok((stream, _)) => self.start(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!("a control client could not be accepted: {error}");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        for Client { stream, thread } in self.clients {
            // It may have left.
            let _ = stream.shutdown(Shutdown::Both);
            if thread.join().is_err() {
                tracing::error!("a request on the control socket has failed");
            }
        }
    }

    /// Waits for a client; `false` at the stop.
    fn wait(&self) -> bool {
        let mut fds = [
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN),
        ];
        let pause = Timespec { tv_sec: REAP_SECONDS, tv_nsec: 0 };
        match poll(&mut fds, Some(&pause).filter(|_| !self.clients.is_empty())) {
            Ok(_) => fds.last().is_none_or(|stopped| stopped.revents().is_empty()),
            Err(error) if error == rustix::io::Errno::INTR => true,
            Err(error) => {
                tracing::error!("the control socket is closed: {error}");
                false
            }
        }
    }

    fn start(&mut self, stream: UnixStream) {
        let limits = self.broker.limits().clone();
        if let Err(refusal) = self.admit(&stream) {
            tracing::warn!("a control client was refused: {refusal}");
            // Small enough for the socket's buffer: nobody waits.
            let _ = control::write_line(&stream, Reply::Error(refusal).to_line(), Duration::from_millis(100));
            return;
        }
        let broker = Arc::clone(&self.broker);
        let started = stream.try_clone().and_then(|own| {
            std::thread::Builder::new().name("control client".to_owned()).spawn(move || {
                converse(&broker, &own, &limits);
                let _ = own.shutdown(Shutdown::Both);
            })
        });
        match started {
            Ok(thread) => self.clients.push(Client { stream, thread }),
            Err(error) => tracing::warn!("a control client could not be served: {error}"),
        }
    }

    /// Who may not use the socket, beside what the mode of its file says.
    fn admit(&self, stream: &UnixStream) -> Result<(), Refusal> {
        // An accepted socket does not take this over from the listener everywhere.
        let failed = |error: io::Error| Refusal::new(RefusalCode::Failed, error);
        stream.set_nonblocking(false).map_err(failed)?;
        let (uid, own) = (control::peer_uid(stream).map_err(failed)?, rustix::process::geteuid().as_raw());
        if uid != own && uid != 0 {
            let text = format!("user {uid} may not control this broker, only user {own} and root may");
            return Err(Refusal::refused(text));
        }
        if self.clients.len() >= CLIENTS_MAX {
            let text = format!("{CLIENTS_MAX} control clients are there already; try again");
            return Err(Refusal::new(RefusalCode::Failed, text));
        }
        Ok(())
    }
}

/// Answers requests until the client leaves or breaks a bound.
fn converse(broker: &Broker, stream: &UnixStream, limits: &Limits) {
    let within = Duration::from_millis(limits.control_timeout_ms);
    let mut lines = Lines::new(stream, limits.control_request_octets_max);
    loop {
        let line = match lines.next(within) {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!("control: {error}");
                if !matches!(error, LinesError::Io(_) | LinesError::CutShort) {
                    let refusal = Refusal::new(RefusalCode::BadRequest, error);
                    let _ = control::write_line(stream, Reply::Error(refusal).to_line(), within);
                }
                return;
            }
        };
        let reply = answer(broker, &line);
        drop(line);
        if let Err(error) = control::write_line(stream, reply.to_line(), within) {
            tracing::debug!("control: a reply was not taken: {error}");
            return;
        }
    }
}

fn answer(broker: &Broker, line: &[u8]) -> Reply {
    let request = match Request::read(line) {
        Ok(request) => request,
        Err(refusal) => return Reply::Error(refusal),
    };
    let done = control::call(broker, &request, machine::unix_time_ms());
    match &done {
        Ok(_) => tracing::info!("control: {} done", request.method),
        Err(refusal) => tracing::info!("control: {} refused: {refusal}", request.method),
    }
    done.into()
}
