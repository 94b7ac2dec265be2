//! Confirms and returns, the ends of consumers, refusals, content.

use super::*;
use crate::{run, unique};
use amqprs::security::SecurityCredentials;
use amqprs::{DecimalValue, FieldValue};

/// A table of these entries.
fn table(entries: Vec<(&str, FieldValue)>) -> Fallible<FieldTable> {
    let mut table = FieldTable::new();
    for (name, value) in entries {
        table.insert(name.try_into()?, value);
    }
    Ok(table)
}

#[test]
fn confirms() {
    run(async {
        let connection = connect().await?;
        let (channel, mut events) = open_and_listen(&connection).await?;
        channel.confirm_select(ConfirmSelectArguments::new(false)).await?;
        let queue = private_queue(&channel).await?;
        for i in 0..300_u32 {
            publish(&channel, "", &queue, &i.to_be_bytes(), BasicProperties::default()).await?;
        }
        // Single and multiple confirms together cover every tag once.
        let mut open: Vec<u64> = (1..=300).collect();
        while !open.is_empty() {
            let Event::Confirmed { tag, multiple } = heard(&mut events).await? else {
                return Err("something else than a confirm".into());
            };
            same("an unconfirmed tag", open.contains(&tag), true)?;
            open.retain(|&other| if multiple { other > tag } else { other != tag });
        }
        close(connection).await
    });
}

#[test]
fn mandatory_is_returned_before_its_confirm() {
    run(async {
        let connection = connect().await?;
        let (channel, mut events) = open_and_listen(&connection).await?;
        channel.confirm_select(ConfirmSelectArguments::new(false)).await?;
        let key = unique("nowhere");
        let arguments = BasicPublishArguments::new("amq.direct", &key).mandatory(true).finish();
        channel.basic_publish(BasicProperties::default(), b"come back".to_vec(), arguments).await?;
        let returned = Event::Returned {
            code: 312,
            text: "NO_ROUTE".into(),
            exchange: "amq.direct".into(),
            key,
            body: b"come back".to_vec(),
        };
        same("first", heard(&mut events).await?, returned)?;
        same("second", heard(&mut events).await?, Event::Confirmed { tag: 1, multiple: false })?;
        close(connection).await
    });
}

#[test]
fn deleting_the_queue_cancels_its_consumer() {
    run(async {
        let connection = connect().await?;
        let (channel, mut events) = open_and_listen(&connection).await?;
        let queue = declare(&channel, QueueDeclareArguments::new(&unique("deleted"))).await?;
        let mut consumer = consume(&channel, &queue, false).await?;
        let other = open(&connection).await?;
        within("delete-ok", other.queue_delete(QueueDeleteArguments::new(&queue))).await??;
        same("notice", heard(&mut events).await?, Event::Cancelled(consumer.tag.clone()))?;
        let end = within("end of the consumer", consumer.messages.recv()).await?;
        same("after the end", end.is_none(), true)?;
        private_queue(&channel).await?;
        close(connection).await
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
        let mut tags = Vec::new();
        while tags.len() < 4 {
            tags.push(next(&mut consumer).await?.deliver.delivery_tag());
        }
        same("tags", &tags, &vec![1, 2, 3, 4])?;
        taker.basic_ack(BasicAckArguments::new(1, false)).await?;
        taker.basic_reject(BasicRejectArguments::new(3, false)).await?;
        within("cancel-ok", taker.basic_cancel(BasicCancelArguments::new(&consumer.tag))).await??;
        taker.basic_nack(BasicNackArguments::new(4, false, true)).await?;
        taker.basic_reject(BasicRejectArguments::new(2, true)).await?;
        within("close-ok", taker.close()).await??;
        let mut again = consume(&channel, &queue, true).await?;
        for body in ["2", "4"] {
            let message = next(&mut again).await?;
            same("body", message.body.as_slice(), body.as_bytes())?;
            same("redelivered", message.deliver.redelivered(), true)?;
        }
        close(connection).await
    });
}

#[test]
fn get_and_purge() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        let get = || channel.basic_get(BasicGetArguments::new(&queue));
        same("empty", within("get-empty", get()).await??.is_none(), true)?;
        publish(&channel, "", &queue, b"a", BasicProperties::default()).await?;
        publish(&channel, "", &queue, b"b", BasicProperties::default()).await?;
        let (got, _, body) = within("get-ok", get()).await??.ok_or("no message")?;
        same("body", body.as_slice(), b"a")?;
        same("messages behind it", got.message_count(), 1)?;
        channel.basic_ack(BasicAckArguments::new(got.delivery_tag(), false)).await?;
        let purged = within("purge-ok", channel.queue_purge(QueuePurgeArguments::new(&queue))).await??;
        same("purged", purged, Some(1))?;
        close(connection).await
    });
}

#[test]
fn refusals_close_the_channel_only() {
    run(async {
        let connection = connect().await?;
        let owner = connect().await?;
        let locked = unique("locked");
        declare(&open(&owner).await?, QueueDeclareArguments::new(&locked).exclusive(true).finish()).await?;
        let none = unique("none");

        let (channel, mut events) = open_and_listen(&connection).await?;
        let passive = channel.queue_declare(QueueDeclareArguments::new(&none).passive(true).finish());
        same("passive declare is refused", within("refusal", passive).await?.is_err(), true)?;
        let text = format!("NOT_FOUND - no queue '{none}' in vhost '/'");
        same("passive declare", heard(&mut events).await?, Event::Closed(404, text))?;

        let (channel, mut events) = open_and_listen(&connection).await?;
        let purge = channel.queue_purge(QueuePurgeArguments::new(&locked));
        same("purge is refused", within("refusal", purge).await?.is_err(), true)?;
        let text = format!(
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{locked}' in vhost '/'. It could be originally declared on \
             another connection or the exclusive property value does not match that of the original declaration."
        );
        same("locked queue", heard(&mut events).await?, Event::Closed(405, text))?;

        let (channel, mut events) = open_and_listen(&connection).await?;
        channel.basic_ack(BasicAckArguments::new(9, false)).await?;
        let text = "PRECONDITION_FAILED - unknown delivery tag 9".to_owned();
        same("unknown tag", heard(&mut events).await?, Event::Closed(406, text))?;

        private_queue(&open(&connection).await?).await?;
        close(owner).await?;
        close(connection).await
    });
}

#[test]
fn refused_and_amqplain_connections() {
    run(async {
        let (host, port) = address();
        let wrong = OpenConnectionArguments::new(&host, port, "guest", "wrong");
        same("wrong password is refused", within("refusal", Connection::open(&wrong)).await?.is_err(), true)?;
        let vhost = OpenConnectionArguments::new(&host, port, "guest", "guest")
            .virtual_host("no-such-vhost")
            .finish();
        same("unknown vhost is refused", within("refusal", Connection::open(&vhost)).await?.is_err(), true)?;
        let amqplain = OpenConnectionArguments::new(&host, port, "", "")
            .credentials(SecurityCredentials::new_amqplain("guest", "guest"))
            .finish();
        close(within("connection", Connection::open(&amqplain)).await??).await
    });
}

#[test]
fn bodies_of_many_frames() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        let mut consumer = consume(&channel, &queue, true).await?;
        for size in [0, 1, 131_064, 131_065, 3_000_000] {
            let body: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            publish(&channel, "", &queue, &body, BasicProperties::default()).await?;
            let message = next(&mut consumer).await?;
            same("size", message.body.len(), body.len())?;
            same("body", message.body == body, true)?;
        }
        close(connection).await
    });
}

#[test]
fn properties_and_headers() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        let headers = table(vec![
            ("text", "Grüße".into()),
            ("yes", true.into()),
            ("i8", FieldValue::b(-8)),
            ("u8", FieldValue::B(200)),
            ("i16", FieldValue::s(-300)),
            ("i32", FieldValue::I(-70_000)),
            ("i64", FieldValue::l(1 << 40)),
            ("float", FieldValue::f(0.25)),
            ("double", FieldValue::d(1.5)),
            ("decimal", FieldValue::D(DecimalValue::new(2, 12_345))),
            ("when", FieldValue::T(1_700_000_000)),
            ("nothing", FieldValue::V),
            ("table", FieldValue::F(table(vec![("deep", "er".into())])?)),
        ])?;
        let properties = BasicProperties::default()
            .with_content_type("application/json")
            .with_headers(headers.clone())
            .with_priority(7)
            .with_expiration("600000")
            .with_message_id("id-1")
            .with_timestamp(1_700_000_000)
            .with_message_type("event")
            .with_user_id("guest")
            .with_app_id("interop")
            .finish();
        publish(&channel, "", &queue, b"{}", properties.clone()).await?;
        let got = next(&mut consume(&channel, &queue, true).await?).await?.properties;
        same("headers", got.headers(), Some(&headers))?;
        same("content type", got.content_type(), properties.content_type())?;
        same("content encoding", got.content_encoding(), None::<&String>)?;
        same("priority", got.priority(), Some(7))?;
        same("expiration", got.expiration(), properties.expiration())?;
        same("message id", got.message_id(), properties.message_id())?;
        same("timestamp", got.timestamp(), Some(1_700_000_000))?;
        same("type", got.message_type(), properties.message_type())?;
        same("user id", got.user_id(), properties.user_id())?;
        same("app id", got.app_id(), properties.app_id())?;
        close(connection).await
    });
}

#[test]
fn headers_exchange() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let name = unique("headers");
        exchange(&channel, &name, "headers").await?;
        let entries = || vec![("format", FieldValue::from("pdf")), ("pages", FieldValue::I(2))];
        let mut queues = Vec::new();
        for kind in ["all", "any"] {
            let queue = private_queue(&channel).await?;
            let mut arguments = table(entries())?;
            arguments.insert("x-match".try_into()?, kind.into());
            bind(&channel, &queue, &name, "", arguments).await?;
            queues.push(queue);
        }
        let one = table(vec![("format", "pdf".into()), ("pages", FieldValue::I(3))])?;
        let none = table(vec![("format", "zip".into())])?;
        for (body, headers) in [("both", table(entries())?), ("one", one), ("none", none)] {
            let properties = BasicProperties::default().with_headers(headers).finish();
            publish(&channel, &name, "", body.as_bytes(), properties).await?;
        }
        for (queue, expected) in queues.iter().zip([vec!["both", "end"], vec!["both", "one", "end"]]) {
            publish(&channel, "", queue, b"end", BasicProperties::default()).await?;
            let got = bodies(&mut consume(&channel, queue, true).await?, expected.len()).await?;
            same("bodies", got, expected)?;
        }
        close(connection).await
    });
}
