//! A client of another language as a child process: `interop/LANGUAGE/chaos`, what it says and what it is told. One that is dropped is
//! ended with all that it has started.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};

use super::ledger::Ledger;

/// A client that runs.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    child: Child,
    input: Option<ChildStdin>,
}

/// The folders of `interop` with such a client, in the order of their names.
pub(super) fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root.join("interop"))? {
        let folder = entry?.path();
        if folder.join("chaos").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

impl Client {
    /// Starts the client of a folder; what it says goes to the ledger.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        folder: &Path,
        broker: SocketAddr,
        ledger: &Arc<Mutex<Ledger>>,
    ) -> io::Result<Client> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(folder.join("chaos"));
        command.args([broker.ip().to_string(), broker.port().to_string(), name.clone()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            let (name, ledger) = (name.clone(), Arc::clone(ledger));
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    ledger.lock().unwrap_or_else(PoisonError::into_inner).note(&name, &line);
                }
            });
        }
        Ok(Client { name, child, input })
    }

    /// Tells it something; one that has ended does not hear it.
    pub(super) fn tell(&mut self, word: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{word}");
        }
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().ok().flatten().map(|status| status.success())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended, and left nothing behind, needs no end.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
