//! The `warrenmq` binary as a child process: built by cargo, started on a free port of the loopback interface with a folder
//! of its own, and never left behind: a process that is dropped is killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::usage::Usage;

/// How long a broker may take until its port accepts.
const START_TIME_MAX: Duration = Duration::from_secs(20);
/// How often a state that another process changes is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much of a broker's output goes into an error text.
const LOG_LINES_MAX: usize = 20;

/// A build profile of cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// With debug assertions: lock ranks and invariants are checked.
    Dev,
    /// What users run.
    Release,
}

/// Builds the binary `warrenmq` of the workspace that contains `folder` and returns its path.
///
/// Cargo's answer is the source of the path, so that every setting of a target directory works. The whole workspace is named
/// in the command because that selects the same features as `cargo test --workspace` and so reuses what that has built.
///
/// # Errors
/// When cargo cannot be started, the build fails, or no such binary is in the workspace.
pub fn build(folder: &Path, profile: Profile) -> io::Result<PathBuf> {
    build_binary(folder, "warrenmq", profile)
}

/// The same for any binary of the workspace.
///
/// # Errors
/// As [`build`].
pub fn build_binary(folder: &Path, name: &str, profile: Profile) -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(folder).args(["build", "--workspace", "--bin", name]);
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    if profile == Profile::Release {
        command.arg("--release");
    }
    let mut child = command.spawn()?;
    let mut executable = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            executable = executable_of(&line?, name).or(executable);
        }
    }
    if !child.wait()?.success() {
        return Err(io::Error::other(format!("cargo could not build the binary `{name}`")));
    }
    executable.ok_or_else(|| io::Error::other(format!("cargo has built no binary `{name}`")))
}

/// The path in one of cargo's messages, when that message is about the binary.
fn executable_of(line: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
    if is_it { message["executable"].as_str().map(PathBuf::from) } else { None }
}

/// The folder of a broker under test; it outlives the process, so that a second one can be started on the same data.
#[derive(Debug)]
pub struct BrokerHome {
    dir: TempDir,
}

impl BrokerHome {
    /// An empty folder in the system's temporary directory, removed on drop.
    ///
    /// # Errors
    /// Those of creating a directory.
    pub fn new() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("warrenmq-test-").tempdir()?;
        Ok(BrokerHome { dir })
    }

    /// Keeps the folder for somebody to look at, and says where it is.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// What the broker gets as `--data-dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file that a broker is to be given and returns its path.
    ///
    /// # Errors
    /// Those of writing a file.
    pub fn write_file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// All that brokers in this folder have written to their standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last lines that brokers in this folder have written to their standard output and error.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("output.log")
    }
}

/// A running broker. Dropping it kills it as `kill -9` does.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
    address: SocketAddr,
}

impl BrokerProcess {
    /// Starts `binary serve` on a free loopback port with the data of `home` and waits until it accepts connections.
    ///
    /// # Errors
    /// When it cannot be started, ends at once, or does not accept within 20 s; the text then holds its last output.
    pub fn start<I, S>(binary: &Path, home: &BrokerHome, arguments: I) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut broker = Self::spawn(binary, home, arguments)?;
        broker.wait_until_it_accepts(home)?;
        Ok(broker)
    }

    /// The same without waiting: it may accept connections some time later.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<I, S>(binary: &Path, home: &BrokerHome, arguments: I) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let address = free_address()?;
        let log = File::options().create(true).append(true).open(home.log_path())?;
        let child = Command::new(binary)
            .arg("serve")
            .args(["--listen", &address.to_string(), "--data-dir"])
            .arg(home.data_dir())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(BrokerProcess { child, address })
    }

    /// Waits until a spawned broker accepts connections.
    ///
    /// # Errors
    /// When it ends at once, or does not accept within 20 s; the text then holds its last output.
    pub fn wait_until_it_accepts(&mut self, home: &BrokerHome) -> io::Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        while TcpStream::connect(self.address).is_err() {
            let reason = match self.child.try_wait()? {
                Some(status) => format!("the broker ended at its start with {status}"),
                None if Instant::now() > deadline => format!("the broker did not accept on {}", self.address),
                None => {
                    thread::sleep(POLL_INTERVAL);
                    continue;
                }
            };
            return Err(io::Error::other(format!("{reason}; its output ends with:\n{}", home.log_tail())));
        }
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// Those of asking the system.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Octets of memory that are resident now.
    ///
    /// # Errors
    /// When it has ended, or on a system without Linux's `/proc`.
    pub fn resident(&self) -> io::Result<u64> {
        Ok(Usage::of(self.pid())?.resident)
    }

    /// Sends SIGTERM and waits until it has ended, `time_max` at most.
    ///
    /// # Errors
    /// When it is still there after that time (it is killed then).
    pub fn stop(mut self, time_max: Duration) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + time_max;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("the broker did not end within {time_max:?}")))
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// Those of the signal.
    pub fn kill(mut self) -> io::Result<()> {
        self.kill_now()
    }

    /// The same for one that is still looked at: it has ended when this returns.
    ///
    /// # Errors
    /// Those of the signal.
    pub fn kill_now(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // It may have ended already: then both calls fail, and that is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of the loopback interface that nobody listened on a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_read_from_cargos_messages() {
        let cases = [
            (
                r#"{"reason":"compiler-artifact","target":{"name":"warrenmq"},"executable":"/t/warrenmq"}"#,
                true,
            ),
            (r#"{"reason":"compiler-artifact","target":{"name":"warrenmq"},"executable":null}"#, false),
            (r#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":"/t/serde"}"#, false),
            (r#"{"reason":"build-finished","success":true}"#, false),
            ("no JSON", false),
        ];
        for (line, found) in cases {
            assert_eq!(executable_of(line, "warrenmq").is_some(), found, "{line}");
        }
    }

    #[test]
    fn a_broker_that_ends_at_its_start_is_reported_with_its_output() {
        let home = BrokerHome::new().unwrap();
        let shell = home.dir.path().join("broker");
        fs::write(&shell, "#!/bin/sh\necho port taken\nexit 1\n").unwrap();
        let mut permissions = fs::metadata(&shell).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
        fs::set_permissions(&shell, permissions).unwrap();
        let error = BrokerProcess::start(&shell, &home, [""; 0]).unwrap_err().to_string();
        assert!(error.contains("ended at its start") && error.ends_with("port taken"), "{error}");
    }
}
