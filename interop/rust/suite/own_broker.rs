//! A broker of a test's own, for what cannot be done to the one that all tests share: a restart. `run` leaves such tests out
//! where it cannot be started.

use std::error::Error;
use std::process::Command;

/// Killed when it is dropped.
pub struct OwnBroker {
    command: String,
    name: String,
    pub port: u16,
}

impl OwnBroker {
    pub fn start(name: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let command = std::env::var("INTEROP_BROKER")?;
        let mut broker = OwnBroker { command, name: name.to_owned(), port: 0 };
        broker.port = broker.run("start")?.trim().parse()?;
        Ok(broker)
    }

    /// Starts, stops or kills it.
    pub fn run(&self, verb: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        let output = Command::new(&self.command).args([verb, &self.name]).output()?;
        if !output.status.success() {
            return Err(format!("broker {verb}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        self.run("kill").ok();
    }
}
