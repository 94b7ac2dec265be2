//! One session with a little of everything. What amqprs says in it is kept as a transcript: tests/transcripts/clients.

use super::*;
use crate::run;
use amqprs::FieldValue;

const EXCHANGE: &str = "session.amqprs";
const QUEUE: &str = "session.amqprs.queue";

fn first() -> Fallible<BasicProperties> {
    let mut headers = FieldTable::new();
    headers.insert("number".try_into()?, FieldValue::I(7));
    headers.insert("yes".try_into()?, FieldValue::t(true));
    Ok(BasicProperties::default()
        .with_headers(headers)
        .with_content_type("text/plain")
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c1")
        .with_reply_to("nobody")
        .with_message_id("m1")
        .with_timestamp(1_700_000_000)
        .with_message_type("event")
        .with_user_id("guest")
        .with_app_id("session")
        .finish())
}

async fn publish_all(channel: &Channel, events: &mut UnboundedReceiver<Event>) -> Outcome {
    channel.confirm_select(ConfirmSelectArguments::new(false)).await?;
    let messages: [(&str, BasicProperties, &[u8]); 3] = [
        ("key.1", first()?, b"first"),
        ("key.2", BasicProperties::default(), b"second"),
        ("key.3", BasicProperties::default(), b""),
    ];
    for ((key, properties, body), tag) in messages.into_iter().zip(1..) {
        publish(channel, EXCHANGE, key, body, properties).await?;
        same("confirm", heard(events).await?, Event::Confirmed { tag, multiple: false })?;
    }
    let mandatory = BasicPublishArguments::new(EXCHANGE, "other").mandatory(true).finish();
    channel.basic_publish(BasicProperties::default(), b"comes back".to_vec(), mandatory).await?;
    same("return", matches!(heard(events).await?, Event::Returned { code: 312, .. }), true)?;
    same("confirm", heard(events).await?, Event::Confirmed { tag: 4, multiple: false })
}

async fn consume_all(channel: &Channel) -> Outcome {
    let got = within("get-ok", channel.basic_get(BasicGetArguments::new(QUEUE))).await??;
    let (got, _, body) = got.ok_or("no message")?;
    same("body", body.as_slice(), b"first")?;
    channel.basic_nack(BasicNackArguments::new(got.delivery_tag(), false, true)).await?;
    within("qos-ok", channel.basic_qos(BasicQosArguments::new(0, 2, false))).await??;
    let arguments = BasicConsumeArguments::new(QUEUE, "session");
    let (tag, messages) = within("consume-ok", channel.basic_consume_rx(arguments)).await??;
    let mut consumer = Consumer { tag, messages };
    same("redelivered", next(&mut consumer).await?.deliver.redelivered(), true)?;
    let second = next(&mut consumer).await?;
    channel.basic_ack(BasicAckArguments::new(second.deliver.delivery_tag(), true)).await?;
    let third = next(&mut consumer).await?;
    channel.basic_reject(BasicRejectArguments::new(third.deliver.delivery_tag(), false)).await?;
    within("cancel-ok", channel.basic_cancel(BasicCancelArguments::new(&consumer.tag))).await??;
    Ok(())
}

async fn talk_to_itself(channel: &Channel) -> Outcome {
    let own = private_queue(channel).await?;
    let arguments = BasicConsumeArguments::new(&own, "itself").auto_ack(true).finish();
    let (tag, messages) = within("consume-ok", channel.basic_consume_rx(arguments)).await??;
    let mut consumer = Consumer { tag, messages };
    publish(channel, "", &own, b"to itself", BasicProperties::default()).await?;
    same("bodies", bodies(&mut consumer, 1).await?, vec!["to itself"])
}

#[test]
fn session() {
    run(async {
        let connection = connect().await?;
        let (channel, mut events) = open_and_listen(&connection).await?;
        let durable = ExchangeDeclareArguments::new(EXCHANGE, "topic").durable(true).finish();
        within("declare-ok", channel.exchange_declare(durable)).await??;
        let mut limits = FieldTable::new();
        limits.insert("x-max-length".try_into()?, FieldValue::I(100));
        declare(&channel, QueueDeclareArguments::new(QUEUE).durable(true).arguments(limits).finish()).await?;
        bind(&channel, QUEUE, EXCHANGE, "key.#", FieldTable::new()).await?;
        publish_all(&channel, &mut events).await?;
        consume_all(&channel).await?;
        talk_to_itself(&open(&connection).await?).await?;

        within("purge-ok", channel.queue_purge(QueuePurgeArguments::new(QUEUE))).await??;
        let unbind = QueueUnbindArguments::new(QUEUE, EXCHANGE, "key.#");
        within("unbind-ok", channel.queue_unbind(unbind)).await??;
        within("delete-ok", channel.queue_delete(QueueDeleteArguments::new(QUEUE))).await??;
        within("delete-ok", channel.exchange_delete(ExchangeDeleteArguments::new(EXCHANGE))).await??;
        within("close-ok", channel.close()).await??;
        close(connection).await
    });
}
