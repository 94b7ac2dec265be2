//! The scenarios of `warrenmq perf` that count operations, as processes against a broker: what they do, report and leave behind.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A broker on a free port; ends with the test.
struct Broker {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_warrenmq"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "off", "--data-dir"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("the line");
        let address = line.split("AMQP 0-9-1 on ").nth(1).and_then(|rest| rest.split(';').next());
        let address = address.expect("the line has the address").to_owned();
        Self { process, address, _folder: folder }
    }

    /// Runs a scenario; its summary.
    fn measure(&self, line: &str) -> Value {
        let pid = self.process.id().to_string();
        let output = perf(&self.address, &format!("{line} --json --broker-pid {pid}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        serde_json::from_slice(&output.stdout).expect("one JSON object on standard output")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn perf(address: &str, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warrenmq"))
        .arg("perf")
        .args(line.split_whitespace())
        .args(["--uri", &format!("amqp://{address}")])
        .output()
        .expect("the program starts")
}

#[test]
fn operations_are_counted_and_timed() {
    let broker = Broker::start();
    // Options; phases with their operations and steps; of what the memory is given.
    type Phases<'a> = &'a [(&'a str, u64, &'a [&'a str])];
    let cases: [(&str, Phases, Option<&str>); 11] = [
        ("connection-churn --operations 30", &[("open+close", 30, &["open", "close"])], None),
        ("connection-churn --operations 30 --pipelined", &[("open+close", 30, &["open", "close"])], None),
        (
            "connection-count --connections 120 --hold 0.1 --concurrency 7",
            &[("open", 120, &["open"]), ("close", 120, &["close"])],
            Some("connection"),
        ),
        ("queue-churn --operations 50", &[("declare+delete", 50, &["declare", "delete"])], None),
        (
            "queue-churn --operations 5 --durable --window 1",
            &[("declare+delete", 5, &["declare", "delete"])],
            None,
        ),
        (
            "queue-count --queues 100 --connections 3 --window 10",
            &[("declare", 100, &["declare"]), ("delete", 100, &["delete"])],
            Some("queue"),
        ),
        ("queue-count --queues 20 --keep -u kept", &[("declare", 20, &["declare"])], Some("queue")),
        (
            "bind-churn --operations 250 --keys 100",
            &[("bind", 250, &["bind"]), ("unbind", 250, &["unbind"])],
            Some("binding"),
        ),
        (
            "bind-churn --operations 40 --type topic --durable --window 8",
            &[("bind", 40, &["bind"]), ("unbind", 40, &["unbind"])],
            None,
        ),
        (
            "bind-churn --operations 40 -t headers -e amq.headers --connections 2",
            &[("bind", 40, &["bind"]), ("unbind", 40, &["unbind"])],
            None,
        ),
        ("bind-churn --bind-only 60 -t fanout", &[("bind", 60, &["bind"])], Some("binding")),
    ];
    for (line, expected, each) in cases {
        let summary = broker.measure(line);
        let phases = summary["phases"].as_array().expect("an array");
        assert_eq!(phases.len(), expected.len(), "{line}: {summary}");
        for (phase, &(name, operations, steps)) in phases.iter().zip(expected) {
            assert_eq!((&phase["name"], &phase["operations"]), (&name.into(), &operations.into()), "{line}");
            for figure in ["elapsed_s", "rate", "cpu_us_per_operation", "generator_cpu_us_per_operation"] {
                assert!(phase[figure].as_f64() > Some(0.0), "{figure} of {line}: {phase}");
            }
            for &step in steps {
                assert_eq!(phase["latency_us"][step]["samples"], operations, "{step} of {line}: {phase}");
            }
        }
        assert_eq!(summary["each"]["of"].as_str(), each, "{line}: {summary}");
        assert!(summary["sizes"][0]["rss_bytes"].as_u64() > Some(100_000), "{line}: {summary}");
    }
}

#[test]
fn the_time_ends_a_run_and_live_lines_tell_of_it() {
    let broker = Broker::start();
    for scenario in ["connection-churn --concurrency 5", "queue-churn", "bind-churn --keys 50"] {
        let output = perf(&broker.address, &format!("{scenario} -z 0.5 -i 0.1"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{scenario}: {output:?}");
        assert!(text.lines().filter(|line| line.starts_with("time 0.")).count() >= 2, "{scenario}: {text}");
        assert!(text.contains(&format!("summary of {}", scenario.split(' ').next().unwrap())), "{text}");
    }
}

#[test]
fn what_the_broker_says_against_it_ends_the_run() {
    let broker = Broker::start();
    let cases = [
        ("queue-churn -z 1 -u amq.mine", "ACCESS_REFUSED"),
        ("bind-churn -z 1 -e amq.nothing", "NOT_FOUND"),
        ("connection-count --uri amqp://guest:wrong@", "ACCESS_REFUSED"),
        ("queue-count --queues 0", "invalid value"),
    ];
    for (line, text) in cases {
        let output = match line.split_once(" --uri amqp://") {
            Some((scenario, user)) => perf(&format!("{user}{}", broker.address), scenario),
            None => perf(&broker.address, line),
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(text), "{line}: {stderr}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}
