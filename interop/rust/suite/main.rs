//! Tests of a broker with the AMQP clients of Rust. This file owns what both need: the broker's address, names that nobody
//! else uses, and the limits of time. No test waits without one.

mod on_amqprs;
mod on_lapin;
mod own_broker;

use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a test ends with: the first error of a client or of a check.
type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// How long one awaited step, and a whole test, may take. Generous: the machine may be busy.
const STEP: Duration = Duration::from_secs(15);
const TEST: Duration = Duration::from_secs(50);

/// Runs a test on a runtime of its own, so that nothing of it is left behind.
fn run(test: impl Future<Output = Outcome>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(async { tokio::time::timeout(TEST, test).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("{error}"),
        Err(_) => panic!("no end within {TEST:?}"),
    }
}

/// The value of a future, or an error that names what has not come in time.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(STEP, future).await.map_err(|_| format!("no {what} within {STEP:?}"))
}

/// Host and port of the broker.
fn address() -> (String, u16) {
    let host = std::env::var("AMQP_HOST").unwrap_or_else(|_| "127.0.0.1".into());
    let port = std::env::var("AMQP_PORT").ok().and_then(|port| port.parse().ok());
    (host, port.unwrap_or(5672))
}

/// A name that no other test, run or client uses; short, since reply texts that quote it are cut at 255 bytes.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("interop.rust.{what}.{:x}{:x}.{count:x}", now.as_secs(), now.subsec_nanos())
}

/// Fails, naming what differs.
fn same<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(what: &str, got: T, expected: U) -> Outcome {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}: {got:?}, expected {expected:?}").into())
}

/// What one queue is bound with, and the keys, in order, that it is to get.
struct Route {
    patterns: &'static [&'static str],
    expected: &'static [&'static str],
}

const DIRECT_KEYS: &[&str] = &["info", "error", "debug", "warning", "error"];
const DIRECT: &[Route] = &[
    Route { patterns: &["error"], expected: &["error", "error"] },
    Route { patterns: &["info", "warning", "error"], expected: &["info", "error", "warning", "error"] },
];

const TOPIC_KEYS: &[&str] = &[
    "quick.orange.rabbit",
    "lazy.orange.elephant",
    "quick.brown.fox",
    "lazy.pink.rabbit",
    "orange",
    "lazy.orange.new.rabbit",
    "lazy",
];
const TOPIC: &[Route] = &[
    Route { patterns: &["*.orange.*"], expected: &["quick.orange.rabbit", "lazy.orange.elephant"] },
    Route {
        patterns: &["*.*.rabbit", "lazy.#"],
        expected: &[
            "quick.orange.rabbit",
            "lazy.orange.elephant",
            "lazy.pink.rabbit",
            "lazy.orange.new.rabbit",
            "lazy",
        ],
    },
    Route { patterns: &["#"], expected: TOPIC_KEYS },
    Route { patterns: &["*"], expected: &["orange", "lazy"] },
];

fn fibonacci(n: u32) -> u32 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}
