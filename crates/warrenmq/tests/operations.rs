//! The scenarios of `warrenmq perf` that count operations, as processes against a broker: what they do, report and leave behind.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A broker on a free port; ends with the test.
struct Broker {
    process: Child,
    address: String,
    folder: TempDir,
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
        Self { process, address, folder }
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

/// The file with the id of a broker that no test has started itself; that broker ends with the test.
struct Successor(PathBuf);

impl Drop for Successor {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.0) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
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

/// Options; phases with their operations, latencies being those of the parts of the name; what the memory is given for.
type Case = (&'static str, &'static [(&'static str, u64)], Option<&'static str>);
const CASES: &[Case] = &[
    ("connection-churn --operations 30", &[("open+close", 30)], None),
    ("connection-churn --operations 30 --pipelined", &[("open+close", 30)], None),
    (
        "connection-count --connections 120 --hold 0.1 --concurrency 7",
        &[("open", 120), ("close", 120)],
        Some("connection"),
    ),
    ("channel-churn --operations 400", &[("open+close", 400)], None),
    ("channel-churn --operations 50 --channels 1 --connections 4", &[("open+close", 50)], None),
    ("queue-churn --operations 50", &[("declare+delete", 50)], None),
    ("queue-churn --operations 5 --durable --window 1", &[("declare+delete", 5)], None),
    (
        "queue-count --queues 100 --connections 3 --window 10",
        &[("declare", 100), ("delete", 100)],
        Some("queue"),
    ),
    ("queue-count --queues 20 --keep -u kept", &[("declare", 20)], Some("queue")),
    ("bind-churn --operations 250 --keys 100", &[("bind", 250), ("unbind", 250)], Some("binding")),
    ("bind-churn --operations 40 -t topic --durable --window 8", &[("bind", 40), ("unbind", 40)], None),
    (
        "bind-churn --operations 40 -t headers -e amq.headers --connections 2",
        &[("bind", 40), ("unbind", 40)],
        None,
    ),
    ("bind-churn --bind-only 60 -t fanout", &[("bind", 60)], Some("binding")),
    ("consumer-churn --operations 300", &[("consume+cancel", 300)], None),
    ("consumer-churn --operations 30 --window 2 --connections 2 --durable", &[("consume+cancel", 30)], None),
    ("backlog -C 3000", &[("publish", 3000), ("drain", 3000)], Some("message")),
    (
        "backlog -C 1000 -x 2 -c 0 -f persistent -A 7 -q 20 -s 100",
        &[("publish", 2000), ("drain", 2000)],
        Some("message"),
    ),
];

#[test]
fn operations_are_counted_and_timed() {
    let broker = Broker::start();
    for &(line, expected, each) in CASES {
        let summary = broker.measure(line);
        let phases = summary["phases"].as_array().expect("an array");
        assert_eq!(phases.len(), expected.len(), "{line}: {summary}");
        for (phase, &(name, operations)) in phases.iter().zip(expected) {
            assert_eq!((&phase["name"], &phase["operations"]), (&name.into(), &operations.into()), "{line}");
            for figure in ["elapsed_s", "rate", "generator_cpu_us_per_operation"] {
                assert!(phase[figure].as_f64() > Some(0.0), "{figure} of {line}: {phase}");
            }
            // The system notes a thread's CPU time when it is switched or ticks, so in a short phase it may be none.
            assert!(phase["cpu_us_per_operation"].is_number(), "{line}: {phase}");
            for step in name.split('+').filter(|_| summary["scenario"] != "backlog") {
                assert_eq!(phase["latency_us"][step]["samples"], operations, "{step} of {line}: {phase}");
            }
        }
        assert_eq!(summary["each"]["of"].as_str(), each, "{line}: {summary}");
        assert!(summary["sizes"][0]["rss_bytes"].as_u64() > Some(100_000), "{line}: {summary}");
    }
}

#[test]
fn intervals_and_a_chart_show_the_course_of_a_run() {
    let broker = Broker::start();
    let chart = broker.folder.path().join("chart.svg");
    for (line, step) in
        [("queue-churn -z 0.5 -i 0.1 --window 10", "delete"), ("backlog -C 20000 -c 10 -i 0.01", "confirm")]
    {
        let summary = broker.measure(&format!("{line} --plot {}", chart.display()));
        let intervals = summary["phases"][0]["intervals"].as_array().expect("an array");
        let latency = |interval: &&Value| interval["latency_us"][step]["p99"].is_number();
        assert!(intervals.iter().any(|interval| latency(&interval)), "{line}: {summary}");
        let svg = std::fs::read_to_string(&chart).expect("written");
        let title = format!("perf {}", line.split(' ').next().expect("a word"));
        for text in [title, "operations a second".into(), format!("{step} 99 %")] {
            assert!(svg.contains(&text), "{text} of {line}");
        }
    }
}

#[test]
fn a_backlog_is_kept_across_a_restart() {
    let mut broker = Broker::start();
    broker.measure("backlog -C 500 -u kept --keep");
    let again = perf(&broker.address, "backlog -C 500 -u kept");
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && stderr.contains("kept has 500 messages already"), "{stderr}");

    let data = broker.folder.path().join("data").display().to_string();
    let successor = Successor(broker.folder.path().join("pid"));
    let script = broker.folder.path().join("restart");
    let pid = broker.process.id();
    let lines = format!(
        "kill -9 {pid}
         until [ -z \"$(ls /proc/{pid}/fd 2>/dev/null)\" ]; do sleep 0.02; done
         {} serve --listen {} --data-dir {data} --log off >/dev/null 2>&1 &
         echo $! | tee {}",
        env!("CARGO_BIN_EXE_warrenmq"),
        broker.address,
        successor.0.display(),
    );
    std::fs::write(&script, lines).expect("written");
    let line = "backlog -C 2000 -f persistent --restart-command";
    let restart = format!("sh {}", script.display());
    let output = Command::new(env!("CARGO_BIN_EXE_warrenmq"))
        .arg("perf")
        .args(line.split_whitespace())
        .args([&restart, "--json", "--data-dir", &data, "--broker-pid", &pid.to_string()])
        .args(["--uri", &format!("amqp://{}", broker.address)])
        .output()
        .expect("the program starts");
    let _ = broker.process.wait();
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(output.status.success(), "{output:?}");
    assert!(summary["restart_s"].as_f64() > Some(0.0), "{summary}");
    assert_eq!((&summary["lost"], &summary["out_of_order"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(summary["phases"][1]["operations"], 2000, "{summary}");
    let sizes = summary["sizes"].as_array().expect("an array");
    let moments: Vec<_> = sizes.iter().map(|size| size["at"].as_str().expect("a name")).collect();
    assert_eq!(moments, ["before", "full", "restarted", "drained", "after"]);
    assert!(sizes.iter().all(|size| size["rss_bytes"].is_u64() && size["disk_bytes"].is_u64()), "{summary}");
}

#[test]
fn the_time_ends_a_run_and_live_lines_tell_of_it() {
    let broker = Broker::start();
    for scenario in ["connection-churn --concurrency 5", "queue-churn", "bind-churn --keys 50"] {
        let output = perf(&broker.address, &format!("{scenario} -z 1 -i 0.1"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{scenario}: {output:?}");
        assert!(text.lines().filter(|line| line.starts_with("time ")).count() >= 2, "{scenario}: {text}");
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
