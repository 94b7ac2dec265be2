//! A restart of the broker. amqprs does not connect again by itself, so the tests do.

use super::*;
use crate::own_broker::OwnBroker;
use crate::run;

async fn dial(own: &OwnBroker) -> Fallible<Connection> {
    let arguments = OpenConnectionArguments::new("127.0.0.1", own.port, "guest", "guest");
    Ok(within("connection", Connection::open(&arguments)).await??)
}

async fn survives(verb: &str) -> Outcome {
    let own = OwnBroker::start(&format!("amqprs-{verb}"))?;
    let connection = dial(&own).await?;
    let (channel, mut events) = open_and_listen(&connection).await?;
    channel.confirm_select(ConfirmSelectArguments::new(false)).await?;
    declare(&channel, QueueDeclareArguments::durable_client_named("kept")).await?;
    for (body, tag) in ["a", "b", "c"].into_iter().zip(1..) {
        let persistent = BasicProperties::default().with_delivery_mode(2).finish();
        publish(&channel, "", "kept", body.as_bytes(), persistent).await?;
        same("confirm", heard(&mut events).await?, Event::Confirmed { tag, multiple: false })?;
    }

    own.run(verb)?;
    let lost = async {
        while connection.is_open() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within("end of the connection", lost).await?;
    own.run("start")?;

    let again = dial(&own).await?;
    let channel = open(&again).await?;
    let mut consumer = consume(&channel, "kept", true).await?;
    same("what was confirmed", bodies(&mut consumer, 3).await?, vec!["a", "b", "c"])?;
    publish(&channel, "", "kept", b"after", BasicProperties::default()).await?;
    same("what comes after", bodies(&mut consumer, 1).await?, vec!["after"])?;
    close(again).await
}

#[test]
fn after_a_stop() {
    run(survives("stop"));
}

#[test]
fn after_a_kill() {
    run(survives("kill"));
}
