//! Accepting connections until somebody asks to stop, and stopping.
//!
//! Invariant: a stop closes every connection politely, and takes at most the configured time.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use warrenmq_broker::Broker;

use crate::clock::Clock;
use crate::driver::Driver;
use crate::listeners::Listeners;
use crate::stop::Stop;
use crate::timers::Timers;

/// Pause after a failed accept: the process may be out of descriptors for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    /// The reason that was asked for.
    pub reason: String,
    /// Connections that had not closed in time.
    pub cut_connections: usize,
}

/// Serves until `stop` is asked. Blocks the calling thread; `workers` others do the work.
///
/// `event_interval` is 1: with tokio's default of 61 a quiet connection beside a flood waits for 61 long turns of others.
///
/// # Errors
/// When the runtime cannot be started.
pub fn run(
    listeners: Listeners,
    broker: Arc<Broker>,
    workers: usize,
    on_ready: impl FnOnce(),
    stop: &Stop,
) -> std::io::Result<ExitReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(1))
        .event_interval(1)
        .thread_name("connections")
        .enable_io()
        .enable_time()
        .build()?;
    let report = runtime.block_on(serve(listeners, broker, on_ready, stop));
    runtime.shutdown_timeout(Duration::from_millis(200));
    report
}

async fn serve(
    listeners: Listeners,
    broker: Arc<Broker>,
    on_ready: impl FnOnce(),
    stop: &Stop,
) -> std::io::Result<ExitReport> {
    let clock = Clock::start();
    let accepting: Vec<_> = listeners
        .into_tokio()?
        .into_iter()
        .map(|listener| tokio::spawn(accept(listener, Arc::clone(&broker), clock)))
        .collect();
    let timers = Timers::start(Arc::clone(&broker), clock)?;
    on_ready();
    let reason = stop.requested().await.to_owned();
    tracing::info!("stopping: {reason}");
    for task in &accepting {
        task.abort();
    }
    drop(timers);
    broker.close_connections(&format!("broker forced connection closure with reason '{reason}'"));
    let deadline = tokio::time::Instant::now() + Duration::from_millis(broker.limits().shutdown_timeout_ms);
    while broker.connection_count() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(ExitReport { reason, cut_connections: broker.connection_count() })
}

async fn accept(listener: TcpListener, broker: Arc<Broker>, clock: Clock) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => start(stream, peer, &broker, clock),
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(stream: TcpStream, peer: std::net::SocketAddr, broker: &Arc<Broker>, clock: Clock) {
    // Some more than allowed may shake hands, to be told in connection.open that they are too many.
    let most = broker.limits().connection_max as usize + 1000;
    if broker.connection_count() >= most {
        tracing::warn!(%peer, "connection dropped: far above the limit of connections");
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "TCP_NODELAY: {error}");
    }
    let session = broker.connect(peer, clock.now());
    tokio::spawn(Driver::new(stream, session, broker.limits(), clock));
}
