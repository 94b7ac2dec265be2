//! The brokers that are compared, and how each of them is made ready for one row.
//!
//! Invariant: a broker that was started here serves one row alone, runs while nobody else is measured, and is gone when this
//! program ends in any way but a kill.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use amq_protocol::uri::AMQPUri;
use warrenmq_testkit::process::{BrokerHome, BrokerProcess};

use super::results::{Broker, Kind};
use crate::rabbitmq::RabbitMq;

/// How long a broker may take to greet.
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);
/// How a broker that was started here is reached, behind its address.
const VHOST: &str = "%2f";

/// A broker that takes part.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) about: Broker,
    source: Source,
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Relay(PathBuf),
    WarrenMq(PathBuf),
    RabbitMq(Box<RabbitMq>),
    /// Somebody else has started it.
    Running {
        uri: Box<AMQPUri>,
        text: String,
        pid: Option<u32>,
    },
}

/// A broker that waits for clients.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    pub(crate) uri: String,
    pub(crate) address: SocketAddr,
    pub(crate) login: Login,
    /// Unknown for a broker on another machine.
    pub(crate) pid: Option<u32>,
    _process: Process<'a>,
}

/// As whom one connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) vhost: String,
}

/// What ends, or rests, when a row is over.
#[derive(Debug)]
#[expect(dead_code, reason = "each is held for what its drop does")]
enum Process<'a> {
    Relay(RelayProcess),
    WarrenMq(BrokerProcess, BrokerHome),
    RabbitMq(Resting<'a>),
    Elsewhere,
}

impl Contender {
    /// The floor.
    pub(crate) fn relay(binary: PathBuf) -> Self {
        let durability = "keeps nothing: passes messages on";
        Self { about: Broker::new(Kind::Relay, "relay", "", durability), source: Source::Relay(binary) }
    }

    /// A build of WarrenMQ called `name`; `commit` is what it was built from, where that is known.
    ///
    /// # Errors
    /// When the binary does not tell its version.
    pub(crate) fn warrenmq(name: &str, binary: PathBuf, commit: &str) -> io::Result<Self> {
        let output = Command::new(&binary).arg("--version").output()?;
        let version = String::from_utf8_lossy(&output.stdout);
        let version = version.split_whitespace().last().unwrap_or("?");
        let version = if commit.is_empty() { version.to_owned() } else { format!("{version} ({commit})") };
        let durability =
            "persistent messages are synced to disk before they are confirmed (`durability = \"fsync\"`)";
        let about = Broker::new(Kind::WarrenMq, name, &version, durability);
        Ok(Self { about, source: Source::WarrenMq(binary) })
    }

    /// RabbitMQ as it was installed; `None` where it is not.
    ///
    /// # Errors
    /// When it is there and does not start.
    pub(crate) fn rabbitmq() -> io::Result<Option<Self>> {
        let Some(mut broker) = RabbitMq::installed()? else { return Ok(None) };
        broker.resume()?;
        let (_, version) = greeting(broker.address())?;
        broker.rest();
        let durability =
            "classic queues: persistent messages are written, without a sync, at the latest after 200 ms";
        let about = Broker::new(Kind::RabbitMq, "RabbitMQ", &version, durability);
        Ok(Some(Self { about, source: Source::RabbitMq(Box::new(broker)) }))
    }

    /// A broker that runs already, as `NAME=URI[,PID]`.
    ///
    /// # Errors
    /// What is wrong with the text, or why nobody is there.
    pub(crate) fn running(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("it is not NAME=URI[,PID]")?;
        let (text, pid) = match rest.rsplit_once(',') {
            Some((uri, pid)) => (uri, Some(pid.parse().map_err(|_| format!("{pid:?} is no process id"))?)),
            None => (rest, None),
        };
        let uri = AMQPUri::from_str(text)?;
        let address = address_of(&uri).map_err(|error| format!("{text}: {error}"))?;
        let (product, version) = greeting(address).map_err(|error| format!("{text}: {error}"))?;
        let about = Broker::new(Kind::Other, name, &format!("{product} {version}"), "as it was started");
        Ok(Self { about, source: Source::Running { uri: Box::new(uri), text: text.to_owned(), pid } })
    }

    /// Makes it ready for one row, with `toml` as the configuration when it is WarrenMQ.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn ready(&mut self, toml: Option<&str>) -> io::Result<Ready<'_>> {
        match &mut self.source {
            Source::Relay(binary) => {
                let (process, address) = RelayProcess::start(binary)?;
                let pid = process.0.id();
                Ok(Ready::here(address, pid, Process::Relay(process)))
            }
            Source::WarrenMq(binary) => {
                let home = BrokerHome::new()?;
                let mut arguments = vec!["--log".into(), "warn".into()];
                if let Some(toml) = toml {
                    let file = home.write_file("warrenmq.toml", toml)?;
                    arguments.extend(["--config".into(), file.into_os_string()]);
                }
                let process = BrokerProcess::start(binary, &home, arguments)?;
                let (address, pid) = (process.address(), process.pid());
                Ok(Ready::here(address, pid, Process::WarrenMq(process, home)))
            }
            Source::RabbitMq(broker) => {
                let pid = broker.resume()?;
                let broker = &**broker;
                Ok(Ready::here(broker.address(), pid, Process::RabbitMq(Resting(broker))))
            }
            Source::Running { uri, text, pid } => Ok(Ready {
                uri: text.clone(),
                address: address_of(uri)?,
                login: Login {
                    user: uri.authority.userinfo.username.clone(),
                    password: uri.authority.userinfo.password.clone(),
                    vhost: uri.vhost.clone(),
                },
                pid: *pid,
                _process: Process::Elsewhere,
            }),
        }
    }
}

impl<'a> Ready<'a> {
    fn here(address: SocketAddr, pid: u32, process: Process<'a>) -> Self {
        let login = Login { user: "guest".into(), password: "guest".into(), vhost: "/".into() };
        let uri = format!("amqp://guest:guest@{address}/{VHOST}");
        Self { uri, address, login, pid: Some(pid), _process: process }
    }

    /// Octets of memory that are resident now; `None` for a process that cannot be looked at.
    pub(crate) fn resident(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024.0)
    }
}

/// A relay; dropping it kills it.
#[derive(Debug)]
struct RelayProcess(Child);

impl RelayProcess {
    fn start(binary: &Path) -> io::Result<(Self, SocketAddr)> {
        let mut child =
            Command::new(binary).arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let process = Self(child);
        let address = line.trim().strip_prefix("listens on ").and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("the relay says {line:?}")))?;
        Ok((process, address))
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended already: then both calls fail, and that is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets RabbitMQ rest at the end of a row.
#[derive(Debug)]
struct Resting<'a>(&'a RabbitMq);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.rest();
    }
}

fn address_of(uri: &AMQPUri) -> io::Result<SocketAddr> {
    let host = uri.authority.host.trim_matches(['[', ']']);
    let mut addresses = (host, uri.authority.port).to_socket_addrs()?;
    addresses.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))
}

/// Product and version in the server properties of connection.start.
fn greeting(address: SocketAddr) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(GREETING_TIME_MAX))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut head = [0; 7];
    stream.read_exact(&mut head)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = Vec::new();
    stream.take(u64::from(size)).read_to_end(&mut payload)?;
    let text = |name: &str| text_in_table(&payload, name).unwrap_or_else(|| "?".to_owned());
    Ok((text("product"), text("version")))
}

/// The long string called `name` in a table that is somewhere in `payload`.
fn text_in_table(payload: &[u8], name: &str) -> Option<String> {
    let mut key = vec![u8::try_from(name.len()).ok()?];
    key.extend(name.as_bytes());
    key.push(b'S');
    let at = payload.windows(key.len()).position(|window| window == key)?;
    let (length, rest) = payload.get(at + key.len()..)?.split_first_chunk()?;
    let text = rest.get(..u32::from_be_bytes(*length) as usize)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_a_table() {
        let table = b"\0\0\0\x2a\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8";
        assert_eq!(text_in_table(table, "product").as_deref(), Some("RabbitMQ"));
        assert_eq!(text_in_table(table, "version").as_deref(), Some("3.10.8"));
        assert_eq!(text_in_table(table, "platform"), None);
        assert_eq!(text_in_table(&table[..table.len() - 1], "version"), None);
    }

    #[test]
    fn what_is_no_broker_is_refused() {
        for text in ["amqp://127.0.0.1", "name=http://127.0.0.1", "name=amqp://127.0.0.1:1,pid"] {
            assert!(Contender::running(text).is_err(), "{text}");
        }
    }
}
