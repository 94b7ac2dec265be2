//! `perf consumer-churn`: subscribing to an empty queue, and cancelling.
//!
//! Invariant: every consumer that subscribed is cancelled, and the queue is deleted.

use clap::Args;
use warrenmq_wire::method::{FieldTable, Method, basic_cold};

use super::{
    LengthArgs, WindowArgs, declare_now, delete_now,
    series::{Series, Step},
    set_up, summary,
};
use crate::perf::{common::CommonArgs, error::PerfError, meter::Meter, summary::Summary};

const CONSUME_OK: [u8; 4] = [0, 60, 0, 21];
const CANCEL_OK: [u8; 4] = [0, 60, 0, 31];

/// Arguments of `warrenmq perf consumer-churn`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    window: WindowArgs,
    /// Queue that is consumed from.
    #[arg(
        short = 'u',
        long,
        default_value = "perf-consumer",
        value_name = "NAME",
        help_heading = "Topology"
    )]
    queue: String,
    /// A durable queue.
    #[arg(long, help_heading = "Topology")]
    durable: bool,
}

/// Consumes and cancels, one operation each.
///
/// # Errors
/// What the broker says against it.
pub(super) fn churn(args: &ChurnArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("consumer-churn", &args.common);
    args.window.note(&mut summary);
    summary.option("durable", args.durable);
    let mut setup = set_up(&args.common)?;
    declare_now(&mut setup, &args.queue, args.durable)?;
    let mut pipeline = args.window.open(&args.common, &setup)?;
    let consuming = Step::new(CONSUME_OK, |n| consume(&args.queue, n));
    let mut series =
        Series::new(args.window.connections.into(), vec![consuming, Step::new(CANCEL_OK, cancel)]);
    let mut meter = Meter::new(&args.common, "consume+cancel", &["consume", "cancel"]);
    summary.look("before")?;
    pipeline.run(&mut series, &mut meter, args.length.end())?;
    summary.look("after")?;
    summary.phases.push(meter.finish()?);
    delete_now(&mut setup, &args.queue)?;
    setup.close();
    Ok(summary)
}

fn consume(queue: &str, n: u64) -> Method {
    Method::Basic(basic_cold::AMQPMethod::Consume(basic_cold::Consume {
        queue: queue.into(),
        consumer_tag: tag(n).as_str().into(),
        no_local: false,
        no_ack: true,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn cancel(n: u64) -> Method {
    let cancel = basic_cold::Cancel { consumer_tag: tag(n).as_str().into(), nowait: false };
    Method::Basic(basic_cold::AMQPMethod::Cancel(cancel))
}

/// The tag of consumer `n`.
fn tag(n: u64) -> String {
    format!("perf-{n}")
}
