//! A stand-in for a broker, for the tests of `warrenmq perf`: turns publishes into deliveries, confirms them, and promises
//! nothing. It shares no code with the broker but the frames, so that a fault of one side is not hidden by the other.
//!
//! One publisher and one consumer at a time; a message without a consumer is dropped.

use std::{
    error::Error,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use warrenmq_wire::{
    basic, frame,
    method::{self, FieldTable, Method, basic_cold, channel, confirm, connection, queue},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FRAME_MAX: u32 = 131_072;
const READ_BYTES: usize = 256 * 1024;

/// Where messages go.
#[derive(Debug)]
struct Consumer {
    stream: TcpStream,
    tag: Vec<u8>,
    delivery_tag: u64,
}

/// The consumer that no publisher has taken yet. Locked once for each read of a publisher.
type Shared = Arc<Mutex<Option<Consumer>>>;

/// The state of one connection.
#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    consumers: Shared,
    /// Whom this connection's messages go to.
    consumer: Option<Consumer>,
    /// Deliveries and confirms that this read has led to.
    deliveries: Vec<u8>,
    answers: Vec<u8>,
    confirming: bool,
    published: u64,
    confirmed: u64,
}

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = TcpListener::bind(&address)?;
    println!("{}", listener.local_addr()?);
    let consumers = Shared::default();
    loop {
        let (stream, from) = listener.accept()?;
        let consumers = Arc::clone(&consumers);
        thread::spawn(move || {
            if let Err(error) = serve(stream, consumers) {
                eprintln!("{from}: {error}");
            }
        });
    }
}

/// Serves a connection until it is closed.
fn serve(mut stream: TcpStream, consumers: Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = [0; frame::PROTOCOL_HEADER.len()];
    stream.read_exact(&mut hello)?;
    let mut peer = Peer {
        stream,
        consumers,
        consumer: None,
        deliveries: Vec::new(),
        answers: Vec::new(),
        confirming: false,
        published: 0,
        confirmed: 0,
    };
    peer.answer(
        0,
        Method::Connection(connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: FieldTable::default(),
            mechanisms: "PLAIN".into(),
            locales: "en_US".into(),
        })),
    )?;
    let mut buffer = vec![0; READ_BYTES + FRAME_MAX as usize];
    let mut end = 0;
    loop {
        peer.flush()?;
        let Some(free) = buffer.get_mut(end..) else { return Err("buffer".into()) };
        let count = peer.stream.read(free)?;
        if count == 0 {
            return Ok(());
        }
        end += count;
        let mut input = buffer.get(..end).unwrap_or_default();
        while let Some((frame, used)) = frame::split(input, FRAME_MAX as usize)? {
            let (whole, rest) = input.split_at(used);
            if !peer.take(frame, whole)? {
                return peer.flush();
            }
            input = rest;
        }
        let left = input.len();
        buffer.copy_within(end - left..end, 0);
        end = left;
    }
}

impl Peer {
    /// Takes one frame; false when it was the last.
    #[inline]
    fn take(&mut self, frame: frame::Frame<'_>, whole: &[u8]) -> Result<bool> {
        match (frame.kind, frame.payload) {
            (frame::METHOD, [0, 60, 0, 40, args @ ..]) => {
                if self.deliveries.is_empty() {
                    self.look_for_consumer();
                }
                let publish = basic::parse_publish(args)?;
                self.published += 1;
                if let Some(Consumer { tag, delivery_tag, .. }) = &mut self.consumer {
                    *delivery_tag += 1;
                    basic::put_deliver(&mut self.deliveries, 1, tag, *delivery_tag, false, publish.route);
                }
                Ok(true)
            }
            (frame::METHOD, [0, 60, 0, 80, ..]) => Ok(true),
            (frame::METHOD, payload) => self.method(frame.channel, method::parse(payload)?),
            _ => {
                if self.consumer.is_some() {
                    self.deliveries.extend_from_slice(whole);
                }
                Ok(true)
            }
        }
    }

    /// Once for each read: a consumer that has come takes over.
    fn look_for_consumer(&mut self) {
        if let Some(new) = self.consumers.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.consumer = Some(new);
        }
    }

    /// Answers a method; false when it was the last.
    fn method(&mut self, channel: u16, method: Method) -> Result<bool> {
        let answer = match method {
            Method::Connection(connection::AMQPMethod::StartOk(_)) => {
                Method::Connection(connection::AMQPMethod::Tune(connection::Tune {
                    channel_max: 2047,
                    frame_max: FRAME_MAX,
                    heartbeat: 0,
                }))
            }
            Method::Connection(connection::AMQPMethod::Open(_)) => {
                Method::Connection(connection::AMQPMethod::OpenOk(connection::OpenOk {}))
            }
            Method::Connection(connection::AMQPMethod::Close(_)) => {
                Method::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}))
            }
            Method::Channel(channel::AMQPMethod::Open(_)) => {
                Method::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
            }
            Method::Queue(queue::AMQPMethod::Declare(declare)) => {
                Method::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                    queue: declare.queue,
                    message_count: 0,
                    consumer_count: 0,
                }))
            }
            Method::Basic(basic_cold::AMQPMethod::Qos(_)) => {
                Method::Basic(basic_cold::AMQPMethod::QosOk(basic_cold::QosOk {}))
            }
            Method::Basic(basic_cold::AMQPMethod::Consume(consume)) => {
                let tag = consume.consumer_tag.as_str().as_bytes().to_vec();
                let consumer = Consumer { stream: self.stream.try_clone()?, tag, delivery_tag: 0 };
                *self.consumers.lock().unwrap_or_else(PoisonError::into_inner) = Some(consumer);
                let consume_ok = basic_cold::ConsumeOk { consumer_tag: consume.consumer_tag };
                Method::Basic(basic_cold::AMQPMethod::ConsumeOk(consume_ok))
            }
            Method::Confirm(_) => {
                self.confirming = true;
                Method::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {}))
            }
            Method::Connection(connection::AMQPMethod::TuneOk(_)) => return Ok(true),
            other => return Err(format!("a stand-in does not know {other:?}").into()),
        };
        let last = matches!(answer, Method::Connection(connection::AMQPMethod::CloseOk(_)));
        self.answer(channel, answer)?;
        Ok(!last)
    }

    fn answer(&mut self, channel: u16, method: Method) -> Result<()> {
        Ok(method::put(&mut self.answers, channel, &method)?)
    }

    /// Writes what the last read has led to.
    fn flush(&mut self) -> Result<()> {
        if let Some(consumer) = &mut self.consumer
            && consumer.stream.write_all(&self.deliveries).is_err()
        {
            self.consumer = None;
        }
        self.deliveries.clear();
        if self.confirmed < self.published && self.confirming {
            basic::put_ack(&mut self.answers, 1, self.published, true);
            self.confirmed = self.published;
        }
        self.stream.write_all(&self.answers)?;
        self.answers.clear();
        Ok(())
    }
}
