//! A client that does what it is told: its handshake, what it declares, and what it hears.
//!
//! Invariant: everything that is asked is answered at once.

use std::io;

use warrenmq_wire::method::{
    self, AMQPValue, FieldTable, Method, ShortString, basic_cold, channel, confirm, connection, exchange,
    queue,
};
use warrenmq_wire::{basic, content, frame};

use super::ear::Ear;
use super::link::Link;
use super::node::Node;

/// The one channel.
const CHANNEL: u16 = 1;
const FRAME_MAX: u32 = 131_072;

/// One connection with one channel.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) ear: Ear,
}

impl Client {
    pub(crate) fn new(node: &Node) -> Client {
        let mut client = Client { link: Link::new(node), ear: Ear::default() };
        for (octets, answer) in opening() {
            client.send(&octets, answer);
        }
        client
    }

    pub(crate) fn declare_queue(&mut self, name: &str, durable: bool) {
        let declare = queue::Declare {
            queue: short(name),
            passive: false,
            durable,
            exclusive: false,
            auto_delete: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.ask(CHANNEL, Method::Queue(queue::AMQPMethod::Declare(declare)), (50, 11));
    }

    pub(crate) fn declare_exchange(&mut self, name: &str, kind: &str) {
        let declare = exchange::Declare {
            exchange: short(name),
            kind: short(kind),
            passive: false,
            durable: false,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.ask(CHANNEL, Method::Exchange(exchange::AMQPMethod::Declare(declare)), (40, 11));
    }

    pub(crate) fn bind(&mut self, queue: &str, exchange: &str, key: &str, arguments: &[(&str, String)]) {
        let bind = queue::Bind {
            queue: short(queue),
            exchange: short(exchange),
            routing_key: short(key),
            nowait: false,
            arguments: table(arguments),
        };
        self.ask(CHANNEL, Method::Queue(queue::AMQPMethod::Bind(bind)), (50, 21));
    }

    pub(crate) fn select_confirms(&mut self) {
        let select = confirm::Select { nowait: false };
        self.ask(CHANNEL, Method::Confirm(confirm::AMQPMethod::Select(select)), (85, 11));
    }

    /// A prefetch of 0 is no limit.
    pub(crate) fn consume(&mut self, queue: &str, no_ack: bool, prefetch: u16) {
        if prefetch > 0 {
            let qos = basic_cold::Qos { prefetch_count: prefetch, global: false };
            self.ask(CHANNEL, Method::Basic(basic_cold::AMQPMethod::Qos(qos)), (60, 11));
        }
        let consume = basic_cold::Consume {
            queue: short(queue),
            consumer_tag: short("consumer"),
            no_local: false,
            no_ack,
            exclusive: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.ask(CHANNEL, Method::Basic(basic_cold::AMQPMethod::Consume(consume)), (60, 21));
    }

    /// Hears what there is for it; says whether there was anything.
    pub(crate) fn listen(&mut self) -> bool {
        let ear = &mut self.ear;
        self.link.turn(&mut io::empty(), &mut |octets| ear.hear(octets))
    }

    fn ask(&mut self, channel: u16, method: Method, answer: (u16, u16)) {
        let mut octets = Vec::new();
        put(&mut octets, channel, &method);
        self.send(&octets, answer);
    }

    fn send(&mut self, mut octets: &[u8], answer: (u16, u16)) {
        let ear = &mut self.ear;
        self.link.turn(&mut octets, &mut |octets| ear.hear(octets));
        // What is durable is answered when it has been written.
        while self.listen() {}
        let heard = std::mem::take(&mut self.ear.cold);
        assert_eq!(heard.last(), Some(&answer), "the broker's answer");
    }
}

/// What a client sends until its channel is open, and the method that answers it.
pub(crate) type Opening = [(Vec<u8>, (u16, u16)); 4];

/// The steps of the handshake.
pub(crate) fn opening() -> Opening {
    let start_ok = connection::StartOk {
        client_properties: FieldTable::default(),
        mechanism: short("PLAIN"),
        response: "\0guest\0guest".into(),
        locale: short("en_US"),
    };
    let tune_ok = connection::TuneOk { channel_max: 10, frame_max: FRAME_MAX, heartbeat: 0 };
    let open = connection::Open { virtual_host: short("/") };
    let (mut login, mut tune, mut last) = (Vec::new(), Vec::new(), Vec::new());
    put(&mut login, 0, &Method::Connection(connection::AMQPMethod::StartOk(start_ok)));
    put(&mut tune, 0, &Method::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
    put(&mut tune, 0, &Method::Connection(connection::AMQPMethod::Open(open)));
    put(&mut last, CHANNEL, &Method::Channel(channel::AMQPMethod::Open(channel::Open {})));
    [(frame::PROTOCOL_HEADER.to_vec(), (10, 10)), (login, (10, 30)), (tune, (10, 41)), (last, (20, 11))]
}

/// A publish with its content. Persistent messages say so in their properties; the others have properties only if they have
/// headers.
pub(crate) fn publish(
    exchange: &str,
    key: &str,
    headers: &[(&str, String)],
    octets: usize,
    persistent: bool,
) -> Vec<u8> {
    let (mut route, mut header, mut out) = (Vec::new(), Vec::new(), Vec::new());
    basic::put_route(&mut route, exchange.as_bytes(), key.as_bytes());
    let mut properties = method::BasicProperties::default();
    if persistent {
        properties = properties.with_delivery_mode(2);
    }
    if !headers.is_empty() {
        properties = properties.with_headers(table(headers));
    }
    content::put_header(&mut header, octets as u64, &properties).expect("small properties");
    basic::put_publish(&mut out, CHANNEL, &route, false);
    let body: Vec<u8> = (0..octets).map(|at| at as u8).collect();
    basic::put_content(&mut out, CHANNEL, &header, &body, FRAME_MAX as usize - frame::OVERHEAD);
    out
}

/// An acknowledgement.
pub(crate) fn ack(tag: u64, multiple: bool) -> Vec<u8> {
    let mut out = Vec::new();
    basic::put_ack(&mut out, CHANNEL, tag, multiple);
    out
}

/// A table of strings.
pub(crate) fn table(pairs: &[(&str, String)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in pairs {
        table.insert(short(key), AMQPValue::LongString(value.as_str().into()));
    }
    table
}

fn put(out: &mut Vec<u8>, channel: u16, method: &Method) {
    method::put(out, channel, method).expect("a short method");
}

fn short(text: &str) -> ShortString {
    ShortString::from(text)
}
