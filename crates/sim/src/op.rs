//! What a client asks for. Invariant: the oracle learns of an operation when the broker has used the last of its octets, and
//! then it has been carried out.

use crate::chooses::Chooses;
use crate::content::REPLIES;
use crate::frames::{Arguments, Table, ids, put_method, put_publish};
use crate::message::Message;
use crate::policy::DIRECT;
use crate::rules::DYING;
use crate::topology::{Name, Topology, exchange_name, queue_name};
use crate::way::{Gate, Way};

/// Number of a channel.
pub type Number = u16;

/// An operation on a channel.
#[derive(Clone, Debug)]
pub struct Op {
    /// The channel; 0 for those of the connection.
    pub channel: Number,
    /// What is asked for.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Ask {
    /// connection.close.
    CloseConnection,
    /// channel.open.
    OpenChannel,
    /// channel.close.
    CloseChannel,
    /// channel.close-ok.
    CloseOk,
    /// confirm.select.
    Confirm,
    /// tx.select.
    Tx,
    /// tx.commit.
    Commit,
    /// tx.rollback.
    Rollback,
    /// exchange.declare.
    Exchange(usize),
    /// exchange.declare of one that there is once.
    Special(Special),
    /// queue.bind of that exchange to the queue.
    BindSpecial(Special, Name),
    /// queue.declare.
    Declare(Name),
    /// queue.declare, passive: how many are ready?
    Count(Name),
    /// queue.bind of the exchange to the queue.
    Bind(usize, Name),
    /// queue.unbind of that exchange from the queue.
    Unbind(Gate, Name),
    /// exchange.bind.
    Lead(Way),
    /// exchange.unbind.
    Unlead(Way),
    /// queue.purge.
    Purge(Name),
    /// queue.delete.
    Delete(Name),
    /// basic.qos for consumers to come. It ends what they share.
    Prefetch(u16),
    /// basic.qos with `global`: all consumers of the channel share this.
    Share(u16),
    /// basic.consume with this number as the consumer's tag.
    Consume {
        /// The queue.
        name: Name,
        /// The tag.
        consumer: u32,
        /// Acknowledged when sent.
        no_ack: bool,
        /// `x-consumer-timeout`, milliseconds.
        timeout: Option<u64>,
        /// `x-priority`, left out when it is 0.
        priority: i64,
    },
    /// basic.consume of the pseudo-queue of replies, with this number as the consumer's tag.
    ConsumeReplies(u32),
    /// basic.cancel.
    Cancel(u32),
    /// basic.get.
    Get {
        /// The queue.
        name: Name,
        /// Acknowledged when sent.
        no_ack: bool,
    },
    /// basic.recover with requeue.
    Recover,
    /// basic.publish.
    Publish(Message, To),
    /// basic.ack, nack or reject.
    Settle {
        /// Delivery tag.
        tag: u64,
        /// And all before it.
        multiple: bool,
        /// What becomes of them.
        verdict: Verdict,
    },
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The default exchange, to one queue.
    Queue(Name),
    /// An exchange, to its queues.
    Exchange(usize),
    /// The exchange that delays, to one queue.
    Delaying(Name),
    /// The exchange that keeps the last messages, to its queues.
    Remembering,
    /// The direct exchange, to one queue or to its alternate.
    Direct(Name),
    /// The default exchange, to the so-manieth consumer of replies.
    Reply(usize),
    /// The exchange that chooses a queue, with a key of this number.
    Choosing(u8),
    /// The exchange that leads to others, with such a key.
    Leading(u8),
}

impl To {
    /// Exchange and routing key, where replies go to these names.
    pub fn route(self, addresses: &[String]) -> (String, String) {
        match self {
            To::Queue(name) => (String::new(), queue_name(name)),
            To::Exchange(exchange) => (exchange_name(exchange), String::new()),
            To::Delaying(name) => (Special::Delaying.name().to_owned(), queue_name(name)),
            To::Remembering => (Special::Remembering.name().to_owned(), String::new()),
            To::Direct(name) => (Special::Direct.name().to_owned(), queue_name(name)),
            To::Choosing(number) => (Special::Choosing.name().to_owned(), format!("k{number}")),
            To::Leading(number) => (Special::Leading.name().to_owned(), format!("k{number}")),
            To::Reply(requester) => (String::new(), addresses.get(requester).cloned().unwrap_or_default()),
        }
    }
}

/// Exchanges of which there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `x-delayed-message`: holds messages back, then routes them by their keys.
    Delaying,
    /// `x-recent-history`: who is bound gets the last messages.
    Remembering,
    /// `fanout`: leads dead letters to both queues that take them.
    Dying,
    /// `direct`, perhaps with an alternate exchange.
    Direct,
    /// Gives each message to one of several queues.
    Choosing,
    /// `fanout`: leads to other exchanges.
    Leading,
}

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done with.
    Ack,
    /// Given back to the queue: nack.
    Requeue,
    /// Back to the queue, as a failure: reject. One at a time.
    Reject,
    /// Dropped, or dead-lettered.
    Discard,
}

impl Op {
    /// Whether the client waits for an answer.
    pub fn is_call(&self) -> bool {
        !matches!(self.ask, Ask::Publish(..) | Ask::Settle { .. } | Ask::CloseOk)
    }

    /// Appends its frames. Replies go to these addresses.
    pub fn write(&self, topology: &Topology, addresses: &[String], out: &mut Vec<u8>) {
        let none = Arguments::new;
        let (id, arguments) = match &self.ask {
            Ask::CloseConnection => (ids::CONNECTION_CLOSE, none().short(200).shortstr("").short(0).short(0)),
            Ask::OpenChannel => (ids::CHANNEL_OPEN, none().shortstr("")),
            Ask::CloseChannel => (ids::CHANNEL_CLOSE, none().short(200).shortstr("").short(0).short(0)),
            Ask::CloseOk => (ids::CHANNEL_CLOSE_OK, none()),
            Ask::Confirm => (ids::CONFIRM_SELECT, none().octet(0)),
            Ask::Tx => (ids::TX_SELECT, none()),
            Ask::Commit => (ids::TX_COMMIT, none()),
            Ask::Rollback => (ids::TX_ROLLBACK, none()),
            Ask::Exchange(exchange) => {
                let kind = topology.exchange_type(*exchange);
                let arguments = none().short(0).shortstr(&exchange_name(*exchange)).shortstr(kind);
                (ids::EXCHANGE_DECLARE, arguments.octet(2).longstr(&[]))
            }
            Ask::Special(special) => {
                let names =
                    none().short(0).shortstr(special.name()).shortstr(special.exchange_type(topology));
                (ids::EXCHANGE_DECLARE, names.octet(2).longstr(special.arguments(topology).octets()))
            }
            Ask::BindSpecial(special, name) => {
                let names = none().short(0).shortstr(&queue_name(*name)).shortstr(special.name());
                (ids::QUEUE_BIND, names.shortstr(&special.binding_key(topology, *name)).octet(0).longstr(&[]))
            }
            Ask::Declare(name) => {
                let kind = &topology.queues[*name];
                let bits = u8::from(kind.durable) << 1;
                let arguments = none().short(0).shortstr(&queue_name(*name)).octet(bits);
                (ids::QUEUE_DECLARE, arguments.longstr(kind.arguments(topology.quorum_by_default).octets()))
            }
            Ask::Count(name) => {
                (ids::QUEUE_DECLARE, none().short(0).shortstr(&queue_name(*name)).octet(1).longstr(&[]))
            }
            Ask::Bind(exchange, name) => {
                let names = none().short(0).shortstr(&queue_name(*name)).shortstr(&exchange_name(*exchange));
                (ids::QUEUE_BIND, names.shortstr("").octet(0).longstr(&[]))
            }
            Ask::Unbind(gate, name) => {
                let names = none().short(0).shortstr(&queue_name(*name)).shortstr(&gate.name());
                (ids::QUEUE_UNBIND, names.shortstr(&gate.binding_key(topology, *name)).longstr(&[]))
            }
            Ask::Lead(way) => (ids::EXCHANGE_BIND, way.arguments()),
            Ask::Unlead(way) => (ids::EXCHANGE_UNBIND, way.arguments()),
            Ask::Purge(name) => (ids::QUEUE_PURGE, none().short(0).shortstr(&queue_name(*name)).octet(0)),
            Ask::Delete(name) => (ids::QUEUE_DELETE, none().short(0).shortstr(&queue_name(*name)).octet(0)),
            Ask::Prefetch(count) => (ids::BASIC_QOS, none().long(0).short(*count).octet(0)),
            Ask::Share(count) => (ids::BASIC_QOS, none().long(0).short(*count).octet(1)),
            Ask::Consume { name, consumer, no_ack, timeout, priority } => {
                consume(&queue_name(*name), *consumer, *no_ack, &consumer_arguments(*timeout, *priority))
            }
            Ask::ConsumeReplies(consumer) => consume(REPLIES, *consumer, true, &Table::default()),
            Ask::Cancel(consumer) => (ids::BASIC_CANCEL, none().shortstr(&consumer.to_string()).octet(0)),
            Ask::Get { name, no_ack } => {
                (ids::BASIC_GET, none().short(0).shortstr(&queue_name(*name)).octet(u8::from(*no_ack)))
            }
            Ask::Recover => (ids::BASIC_RECOVER, none().octet(1)),
            Ask::Settle { tag, multiple, verdict } => settle(*tag, *multiple, *verdict),
            Ask::Publish(message, to) => {
                let (exchange, key) = to.route(addresses);
                put_publish(out, self.channel, &exchange, &key, message);
                return;
            }
        };
        put_method(out, self.channel, id, &arguments);
    }
}

impl Special {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Special::Delaying => "delaying",
            Special::Remembering => "remembering",
            Special::Dying => DYING,
            Special::Direct => DIRECT,
            Special::Choosing => "choosing",
            Special::Leading => "leading",
        }
    }

    /// The key with which a queue is bound to it.
    pub fn binding_key(self, topology: &Topology, name: Name) -> String {
        match topology.chooses {
            Some(chooses) if self == Special::Choosing => chooses.binding_key(name),
            _ => queue_name(name),
        }
    }

    fn exchange_type(self, topology: &Topology) -> &'static str {
        match self {
            Special::Delaying => "x-delayed-message",
            Special::Remembering => "x-recent-history",
            Special::Dying | Special::Leading => "fanout",
            Special::Choosing => topology.chooses.map_or("direct", Chooses::exchange_type),
            Special::Direct => "direct",
        }
    }

    fn arguments(self, topology: &Topology) -> Table {
        let table = Table::default();
        match self {
            Special::Delaying => table.text("x-delayed-type", "direct"),
            Special::Remembering => table.number("x-recent-history-length", topology.history.unwrap_or(1)),
            Special::Dying | Special::Leading => table,
            Special::Choosing => topology.chooses.map_or(table, Chooses::arguments),
            Special::Direct => match topology.alternate {
                Some(exchange) => table.text("alternate-exchange", &exchange_name(exchange)),
                None => table,
            },
        }
    }
}

fn consume(queue: &str, consumer: u32, no_ack: bool, arguments: &Table) -> ((u16, u16), Arguments) {
    let names = Arguments::new().short(0).shortstr(queue).shortstr(&consumer.to_string());
    (ids::BASIC_CONSUME, names.octet(u8::from(no_ack) << 1).longstr(arguments.octets()))
}

fn consumer_arguments(timeout: Option<u64>, priority: i64) -> Table {
    let mut arguments = Table::default();
    if let Some(timeout) = timeout {
        arguments = arguments.number("x-consumer-timeout", timeout);
    }
    if priority != 0 {
        arguments = arguments.number("x-priority", priority.cast_unsigned());
    }
    arguments
}

fn settle(tag: u64, multiple: bool, verdict: Verdict) -> ((u16, u16), Arguments) {
    let (tagged, bits) = (Arguments::new().longlong(tag), u8::from(multiple));
    match verdict {
        Verdict::Ack => (ids::BASIC_ACK, tagged.octet(bits)),
        Verdict::Requeue => (ids::BASIC_NACK, tagged.octet(bits | 2)),
        Verdict::Reject => (ids::BASIC_REJECT, tagged.octet(1)),
        Verdict::Discard => (ids::BASIC_NACK, tagged.octet(bits)),
    }
}
