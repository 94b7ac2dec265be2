//! Runs of `warrenmq perf`: one that is waited for, with its report, and one in the background.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How often it is looked whether a run has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How much of what a failed run has said is kept.
const LINES_MAX: usize = 3;

/// A program that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Background(Child);

impl Background {
    /// Starts it; nobody reads what it says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended already: then both calls fail, and that is what was wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end and returns the JSON that it has written to its standard output.
///
/// # Errors
/// When it cannot be started, fails, takes longer than `time_max`, is `stopped`, or writes something else; the text ends with
/// the last lines of its standard error.
pub(crate) fn report(
    command: &mut Command,
    time_max: Duration,
    stopped: &AtomicBool,
) -> Result<Value, String> {
    let name = command.get_program().display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
    let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let deadline = Instant::now() + time_max;
    let outcome = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break Ok(()),
            Ok(Some(status)) => break Err(status.to_string()),
            Err(error) => break Err(error.to_string()),
            Ok(None) if stopped.load(Relaxed) => break Err("interrupted".to_owned()),
            Ok(None) if Instant::now() > deadline => break Err(format!("not ended after {time_max:?}")),
            Ok(None) => thread::sleep(POLL_INTERVAL),
        }
    };
    // It has ended by itself, or has to.
    let _ = child.kill();
    let _ = child.wait();
    let (output, errors) = (output.join().unwrap_or_default(), errors.join().unwrap_or_default());
    let lines: Vec<_> = errors.lines().collect();
    let said = lines[lines.len().saturating_sub(LINES_MAX)..].join(" / ");
    outcome.map_err(|outcome| format!("{outcome}: {said}"))?;
    serde_json::from_str(&output).map_err(|error| format!("no report: {error}"))
}

/// Reads all that comes from a pipe, in a thread that ends with it.
fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read is what there is.
            let _ = pipe.read_to_end(&mut octets);
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, stopped: bool) -> Result<Value, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        report(&mut command, Duration::from_millis(500), &AtomicBool::new(stopped))
    }

    #[test]
    fn a_run_and_its_end() {
        assert_eq!(run("echo '{\"a\": 1}'; echo live >&2", false).unwrap()["a"], 1);
        // Script, whether it is interrupted, what the error tells.
        let cases = [
            ("echo one >&2; echo refused >&2; exit 1", false, "one / refused"),
            ("exec sleep 60", false, "not ended"),
            ("exec sleep 60", true, "interrupted"),
            ("echo text", false, "no report"),
        ];
        for (script, stopped, text) in cases {
            let error = run(script, stopped).unwrap_err();
            assert!(error.contains(text), "{script}: {error}");
        }
    }
}
