//! A client of `cargo xtask chaos` on lapin: what it is to do stands in interop/chaos.md.

use std::future::Future;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const QUEUES: [&str; 2] = ["chaos", "chaos-quorum"];
const INTERVAL: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(50);
/// How long a step may take: the handshake, a confirm, an answer.
const STEP: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Told {
    finish: AtomicBool,
    end: AtomicBool,
}

fn filler(number: u64) -> String {
    ".".repeat((number * 37 % 1500) as usize)
}

/// Runs `work` on one connection after the other until it succeeds, which it does when all is done.
async fn for_ever<F: Future<Output = Fallible<()>>>(uri: &str, work: impl Fn(Arc<Connection>) -> F) {
    loop {
        let connecting = Connection::connect(uri, ConnectionProperties::default());
        if let Ok(Ok(connection)) = timeout(STEP, connecting).await {
            let connection = Arc::new(connection);
            if work(Arc::clone(&connection)).await.is_ok() {
                if let Ok(Ok(())) = timeout(STEP, connection.close(200, "bye".into())).await {
                    return;
                }
            } else {
                // One that still stands is not kept.
                let _ = timeout(STEP, connection.close(200, "bye".into())).await;
            }
        }
        println!("again");
        sleep(RETRY).await;
    }
}

async fn publish(connection: Arc<Connection>, name: &str, next: &AtomicU64, told: &Told) -> Fallible<()> {
    let channel = timeout(STEP, connection.create_channel()).await??;
    timeout(STEP, channel.confirm_select(ConfirmSelectOptions::default())).await??;
    loop {
        // What was not confirmed is published again; after the word to finish, one more.
        let last = told.finish.load(Relaxed);
        let number = next.load(Relaxed);
        let body = format!("{name} {number} {}", filler(number));
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let queue = QUEUES[(number % 2) as usize];
        let properties = BasicProperties::default().with_delivery_mode(2);
        let published = channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties);
        let confirm = timeout(STEP, published).await??;
        match timeout(STEP, confirm).await?? {
            Confirmation::Ack(None) => println!("confirmed {number}"),
            other => return Err(format!("{other:?}").into()),
        }
        next.fetch_add(1, Relaxed);
        if last {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
}

async fn consume(connection: Arc<Connection>, told: &Told) -> Fallible<()> {
    let channel = timeout(STEP, connection.create_channel()).await??;
    timeout(STEP, channel.basic_qos(50, BasicQosOptions::default())).await??;
    let mut consumers = Vec::new();
    for queue in QUEUES {
        let consuming = channel.basic_consume(
            queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        consumers.push(timeout(STEP, consuming).await??);
    }
    let second = consumers.pop().ok_or("no consumer")?;
    let mut messages = consumers.pop().ok_or("no consumer")?.merge(second);
    while !told.end.load(Relaxed) {
        let Ok(message) = timeout(Duration::from_millis(100), messages.next()).await else { continue };
        let message = message.ok_or("the consumer has ended")??;
        let body = String::from_utf8_lossy(&message.data).into_owned();
        let mut words = body.splitn(3, ' ');
        match (words.next(), words.next().and_then(|word| word.parse().ok()), words.next()) {
            (Some(name), Some(number), Some(rest)) if rest == filler(number) => {
                println!("consumed {name} {number}");
            }
            _ => println!("torn {:?}", body.get(..60).unwrap_or(&body)),
        }
        timeout(STEP, message.ack(BasicAckOptions::default())).await??;
    }
    Ok(())
}

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: chaos HOST PORT NAME");
    let (host, port, name) = (argument()?, argument()?, argument()?);
    let uri = format!("amqp://guest:guest@{host}:{port}/%2f?heartbeat=3");
    let told = Arc::new(Told::default());
    let theirs = Arc::clone(&told);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "finish" => theirs.finish.store(true, Relaxed),
                "end" => theirs.end.store(true, Relaxed),
                _ => {}
            }
        }
        if !theirs.end.load(Relaxed) {
            // Whoever has started this is gone.
            std::process::exit(1);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let next = AtomicU64::new(1);
        let publisher = async {
            for_ever(&uri, |connection| publish(connection, &name, &next, &told)).await;
            println!("attempted {}", next.load(Relaxed) - 1);
        };
        let consumer = async {
            for_ever(&uri, |connection| consume(connection, &told)).await;
            println!("ended");
        };
        tokio::join!(publisher, consumer);
    });
    Ok(())
}
