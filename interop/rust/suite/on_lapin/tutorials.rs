//! The six patterns of RabbitMQ's tutorials.

use super::*;
use crate::{DIRECT, DIRECT_KEYS, Route, TOPIC, TOPIC_KEYS, fibonacci, run, unique};
use std::collections::HashMap;

#[test]
fn tutorial_1_hello() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = declare(&channel, &unique("hello"), options).await?;
        publish(&channel, "", &queue, b"Hello World!", BasicProperties::default()).await?;
        let message = next(&mut consume(&channel, &queue, true).await?).await?;
        same("body", message.data.as_slice(), b"Hello World!")?;
        same("routing key", message.routing_key.as_str(), queue.as_str())?;
        same("exchange", message.exchange.as_str(), "")?;
        same("redelivered", message.redelivered, false)?;
        close(&connection).await
    });
}

#[test]
fn tutorial_2_work_queue() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = declare(&channel, &unique("tasks"), QueueDeclareOptions::durable()).await?;
        let (slow_channel, quick_channel) = (open(&connection).await?, open(&connection).await?);
        slow_channel.basic_qos(1, BasicQosOptions::default()).await?;
        quick_channel.basic_qos(1, BasicQosOptions::default()).await?;
        let mut slow = consume(&slow_channel, &queue, false).await?;
        let mut quick = consume(&quick_channel, &queue, false).await?;
        for task in ["one", "two", "three", "four"] {
            publish(&channel, "", &queue, task.as_bytes(), BasicProperties::default().with_delivery_mode(2))
                .await?;
        }

        // The slow worker holds its only task, so the quick one does all the others.
        let held = next(&mut slow).await?;
        let mut done = vec![String::from_utf8(held.data.clone())?];
        while done.len() < 4 {
            let task = next(&mut quick).await?;
            same("delivery mode", *task.properties.delivery_mode(), Some(2))?;
            task.ack(BasicAckOptions::default()).await?;
            done.push(String::from_utf8(task.data)?);
        }
        done.sort();
        same("tasks", done, ["four", "one", "three", "two"])?;
        held.ack(BasicAckOptions::default()).await?;
        let left = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
        same("left", left, 0)?;
        close(&connection).await
    });
}

#[test]
fn tutorial_2_unacknowledged_task_goes_to_another() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = private_queue(&channel).await?;
        publish(&channel, "", &queue, b"task", BasicProperties::default()).await?;
        let lost = open(&connection).await?;
        let first = next(&mut consume(&lost, &queue, false).await?).await?;
        same("redelivered", first.redelivered, false)?;
        within("close-ok", lost.close(200, "gone".into())).await??;
        let again = next(&mut consume(&channel, &queue, false).await?).await?;
        same("redelivered", again.redelivered, true)?;
        again.ack(BasicAckOptions::default()).await?;
        close(&connection).await
    });
}

#[test]
fn tutorial_3_publish_subscribe() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let logs = unique("logs");
        exchange(&channel, &logs, ExchangeKind::Fanout).await?;
        let queues = [private_queue(&channel).await?, private_queue(&channel).await?];
        for queue in &queues {
            bind(&channel, queue, &logs, "", FieldTable::default()).await?;
        }
        publish(&channel, &logs, "ignored", b"info: Hello World!", BasicProperties::default()).await?;
        for queue in &queues {
            let message = next(&mut consume(&channel, queue, true).await?).await?;
            same("body", message.data.as_slice(), b"info: Hello World!")?;
            same("exchange", message.exchange.as_str(), logs.as_str())?;
        }
        close(&connection).await
    });
}

#[test]
fn tutorial_4_routing() {
    run(routes(ExchangeKind::Direct, DIRECT_KEYS, DIRECT));
}

#[test]
fn tutorial_5_topics() {
    run(routes(ExchangeKind::Topic, TOPIC_KEYS, TOPIC));
}

#[test]
fn tutorial_6_rpc() {
    run(async {
        let connection = connect().await?;
        let server = open(&connection).await?;
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        let requests = declare(&server, &unique("rpc"), options).await?;
        server.basic_qos(1, BasicQosOptions::default()).await?;
        let mut incoming = consume(&server, &requests, false).await?;
        let serving = tokio::spawn(async move {
            for _ in 0..12 {
                serve(&server, &next(&mut incoming).await?).await?;
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(server)
        });

        let client = open(&connection).await?;
        let reply_to = private_queue(&client).await?;
        let mut replies = consume(&client, &reply_to, true).await?;
        let mut asked = HashMap::new();
        for n in 0..12_u32 {
            let id = unique("call");
            let properties = BasicProperties::default()
                .with_reply_to(reply_to.as_str().into())
                .with_correlation_id(id.as_str().into());
            publish(&client, "", &requests, n.to_string().as_bytes(), properties).await?;
            asked.insert(id, n);
        }
        while !asked.is_empty() {
            let reply = next(&mut replies).await?;
            let id = reply.properties.correlation_id().as_ref().ok_or("no correlation id")?;
            let n = asked.remove(id.as_str()).ok_or("an unknown correlation id")?;
            same("answer", String::from_utf8(reply.data)?, fibonacci(n).to_string())?;
        }
        // Dropped earlier, its channel would be closing while the connection closes all channels, which lapin calls an error.
        let _server = within("end of the server", serving).await???;
        close(&connection).await
    });
}

async fn serve(channel: &Channel, request: &Delivery) -> Outcome {
    let reply_to = request.properties.reply_to().as_ref().ok_or("no reply-to")?;
    let id = request.properties.correlation_id().clone().ok_or("no correlation id")?;
    let answer = fibonacci(std::str::from_utf8(&request.data)?.parse()?);
    let properties = BasicProperties::default().with_correlation_id(id);
    publish(channel, "", reply_to.as_str(), answer.to_string().as_bytes(), properties).await?;
    Ok(request.ack(BasicAckOptions::default()).await.map(drop)?)
}

/// Publishes every key as its own body; a last message straight to each queue shows that nothing else was before it.
async fn routes(kind: ExchangeKind, keys: &[&str], routes: &[Route]) -> Outcome {
    let connection = connect().await?;
    let channel = open(&connection).await?;
    let name = unique("routes");
    exchange(&channel, &name, kind).await?;
    let mut queues = Vec::new();
    for route in routes {
        let queue = private_queue(&channel).await?;
        for pattern in route.patterns {
            bind(&channel, &queue, &name, pattern, FieldTable::default()).await?;
        }
        queues.push(queue);
    }
    for key in keys {
        publish(&channel, &name, key, key.as_bytes(), BasicProperties::default()).await?;
    }
    for (queue, route) in queues.iter().zip(routes) {
        publish(&channel, "", queue, b"end", BasicProperties::default()).await?;
        let got = bodies(&mut consume(&channel, queue, true).await?, route.expected.len() + 1).await?;
        same(route.patterns[0], got, [route.expected, &["end"]].concat())?;
    }
    close(&connection).await
}
