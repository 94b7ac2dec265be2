//! The six patterns of RabbitMQ's tutorials.

use super::*;
use crate::{DIRECT, DIRECT_KEYS, Route, TOPIC, TOPIC_KEYS, fibonacci, run, unique};
use std::collections::HashMap;

#[test]
fn tutorial_1_hello() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = declare(&channel, QueueDeclareArguments::transient_autodelete(&unique("hello"))).await?;
        publish(&channel, "", &queue, b"Hello World!", BasicProperties::default()).await?;
        let message = next(&mut consume(&channel, &queue, true).await?).await?;
        same("body", message.body.as_slice(), b"Hello World!")?;
        same("routing key", message.deliver.routing_key(), &queue)?;
        same("exchange", message.deliver.exchange().as_str(), "")?;
        same("redelivered", message.deliver.redelivered(), false)?;
        close(connection).await
    });
}

#[test]
fn tutorial_2_work_queue() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let queue = declare(&channel, QueueDeclareArguments::durable_client_named(&unique("tasks"))).await?;
        let (slow_channel, quick_channel) = (open(&connection).await?, open(&connection).await?);
        slow_channel.basic_qos(BasicQosArguments::new(0, 1, false)).await?;
        quick_channel.basic_qos(BasicQosArguments::new(0, 1, false)).await?;
        let mut slow = consume(&slow_channel, &queue, false).await?;
        let mut quick = consume(&quick_channel, &queue, false).await?;
        for task in ["one", "two", "three", "four"] {
            let persistent = BasicProperties::default().with_persistence(true).finish();
            publish(&channel, "", &queue, task.as_bytes(), persistent).await?;
        }

        // The slow worker holds its only task, so the quick one does all the others.
        let held = next(&mut slow).await?;
        let mut done = vec![String::from_utf8(held.body.clone())?];
        while done.len() < 4 {
            let task = next(&mut quick).await?;
            same("delivery mode", task.properties.delivery_mode(), Some(2))?;
            ack(&quick_channel, &task).await?;
            done.push(String::from_utf8(task.body)?);
        }
        done.sort();
        same("tasks", done, ["four", "one", "three", "two"])?;
        ack(&slow_channel, &held).await?;
        let left = within("delete-ok", channel.queue_delete(QueueDeleteArguments::new(&queue))).await??;
        same("left", left, Some(0))?;
        close(connection).await
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
        same("redelivered", first.deliver.redelivered(), false)?;
        within("close-ok", lost.close()).await??;
        let again = next(&mut consume(&channel, &queue, false).await?).await?;
        same("redelivered", again.deliver.redelivered(), true)?;
        ack(&channel, &again).await?;
        close(connection).await
    });
}

#[test]
fn tutorial_3_publish_subscribe() {
    run(async {
        let connection = connect().await?;
        let channel = open(&connection).await?;
        let logs = unique("logs");
        exchange(&channel, &logs, "fanout").await?;
        let queues = [private_queue(&channel).await?, private_queue(&channel).await?];
        for queue in &queues {
            bind(&channel, queue, &logs, "", FieldTable::new()).await?;
        }
        publish(&channel, &logs, "ignored", b"info: Hello World!", BasicProperties::default()).await?;
        for queue in &queues {
            let message = next(&mut consume(&channel, queue, true).await?).await?;
            same("body", message.body.as_slice(), b"info: Hello World!")?;
            same("exchange", message.deliver.exchange(), &logs)?;
        }
        close(connection).await
    });
}

#[test]
fn tutorial_4_routing() {
    run(routes("direct", DIRECT_KEYS, DIRECT));
}

#[test]
fn tutorial_5_topics() {
    run(routes("topic", TOPIC_KEYS, TOPIC));
}

#[test]
fn tutorial_6_rpc() {
    run(async {
        let connection = connect().await?;
        let server = open(&connection).await?;
        let requests = declare(&server, QueueDeclareArguments::transient_autodelete(&unique("rpc"))).await?;
        server.basic_qos(BasicQosArguments::new(0, 1, false)).await?;
        let mut incoming = consume(&server, &requests, false).await?;
        let serving = tokio::spawn(async move {
            for _ in 0..12 {
                serve(&server, &next(&mut incoming).await?).await?;
            }
            Outcome::Ok(())
        });

        let client = open(&connection).await?;
        let reply_to = private_queue(&client).await?;
        let mut replies = consume(&client, &reply_to, true).await?;
        let mut asked = HashMap::new();
        for n in 0..12_u32 {
            let id = unique("call");
            let properties =
                BasicProperties::default().with_reply_to(&reply_to).with_correlation_id(&id).finish();
            publish(&client, "", &requests, n.to_string().as_bytes(), properties).await?;
            asked.insert(id, n);
        }
        while !asked.is_empty() {
            let reply = next(&mut replies).await?;
            let id = reply.properties.correlation_id().ok_or("no correlation id")?;
            let n = asked.remove(id).ok_or("an unknown correlation id")?;
            same("answer", String::from_utf8(reply.body)?, fibonacci(n).to_string())?;
        }
        within("end of the server", serving).await???;
        close(connection).await
    });
}

async fn serve(channel: &Channel, request: &Message) -> Outcome {
    let reply_to = request.properties.reply_to().ok_or("no reply-to")?;
    let id = request.properties.correlation_id().ok_or("no correlation id")?;
    let answer = fibonacci(std::str::from_utf8(&request.body)?.parse()?);
    let properties = BasicProperties::default().with_correlation_id(id).finish();
    publish(channel, "", reply_to, answer.to_string().as_bytes(), properties).await?;
    ack(channel, request).await
}

/// Publishes every key as its own body; a last message straight to each queue shows that nothing else was before it.
async fn routes(kind: &str, keys: &[&str], routes: &[Route]) -> Outcome {
    let connection = connect().await?;
    let channel = open(&connection).await?;
    let name = unique("routes");
    exchange(&channel, &name, kind).await?;
    let mut queues = Vec::new();
    for route in routes {
        let queue = private_queue(&channel).await?;
        for pattern in route.patterns {
            bind(&channel, &queue, &name, pattern, FieldTable::new()).await?;
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
    close(connection).await
}
