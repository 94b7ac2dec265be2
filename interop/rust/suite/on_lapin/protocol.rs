//! Confirms and returns, the ends of consumers, refusals, content.

use super::*;
use crate::{run, unique};
use lapin::Confirmation;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, LongString};
use std::collections::BTreeMap;

async fn confirming(connection: &Connection) -> Fallible<Channel> {
    let channel = open(connection).await?;
    within("select-ok", channel.confirm_select(ConfirmSelectOptions::default())).await??;
    Ok(channel)
}

#[test]
fn confirms() {
    run(async {
        let connection = connect().await?;
        let channel = confirming(&connection).await?;
        let queue = declare(&channel, &unique("confirmed"), QueueDeclareOptions::durable()).await?;
        let mut pending = Vec::new();
        for i in 0..300_u32 {
            let properties = BasicProperties::default().with_delivery_mode(if i % 3 == 0 { 2 } else { 1 });
            let options = BasicPublishOptions::default();
            pending.push(
                channel
                    .basic_publish("".into(), queue.as_str().into(), options, &i.to_be_bytes(), properties)
                    .await?,
            );
        }
        for confirm in pending {
            same("confirmation", within("confirm", confirm).await??, Confirmation::Ack(None))?;
        }
        let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
        same("messages", deleted, 300)?;
        close(&connection).await
    });
}

#[test]
fn wait_for_confirms() {
    run(async {
        let connection = connect().await?;
        let channel = confirming(&connection).await?;
        for _ in 0..20 {
            publish(&channel, "amq.direct", &unique("nowhere"), b"", BasicProperties::default()).await?;
        }
        let returned = within("confirms", channel.wait_for_confirms()).await??;
        same("returned", returned.len(), 0)?;
        close(&connection).await
    });
}

#[test]
fn mandatory_is_returned_before_its_confirm() {
    run(async {
        let connection = connect().await?;
        let channel = confirming(&connection).await?;
        let key = unique("nowhere");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_content_type("text/plain".into());
        let sent = channel.basic_publish(
            "amq.direct".into(),
            key.as_str().into(),
            options,
            b"come back",
            properties,
        );
        let confirmation = within("confirm", sent.await?).await??;
        same("ack", confirmation.is_ack(), true)?;
        let returned = confirmation.take_message().ok_or("nothing is returned with the confirm")?;
        same("reply code", returned.reply_code, 312)?;
        same("reply text", returned.reply_text.as_str(), "NO_ROUTE")?;
        same("exchange", returned.exchange.as_str(), "amq.direct")?;
        same("routing key", returned.routing_key.as_str(), key.as_str())?;
        same("body", returned.data.as_slice(), b"come back")?;
        same(
            "content type",
            returned.properties.content_type().as_ref().map(|t| t.as_str()),
            Some("text/plain"),
        )?;
        close(&connection).await
    });
}

#[test]
fn deleting_the_queue_ends_its_consumer() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = declare(&channel, &unique("deleted"), QueueDeclareOptions::default()).await?;
        let mut consumer = consume(&channel, &queue, false).await?;
        let other = open(&connection).await?;
        within("delete-ok", other.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()))
            .await??;
        let end = within("end of the consumer", consumer.next()).await?;
        same("after the end", end.is_none(), true)?;
        private_queue(&channel).await?;
        close(&connection).await
    });
}

#[test]
fn requeue_to_the_old_place() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        for body in ["1", "2", "3", "4"] {
            publish(&channel, "", &queue, body.as_bytes(), BasicProperties::default()).await?;
        }
        let taker = open(&connection).await?;
        let mut consumer = consume(&taker, &queue, false).await?;
        let mut taken = Vec::new();
        while taken.len() < 4 {
            taken.push(next(&mut consumer).await?);
        }
        taken[0].ack(BasicAckOptions::default()).await?;
        taken[2].reject(BasicRejectOptions { requeue: false }).await?;
        taker.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
        taken[3].nack(BasicNackOptions { requeue: true, multiple: false }).await?;
        taken[1].reject(BasicRejectOptions { requeue: true }).await?;
        within("close-ok", taker.close(200, "done".into())).await??;
        let mut again = consume(&channel, &queue, true).await?;
        for body in ["2", "4"] {
            let message = next(&mut again).await?;
            same("body", message.data.as_slice(), body.as_bytes())?;
            same("redelivered", message.redelivered, true)?;
        }
        close(&connection).await
    });
}

#[test]
fn get_and_purge() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        let get = || channel.basic_get(queue.as_str().into(), BasicGetOptions::default());
        same("empty", get().await?.is_none(), true)?;
        publish(&channel, "", &queue, b"a", BasicProperties::default()).await?;
        publish(&channel, "", &queue, b"b", BasicProperties::default()).await?;
        let message = within("get-ok", get()).await??.ok_or("no message")?;
        same("body", message.data.as_slice(), b"a")?;
        same("messages behind it", message.message_count, 1)?;
        message.ack(BasicAckOptions::default()).await?;
        same("purged", channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await?, 1)?;
        close(&connection).await
    });
}

#[test]
fn refusals_close_the_channel_only() {
    run(async {
        let connection = connect().await?;
        let owner = connect().await?;
        let locked = unique("locked");
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        declare(&open(&owner).await?, &locked, exclusive).await?;
        let none = unique("none");
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };

        let channel = open(&connection).await?;
        let missing =
            within("refusal", channel.queue_declare(none.as_str().into(), passive, FieldTable::default()))
                .await?;
        refused("passive declare", missing, 404, &format!("NOT_FOUND - no queue '{none}' in vhost '/'"))?;

        let channel = open(&connection).await?;
        let foreign =
            within("refusal", channel.queue_purge(locked.as_str().into(), QueuePurgeOptions::default()))
                .await?;
        let text = format!(
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{locked}' in vhost '/'. It could be originally declared on \
             another connection or the exclusive property value does not match that of the original declaration."
        );
        refused("locked queue", foreign, 405, &text)?;

        let channel = open(&connection).await?;
        let options = ExchangeDeclareOptions { durable: false, ..ExchangeDeclareOptions::default() };
        let different =
            channel.exchange_declare("amq.topic".into(), ExchangeKind::Topic, options, FieldTable::default());
        let text = "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.topic' in vhost '/': received 'false' but current is 'true'";
        refused("other property", within("refusal", different).await?, 406, text)?;

        private_queue(&open(&connection).await?).await?;
        close(&owner).await?;
        close(&connection).await
    });
}

#[test]
fn refused_connections() {
    run(async {
        let (host, port) = address();
        for (user, password, vhost) in
            [("guest", "wrong", "%2f"), ("nobody", "guest", "%2f"), ("guest", "guest", "no-such-vhost")]
        {
            let uri = format!("amqp://{user}:{password}@{host}:{port}/{vhost}");
            let outcome =
                within("refusal", Connection::connect(&uri, ConnectionProperties::default())).await?;
            same(&uri, outcome.is_err(), true)?;
        }
        Ok(())
    });
}

#[test]
fn bodies_of_many_frames() {
    run(async {
        for parameters in ["", "?frame_max=8192"] {
            let connection = connect_with(parameters).await?;
            let channel = open(&connection).await?;
            let queue = private_queue(&channel).await?;
            let mut consumer = consume(&channel, &queue, true).await?;
            for size in [0, 1, 8184, 8185, 131_064, 131_065, 3_000_000] {
                let body: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
                publish(&channel, "", &queue, &body, BasicProperties::default()).await?;
                let message = next(&mut consumer).await?;
                same("size", message.data.len(), body.len())?;
                same("body", message.data == body, true)?;
            }
            close(&connection).await?;
        }
        Ok(())
    });
}

fn headers() -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    let inner = BTreeMap::from([("deep".into(), text("er"))]);
    FieldTable::from(BTreeMap::from([
        ("text".into(), text("Grüße")),
        ("yes".into(), AMQPValue::Boolean(true)),
        ("i8".into(), AMQPValue::ShortShortInt(-8)),
        ("u8".into(), AMQPValue::ShortShortUInt(200)),
        ("i16".into(), AMQPValue::ShortInt(-300)),
        ("i32".into(), AMQPValue::LongInt(-70_000)),
        ("i64".into(), AMQPValue::LongLongInt(1 << 40)),
        ("float".into(), AMQPValue::Float(0.25)),
        ("double".into(), AMQPValue::Double(1.5)),
        ("decimal".into(), AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 12_345 })),
        ("when".into(), AMQPValue::Timestamp(1_700_000_000)),
        ("bytes".into(), AMQPValue::ByteArray(vec![0, 1, 255].into())),
        ("nothing".into(), AMQPValue::Void),
        ("list".into(), AMQPValue::FieldArray(FieldArray::from(vec![text("a"), AMQPValue::LongInt(1)]))),
        ("table".into(), AMQPValue::FieldTable(FieldTable::from(inner))),
    ]))
}

#[test]
fn properties_and_headers() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("gzip".into())
            .with_headers(headers())
            .with_delivery_mode(2)
            .with_priority(7)
            .with_correlation_id("correlation".into())
            .with_reply_to("somewhere".into())
            .with_expiration("600000".into())
            .with_message_id("id-1".into())
            .with_timestamp(1_700_000_000)
            .with_type("event".into())
            .with_user_id("guest".into())
            .with_app_id("interop".into());
        publish(&channel, "", &queue, b"{}", properties.clone()).await?;
        publish(&channel, "", &queue, b"{}", BasicProperties::default()).await?;
        let mut consumer = consume(&channel, &queue, true).await?;
        same("properties", next(&mut consumer).await?.properties, properties)?;
        same("no properties", next(&mut consumer).await?.properties, BasicProperties::default())?;
        close(&connection).await
    });
}

#[test]
fn headers_exchange() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let name = unique("headers");
        exchange(&channel, &name, ExchangeKind::Headers).await?;
        let mut queues = Vec::new();
        for kind in ["all", "any"] {
            let queue = private_queue(&channel).await?;
            let mut arguments = headers();
            arguments.insert("x-match".into(), AMQPValue::LongString(kind.into()));
            bind(&channel, &queue, &name, "", arguments).await?;
            queues.push(queue);
        }
        let mut one = FieldTable::default();
        one.insert("yes".into(), AMQPValue::Boolean(true));
        let mut none = FieldTable::default();
        none.insert("yes".into(), AMQPValue::Boolean(false));
        for (body, table) in [("both", headers()), ("one", one), ("none", none)] {
            publish(&channel, &name, "", body.as_bytes(), BasicProperties::default().with_headers(table))
                .await?;
        }
        for (queue, expected) in queues.iter().zip([vec!["both", "end"], vec!["both", "one", "end"]]) {
            publish(&channel, "", queue, b"end", BasicProperties::default()).await?;
            let got = bodies(&mut consume(&channel, queue, true).await?, expected.len()).await?;
            same("bodies", got, expected)?;
        }
        close(&connection).await
    });
}
