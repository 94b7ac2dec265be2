//! How many messages queues have, as the broker tells a client that asks.

use std::net::SocketAddr;

use warrenmq_testkit::transcript::{Conversation, Options, TcpPeer};

/// A connection that asks.
#[derive(Debug)]
pub(crate) struct Census {
    conversation: Conversation,
    asked: u32,
}

impl Census {
    /// Connects.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn open(address: SocketAddr) -> Result<Census, String> {
        let conversation =
            Conversation::new(Options::default(), move |_| Box::new(TcpPeer::connect(address).ok()));
        let mut census = Census { conversation, asked: 0 };
        census.say("open\nC channel.open 1\nS channel.open-ok 1")?;
        Ok(census)
    }

    /// Messages that are ready in a queue.
    ///
    /// # Errors
    /// When there is no such queue.
    pub(crate) fn ready(&mut self, queue: &str) -> Result<u64, String> {
        // A name is bound once.
        self.asked += 1;
        let name = format!("ready{}", self.asked);
        self.say(&format!(
            "C queue.declare 1 queue={queue} passive=true\n\
             S queue.declare-ok 1 queue={queue} message-count=${name} consumer-count=*"
        ))?;
        self.conversation.number(&name).ok_or_else(|| format!("{queue}: no count"))
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// What the broker says instead.
    pub(crate) fn close(mut self) -> Result<(), String> {
        self.say("C connection.close 0 200\nS connection.close-ok 0")
    }

    fn say(&mut self, lines: &str) -> Result<(), String> {
        self.conversation.say(lines).map_err(|mismatch| mismatch.to_string())
    }
}
