//! `warrenmq perf`: puts load on a broker, any AMQP 0-9-1 broker, and measures it.
//!
//! ```text
//! args ──► scenario                       operations that are no messages: a picture of its own is there
//!   │
//!   └────► throughput ──► topology        what is declared, who uses which queue
//!              │
//!              ├──► producer: pacer, confirms, batch ──┐
//!              │                                       ├──► connection: inbox, walker ──► broker
//!              ├──► consumer: order, stamp ────────────┘
//!              │
//!              └──► side, tally, watched (process) ──► report, plot
//! ```
//! It must cost far less than the broker it measures, on the same machine. So it is plain threads and blocking sockets,
//! one of each for a producer or consumer; messages are prebuilt and leave by the write buffer; what arrives is stepped over,
//! not parsed; the clock, counters and locks are touched once for each read or write.

mod args;
mod batch;
mod clock;
mod common;
mod confirms;
mod connection;
mod consumer;
mod engine;
mod error;
mod inbox;
mod login;
mod message;
mod meter;
mod order;
mod pacer;
mod pattern;
mod pipeline;
mod plot;
mod process;
mod producer;
mod report;
mod scenario;
mod side;
mod stamp;
mod summary;
mod tally;
mod throughput;
mod topology;
mod walker;
mod watched;

use std::process::ExitCode;

pub(crate) use args::PerfArgs;
use args::{LATENCY_RATE, Scenario, ThroughputArgs};
use report::Report;

/// Runs what the command line asks for. Fails when the broker could not be used, or broke a promise:
/// messages out of order, confirms of what was not published.
pub(crate) fn run(args: PerfArgs) -> ExitCode {
    match args.scenario {
        Scenario::Throughput(args) => throughput("throughput", &args),
        Scenario::Latency(mut args) => {
            args.rate.get_or_insert(LATENCY_RATE);
            throughput("latency", &args)
        }
        Scenario::Operations(operations) => scenario::run(&operations),
    }
}

fn throughput(name: &str, args: &ThroughputArgs) -> ExitCode {
    if let Err(reason) = args.check() {
        eprintln!("warrenmq perf: {reason}");
        return ExitCode::FAILURE;
    }
    let live =
        |line: &report::Interval| if args.common.json { eprintln!("{line}") } else { println!("{line}") };
    let report = throughput::run(args, live).and_then(|report| {
        print(args, &report);
        plot::write(&args.common, &format!("perf {name}"), || plot::panels(&report))?;
        Ok(report)
    });
    match report {
        Ok(report) if report.order_violations == 0 && report.unexpected_confirms == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("warrenmq perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(args: &ThroughputArgs, report: &Report) {
    if !args.common.json {
        println!("{report}");
        return;
    }
    match serde_json::to_string(report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("warrenmq perf: {error}"),
    }
}
