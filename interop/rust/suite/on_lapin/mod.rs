//! lapin. This file owns the short forms that its tests use.

mod protocol;
mod restart;
mod session;
mod tutorials;

use crate::{Outcome, address, same, within};
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ErrorKind, ExchangeKind};
use std::error::Error;
use tokio_stream::StreamExt;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

async fn connect() -> Fallible<Connection> {
    connect_with("").await
}

/// A connection with the query parameters of an AMQP URI.
async fn connect_with(parameters: &str) -> Fallible<Connection> {
    let (host, port) = address();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let uri = format!("amqp://guest:guest@{host}:{port}/%2f{parameters}");
    Ok(within("connection", Connection::connect(&uri, ConnectionProperties::default())).await??)
}

async fn open(connection: &Connection) -> Fallible<Channel> {
    Ok(within("channel", connection.create_channel()).await??)
}

async fn close(connection: &Connection) -> Outcome {
    Ok(within("close-ok", connection.close(200, "bye".into())).await??)
}

async fn declare(channel: &Channel, name: &str, options: QueueDeclareOptions) -> Fallible<String> {
    let queue =
        within("declare-ok", channel.queue_declare(name.into(), options, FieldTable::default())).await??;
    Ok(queue.name().to_string())
}

/// A server-named queue of this connection, gone with it.
async fn private_queue(channel: &Channel) -> Fallible<String> {
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let name = declare(channel, "", options).await?;
    same("prefix of a server-named queue", name.get(..8), Some("amq.gen-"))?;
    Ok(name)
}

/// An exchange that goes with its last binding.
async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Outcome {
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    Ok(within("declare-ok", channel.exchange_declare(name.into(), kind, options, FieldTable::default()))
        .await??)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str, arguments: FieldTable) -> Outcome {
    let bound =
        channel.queue_bind(queue.into(), exchange.into(), key.into(), QueueBindOptions::default(), arguments);
    Ok(within("bind-ok", bound).await??)
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Outcome {
    let options = BasicPublishOptions::default();
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
    Ok(())
}

async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Fallible<Consumer> {
    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    Ok(within("consume-ok", consumer).await??)
}

/// The next delivery; an error when there is none, or the consumer has ended.
async fn next(consumer: &mut Consumer) -> Fallible<Delivery> {
    let delivery = within("delivery", consumer.next()).await?;
    Ok(delivery.ok_or("the consumer has ended")??)
}

async fn bodies(consumer: &mut Consumer, count: usize) -> Fallible<Vec<String>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(String::from_utf8(next(consumer).await?.data)?);
    }
    Ok(taken)
}

/// Checks reply code and text of a refusal.
fn refused<T>(what: &str, outcome: Result<T, lapin::Error>, code: u16, text: &str) -> Outcome {
    let Err(error) = outcome else {
        return Err(format!("{what} is not refused").into());
    };
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => {
            same(what, refusal.get_id(), code)?;
            same(what, refusal.get_message().as_str(), text)
        }
        _ => Err(format!("{what}: {error}").into()),
    }
}
