//! What a connection tells the broker.
//!
//! Invariant: events come in the order of the octets that caused them, and a content is told of only when it is whole.

use warrenmq_wire::basic::{Ack, Nack, Reject};
use warrenmq_wire::method::{FieldTable, Method};

use crate::assembly::Assembled;
use crate::fault::Fault;

/// One thing that the peer did.
#[derive(Debug)]
pub enum Event<'a> {
    /// The protocol header is right; the broker answers with connection.start.
    Hello,
    /// The header was not ours: the broker answers with the eight octets that it speaks and goes.
    BadHeader,
    /// connection.start-ok.
    StartOk(Box<StartOk>),
    /// connection.secure-ok with its response.
    SecureOk(Vec<u8>),
    /// connection.open of a vhost.
    Open(String),
    /// connection.update-secret with the new secret.
    UpdateSecret(Vec<u8>),
    /// channel.open of a number that is free.
    ChannelOpen(u16),
    /// channel.close: the broker forgets the channel, then calls [`crate::Connection::channel_closed`].
    ChannelClose(u16),
    /// A channel that the broker had closed was answered with close-ok; its number is free.
    ChannelFreed(u16),
    /// A message that lies whole in the input.
    Publish(Publish<'a>),
    /// A message whose frames came in several reads, or that has several body frames.
    Assembled(Box<Assembled>),
    /// basic.ack.
    Ack(u16, Ack),
    /// basic.nack.
    Nack(u16, Nack),
    /// basic.reject.
    Reject(u16, Reject),
    /// Any other method of an open channel.
    Method(u16, Box<Method>),
    /// The peer broke a rule: the broker calls [`crate::Connection::fail`] after what came before is done.
    Fault(Fault),
    /// connection.close from the peer: the broker lets go of everything, then calls
    /// [`crate::Connection::close_ok`].
    Close,
    /// The peer has answered our connection.close: the socket can go.
    Gone,
}

/// A message, borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// The channel.
    pub channel: u16,
    /// Exchange and routing key in wire form.
    pub route: &'a [u8],
    /// Return it when it reaches no queue.
    pub mandatory: bool,
    /// The payload of the content header frame.
    pub header: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What connection.start-ok said.
#[derive(Debug)]
pub struct StartOk {
    /// SASL mechanism.
    pub mechanism: String,
    /// Its initial response.
    pub response: Vec<u8>,
    /// Who the client says it is.
    pub client_properties: FieldTable,
}

/// What the peer said it can take, read from its client-properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Wants connection.close instead of silence after a failed login.
    pub authentication_failure_close: bool,
    /// Understands basic.cancel from the server.
    pub consumer_cancel_notify: bool,
    /// Understands connection.blocked and unblocked.
    pub connection_blocked: bool,
    /// Is not ready for connection.close-ok while it still writes its connection.close, which takes several turns of its event loop:
    /// aiormq (seen with 7.2.4), and aio-pika with it. A close-ok that comes in the midst of them ends its connection as if nobody had closed
    /// it: the reason is lost, waiting publishes fail without it. RabbitMQ, which takes some tenths of a millisecond, meets that now and then.
    pub close_ok_later: bool,
}
