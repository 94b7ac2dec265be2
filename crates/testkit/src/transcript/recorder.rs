//! A proxy between clients and a broker that passes octets on and remembers them. Invariant: what is passed on was noted before,
//! so that an answer never stands before its question.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// How many octets one read takes at most.
const READ_OCTETS_MAX: usize = 64 * 1024;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who has connected.
    Client,
    /// The broker.
    Server,
}

/// Some octets of a connection, or none: that side has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Number of the connection in the order in which they were made, from 1.
    pub connection: u32,
    /// Who said it.
    pub by: Side,
    /// What.
    pub octets: Vec<u8>,
}

/// A proxy that runs in threads of its own until [`Recorder::finish`].
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    said: Arc<Mutex<Vec<Said>>>,
    stops: Arc<AtomicBool>,
    acceptor: JoinHandle<()>,
}

impl Recorder {
    /// Listens on a free port of the loopback interface and passes every connection on to `broker`.
    ///
    /// # Errors
    /// Those of listening.
    pub fn start(broker: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (said, stops) = (Arc::<Mutex<Vec<Said>>>::default(), Arc::<AtomicBool>::default());
        let acceptor = {
            let (said, stops) = (Arc::clone(&said), Arc::clone(&stops));
            thread::spawn(move || accept(&listener, broker, &said, &stops))
        };
        Ok(Recorder { address, said, stops, acceptor })
    }

    /// Where clients have to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was said until now, in the order in which it came by.
    pub fn finish(self) -> Vec<Said> {
        self.stops.store(true, Ordering::SeqCst);
        // Wakes the acceptor; when this fails it has ended already.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.join();
        let said = self.said.lock();
        said.clone()
    }
}

fn accept(listener: &TcpListener, broker: SocketAddr, said: &Arc<Mutex<Vec<Said>>>, stops: &AtomicBool) {
    for (client, connection) in listener.incoming().zip(1..) {
        if stops.load(Ordering::SeqCst) {
            return;
        }
        let Ok((client, server)) = client.and_then(|client| Ok((client, TcpStream::connect(broker)?))) else {
            continue;
        };
        for (from, to, by) in [(&client, &server, Side::Client), (&server, &client, Side::Server)] {
            if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                let said = Arc::clone(said);
                thread::spawn(move || pass_on(from, to, connection, by, &said));
            }
        }
    }
}

/// Copies until one of the two is closed.
fn pass_on(mut from: TcpStream, mut to: TcpStream, connection: u32, by: Side, said: &Mutex<Vec<Said>>) {
    let mut buffer = vec![0; READ_OCTETS_MAX];
    let _ = to.set_nodelay(true);
    loop {
        let count = from.read(&mut buffer).unwrap_or(0);
        let octets = buffer[..count].to_vec();
        said.lock().push(Said { connection, by, octets });
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_is_noted_in_its_order() {
        let broker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let recorder = Recorder::start(broker.local_addr().unwrap()).unwrap();
        let mut client = TcpStream::connect(recorder.address()).unwrap();
        let (mut server, _) = broker.accept().unwrap();
        let mut buffer = [0; 8];
        for (question, answer) in [(b"one", b"ONE"), (b"two", b"TWO")] {
            client.write_all(question).unwrap();
            server.read_exact(&mut buffer[..3]).unwrap();
            server.write_all(answer).unwrap();
            client.read_exact(&mut buffer[..3]).unwrap();
        }
        drop(client);
        assert_eq!(server.read(&mut buffer).unwrap(), 0);
        let said: Vec<_> = recorder.finish().into_iter().map(|said| (said.by, said.octets)).collect();
        let octets = |text: &str| text.as_bytes().to_vec();
        let expected = [
            (Side::Client, octets("one")),
            (Side::Server, octets("ONE")),
            (Side::Client, octets("two")),
            (Side::Server, octets("TWO")),
            (Side::Client, octets("")),
        ];
        assert_eq!(said[..5], expected);
    }
}
