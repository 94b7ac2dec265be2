//! The control socket and `warrenmq ctl definitions` as processes: on a running broker, on its folder when it has stopped, and what
//! hostile or slow clients can do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const FILE: &str = r#"{
    "vhosts": [{"name": "/"}, {"name": "blue"}],
    "users": [{"name": "rabbit", "password_hash": "", "tags": []}],
    "permissions": [{"user": "rabbit", "vhost": "blue", "configure": "", "write": "", "read": ".*"}],
    "exchanges": [{"name": "x", "vhost": "blue", "type": "direct"}, {"name": "amq.mine", "vhost": "blue", "type": "direct"}],
    "queues": [{"name": "q", "vhost": "blue"}],
    "bindings": [{"source": "x", "vhost": "blue", "destination": "q", "destination_type": "queue", "routing_key": "k"}]
}"#;

#[test]
fn a_running_broker_gives_and_takes_definitions() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&home, &[]);
    assert_eq!(mode(&socket(&home)), 0o600);
    let (code, out, err) = ctl(&home, &["import"], FILE);
    let expected = "definitions: 2 vhosts, 1 user, 1 permission, 1 exchange, 1 queue, 1 binding, 0 policies, 0 parameters\n\
                    warning: exchange 'amq.mine' in vhost 'blue'";
    assert!(code == 0 && out.starts_with(expected), "{out}{err}");
    assert!(out.ends_with("\ntaken, but for what the warning above says\n"), "{out}");
    let (code, exported, err) = ctl(&home, &["export"], "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(names(&exported, "queues"), ["q"]);
    assert_eq!(names(&exported, "users"), ["guest", "rabbit"]);
    // Into a file, which nobody else may read.
    let file = home.path().join("out.json");
    let (code, out, err) = ctl(&home, &["export", file.to_str().expect("UTF-8")], "");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    assert_eq!((fs::read_to_string(&file).expect("there"), mode(&file)), (exported.clone(), 0o600));
    // What was imported is on disk, whatever happens next.
    drop(broker);
    assert!(socket(&home).exists(), "a killed broker leaves it");
    let (code, offline, err) = ctl(&home, &["export"], "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(offline, exported);
    // The next broker takes the place of the stale socket, and removes its own.
    let broker = Broker::start(&home, &[]);
    assert_eq!(ctl(&home, &["export", "-"], ""), (0, exported, String::new()));
    broker.stop();
    assert!(!socket(&home).exists());
}

#[test]
fn a_stopped_broker_has_them_in_its_folder() {
    let home = tempfile::tempdir().expect("a folder");
    Broker::start(&home, &[]).stop();
    let file = home.path().join("in.json");
    fs::write(&file, FILE.replace("amq.mine", "mine")).expect("written");
    let (code, out, err) = ctl(&home, &["import", file.to_str().expect("UTF-8")], "");
    assert!(code == 0 && out.ends_with("everything is taken\n"), "{out}{err}");
    let copy = fs::read_to_string(data(&home).join("definitions.json")).expect("there");
    assert_eq!(names(&copy, "queues"), ["q"], "the readable copy is up to date");
    assert!(!socket(&home).exists());
    let broker = Broker::start(&home, &[]);
    assert_eq!(ctl(&home, &["export"], "").1, copy);
    broker.stop();
}

#[test]
fn refusals_say_what_and_where() {
    let home = tempfile::tempdir().expect("a folder");
    let (code, out, err) = ctl(&home, &["export"], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(data(&home).to_str().expect("UTF-8")) && err.contains("is no data folder"), "{err}");
    assert!(!data(&home).exists());
    let missing = home.path().join("missing.json");
    let (code, _, err) = ctl(&home, &["import", missing.to_str().expect("UTF-8")], "");
    assert!(code == 2 && err.contains("missing.json cannot be read"), "{err}");

    let broker = Broker::start(&home, &[]);
    for (file, expected) in [("{", "EOF"), (r#"{"queues": [{"name": 1}]}"#, "queues[0].name"), ("\u{0}", "")]
    {
        let (code, out, err) = ctl(&home, &["import"], file);
        assert_eq!((code, out.as_str()), (1, ""), "{file}");
        assert!(err.contains(expected) && err.lines().count() == 1, "{file}: {err}");
    }
    let clash =
        r#"{"vhosts": [{"name": "/"}], "exchanges": [{"name": "x", "vhost": "nowhere", "type": "direct"}]}"#;
    let (code, _, err) = ctl(&home, &["import"], clash);
    assert!(code == 1 && err.contains("vhost 'nowhere' does not exist"), "{err}");
    // A broker that has lost its socket still owns the folder.
    fs::remove_file(socket(&home)).expect("it is there");
    let (code, out, err) = ctl(&home, &["export"], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.contains(&format!("(process {})", broker.child.id())) && err.contains("control.sock"),
        "{err}"
    );
    broker.stop();
}

#[test]
fn policies_parameters_and_limits_by_rabbitmqs_commands() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(&home, &[]);
    let policy = r#"{"max-length":5}"#;
    let global = "list_global_parameters";
    // (arguments, exit code, stdout, what stderr has)
    let cases: [(&[&str], i32, &str, &str); 31] = [
        (&["list_policies"], 0, "", ""),
        (&["set_policy", "short", "^q", policy, "--priority", "-3", "--apply-to", "queues"], 0, "", ""),
        (
            &["list_policies", "-p", "/"],
            0,
            "vhost\tname\tpattern\tapply-to\tdefinition\tpriority\n/\tshort\t^q\tqueues\t{\"max-length\":5}\t-3\n",
            "",
        ),
        (
            &["set_policy", "bad", "^q", r#"{"max-lengt":5}"#],
            1,
            "",
            "Validation failed: [{<<\"max-lengt\">>,5}]",
        ),
        (
            &["set_policy", "bad", "(", policy],
            1,
            "",
            "Validation failed: pattern should be regular expression",
        ),
        (&["set_policy", "bad", "q", policy, "--apply-to", "all-of-them"], 1, "", "Validation failed: "),
        (&["set_policy", "bad", "q", "[]"], 2, "", "it is not a JSON object"),
        (&["set_policy", "-p", "nowhere", "p", "q", policy], 1, "", "Virtual host 'nowhere' does not exist"),
        (&["set_operator_policy", "most", ".*", policy], 0, "", ""),
        (
            &["list_operator_policies", "--no-table-headers"],
            0,
            "/\tmost\t.*\tall\t{\"max-length\":5}\t0\n",
            "",
        ),
        (&["clear_operator_policy", "most"], 0, "", ""),
        (&["clear_operator_policy", "most"], 1, "", "Parameter does not exist"),
        (&["set_parameter", "shovel", "s", r#"{"a":1}"#], 0, "", ""),
        (&["list_parameters"], 0, "component\tname\tvalue\nshovel\ts\t{\"a\":1}\n", ""),
        (&["clear_parameter", "shovel", "s"], 0, "", ""),
        (&["list_parameters"], 0, "", ""),
        (&["set_parameter", "shovel", "s", "nonsense"], 2, "", "it is not JSON"),
        (&["set_global_parameter", "g", "\"text\""], 0, "", ""),
        (&[global, "-q"], 0, "g\t\"text\"\n", ""),
        (&["clear_global_parameter", "g"], 0, "", ""),
        (&[global], 0, "", ""),
        (&["set_vhost_limits", r#"{"max-queues":7}"#], 0, "", ""),
        (&["list_vhost_limits"], 0, "{\"max-queues\":7}\n", ""),
        (&["set_vhost_limits", r#"{"max-cats":7}"#], 1, "", "max-cats"),
        (&["clear_vhost_limits"], 0, "", ""),
        (&["clear_vhost_limits"], 1, "", "Parameter does not exist"),
        (&["set_user_limits", "guest", r#"{"max-connections":3,"max-channels":9}"#], 0, "", ""),
        (&["clear_user_limits", "guest", "max-channels"], 0, "", ""),
        (&["list_user_limits", "--user", "guest"], 0, "{\"max-connections\":3}\n", ""),
        (&["set_user_limits", "nobody", "{}"], 1, "", "User 'nobody' does not exist"),
        (&["clear_user_limits", "guest", "all"], 0, "", ""),
    ];
    for (arguments, code, out, err) in cases {
        let found = ctl_command(&home, &["ctl"], arguments, "");
        assert_eq!((found.0, found.1.as_str()), (code, out), "{arguments:?}: {}", found.2);
        assert!(found.2.contains(err) && (code != 0 || found.2.is_empty()), "{arguments:?}: {}", found.2);
    }
    // It is on disk when the command has ended, and the folder alone has it too.
    drop(broker);
    let (_, listed, _) = ctl_command(&home, &["ctl"], &["list_policies", "-q"], "");
    assert_eq!(listed, "/\tshort\t^q\tqueues\t{\"max-length\":5}\t-3\n");
    assert_eq!(ctl_command(&home, &["ctl"], &["clear_policy", "short"], "").0, 0);
    let broker = Broker::start(&home, &[]);
    assert_eq!(ctl_command(&home, &["ctl"], &["list_policies"], "").1, "");
    broker.stop();
}

#[test]
fn a_folder_with_a_long_path_has_a_socket_too() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("long-".repeat(40));
    let folder = folder.to_str().expect("UTF-8");
    let broker = Broker::start(&home, &["--data-dir", folder]);
    let output = command(&["ctl", "definitions", "export", "--data-dir", folder]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    broker.stop();
}

#[test]
fn without_a_socket_clients_are_served_all_the_same() {
    let home = tempfile::tempdir().expect("a folder");
    fs::create_dir(data(&home)).expect("made");
    fs::set_permissions(data(&home), fs::Permissions::from_mode(0o777)).expect("changed");
    let mut broker = Broker::start(&home, &[]);
    assert!(!socket(&home).exists());
    kill_process(Pid::from_child(&broker.child), Signal::TERM).expect("it runs");
    let mut log = String::new();
    broker.child.stderr.take().expect("piped").read_to_string(&mut log).expect("read");
    assert!(log.contains("no control socket") && log.contains("chmod o-w"), "{log}");
}

#[test]
fn whatever_a_client_sends_it_gets_an_answer_and_hinders_nobody() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = Broker::start_with(&home, &[], &[("WARRENMQ_LIMITS_CONTROL_REQUEST_OCTETS_MAX", "4096")]);
    let cases: [(&[u8], &str); 7] = [
        (b"\n", "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_request"),
        (b"\x00\xff\xfe\n", "bad_request"),
        (b"{\"method\":\"definitions.import\"}\n", "bad_request"),
        (b"{\"method\":\"definitions.import\",\"params\":{\"definitions\":5}}\n", "bad_request"),
        (b"{\"method\":\"no.such\"}\n", "unknown_method"),
        (&[b'x'; 100_000], "bad_request"),
    ];
    for (sent, code) in cases {
        let mut client = connect(&home);
        // The broker may have hung up before it has read all of a line that is too long.
        let _ = client.write_all(sent);
        let mut reply = String::new();
        BufReader::new(&client).read_line(&mut reply).expect("an answer");
        let reply: Value = serde_json::from_str(&reply).expect("JSON");
        assert_eq!(reply["error"]["code"], code, "{:?}: {reply}", String::from_utf8_lossy(sent));
    }
    // Several requests in one write are answered in turn, and a bad one among them ends nothing.
    let mut client = connect(&home);
    let request = format!("{}\n", json!({"method": "definitions.export", "params": {"later": 1}}));
    client.write_all(format!("{request}nonsense\n{request}").as_bytes()).expect("written");
    let replies: Vec<String> =
        BufReader::new(&client).lines().take(3).map(|line| line.expect("a line")).collect();
    assert!(replies[0].starts_with(r#"{"result""#) && replies[1].starts_with(r#"{"error""#), "{replies:?}");
    assert_eq!(replies[0], replies[2]);
    broker.stop();
}

#[test]
fn slow_clients_hold_nothing_up_and_are_dropped() {
    let home = tempfile::tempdir().expect("a folder");
    let broker = Broker::start_with(&home, &[], &[("WARRENMQ_LIMITS_CONTROL_TIMEOUT_MS", "5000")]);
    let mut slow: Vec<UnixStream> = (0..7).map(|_| connect(&home)).collect();
    for client in &mut slow {
        client.write_all(b"{\"method\":").expect("written");
    }
    let (code, _, err) = ctl(&home, &["export"], "");
    assert_eq!(code, 0, "{err}");
    // The one that was served may still count among the eight for a moment.
    let refused = loop {
        slow.push(connect(&home));
        let (code, _, err) = ctl(&home, &["export"], "");
        if code != 0 {
            break err;
        }
        assert!(slow.len() < 20, "there is no bound");
    };
    assert!(refused.contains("8 control clients are there already"), "{refused}");
    let mut reply = String::new();
    slow[0].read_to_string(&mut reply).expect("an end");
    assert!(reply.contains("no whole line came in time"), "{reply}");
    let deadline = Instant::now() + Duration::from_secs(10);
    while ctl(&home, &["export"], "").0 != 0 {
        assert!(Instant::now() < deadline, "the slow ones are still there");
    }
    // A stop does not wait for those that are left.
    let mut idle = connect(&home);
    idle.write_all(b"{").expect("written");
    let asked = Instant::now();
    broker.stop();
    assert!(asked.elapsed() < Duration::from_millis(4500), "{:?}", asked.elapsed());
}

/// A broker; killed when dropped.
struct Broker {
    child: Child,
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Broker {
    fn start(home: &TempDir, arguments: &[&str]) -> Broker {
        Broker::start_with(home, arguments, &[])
    }

    fn start_with(home: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Broker {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0"]);
        if !arguments.contains(&"--data-dir") {
            command.arg("--data-dir").arg(data(home));
        }
        command.args(arguments).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("readable");
        assert!(ready.ends_with('\n'), "it did not start: {:?}", child.wait_with_output());
        Broker { child, _stdout: stdout }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("it is ours").success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn data(home: &TempDir) -> PathBuf {
    home.path().join("data")
}

fn socket(home: &TempDir) -> PathBuf {
    data(home).join("control.sock")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

fn connect(home: &TempDir) -> UnixStream {
    let client = UnixStream::connect(socket(home)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("not zero");
    client
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warrenmq"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr of `warrenmq ctl definitions …`, which gets `input`.
fn ctl(home: &TempDir, arguments: &[&str], input: &str) -> (i32, String, String) {
    ctl_command(home, &["ctl", "definitions"], arguments, input)
}

fn ctl_command(home: &TempDir, of: &[&str], arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = command(of);
    command.args(arguments).arg("--data-dir").arg(data(home));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be run");
    // Who refuses early does not read it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends by itself");
    let text = |octets| String::from_utf8(octets).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn names(file: &str, kind: &str) -> Vec<String> {
    let file: Value = serde_json::from_str(file).expect("JSON");
    let list = file[kind].as_array().expect("a list");
    list.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}
