//! Listening sockets.
//!
//! Invariant: all addresses are bound before the first connection is accepted, or none.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Connections that wait to be accepted, per socket (RabbitMQ's `tcp_listen_options.backlog` is 128; bursts of clients that
/// reconnect are larger).
const BACKLOG: i32 = 4096;

/// Sockets that listen.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
}

/// Why an address could not be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another program listens there.
    #[error("{address} is taken by another program; stop it, or choose another with --listen ADDR:PORT")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {error}; choose another with --listen ADDR:PORT")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

impl BindError {
    /// Whether the machine has no such kind of address (IPv6 switched off, for one).
    pub fn is_unsupported(&self) -> bool {
        /// EAFNOSUPPORT and EADDRNOTAVAIL of Linux.
        const UNSUPPORTED: [i32; 2] = [97, 99];
        matches!(self, BindError::Failed { error, .. } if error.raw_os_error().is_some_and(|code| UNSUPPORTED.contains(&code)))
    }
}

impl Listeners {
    /// Binds all of `addresses`; an IPv6 address takes no IPv4 connections.
    ///
    /// # Errors
    /// At the first address that cannot be bound.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Listeners, BindError> {
        let sockets = addresses.iter().map(|address| bind(*address)).collect::<Result<_, _>>()?;
        Ok(Listeners { sockets })
    }

    /// Where they listen; a port that was given as 0 is the real one.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    pub(crate) fn into_tokio(self) -> io::Result<Vec<tokio::net::TcpListener>> {
        self.sockets.into_iter().map(tokio::net::TcpListener::from_std).collect()
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Failed { address, error },
    })
}
