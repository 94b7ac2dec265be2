//! `perf channel-churn`: opening and closing channels, many of a connection at the same time.
//!
//! Invariant: a channel number is in one place only: free, under way to open or closed, or open and about to be closed. So the
//! next method of a channel is sent when the answer to the last has come, as ordinary clients do.

use clap::Args;
use warrenmq_wire::method::{self, Method, channel};

use super::{LengthArgs, WindowArgs, set_up, summary};
use crate::perf::{
    common::CommonArgs,
    connection::CHANNEL,
    error::PerfError,
    meter::Meter,
    pipeline::{Call, Work},
    summary::Summary,
};

const OPEN_OK: [u8; 4] = [0, 20, 0, 11];
const CLOSE_OK: [u8; 4] = [0, 20, 0, 41];

/// Arguments of `warrenmq perf channel-churn`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    length: LengthArgs,
    /// Channels of a connection that are being opened or closed at the same time.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Run",
          value_parser = clap::value_parser!(u16).range(1..=65_534))]
    channels: u16,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Run",
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
}

/// Opens and closes channels, one operation each.
///
/// # Errors
/// What the broker says against it.
pub(super) fn churn(args: &ChurnArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("channel-churn", &args.common);
    summary.option("connections", args.connections);
    summary.option("channels", args.channels);
    let setup = set_up(&args.common)?;
    let window = WindowArgs { window: args.channels.into(), connections: args.connections };
    let mut pipeline = window.open(&args.common, &setup)?;
    let mut channels = Channels::new(args.connections, args.channels);
    let mut meter = Meter::new(&args.common, "open+close", &["open", "close"]);
    summary.look("before")?;
    pipeline.run(&mut channels, &mut meter, args.length.end())?;
    summary.look("after")?;
    summary.phases.push(meter.finish()?);
    setup.close();
    Ok(summary)
}

/// The channels of all connections.
#[derive(Debug)]
struct Channels {
    lanes: Vec<Lane>,
}

/// The channels of one connection that nothing is under way for.
#[derive(Debug)]
struct Lane {
    free: Vec<u16>,
    open: Vec<u16>,
}

impl Channels {
    /// The channels behind the one that every connection has open.
    fn new(connections: u16, channels: u16) -> Self {
        let lane = || Lane { free: (1..=channels).rev().map(|n| CHANNEL + n).collect(), open: Vec::new() };
        Self { lanes: (0..connections).map(|_| lane()).collect() }
    }
}

impl Work for Channels {
    fn next(&mut self, lane: usize, begin: bool, out: &mut Vec<u8>) -> Result<Option<Call>, PerfError> {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return Ok(None);
        };
        if let Some(channel) = lane.open.pop() {
            method::put(out, channel, &close())?;
            return Ok(Some(Call { channel, step: 1, answer: CLOSE_OK, begins: false, ends: true }));
        }
        if let Some(channel) = begin.then(|| lane.free.pop()).flatten() {
            method::put(out, channel, &Method::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
            return Ok(Some(Call { channel, step: 0, answer: OPEN_OK, begins: true, ends: false }));
        }
        Ok(None)
    }

    fn answered(&mut self, lane: usize, call: Call) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            let place = if call.ends { &mut lane.free } else { &mut lane.open };
            place.push(call.channel);
        }
    }
}

fn close() -> Method {
    Method::Channel(channel::AMQPMethod::Close(channel::Close {
        reply_code: 200,
        reply_text: "done".into(),
        class_id: 0,
        method_id: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_waits_for_each_answer() {
        let mut channels = Channels::new(1, 2);
        let mut out = Vec::new();
        let mut next = |channels: &mut Channels, begin| channels.next(0, begin, &mut out).unwrap();
        let first = next(&mut channels, true).unwrap();
        let second = next(&mut channels, true).unwrap();
        assert_eq!([first.channel, second.channel], [2, 3]);
        assert_eq!(next(&mut channels, true), None, "both wait");
        channels.answered(0, second);
        let close = next(&mut channels, false).unwrap();
        assert_eq!((close.channel, close.answer, close.ends), (3, CLOSE_OK, true));
        channels.answered(0, close);
        assert_eq!(next(&mut channels, false), None, "no new one may begin");
        assert_eq!(next(&mut channels, true).unwrap().channel, 3);
    }
}
