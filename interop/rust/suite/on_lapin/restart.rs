//! A restart of the broker under lapin's automatic recovery.

use super::*;
use crate::own_broker::OwnBroker;
use crate::run;
use lapin::{Confirmation, Queue};
use std::time::Duration;

async fn confirmed(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Outcome {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?;
    same("confirmation", within("confirm", sent).await??, Confirmation::Ack(None))
}

/// Waits until somebody else sees the queue with its consumer. What is published on a channel that lapin recovers may overtake
/// the declarations there.
async fn recovered(uri: &str, queue: &str) -> Outcome {
    let other = within("connection", Connection::connect(uri, ConnectionProperties::default())).await??;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let is_back = async || {
        let channel = open(&other).await?;
        let declared = channel.queue_declare(queue.into(), passive, FieldTable::default());
        Fallible::Ok(within("answer", declared).await?.is_ok_and(|queue| queue.consumer_count() == 1))
    };
    let wait = async {
        while !is_back().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Fallible::Ok(())
    };
    // How the connection ends is not checked: its channels are being closed already, as they went out of scope.
    let outcome = within("recovery", wait).await?;
    close(&other).await.ok();
    outcome
}

async fn durable(channel: &Channel, name: &str) -> Fallible<Queue> {
    let declared = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default());
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
        confirmed(&channel, "", "kept", body.as_bytes()).await?;
    }
    exchange(&channel, "logs", ExchangeKind::Fanout).await?;
    // lapin declares queues again by the name they had, which brokers refuse for names that they made up.
    let transient = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    let fleeting = declare(&channel, "fleeting", transient).await?;
    bind(&channel, &fleeting, "logs", "", FieldTable::default()).await?;
    let mut consumer = consume(&channel, &fleeting, true).await?;
    confirmed(&channel, "logs", "", b"before").await?;
    same("before", bodies(&mut consumer, 1).await?, vec!["before"])?;

    own.run(verb)?;
    own.run("start")?;
    recovered(&uri, &fleeting).await?;
    confirmed(&channel, "logs", "", b"after").await?;
    same("after", bodies(&mut consumer, 1).await?, vec!["after"])?;
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
