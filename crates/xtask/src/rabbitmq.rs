//! A RabbitMQ of the system's own package, started beside everything else: node name, ports and folder are its own, and so is
//! the port mapper that it needs. Between the rows of a benchmark the process is stopped, so that it takes no time from others.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// Where Debian has the program itself; the one in the path changes user and folders.
const DEBIAN_SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const SCRIPT: &str = "rabbitmq-server";
/// How long a start may take.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long it may take to finish what the last row has left.
const CALM_TIME_MAX: Duration = Duration::from_secs(5);
/// CPU time within [`CALM_WINDOW`] below which it is idle, in hundredths of a second.
const CALM_TICKS: u64 = 3;
const CALM_WINDOW: Duration = Duration::from_millis(300);

/// A node.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    folder: TempDir,
    port: u16,
    mapper_port: u16,
    plugins: &'static [&'static str],
    /// What it starts with beside its defaults.
    definitions: Option<&'static str>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// The script; the node is in its process group.
    script: Child,
    /// The node itself.
    pid: u32,
}

impl RabbitMq {
    /// A node that is not started yet; `None` where RabbitMQ is not installed.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub(crate) fn installed() -> io::Result<Option<Self>> {
        let in_path = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(SCRIPT).is_file()));
        if !in_path && !Path::new(DEBIAN_SCRIPT).is_file() {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("warrenmq-rabbitmq-").tempdir()?;
        let (port, mapper_port) = (free_port()?, free_port()?);
        Ok(Some(Self { folder, port, mapper_port, plugins: &[], definitions: None, running: None }))
    }

    /// The same node with plugins and with definitions, a text as `rabbitmqctl export_definitions` writes it.
    pub(crate) fn with(mut self, plugins: &'static [&'static str], definitions: &'static str) -> Self {
        self.plugins = plugins;
        self.definitions = Some(definitions);
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Lets it run, starts it if it does not, and waits until it has nothing more to do; returns its process id.
    ///
    /// # Errors
    /// When it does not start; the text holds the end of its output.
    pub(crate) fn resume(&mut self) -> io::Result<u32> {
        if let Some(running) = &mut self.running
            && running.script.try_wait()?.is_none()
            && signal(running.pid, Signal::CONT).is_ok()
        {
            let pid = running.pid;
            calm(pid);
            return Ok(pid);
        }
        self.stop();
        self.start()
    }

    /// Stops the process until the next [`Self::resume`].
    pub(crate) fn rest(&self) {
        if let Some(running) = &self.running {
            // A process that is gone rests as well.
            let _ = signal(running.pid, Signal::STOP);
        }
    }

    fn start(&mut self) -> io::Result<u32> {
        let folder = self.folder.path();
        let configuration = folder.join("rabbitmq.conf");
        let mut settings = format!("listeners.tcp.1 = 127.0.0.1:{}\n", self.port);
        if let Some(definitions) = self.definitions {
            let file = folder.join("definitions.json");
            fs::write(&file, definitions)?;
            settings += &format!("load_definitions = {}\n", file.display());
        }
        fs::write(&configuration, settings)?;
        fs::write(folder.join("enabled_plugins"), format!("[{}].\n", self.plugins.join(",")))?;
        let output = File::create(folder.join("output.log"))?;
        let script = if Path::new(DEBIAN_SCRIPT).is_file() { DEBIAN_SCRIPT } else { SCRIPT };
        let pid_file = folder.join("pid");
        let mut command = Command::new(script);
        command
            .env("HOME", folder)
            .env("RABBITMQ_NODENAME", format!("warrenmq{}@localhost", self.port))
            .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_CONFIG_FILE", configuration)
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", &pid_file)
            .env("RABBITMQ_DIST_PORT", free_port()?.to_string())
            .env("ERL_EPMD_PORT", self.mapper_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let running = self.running.insert(Running { script: command.spawn()?, pid: 0 });
        let deadline = Instant::now() + START_TIME_MAX;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
            if let (Some(pid), true) = (pid, TcpStream::connect(address).is_ok()) {
                running.pid = pid;
                calm(pid);
                return Ok(pid);
            }
            if running.script.try_wait()?.is_some() || Instant::now() > deadline {
                let output = fs::read_to_string(folder.join("output.log")).unwrap_or_default();
                let lines: Vec<_> = output.lines().collect();
                let tail = lines[lines.len().saturating_sub(5)..].join("\n");
                self.stop();
                return Err(io::Error::other(format!(
                    "RabbitMQ does not start; its output ends with:\n{tail}"
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // What has ended already is as it should be.
        let _ = signal(running.pid, Signal::KILL);
        let _ = kill_process_group(Pid::from_child(&running.script), Signal::KILL);
        let _ = running.script.wait();
        let _ = Command::new("epmd")
            .args(["-port", &self.mapper_port.to_string(), "-kill"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the process uses next to no CPU time.
fn calm(pid: u32) {
    let deadline = Instant::now() + CALM_TIME_MAX;
    let mut before = ticks(pid);
    while Instant::now() < deadline {
        thread::sleep(CALM_WINDOW);
        let now = ticks(pid);
        if now.saturating_sub(before) < CALM_TICKS {
            return;
        }
        before = now;
    }
}

/// CPU time so far in hundredths of a second; zero for a process that is gone.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, signal)?)
}

/// A port of the loopback interface that nobody listened on a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
