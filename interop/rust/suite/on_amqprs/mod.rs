//! amqprs. This file owns the short forms that its tests use, and the callbacks that tell what the broker said unasked.

mod protocol;
mod restart;
mod session;
mod tutorials;

use crate::{Outcome, address, same, within};
use amqprs::callbacks::ChannelCallback;
use amqprs::channel::*;
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error as ClientError;
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Deliver, FieldTable, Nack, Return};
use async_trait::async_trait;
use std::error::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the broker says on a channel without being asked.
#[derive(Debug, PartialEq)]
enum Event {
    Closed(u16, String),
    Cancelled(String),
    Confirmed { tag: u64, multiple: bool },
    Refused(u64),
    Returned { code: u16, text: String, exchange: String, key: String, body: Vec<u8> },
}

struct Listener(UnboundedSender<Event>);

impl Listener {
    /// A test that has ended no longer listens, which is no error.
    fn tell(&self, event: Event) {
        self.0.send(event).ok();
    }
}

#[async_trait]
impl ChannelCallback for Listener {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Result<(), ClientError> {
        self.tell(Event::Closed(close.reply_code(), close.reply_text().clone()));
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, cancel: Cancel) -> Result<(), ClientError> {
        self.tell(Event::Cancelled(cancel.consumer_tag().clone()));
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, ClientError> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.tell(Event::Confirmed { tag: ack.delivery_tag(), multiple: ack.mutiple() });
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        self.tell(Event::Refused(nack.delivery_tag()));
    }

    async fn publish_return(&mut self, _: &Channel, returned: Return, _: BasicProperties, body: Vec<u8>) {
        self.tell(Event::Returned {
            code: returned.reply_code(),
            text: returned.reply_text().clone(),
            exchange: returned.exchange().clone(),
            key: returned.routing_key().clone(),
            body,
        });
    }
}

struct Message {
    deliver: Deliver,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// A consumer: its tag and its deliveries.
struct Consumer {
    tag: String,
    messages: UnboundedReceiver<ConsumerMessage>,
}

async fn connect() -> Fallible<Connection> {
    let (host, port) = address();
    let arguments = OpenConnectionArguments::new(&host, port, "guest", "guest");
    Ok(within("connection", Connection::open(&arguments)).await??)
}

async fn open(connection: &Connection) -> Fallible<Channel> {
    Ok(within("channel", connection.open_channel(None)).await??)
}

/// A channel, and what the broker says on it unasked.
async fn open_and_listen(connection: &Connection) -> Fallible<(Channel, UnboundedReceiver<Event>)> {
    let channel = open(connection).await?;
    let (tell, events) = unbounded_channel();
    channel.register_callback(Listener(tell)).await?;
    Ok((channel, events))
}

async fn heard(events: &mut UnboundedReceiver<Event>) -> Fallible<Event> {
    Ok(within("event", events.recv()).await?.ok_or("no more events")?)
}

/// Closes, within the limit. How it ends is not checked: amqprs takes any frame that was still on its way, such as a cancel,
/// for the end of the connection and reports an error.
async fn close(connection: Connection) -> Outcome {
    within("close-ok", connection.close()).await?.ok();
    Ok(())
}

async fn declare(channel: &Channel, arguments: QueueDeclareArguments) -> Fallible<String> {
    let declared = within("declare-ok", channel.queue_declare(arguments)).await??;
    Ok(declared.ok_or("no answer to a declare")?.0)
}

/// A server-named queue of this connection, gone with it.
async fn private_queue(channel: &Channel) -> Fallible<String> {
    let name = declare(channel, QueueDeclareArguments::exclusive_server_named()).await?;
    same("prefix of a server-named queue", name.get(..8), Some("amq.gen-"))?;
    Ok(name)
}

/// An exchange that goes with its last binding.
async fn exchange(channel: &Channel, name: &str, kind: &str) -> Outcome {
    let arguments = ExchangeDeclareArguments::new(name, kind).auto_delete(true).finish();
    Ok(within("declare-ok", channel.exchange_declare(arguments)).await??)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str, arguments: FieldTable) -> Outcome {
    let arguments = QueueBindArguments::new(queue, exchange, key).arguments(arguments).finish();
    Ok(within("bind-ok", channel.queue_bind(arguments)).await??)
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Outcome {
    let arguments = BasicPublishArguments::new(exchange, key);
    Ok(channel.basic_publish(properties, body.to_vec(), arguments).await?)
}

async fn consume(channel: &Channel, queue: &str, auto_ack: bool) -> Fallible<Consumer> {
    let arguments = BasicConsumeArguments::new(queue, "").auto_ack(auto_ack).finish();
    let (tag, messages) = within("consume-ok", channel.basic_consume_rx(arguments)).await??;
    Ok(Consumer { tag, messages })
}

async fn next(consumer: &mut Consumer) -> Fallible<Message> {
    let message = within("delivery", consumer.messages.recv()).await?.ok_or("the consumer has ended")?;
    match (message.deliver, message.basic_properties, message.content) {
        (Some(deliver), Some(properties), Some(body)) => Ok(Message { deliver, properties, body }),
        _ => Err("a delivery without its parts".into()),
    }
}

async fn bodies(consumer: &mut Consumer, count: usize) -> Fallible<Vec<String>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(String::from_utf8(next(consumer).await?.body)?);
    }
    Ok(taken)
}

async fn ack(channel: &Channel, message: &Message) -> Outcome {
    Ok(channel.basic_ack(BasicAckArguments::new(message.deliver.delivery_tag(), false)).await?)
}
