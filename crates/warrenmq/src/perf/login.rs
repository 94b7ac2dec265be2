//! The client's side of a handshake as a value: from the protocol header to an open channel 1.
//!
//! ```text
//! Start ──start──► Tune ──tune──► OpenOk ──open-ok──► ChannelOpenOk ──open-ok──► done
//! ```
//! Invariant: what is sent does not depend on time or on other connections. An ordinary client answers what it has read;
//! a pipelined one sends everything at the beginning and then only checks the answers.

use amq_protocol::uri::AMQPUri;
use warrenmq_wire::{
    frame,
    method::{self, AMQPValue, EncodeError, FieldTable, Method, channel, connection},
};

use super::{
    connection::{CHANNEL, misfit},
    error::PerfError,
};

/// What a pipelined client agrees to before it knows what the broker offers; every broker in use offers as much.
const TUNE_PIPELINED: connection::TuneOk =
    connection::TuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 0 };

/// What all clients of a run say, encoded once.
#[derive(Debug)]
pub(crate) struct Script {
    start_ok: Vec<u8>,
    /// `connection.open`.
    open: Vec<u8>,
    channel_open: Vec<u8>,
    /// Everything, when it is sent in one go.
    pipelined: Option<Vec<u8>>,
}

/// How far the handshake of one connection is: which answer comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Start,
    Tune,
    OpenOk,
    ChannelOpenOk,
}

impl Script {
    /// # Errors
    /// When a name in the URI is too long for AMQP.
    pub(crate) fn new(uri: &AMQPUri, name: &str, pipelined: bool) -> Result<Self, EncodeError> {
        let encoded = |channel, method: Method| {
            let mut out = Vec::new();
            method::put(&mut out, channel, &method).map(|()| out)
        };
        let open = connection::Open { virtual_host: uri.vhost.as_str().into() };
        let mut this = Self {
            start_ok: encoded(0, start_ok(uri, name))?,
            open: encoded(0, Method::Connection(connection::AMQPMethod::Open(open)))?,
            channel_open: encoded(CHANNEL, Method::Channel(channel::AMQPMethod::Open(channel::Open {})))?,
            pipelined: None,
        };
        if pipelined {
            let tune_ok =
                encoded(0, Method::Connection(connection::AMQPMethod::TuneOk(TUNE_PIPELINED.clone())))?;
            let parts =
                [&frame::PROTOCOL_HEADER[..], &this.start_ok, &tune_ok, &this.open, &this.channel_open];
            this.pipelined = Some(parts.concat());
        }
        Ok(this)
    }
}

impl Login {
    /// Begins on a new socket.
    pub(crate) fn begin(script: &Script, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(script.pipelined.as_deref().unwrap_or(&frame::PROTOCOL_HEADER));
        Self::Start
    }

    /// Takes the payload of a method and answers it; `None` when channel 1 is open.
    ///
    /// # Errors
    /// The broker's refusal, or an answer that does not fit.
    pub(crate) fn answer(
        self,
        script: &Script,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Self>, PerfError> {
        let (next, answer) = match (self, payload) {
            (Self::Start, [0, 10, 0, 10, ..]) => (Some(Self::Tune), script.start_ok.as_slice()),
            (Self::Tune, [0, 10, 0, 30, ..]) => {
                if script.pipelined.is_none() {
                    put_tune_ok(payload, out)?;
                }
                (Some(Self::OpenOk), script.open.as_slice())
            }
            (Self::OpenOk, [0, 10, 0, 41, ..]) => (Some(Self::ChannelOpenOk), script.channel_open.as_slice()),
            (Self::ChannelOpenOk, [0, 20, 0, 11, ..]) => (None, [].as_slice()),
            _ => return Err(self.misfit(payload)),
        };
        if script.pipelined.is_none() {
            out.extend_from_slice(answer);
        }
        Ok(next)
    }

    #[cold]
    fn misfit(self, payload: &[u8]) -> PerfError {
        let to = match self {
            Self::Start => "the protocol header",
            Self::Tune => "connection.start-ok",
            Self::OpenOk => "connection.open",
            Self::ChannelOpenOk => "channel.open",
        };
        misfit(to, payload)
    }
}

/// `connection.start-ok` of every connection that `perf` makes.
pub(crate) fn start_ok(uri: &AMQPUri, name: &str) -> Method {
    let mut capabilities = FieldTable::default();
    // So that a wrong password or a queue that goes away ends the run with a reason.
    for capability in
        ["authentication_failure_close", "consumer_cancel_notify", "basic.nack", "publisher_confirms"]
    {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut client_properties = FieldTable::default();
    for (key, value) in
        [("product", "warrenmq perf"), ("version", env!("CARGO_PKG_VERSION")), ("connection_name", name)]
    {
        client_properties.insert(key.into(), AMQPValue::LongString(value.into()));
    }
    client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let user = &uri.authority.userinfo;
    let response = format!("\0{}\0{}", user.username, user.password);
    Method::Connection(connection::AMQPMethod::StartOk(connection::StartOk {
        client_properties,
        mechanism: "PLAIN".into(),
        response: response.as_str().into(),
        locale: "en_US".into(),
    }))
}

/// Agrees to what the broker offers, but for heartbeats: a stalled broker shall show in the figures.
fn put_tune_ok(tune: &[u8], out: &mut Vec<u8>) -> Result<(), PerfError> {
    let Method::Connection(connection::AMQPMethod::Tune(tune)) = method::parse(tune)? else {
        return Ok(());
    };
    let tune_ok =
        connection::TuneOk { channel_max: tune.channel_max, frame_max: tune.frame_max, heartbeat: 0 };
    Ok(method::put(out, 0, &Method::Connection(connection::AMQPMethod::TuneOk(tune_ok)))?)
}
