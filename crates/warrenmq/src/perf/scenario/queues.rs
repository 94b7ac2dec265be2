//! `perf queue-churn` and `perf queue-count`: declaring and deleting queues.
//!
//! Invariant: every queue that was declared is deleted, unless `--keep` is given.

use std::{thread, time::Duration};

use clap::Args;

use super::{
    DECLARE_OK, DELETE_OK, LengthArgs, WindowArgs, declare, delete,
    series::{Series, Step},
    set_up, summary,
};
use crate::perf::{
    common::{CommonArgs, parse_seconds},
    error::PerfError,
    meter::Meter,
    pipeline::End,
    summary::Summary,
};

/// Arguments of `warrenmq perf queue-churn`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    queues: QueueArgs,
}

/// Arguments of `warrenmq perf queue-count`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Number of queues.
    #[arg(long = "queues", value_name = "N", default_value_t = 10_000, help_heading = "Run",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Seconds to wait before memory is looked at for the second time: a broker may tidy up when nothing happens.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds, help_heading = "Run")]
    hold: Duration,
    /// Leave the queues there.
    #[arg(long, help_heading = "Run")]
    keep: bool,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    queues: QueueArgs,
}

/// What the queues are like.
#[derive(Debug, Clone, Args)]
struct QueueArgs {
    /// Stem of the queues' names: NAME-0, NAME-1, ...
    #[arg(short = 'u', long, default_value = "perf-queue", value_name = "NAME", help_heading = "Topology")]
    queue: String,
    /// Durable queues.
    #[arg(long, help_heading = "Topology")]
    durable: bool,
}

/// Declares and deletes queues, one operation each.
///
/// # Errors
/// What the broker says against it.
pub(super) fn churn(args: &ChurnArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("queue-churn", &args.common);
    args.window.note(&mut summary);
    summary.option("durable", args.queues.durable);
    let setup = set_up(&args.common)?;
    let mut pipeline = args.window.open(&args.common, &setup)?;
    let steps = vec![args.queues.declaring(), args.queues.deleting()];
    let mut series = Series::new(args.window.connections.into(), steps);
    let mut meter = Meter::new(&args.common, "declare+delete", &["declare", "delete"]);
    summary.look("before")?;
    pipeline.run(&mut series, &mut meter, args.length.end())?;
    summary.look("after")?;
    summary.phases.push(meter.finish()?);
    setup.close();
    Ok(summary)
}

/// Declares all queues, then deletes them.
///
/// # Errors
/// What the broker says against it.
pub(super) fn count(args: &CountArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("queue-count", &args.common);
    args.window.note(&mut summary);
    summary.option("durable", args.queues.durable);
    let setup = set_up(&args.common)?;
    let mut pipeline = args.window.open(&args.common, &setup)?;
    let connections = usize::from(args.window.connections);
    summary.look("before")?;
    let mut meter = Meter::new(&args.common, "declare", &["declare"]);
    let mut declaring = Series::new(connections, vec![args.queues.declaring()]);
    pipeline.run(&mut declaring, &mut meter, End::after(args.count))?;
    summary.phases.push(meter.finish()?);
    summary.look("full")?;
    args.common.live(format_args!("holding {} queues for {:?}", args.count, args.hold));
    thread::sleep(args.hold);
    summary.look("held")?;
    summary.share("queue", args.count);
    if !args.keep {
        let mut meter = Meter::new(&args.common, "delete", &["delete"]);
        let mut deleting = Series::new(connections, vec![args.queues.deleting()]);
        pipeline.run(&mut deleting, &mut meter, End::after(args.count))?;
        summary.phases.push(meter.finish()?);
        summary.look("after")?;
    }
    setup.close();
    Ok(summary)
}

impl QueueArgs {
    fn declaring(&self) -> Step<'_> {
        Step::new(DECLARE_OK, |n| declare(&self.name(n), self.durable))
    }

    fn deleting(&self) -> Step<'_> {
        Step::new(DELETE_OK, |n| delete(&self.name(n)))
    }

    fn name(&self, n: u64) -> String {
        format!("{}-{n}", self.queue)
    }
}
