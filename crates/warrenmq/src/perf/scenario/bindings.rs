//! `perf bind-churn`: binding one queue to an exchange with many keys, and unbinding it.
//!
//! Invariant: a round binds keys from 0 on and unbinds as many of them, so that each key is bound at most once.

use clap::{Args, ValueEnum};
use warrenmq_wire::method::{AMQPValue, FieldTable, Method, exchange, queue};

use super::{
    LengthArgs, WindowArgs, declare_now, delete_now,
    series::{Series, Step},
    set_up, summary,
};
use crate::perf::{
    common::CommonArgs, connection::CHANNEL, error::PerfError, meter::Meter, pipeline::End, summary::Summary,
};

const BIND_OK: [u8; 4] = [0, 50, 0, 21];
const UNBIND_OK: [u8; 4] = [0, 50, 0, 51];

/// Arguments of `warrenmq perf bind-churn`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    #[command(flatten)]
    length: LengthArgs,
    /// Bindings that are there at the most; a round binds as many and unbinds them.
    #[arg(long, value_name = "N", default_value_t = 10_000, help_heading = "Run",
          value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Only bind, with N keys, and leave exchange, queue and bindings there.
    #[arg(long, value_name = "N", help_heading = "Run", conflicts_with_all = ["keys", "time", "operations"],
          value_parser = clap::value_parser!(u64).range(1..))]
    bind_only: Option<u64>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// What is bound to what.
#[derive(Debug, Clone, Args)]
struct TargetArgs {
    /// Queue that is bound.
    #[arg(short = 'u', long, default_value = "perf-bind", value_name = "NAME", help_heading = "Topology")]
    queue: String,
    /// Exchange that it is bound to; declared, unless it is an amq.* one.
    #[arg(short = 'e', long, default_value = "perf-bind", value_name = "NAME", help_heading = "Topology")]
    exchange: String,
    /// Type of the exchange. Topic keys are whole words and both wildcards in turn; a headers binding asks for one header.
    #[arg(
        short = 't',
        long = "type",
        default_value = "direct",
        value_name = "TYPE",
        help_heading = "Topology"
    )]
    exchange_type: ExchangeType,
    /// Durable queue and exchange, and so durable bindings.
    #[arg(long, help_heading = "Topology")]
    durable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExchangeType {
    Direct,
    Topic,
    Fanout,
    Headers,
}

/// Binds and unbinds in rounds.
///
/// # Errors
/// What the broker says against it.
pub(super) fn churn(args: &ChurnArgs) -> Result<Summary, PerfError> {
    let mut summary = summary("bind-churn", &args.common);
    args.window.note(&mut summary);
    summary.option("type", args.target.type_name());
    summary.option("durable", args.target.durable);
    let mut setup = set_up(&args.common)?;
    declare_now(&mut setup, &args.target.queue, args.target.durable)?;
    if args.target.owns_exchange() {
        setup.call(CHANNEL, &args.target.declare_exchange())?;
    }
    let mut pipeline = args.window.open(&args.common, &setup)?;
    let connections = usize::from(args.window.connections);
    let mut binds = Meter::new(&args.common, "bind", &["bind"]);
    let mut unbinds = Meter::new(&args.common, "unbind", &["unbind"]);
    let end = args.bind_only.map_or_else(|| args.length.end(), End::after);
    let keys = args.bind_only.unwrap_or(args.keys);
    summary.look("before")?;
    loop {
        let left = end.operations.saturating_sub(binds.operations());
        let round = End { operations: left.min(keys), ..end };
        let before = binds.operations();
        pipeline.run(&mut Series::new(connections, vec![args.target.binding()]), &mut binds, round)?;
        let bound = binds.operations() - before;
        if summary.each.is_none() && bound == keys {
            summary.look("full")?;
            summary.share("binding", keys);
        }
        if bound == 0 || args.bind_only.is_some() {
            break;
        }
        let unbinding = vec![args.target.unbinding()];
        pipeline.run(&mut Series::new(connections, unbinding), &mut unbinds, End::after(bound))?;
    }
    summary.phases.push(binds.finish()?);
    if args.bind_only.is_none() {
        summary.phases.push(unbinds.finish()?);
        delete_now(&mut setup, &args.target.queue)?;
        if args.target.owns_exchange() {
            setup.call(CHANNEL, &args.target.delete_exchange())?;
        }
    }
    setup.close();
    Ok(summary)
}

impl TargetArgs {
    fn owns_exchange(&self) -> bool {
        !self.exchange.starts_with("amq.")
    }

    fn type_name(&self) -> &'static str {
        match self.exchange_type {
            ExchangeType::Direct => "direct",
            ExchangeType::Topic => "topic",
            ExchangeType::Fanout => "fanout",
            ExchangeType::Headers => "headers",
        }
    }

    fn declare_exchange(&self) -> Method {
        Method::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
            exchange: self.exchange.as_str().into(),
            kind: self.type_name().into(),
            passive: false,
            durable: self.durable,
            auto_delete: false,
            internal: false,
            nowait: false,
            arguments: FieldTable::default(),
        }))
    }

    fn delete_exchange(&self) -> Method {
        Method::Exchange(exchange::AMQPMethod::Delete(exchange::Delete {
            exchange: self.exchange.as_str().into(),
            if_unused: false,
            nowait: false,
        }))
    }

    fn binding(&self) -> Step<'_> {
        Step::new(BIND_OK, |n| {
            Method::Queue(queue::AMQPMethod::Bind(queue::Bind {
                queue: self.queue.as_str().into(),
                exchange: self.exchange.as_str().into(),
                routing_key: key(self.exchange_type, n).as_str().into(),
                nowait: false,
                arguments: arguments(self.exchange_type, n),
            }))
        })
    }

    fn unbinding(&self) -> Step<'_> {
        Step::new(UNBIND_OK, |n| {
            Method::Queue(queue::AMQPMethod::Unbind(queue::Unbind {
                queue: self.queue.as_str().into(),
                exchange: self.exchange.as_str().into(),
                routing_key: key(self.exchange_type, n).as_str().into(),
                arguments: arguments(self.exchange_type, n),
            }))
        })
    }
}

/// The key of binding `n`.
fn key(exchange_type: ExchangeType, n: u64) -> String {
    match (exchange_type, n % 4) {
        (ExchangeType::Headers, _) => String::new(),
        (ExchangeType::Topic, 0) => format!("key.{n}.word"),
        (ExchangeType::Topic, 1) => format!("key.{n}.*"),
        (ExchangeType::Topic, 2) => format!("*.{n}.word"),
        (ExchangeType::Topic, _) => format!("key.{n}.#"),
        _ => format!("key-{n}"),
    }
}

/// The arguments of binding `n`.
fn arguments(exchange_type: ExchangeType, n: u64) -> FieldTable {
    let mut arguments = FieldTable::default();
    if exchange_type == ExchangeType::Headers {
        arguments.insert("x-match".into(), AMQPValue::LongString("all".into()));
        arguments.insert("number".into(), AMQPValue::LongLongInt(n as i64));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bindings_are_all_different() {
        for exchange_type in ExchangeType::value_variants() {
            let bindings =
                (0..1000).map(|n| format!("{} {:?}", key(*exchange_type, n), arguments(*exchange_type, n)));
            assert_eq!(bindings.collect::<HashSet<_>>().len(), 1000, "{exchange_type:?}");
        }
    }
}
