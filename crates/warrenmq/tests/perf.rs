//! `warrenmq perf throughput` and `latency` as a process, against the stand-in of `examples/`: what it sends, gets and reports.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A stand-in on a free port; ends with the test.
struct StandIn {
    process: Child,
    address: String,
}

impl StandIn {
    fn start() -> Self {
        let mut process = Command::new(stand_in_path())
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo builds the examples of a package before it runs its tests");
        let mut line = String::new();
        let output = process.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("the line with the address");
        Self { process, address: line.trim_end().to_owned() }
    }

    /// Runs with these options; the summary.
    fn measure(&self, options: &str) -> Value {
        let pid = self.process.id().to_string();
        let output = perf(&self.address, &format!("--json --broker-pid {pid} {options}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{options}: {stderr}");
        serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Test programs are in `deps`, examples in `examples` beside it.
fn stand_in_path() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this program");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    profile.join("examples").join(format!("stand_in{}", std::env::consts::EXE_SUFFIX))
}

fn perf(address: &str, options: &str) -> Output {
    command("throughput", address, options).output().expect("the program starts")
}

fn command(scenario: &str, address: &str, options: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warrenmq"));
    command.args(["perf", scenario, "--uri", &format!("amqp://{address}")]).args(options.split_whitespace());
    command
}

#[test]
fn every_message_arrives_in_order_and_is_confirmed() {
    let broker = StandIn::start();
    // Options, messages, whether confirms and latencies are expected.
    let cases = [
        ("-C 100000", 100_000, false, true),
        ("-C 100000 -c 1000 -A 100 -q 1000", 100_000, true, true),
        ("-C 3001 -c 1 -A 7", 3_001, true, true),
        ("-C 20000 -q 100 --eager-acks", 20_000, false, true),
        ("-C 5000 -s 0", 5_000, false, false),
        ("-C 200 -s 300000 -c 10 -f persistent", 200, true, true),
        ("-C 100 -r 1000 -c 5", 100, true, true),
    ];
    for (options, messages, confirms, latencies) in cases {
        let report = broker.measure(options);
        assert_eq!(report["published"]["messages"], messages, "{options}");
        assert_eq!(report["consumed"]["messages"], messages, "{options}");
        let confirmed = if confirms { Value::from(messages) } else { Value::Null };
        assert_eq!(report["confirmed"]["messages"], confirmed, "{options}");
        assert_eq!(report["confirm_latency_us"]["samples"], confirmed, "{options}");
        assert_eq!(report["consumer_latency_us"].is_object(), latencies, "{options}");
        for zero in ["order_violations", "unexpected_confirms", "redelivered", "stale", "nacked", "returned"]
        {
            assert_eq!(report[zero], 0, "{zero} of {options}");
        }
        assert!(report["broker"]["rss_bytes"].as_u64() > Some(100_000), "{options}");
    }
}

#[test]
fn time_and_rate_are_kept() {
    let report = StandIn::start().measure("-r 2000 -z 0.5 -i 0.2");
    let elapsed = report["elapsed_s"].as_f64().expect("a number");
    let published = report["published"]["messages"].as_f64().expect("a number");
    // A machine with other work may be late, never early.
    assert!((0.5..5.0).contains(&elapsed), "{elapsed} s");
    assert!((500.0..=elapsed * 2000.0 + 2.0).contains(&published), "{published} messages in {elapsed} s");
    assert!(report["consumed"]["messages"].as_f64() <= Some(published));
}

/// The broker stands still for a fifth of the run: what was due meanwhile must be counted as late, although a closed loop
/// would not even have sent it.
#[test]
fn a_stall_shows_in_the_latency() {
    let broker = StandIn::start();
    let pid = i32::try_from(broker.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
    let mut run = command("latency", &broker.address, "--json -r 1000 -z 2.5 -i 0.1");
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(run.stderr.take().expect("piped"));
    let mut live = String::new();
    lines.read_line(&mut live).expect("the first live line");
    kill_process(pid, Signal::STOP).expect("our own child");
    sleep(Duration::from_millis(500));
    kill_process(pid, Signal::CONT).expect("our own child");
    std::io::copy(&mut lines, &mut std::io::sink()).expect("the other live lines");
    let output = run.wait_with_output().expect("the end of the run");
    assert!(output.status.success(), "{live}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let latency = &report["consumer_latency_us"];
    assert!(latency["max"].as_f64() > Some(400_000.0), "{report}");
    assert!(latency["p90"].as_f64() > Some(50_000.0), "{report}");
    assert!(report["lateness_us"].is_object(), "{report}");
    // Some may come between the end of the window and that of the run.
    assert!(
        latency["samples"].as_u64() >= report["consumed"]["messages"].as_u64(),
        "each is measured: {report}"
    );
    assert!(report["intervals"].as_array().is_some_and(|intervals| intervals.len() > 3), "{report}");
}

#[test]
fn a_chart_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.svg");
    StandIn::start().measure(&format!("-r 1000 -z 0.4 -i 0.1 -c 10 --plot {}", file.display()));
    let chart = std::fs::read_to_string(file).expect("the chart");
    for text in ["<svg", "perf throughput, 127.0.0.1", "\n99\n", "consumer 99 %", "confirmed"] {
        assert!(chart.contains(text), "{text}: {chart}");
    }
}

#[test]
fn failures_are_one_line_and_a_code() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let cases = [("", "cannot connect to 127.0.0.1"), ("-x 0 -y 0", "nothing to do")];
    for (options, message) in cases {
        let output = perf(&nobody.to_string(), options);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{options}");
        assert!(stderr.contains(message) && stderr.lines().count() == 1, "{options}: {stderr}");
        assert!(output.stdout.is_empty(), "{options}");
    }
}
