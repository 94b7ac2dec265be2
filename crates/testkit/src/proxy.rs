//! A TCP proxy on the loopback interface that treats connections badly: it cuts them with FIN and with RST, holds them up, hands their
//! octets on in pieces, and leaves one side with a peer that is gone and has not said so.
//!
//! Invariant: what happens to the connection of a number follows from the seed ([`Mishaps::draw`]); when it happens depends on what
//! passes and on the clock. Octets that pass do so unchanged and in order. A side that was left alone is never closed from
//! here: it has to find out by itself.

mod link;
mod mishap;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use link::Link;
pub use mishap::{Mishap, Mishaps, Pace};

/// How often it is looked for a new connection.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(5);

/// A proxy for as long as it is kept.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections have in common.
#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    is_over: AtomicBool,
    /// Connections of which a side is open.
    open: AtomicUsize,
    accepted: AtomicUsize,
    /// How often which mishap has happened.
    happened: Mutex<[u64; Mishap::NAMES.len()]>,
}

impl Proxy {
    /// Listens on a free port, and connects whoever comes with `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(target: SocketAddr, seed: u64) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, target, seed, &theirs));
        Ok(Proxy { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing more happens to any connection, and those that are held up go on.
    pub fn calm(&self) {
        self.shared.is_calm.store(true, Relaxed);
    }

    /// Connections that have come so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Relaxed)
    }

    /// Connections of which a side is still open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Relaxed)
    }

    /// How often each mishap has happened so far, by its name.
    pub fn happened(&self) -> Vec<(&'static str, u64)> {
        Mishap::NAMES.into_iter().zip(*self.shared.happened.lock()).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, seed: u64, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.is_over.load(Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                number += 1;
                shared.accepted.fetch_add(1, Relaxed);
                // When the target does not accept, the client is told so by a closed connection.
                if let Ok(broker) = TcpStream::connect(target) {
                    let _ = Link::start(client, broker, Mishaps::draw(seed, number), Arc::clone(shared));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ACCEPT_INTERVAL),
            // A client that has gone already, or too many open files: the next one may do better.
            Err(_) => thread::sleep(ACCEPT_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_proxy_hands_on_what_comes_to_its_port() {
        let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap(), 1).unwrap();
        proxy.calm();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut broker, _) = target.accept().unwrap();
        let mut hello = [0; 5];
        broker.read_exact(&mut hello).unwrap();
        assert_eq!((&hello, proxy.accepted(), proxy.open()), (b"hello", 1, 1));
        drop((client, broker));
        while proxy.open() > 0 {
            thread::sleep(ACCEPT_INTERVAL);
        }
        // Nobody is there any more.
        drop(target);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert!(proxy.happened().iter().all(|(_, count)| *count == 0));
    }
}
