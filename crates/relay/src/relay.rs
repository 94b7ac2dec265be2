//! All connections, in one thread. Between runs it waits for whichever has something to say; from the first message on it
//! only reads from the publisher and writes to the consumer, until the publisher says something else or is gone.
//!
//! Invariant: no system call but one read and one write (or as many as the consumer's socket makes of it) for each buffer of
//! messages.

use std::io;
use std::net::{TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};

use crate::peer::{Peer, Said};
use crate::translate::Translator;

/// The listener and who has come.
#[derive(Debug)]
pub(crate) struct Relay {
    listener: TcpListener,
    peers: Vec<Peer>,
}

impl Relay {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, peers: Vec::new() }
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// When the system does not let it accept or wait.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            // From the last on, so that a removal does not move those that are still to be looked at.
            for index in ready.into_iter().rev() {
                match index.checked_sub(1) {
                    None => self.accept()?,
                    Some(index) => self.serve(index),
                }
            }
        }
    }

    /// Places of the sockets that can be read: 0 is the listener, 1 the first peer.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let streams = self.peers.iter().map(|peer| PollFd::new(&peer.stream, PollFlags::IN));
        let mut sockets: Vec<_> =
            std::iter::once(PollFd::new(&self.listener, PollFlags::IN)).chain(streams).collect();
        poll(&mut sockets, None)?;
        let ready = sockets.iter().enumerate().filter(|(_, socket)| !socket.revents().is_empty());
        Ok(ready.map(|(index, _)| index).collect())
    }

    fn accept(&mut self) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nodelay(true)?;
        self.peers.push(Peer::new(stream));
        Ok(())
    }

    /// Works off what one peer has said; a peer that is gone or does not keep to the protocol is dropped.
    fn serve(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let said = peer.listen().and_then(|said| match said {
            Said::Messages => self.relay(index),
            Said::Methods => Ok(()),
        });
        if said.is_err() {
            self.peers.remove(index);
        }
    }

    /// Hands messages on until the publisher has something else to say.
    ///
    /// # Errors
    /// When the publisher is gone. A consumer that is gone is dropped, and messages then go nowhere.
    fn relay(&mut self, publisher: usize) -> io::Result<()> {
        let consumer = self.consumer()?;
        let (sink, channel, tag) = match &consumer {
            Some((stream, channel, tag)) => (Some(stream), *channel, tag.as_slice()),
            None => (None, 0, [].as_slice()),
        };
        let Some(peer) = self.peers.get_mut(publisher) else { return Ok(()) };
        peer.pump(&mut Translator::new(channel, tag), sink)
    }

    /// Socket, channel and tag of who consumes.
    fn consumer(&self) -> io::Result<Option<(TcpStream, u16, Vec<u8>)>> {
        let found = self.peers.iter().find_map(|peer| Some((peer, peer.consumer.as_ref()?)));
        let share = |(peer, (channel, tag)): (&Peer, &(u16, Vec<u8>))| {
            Ok((peer.stream.try_clone()?, *channel, tag.clone()))
        };
        found.map(share).transpose()
    }
}
