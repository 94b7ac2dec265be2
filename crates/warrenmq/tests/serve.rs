//! `warrenmq serve` as a process: what it prints, how it refuses to start, how it stops.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a stop may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn it_says_when_it_is_ready() {
    let folder = folder();
    let broker = Broker::start(&folder, &["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"]);
    let (head, rest) = broker.ready.split_once(" on ").expect("the line has addresses");
    assert_eq!(head, concat!("WarrenMQ ", env!("CARGO_PKG_VERSION"), " is ready: AMQP 0-9-1"));
    let data = format!("; data in {}; started in ", data_dir(&folder).display());
    let (addresses, time) = rest.split_once(&data).expect("the line names the data folder");
    assert_eq!(addresses.split(", ").count(), 2);
    assert!(time.trim_end().trim_end_matches(" ms").parse::<u32>().is_ok(), "{time}");
    for address in addresses.split(", ") {
        TcpStream::connect(address).expect("it listens where it says");
    }
}

#[test]
fn a_start_that_fails_is_one_line_and_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("an address").to_string();
    let folder = folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let unknown = file("unknown.toml", "\n[limits]\nframe_maxx = 4096\n");
    let wrong = file("wrong.toml", "[limits]\nchannel_max = 0\n");
    let garbage = file("garbage.json", "{ \"queues\": 5 }");
    let in_the_way = file("in-the-way", "");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--listen", &taken], &[&taken, "taken", "--listen ADDR:PORT"]),
        (&["--listen", "192.0.2.1:5672"], &["192.0.2.1:5672", "--listen ADDR:PORT"]),
        (&["--config", &unknown], &["unknown.toml:3", "'limits.frame_maxx'", "'limits.frame_max'"]),
        (&["--config", &wrong], &["wrong.toml:2", "'limits.channel_max'", "1 to 65535"]),
        (&["--config", "/nowhere/w.toml"], &["/nowhere/w.toml", "No such file"]),
        (&["--load-definitions", "/nowhere/d.json"], &["/nowhere/d.json", "No such file"]),
        (&["--load-definitions", &garbage], &["garbage.json", "queues"]),
        (&["--data-dir", &in_the_way], &["in-the-way", "--data-dir"]),
        (&["--data-dir", "/proc/warrenmq"], &["/proc/warrenmq", "--data-dir"]),
    ];
    for (arguments, expected) in cases {
        let data_dir = data_dir(&folder);
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(line.lines().count(), 1, "{line}");
        for part in expected {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!data_dir.exists(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_option_is_refused_by_the_command_line() {
    let folder = folder();
    let cases = [
        (["--listen", "localhost"], "'localhost' is not an IP address with a port"),
        (["--log", "loud"], "off, error, warn, info, debug or trace is wanted"),
        (["--frame-max", "1"], "unexpected argument '--frame-max'"),
    ];
    for (arguments, expected) in cases {
        let output = run(&folder, &arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{output:?}");
    }
}

#[test]
fn a_data_folder_belongs_to_one_broker() {
    let folder = folder();
    let broker = Broker::start(&folder, &[]);
    let second = run(&folder, &[]);
    assert_eq!(second.status.code(), Some(1));
    let line = String::from_utf8(second.stderr).expect("UTF-8");
    assert!(line.lines().count() == 1 && line.contains("in use by another running broker"), "{line}");
    assert!(broker.stop(Signal::TERM).0.success());
    assert!(Broker::start(&folder, &[]).stop(Signal::TERM).0.success());
}

#[test]
fn the_environment_stands_in_for_options() {
    let folder = folder();
    let config = folder.path().join("warrenmq.toml");
    fs::write(&config, "cluster_name = \"from the file\"\n").expect("written");
    let broker = Broker::spawn(
        Command::new(env!("CARGO_BIN_EXE_warrenmq"))
            .env("WARRENMQ_LISTEN", "127.0.0.1:0")
            .env("WARRENMQ_DATA_DIR", folder.path().join("elsewhere"))
            .env("WARRENMQ_CONFIG", &config)
            .env("WARRENMQ_SERVER_PROPERTIES_PRODUCT", "a product"),
    );
    assert!(broker.ready.contains("elsewhere; started"), "{}", broker.ready);
    let mut client = broker.connect();
    client.write_all(b"AMQP\x00\x00\x09\x01").expect("written");
    let start = read_until(&mut client, "en_US");
    assert!(start.contains("from the file") && start.contains("a product"), "{start}");
}

#[test]
fn both_signals_tell_clients_and_end_well() {
    for (signal, is_answered) in [(Signal::TERM, true), (Signal::INT, true), (Signal::TERM, false)] {
        let folder = folder();
        let broker = Broker::start(&folder, &[]);
        let mut client = broker.connect();
        log_in(&mut client);
        let client = std::thread::spawn(move || {
            let text = read_until(&mut client, "reason 'shutdown'");
            if is_answered {
                client.write_all(b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x33\xce").expect("close-ok");
            }
            // Without an answer the broker must not wait for ever.
            client.read_to_end(&mut Vec::new()).expect("the broker closes");
            text
        });
        let (status, time) = broker.stop(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(time < STOP_TIME_MAX, "{time:?}");
        let text = client.join().expect("the client has seen the close");
        assert!(
            text.contains("CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"),
            "{text}"
        );
    }
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let folder = folder();
    let broker = Broker::start(&folder, &[]);
    let mut client = broker.connect();
    log_in(&mut client);
    kill_process(Pid::from_child(&broker.child), Signal::INT).expect("it runs");
    // The broker waits for this client to answer.
    read_until(&mut client, "reason 'shutdown'");
    assert_eq!(broker.stop(Signal::TERM).0.code(), Some(0));
}

#[test]
fn a_disk_that_takes_no_more_ends_the_broker() {
    let folder = folder();
    let json = folder.path().join("d.json");
    let queue = |n: u32| format!(r#"{{"name":"queue-{n}","vhost":"/","durable":true}}"#);
    let queues: Vec<String> = (0..5000).map(queue).collect();
    fs::write(&json, format!(r#"{{"vhosts":[{{"name":"/"}}],"queues":[{}]}}"#, queues.join(",")))
        .expect("written");
    // No file may grow beyond so many blocks of 512 octets: less than the definitions need.
    let serve = r#"trap '' XFSZ; ulimit -f 1024; exec "$0" --listen 127.0.0.1:0 --data-dir "$1" --load-definitions "$2""#;
    let mut command = Command::new("sh");
    command.args(["-c", serve, env!("CARGO_BIN_EXE_warrenmq")]).arg(data_dir(&folder)).arg(json);
    // The journal has room; the definitions do not.
    command.env("WARRENMQ_LIMITS_JOURNAL_FILE_OCTETS", "65536");
    let output = command.stdin(Stdio::null()).output().expect("sh is there");
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("definitions")), "{log}");
    assert!(log.ends_with("stopped because the disk failed; the log says how\n"), "{log}");
}

#[test]
fn definitions_are_taken_in_stay_and_are_written_beside_the_database() {
    let folder = folder();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/definitions.sample.json");
    let load = ["--load-definitions", sample];
    assert!(Broker::start(&folder, &load).stop(Signal::TERM).0.success());
    let path = data_dir(&folder).join("definitions.json");
    let first = fs::read_to_string(&path).expect("written at the stop");
    assert!(first.contains("shop-app"), "{first}");
    fs::remove_file(&path).expect("removed");
    assert!(Broker::start(&folder, &[]).stop(Signal::TERM).0.success());
    let second = fs::read_to_string(&path).expect("written again");
    assert_eq!(entries(&second), entries(&first));
}

#[test]
fn what_is_not_supported_is_named_in_the_log() {
    let folder = folder();
    let json = folder.path().join("d.json");
    let policy = r#"{"vhost":"/","name":"p","pattern":"^q","apply-to":"queues","definition":{"max-length":1,"ha-mode":"all"}}"#;
    fs::write(&json, format!(r#"{{"vhosts":[{{"name":"/"}}],"policies":[{policy}]}}"#)).expect("written");
    let mut broker = Broker::start(&folder, &["--load-definitions", &json.display().to_string()]);
    let mut stderr = broker.child.stderr.take().expect("piped");
    assert!(broker.stop(Signal::TERM).0.success());
    let mut log = String::new();
    stderr.read_to_string(&mut log).expect("UTF-8");
    let is_named = |line: &&str| line.contains("WARN") && line.contains("key 'ha-mode' of policy 'p'");
    assert_eq!(log.lines().filter(is_named).count(), 1, "{log}");
}

#[test]
fn as_many_files_may_be_open_as_the_system_allows() {
    let folder = folder();
    let serve = r#"ulimit -Sn 200; exec "$0" --listen 127.0.0.1:0 --data-dir "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", serve, env!("CARGO_BIN_EXE_warrenmq")]).arg(data_dir(&folder));
    let broker = Broker::spawn(&mut command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", broker.child.id())).expect("there");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("there");
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(columns[3], columns[4], "{line}");
}

/// A running broker; killed when dropped.
struct Broker {
    child: Child,
    ready: String,
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    fn start(folder: &TempDir, arguments: &[&str]) -> Broker {
        Broker::spawn(&mut command(folder, arguments))
    }

    fn spawn(command: &mut Command) -> Broker {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the binary is there");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("readable");
        assert!(ready.ends_with('\n'), "it did not start: {:?}", child.wait_with_output());
        Broker { child, ready, _stdout: stdout }
    }

    fn connect(&self) -> TcpStream {
        let (_, rest) = self.ready.split_once(" on ").expect("the line has addresses");
        let address = rest.split([',', ';']).next().expect("split has a first part");
        let client =
            TcpStream::connect(address.parse::<SocketAddr>().expect("an address")).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
        client
    }

    /// Its exit status, and how long the stop took.
    fn stop(mut self, signal: Signal) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        (self.child.wait().expect("it is ours"), asked.elapsed())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn data_dir(folder: &TempDir) -> PathBuf {
    Path::join(&folder.path().canonicalize().expect("there"), "data")
}

/// The command, with a data folder and a port of its own unless `arguments` say otherwise.
fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warrenmq"));
    command.arg("serve").args(arguments);
    if !arguments.contains(&"--data-dir") {
        command.arg("--data-dir").arg(data_dir(folder));
    }
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).stdin(Stdio::null()).output().expect("the binary is there")
}

/// What a definitions.json holds, in an order of our own.
fn entries(json: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let kinds = json.as_object().expect("an object");
    let mut entries: Vec<String> = Vec::new();
    for (kind, of_kind) in kinds {
        let items = of_kind.as_array().map_or(std::slice::from_ref(of_kind), Vec::as_slice);
        entries.extend(items.iter().map(|item| format!("{kind} {item}")));
    }
    entries.sort();
    entries
}

/// The handshake of a client, up to connection.open-ok.
fn log_in(client: &mut TcpStream) {
    client.write_all(b"AMQP\x00\x00\x09\x01").expect("written");
    read_until(client, "en_US");
    let start_ok = b"\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US";
    send(client, start_ok);
    read_until(client, "\x00\x0a\x00\x1e");
    send(client, b"\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x3c");
    send(client, b"\x00\x0a\x00\x28\x01/\x00\x00");
    read_until(client, "\x00\x0a\x00\x29");
}

/// One method on channel 0.
fn send(client: &mut TcpStream, method: &[u8]) {
    let mut frame = vec![1, 0, 0];
    frame.extend(u32::try_from(method.len()).expect("short").to_be_bytes());
    frame.extend(method);
    frame.push(0xce);
    client.write_all(&frame).expect("written");
}

/// What arrives, up to and with `end`.
fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut octet = [0];
    while !text.ends_with(end) {
        client.read_exact(&mut octet).unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(char::from(octet[0]));
    }
    text
}
