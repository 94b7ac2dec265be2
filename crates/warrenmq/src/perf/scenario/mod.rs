//! The scenarios of `warrenmq perf` that count operations other than messages, and the one whose messages stay.
//!
//! ```text
//! connections ─────────────────► engine ──► broker
//! queues, bindings,                 ▲
//! consumers, channels ──► pipeline ─┘
//!     └─ series
//! backlog ───► throughput, twice
//! all ──► meter ──► summary
//! ```
//! Invariant: what a scenario has made it takes away again, unless it was asked to leave it; that, and what has to be there
//! first, is outside of the measured phases.

mod backlog;
mod bindings;
mod channels;
mod connections;
mod consumers;
mod queues;
mod series;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use warrenmq_wire::method::{Method, queue};

use super::{
    clock,
    common::{CommonArgs, TIME_DEFAULT, parse_seconds},
    connection::{CHANNEL, Connection},
    engine::Engine,
    error::PerfError,
    login::Script,
    pipeline::{End, Pipeline},
    plot,
    summary::Summary,
};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Operations {
    /// Open connections with a channel each, and close them.
    ConnectionChurn(Box<connections::ChurnArgs>),
    /// Open many connections with a channel each, hold them, close them.
    ConnectionCount(Box<connections::CountArgs>),
    /// Open channels, and close them.
    ChannelChurn(Box<channels::ChurnArgs>),
    /// Declare queues, and delete them.
    QueueChurn(Box<queues::ChurnArgs>),
    /// Declare many queues, then delete them.
    QueueCount(Box<queues::CountArgs>),
    /// Bind one queue with many keys, and unbind it.
    BindChurn(Box<bindings::ChurnArgs>),
    /// Consume from a queue, and cancel.
    ConsumerChurn(Box<consumers::ChurnArgs>),
    /// Publish many messages, measure what they take, restart the broker, drain the queue.
    Backlog(Box<backlog::BacklogArgs>),
}

/// How long a churn goes on.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct LengthArgs {
    /// Seconds to run [default: 10, or unlimited with --operations].
    #[arg(short = 'z', long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Run")]
    time: Option<Duration>,
    /// Operations to do, over all connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Run")]
    operations: Option<u64>,
}

/// How many methods are under way.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct WindowArgs {
    /// Methods that are sent on a connection ahead of their answers; 1 waits for each.
    #[arg(long, value_name = "N", default_value_t = 1000, help_heading = "Run",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run",
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
}

/// Runs the scenario and prints its summary. Fails when the broker could not be used, or broke a promise: confirmed messages
/// that are gone, messages out of order.
pub(crate) fn run(scenario: &Operations) -> ExitCode {
    let (common, result) = match scenario {
        Operations::ConnectionChurn(args) => (&args.common, connections::churn(args)),
        Operations::ConnectionCount(args) => (&args.common, connections::count(args)),
        Operations::ChannelChurn(args) => (&args.common, channels::churn(args)),
        Operations::QueueChurn(args) => (&args.common, queues::churn(args)),
        Operations::QueueCount(args) => (&args.common, queues::count(args)),
        Operations::BindChurn(args) => (&args.common, bindings::churn(args)),
        Operations::ConsumerChurn(args) => (&args.common, consumers::churn(args)),
        Operations::Backlog(args) => (&args.common, backlog::run(args)),
    };
    match result.and_then(|summary| print(&summary, common).map(|()| summary.is_sound())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("warrenmq perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(summary: &Summary, common: &CommonArgs) -> Result<(), PerfError> {
    if common.json {
        println!("{}", serde_json::to_string(summary)?);
    } else {
        println!("{summary}");
    }
    plot::write(common, &format!("perf {}", summary.scenario), || summary.panels())
}

impl LengthArgs {
    /// Of a phase that begins now.
    fn end(self) -> End {
        let counted = self.operations.is_some();
        let time = self.time.or(if counted { None } else { Some(TIME_DEFAULT) });
        End {
            at_ns: time.map_or(u64::MAX, |time| clock::now_ns().saturating_add(clock::nanos(time))),
            operations: self.operations.unwrap_or(u64::MAX),
        }
    }
}

impl WindowArgs {
    /// Logs in on all connections.
    fn open(self, common: &CommonArgs, setup: &Connection) -> Result<Pipeline, PerfError> {
        let script = Script::new(&common.uri, "perf", false)?;
        let engine = Engine::new(setup.peer())?;
        Pipeline::open(engine, &script, usize::from(self.connections), self.window as usize)
    }

    fn note(self, summary: &mut Summary) {
        summary.option("connections", self.connections);
        summary.option("window", self.window);
    }
}

/// The connection that makes what has to be there first, and takes it away at the end.
fn set_up(common: &CommonArgs) -> Result<Connection, PerfError> {
    Connection::open(&common.uri, "perf setup", FRAME_MAX)
}

/// A new summary that says which broker it is about.
fn summary(scenario: &'static str, common: &CommonArgs) -> Summary {
    let mut summary = Summary::new(scenario, common.broker_pid);
    summary.option("broker", common.broker());
    summary
}

fn declare(queue: &str, durable: bool) -> Method {
    Method::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: queue.into(),
        passive: false,
        durable,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: warrenmq_wire::method::FieldTable::default(),
    }))
}

fn delete(queue: &str) -> Method {
    Method::Queue(queue::AMQPMethod::Delete(queue::Delete {
        queue: queue.into(),
        if_unused: false,
        if_empty: false,
        nowait: false,
    }))
}

/// Frames of the connection that sets up.
const FRAME_MAX: u32 = 131_072;
const DECLARE_OK: [u8; 4] = [0, 50, 0, 11];
const DELETE_OK: [u8; 4] = [0, 50, 0, 41];

/// Declares `queue` over the connection that sets up.
fn declare_now(setup: &mut Connection, queue: &str, durable: bool) -> Result<(), PerfError> {
    setup.call(CHANNEL, &declare(queue, durable)).map(|_| ())
}

/// Deletes `queue` over the connection that sets up.
fn delete_now(setup: &mut Connection, queue: &str) -> Result<(), PerfError> {
    setup.call(CHANNEL, &delete(queue)).map(|_| ())
}
