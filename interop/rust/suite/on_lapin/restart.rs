//! A restart of the broker under lapin's automatic recovery.

use super::*;
use crate::own_broker::OwnBroker;
use crate::run;
use lapin::{Confirmation, Queue};

/// Publishes until it is confirmed; a channel that has lost its broker is waited for.
async fn publish_through(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Outcome {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let once = async || {
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange.into(), key.into(), options, body, properties.clone()).await?.await
    };
    loop {
        match within("confirm", once()).await? {
            Ok(confirmation) => return same("confirmation", confirmation, Confirmation::Ack(None)),
            Err(error) => within("recovery", channel.wait_for_recovery(error)).await??,
        }
    }
}

/// The next delivery; a consumer that has lost its broker is waited for.
async fn next_through(channel: &Channel, consumer: &mut Consumer) -> Fallible<Vec<u8>> {
    loop {
        match within("delivery", consumer.next()).await?.ok_or("the consumer has ended")? {
            Ok(delivery) => return Ok(delivery.data),
            Err(error) => within("recovery", channel.wait_for_recovery(error)).await??,
        }
    }
}

async fn durable(channel: &Channel, name: &str) -> Fallible<Queue> {
    let declared =
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default());
    Ok(within("declare-ok", declared).await??)
}

async fn survives(verb: &str) -> Outcome {
    let own = OwnBroker::start(&format!("lapin-{verb}"))?;
    let uri = format!("amqp://guest:guest@127.0.0.1:{}/%2f", own.port);
    let properties = ConnectionProperties::default().enable_auto_recover();
    let connection = within("connection", Connection::connect(&uri, properties)).await??;
    let channel = open(&connection).await?;
    within("select-ok", channel.confirm_select(ConfirmSelectOptions::default())).await??;
    durable(&channel, "kept").await?;
    for body in ["a", "b", "c"] {
        publish_through(&channel, "", "kept", body.as_bytes()).await?;
    }
    exchange(&channel, "logs", ExchangeKind::Fanout).await?;
    // lapin declares queues again by the name they had, which brokers refuse for names that they made up.
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let fleeting = declare(&channel, "fleeting", exclusive).await?;
    bind(&channel, &fleeting, "logs", "", FieldTable::default()).await?;
    let mut consumer = consume(&channel, &fleeting, true).await?;
    publish_through(&channel, "logs", "", b"before").await?;
    same("before", next_through(&channel, &mut consumer).await?, b"before".to_vec())?;

    own.run(verb)?;
    own.run("start")?;
    publish_through(&channel, "logs", "", b"after").await?;
    same("after", next_through(&channel, &mut consumer).await?, b"after".to_vec())?;
    let mut kept = consume(&channel, "kept", true).await?;
    same("what was confirmed", bodies(&mut kept, 3).await?, vec!["a", "b", "c"])?;
    close(&connection).await
}

#[test]
fn after_a_stop() {
    run(survives("stop"));
}

#[test]
fn after_a_kill() {
    run(survives("kill"));
}
