//! The broker's end of one connection as a transcript sees it: bytes go in, bytes come out. Implemented here for TCP; tests of
//! a broker in memory implement it themselves.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How many bytes one read takes at most.
const READ_BYTES_MAX: usize = 64 * 1024;

/// One connection to a broker. Dropping it is how a client goes away without a word.
pub trait Peer {
    /// Hands bytes to the broker. A broker that has closed the connection loses them; that shows when the answer is read.
    fn send(&mut self, bytes: &[u8]);

    /// What the broker has sent, after at most `timeout`. In memory nothing is waited for: a peer with a clock of its own moves
    /// it on by `timeout` when the broker has nothing to say, and looks once more.
    fn receive(&mut self, timeout: Duration) -> Arrival;
}

/// What [`Peer::receive`] has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Some bytes, at least one.
    Bytes(Vec<u8>),
    /// The broker has closed the connection and all it had sent was received before.
    Closed,
    /// Nothing has come in that time.
    Nothing,
}

/// A connection over TCP.
#[derive(Debug)]
pub struct TcpPeer {
    stream: TcpStream,
}

impl TcpPeer {
    /// Connects, without waiting to fill packets.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(TcpPeer { stream })
    }
}

/// One that could not connect is one that was closed at once.
impl<P: Peer> Peer for Option<P> {
    fn send(&mut self, bytes: &[u8]) {
        if let Some(peer) = self {
            peer.send(bytes);
        }
    }

    fn receive(&mut self, timeout: Duration) -> Arrival {
        self.as_mut().map_or(Arrival::Closed, |peer| peer.receive(timeout))
    }
}

impl From<TcpStream> for TcpPeer {
    /// A connection that was made elsewhere, as it is.
    fn from(stream: TcpStream) -> Self {
        TcpPeer { stream }
    }
}

impl Peer for TcpPeer {
    fn send(&mut self, bytes: &[u8]) {
        // A reset shows as `Closed` when the answer is read.
        let _ = self.stream.write_all(bytes);
    }

    fn receive(&mut self, timeout: Duration) -> Arrival {
        let timeout = timeout.max(Duration::from_millis(1));
        if self.stream.set_read_timeout(Some(timeout)).is_err() {
            return Arrival::Closed;
        }
        let mut bytes = vec![0; READ_BYTES_MAX];
        match self.stream.read(&mut bytes) {
            Ok(0) => Arrival::Closed,
            Ok(read) => {
                bytes.truncate(read);
                Arrival::Bytes(bytes)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Arrival::Nothing,
                _ => Arrival::Closed,
            },
        }
    }
}
