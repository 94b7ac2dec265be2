//! One session with a little of everything. What lapin says in it is kept as a transcript: tests/transcripts/clients.

use super::*;
use crate::run;
use lapin::Confirmation;
use lapin::types::{AMQPValue, FieldArray};
use std::collections::BTreeMap;

const EXCHANGE: &str = "session.lapin";
const QUEUE: &str = "session.lapin.queue";

fn first() -> BasicProperties {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let headers = BTreeMap::from([
        ("text".into(), text("Grüße")),
        ("number".into(), AMQPValue::LongInt(7)),
        ("long".into(), AMQPValue::LongLongInt(1 << 40)),
        ("yes".into(), AMQPValue::Boolean(true)),
        ("list".into(), AMQPValue::FieldArray(FieldArray::from(vec![text("a"), AMQPValue::LongInt(1)]))),
        (
            "table".into(),
            AMQPValue::FieldTable(BTreeMap::from([("in".into(), AMQPValue::Double(1.5))]).into()),
        ),
    ]);
    BasicProperties::default()
        .with_headers(headers.into())
        .with_content_type("text/plain".into())
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c1".into())
        .with_reply_to("nobody".into())
        .with_message_id("m1".into())
        .with_timestamp(1_700_000_000)
        .with_type("event".into())
        .with_user_id("guest".into())
        .with_app_id("session".into())
}

async fn confirmed(
    channel: &Channel,
    key: &str,
    mandatory: bool,
    properties: BasicProperties,
    body: &[u8],
) -> Fallible<Confirmation> {
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish(EXCHANGE.into(), key.into(), options, body, properties).await?;
    Ok(within("confirm", sent).await??)
}

async fn publish_all(channel: &Channel) -> Outcome {
    let none = BasicProperties::default;
    within("select-ok", channel.confirm_select(ConfirmSelectOptions::default())).await??;
    confirmed(channel, "key.1", false, first(), b"first").await?;
    confirmed(channel, "key.2", true, none(), &[b'x'; 20_000]).await?;
    confirmed(channel, "key.3", false, none(), b"").await?;
    let returned = confirmed(channel, "other", true, none(), b"comes back").await?.take_message();
    same("reply code", returned.map(|message| message.reply_code), Some(312))
}

async fn consume_all(channel: &Channel) -> Outcome {
    let got = within("get-ok", channel.basic_get(QUEUE.into(), BasicGetOptions::default())).await??;
    let got = got.ok_or("no message")?;
    same("body", got.data.as_slice(), b"first")?;
    got.nack(BasicNackOptions { requeue: true, multiple: false }).await?;
    within("qos-ok", channel.basic_qos(2, BasicQosOptions::default())).await??;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(QUEUE.into(), "session".into(), options, FieldTable::default());
    let mut consumer = within("consume-ok", consumer).await??;
    same("redelivered", next(&mut consumer).await?.redelivered, true)?;
    next(&mut consumer).await?.ack(BasicAckOptions { multiple: true }).await?;
    next(&mut consumer).await?.reject(BasicRejectOptions { requeue: false }).await?;
    within("cancel-ok", channel.basic_cancel("session".into(), BasicCancelOptions::default())).await??;
    Ok(())
}

async fn talk_to_itself(channel: &Channel) -> Outcome {
    let own = private_queue(channel).await?;
    let mut consumer = consume(channel, &own, true).await?;
    publish(channel, "", &own, b"to itself", BasicProperties::default()).await?;
    same("bodies", bodies(&mut consumer, 1).await?, vec!["to itself"])?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let missing = channel.queue_declare("session.lapin.none".into(), passive, FieldTable::default());
    let text = "NOT_FOUND - no queue 'session.lapin.none' in vhost '/'";
    refused("passive declare", within("refusal", missing).await?, 404, text)
}

#[test]
fn session() {
    run(async {
        let connection = connect_with("?frame_max=8192").await?;
        let channel = open(&connection).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default());
        within("declare-ok", declared).await??;
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(100));
        arguments.insert("x-queue-mode".into(), AMQPValue::LongString("lazy".into()));
        let declared = channel.queue_declare(QUEUE.into(), QueueDeclareOptions::durable(), arguments);
        within("declare-ok", declared).await??;
        bind(&channel, QUEUE, EXCHANGE, "key.#", FieldTable::default()).await?;
        publish_all(&channel).await?;
        consume_all(&channel).await?;
        talk_to_itself(&open(&connection).await?).await?;

        within("purge-ok", channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default())).await??;
        let unbound =
            channel.queue_unbind(QUEUE.into(), EXCHANGE.into(), "key.#".into(), FieldTable::default());
        within("unbind-ok", unbound).await??;
        within("delete-ok", channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default())).await??;
        let deleted = channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default());
        within("delete-ok", deleted).await??;
        within("close-ok", channel.close(200, "done".into())).await??;
        close(&connection).await
    });
}
