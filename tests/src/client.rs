//! One connection to a broker: lines of a transcript where a client would be polite, raw bytes where it would not.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use warrenmq_testkit::transcript::{Conversation, Mismatch, Options, TcpPeer};

/// A connection. Dropping it closes the socket without a word.
#[derive(Debug)]
pub struct Client {
    conversation: Conversation,
    stream: TcpStream,
    /// How often the count of a queue was asked for.
    asked: u32,
}

impl Client {
    /// A socket on which nothing was said yet.
    ///
    /// # Panics
    /// When the broker does not accept.
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, Options::default())
    }

    /// The same, with the client's bytes cut as `options` say.
    ///
    /// # Panics
    /// When the broker does not accept.
    pub fn connect_with(address: SocketAddr, options: Options) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_nodelay(true).expect("a socket can be set to send at once");
        let mut for_lines = Some(stream.try_clone().expect("a socket can be duplicated"));
        let conversation = Conversation::new(options, move |_| {
            Box::new(TcpPeer::from(for_lines.take().expect("a client has one connection")))
        });
        Client { conversation, stream, asked: 0 }
    }

    /// A connection of `guest` to the vhost `/` with channel 1 open.
    ///
    /// # Panics
    /// When the broker does not let it in.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.say("open\nC channel.open 1\nS channel.open-ok 1");
        client
    }

    /// Runs lines of a transcript.
    ///
    /// # Panics
    /// When the broker does not keep to them.
    #[track_caller]
    pub fn say(&mut self, lines: &str) {
        if let Err(mismatch) = self.try_say(lines) {
            panic!("{mismatch}");
        }
    }

    /// Runs lines of a transcript that a broker may not keep to.
    ///
    /// # Errors
    /// The first line that is not met.
    pub fn try_say(&mut self, lines: &str) -> Result<(), Mismatch> {
        self.conversation.say(lines)
    }

    /// Messages ready in a queue.
    ///
    /// # Panics
    /// When there is no such queue.
    #[track_caller]
    pub fn ready(&mut self, queue: &str) -> u64 {
        // A name is bound once, so each call needs names of its own.
        self.asked += 1;
        let name = format!("ready{}", self.asked);
        self.say(&format!(
            "C queue.declare 1 queue={queue} passive=true\nS queue.declare-ok 1 queue={queue} message-count=${name} consumer-count=*"
        ));
        self.conversation.number(&name).expect("a count is a number")
    }

    /// Sends bytes as they are; a broker that has closed the connection loses them.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// How much the system keeps of what this client does not read, about.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn set_receive_buffer(&self, octets: usize) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, octets).expect("a buffer has a size");
    }

    /// The socket itself, for what no line can say. Only while no line waits for an answer.
    ///
    /// # Panics
    /// When the system has no descriptor left.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }
}
