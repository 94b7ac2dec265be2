//! Running other programs: their output is shown as it comes, read line by line, and no run outlives its time.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often a silent program is asked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Whether `program` can be run here at all: its version or help is asked for and thrown away.
pub(crate) fn is_available(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What is checked out, with a mark when it was changed.
pub(crate) fn commit(root: &Path) -> String {
    let output = Command::new("git").current_dir(root).args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a program to its end with its output shown; true when it exits with 0.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    match command.stdin(Stdio::null()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cannot run {}: {error}", command.get_program().display());
            false
        }
    }
}

/// Runs a program to its end, shows its output and hands each line of its standard output to `on_line`; true when it exits
/// with 0. With a `time_max` the program gets a process group of its own and is killed with all its children after that time.
pub(crate) fn succeeds_with_lines(
    command: &mut Command,
    time_max: Option<Duration>,
    on_line: &mut dyn FnMut(&str),
) -> bool {
    if time_max.is_some() {
        command.process_group(0);
    }
    match run(command, time_max, on_line) {
        Ok(success) => success,
        Err(error) => {
            println!("cannot run {}: {error}", command.get_program().display());
            false
        }
    }
}

fn run(command: &mut Command, time_max: Option<Duration>, on_line: &mut dyn FnMut(&str)) -> io::Result<bool> {
    let deadline = time_max.map(|time_max| Instant::now() + time_max);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let lines = lines_of(&mut child);
    let mut ended = None;
    loop {
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok(line) => {
                println!("{line}");
                on_line(&line);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // A child of the program may hold its output open for ever: silence after the end is the end.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => ended = child.try_wait()?,
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            println!("{} takes too long and is ended", command.get_program().display());
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
            return Ok(false);
        }
    }
    Ok(child.wait()?.success())
}

/// The lines of the program's standard output, read by a thread that ends with that output.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                if sender.send(line).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_and_exit_code_are_seen() {
        let mut lines = Vec::new();
        let mut keep = |line: &str| lines.push(line.to_owned());
        assert!(succeeds_with_lines(&mut shell("echo one; printf two"), None, &mut keep));
        assert_eq!(lines, ["one", "two"]);
        assert!(!succeeds_with_lines(&mut shell("exit 3"), None, &mut |_| {}));
        assert!(!succeeds_with_lines(&mut Command::new("no-such-program"), None, &mut |_| {}));
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_its_children() {
        let started = Instant::now();
        let time_max = Some(Duration::from_millis(300));
        assert!(!succeeds_with_lines(&mut shell("sleep 60 & sleep 60"), time_max, &mut |_| {}));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_child_that_keeps_the_output_open_does_not_hold_up_the_end() {
        let started = Instant::now();
        let mut command = shell("sleep 5 & echo done");
        assert!(succeeds_with_lines(&mut command, Some(Duration::from_secs(60)), &mut |_| {}));
        assert!(started.elapsed() < Duration::from_secs(4));
    }
}
