//! Exchange, queues and bindings of a run: what is declared, and who publishes to and consumes from what.

use warrenmq_wire::{
    basic,
    method::{FieldTable, Method, exchange, queue},
};

use super::{
    args::ThroughputArgs,
    connection::{CHANNEL, Connection},
    error::PerfError,
};

/// Declares what the arguments ask for, unless it is there already.
///
/// # Errors
/// What the broker says against it.
pub(crate) fn declare(connection: &mut Connection, args: &ThroughputArgs) -> Result<(), PerfError> {
    if args.predeclared {
        return Ok(());
    }
    if !args.exchange.is_empty() && !args.exchange.starts_with("amq.") {
        let declare = exchange::Declare {
            exchange: args.exchange.as_str().into(),
            kind: args.exchange_type.as_str().into(),
            passive: false,
            durable: args.persistent(),
            auto_delete: args.auto_delete,
            internal: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        connection.call(CHANNEL, &Method::Exchange(exchange::AMQPMethod::Declare(declare)))?;
    }
    for name in args.queue_names() {
        let declare = queue::Declare {
            queue: name.as_str().into(),
            passive: false,
            durable: args.persistent(),
            exclusive: false,
            auto_delete: args.auto_delete,
            nowait: false,
            arguments: args.queue_args.clone(),
        };
        connection.call(CHANNEL, &Method::Queue(queue::AMQPMethod::Declare(declare)))?;
    }
    for (queue, key) in bindings(args) {
        let bind = queue::Bind {
            queue: queue.as_str().into(),
            exchange: args.exchange.as_str().into(),
            routing_key: key.as_str().into(),
            nowait: false,
            arguments: FieldTable::default(),
        };
        connection.call(CHANNEL, &Method::Queue(queue::AMQPMethod::Bind(bind)))?;
    }
    Ok(())
}

/// Which queue is bound with which key: all with the one key, each with its name, or each with its share of the keys of the
/// pattern.
fn bindings(args: &ThroughputArgs) -> Vec<(String, String)> {
    if args.exchange.is_empty() {
        return Vec::new();
    }
    let names = args.queue_names();
    let keys = match (&args.routing_key, args.message.keys()) {
        (Some(key), _) => vec![key.clone()],
        (None, Some(keys)) => keys,
        (None, None) => names.clone(),
    };
    let count = names.len().max(keys.len());
    names.into_iter().cycle().zip(keys.into_iter().cycle()).take(count).collect()
}

/// Exchange and key, in wire form, that producer `number` publishes to in turn.
pub(crate) fn routes(args: &ThroughputArgs, number: u16) -> Vec<Vec<u8>> {
    let pattern = args.message.keys();
    let in_turn = args.alternate || pattern.is_some();
    let keys = match &args.routing_key {
        Some(key) => vec![key.clone()],
        None => pattern.unwrap_or_else(|| args.queue_names()),
    };
    let wire = |key: &String| {
        let mut route = Vec::new();
        basic::put_route(&mut route, args.exchange.as_bytes(), key.as_bytes());
        route
    };
    if in_turn {
        return keys.iter().map(wire).collect();
    }
    keys.iter().cycle().nth(usize::from(number)).map(wire).into_iter().collect()
}

/// The queues that consumer `number` consumes from: one, or its share when there are more queues than consumers.
pub(crate) fn queues(args: &ThroughputArgs, number: u16) -> Vec<String> {
    let names = args.queue_names();
    let (number, consumers) = (usize::from(number), usize::from(args.consumers));
    let first = number % names.len().max(1);
    names.into_iter().skip(first).step_by(consumers.max(1)).collect()
}

/// How many queues get each message; `None` when only the broker knows.
pub(crate) fn copies(args: &ThroughputArgs) -> Option<u64> {
    let names = args.queue_names();
    let queues = names.len() as u64;
    let keys = args.message.keys();
    match (args.predeclared, args.exchange.as_str(), &args.routing_key) {
        (true, ..) => None,
        (_, "", Some(key)) => Some(u64::from(names.contains(key))),
        (_, "", None) => match keys {
            Some(keys) => keys.iter().all(|key| names.contains(key)).then_some(1),
            None => Some(1),
        },
        (_, _, Some(_)) => Some(queues),
        _ => match args.exchange_type.as_str() {
            // With fewer keys than queues some keys have more queues than others.
            "direct" => keys.is_none_or(|keys| keys.len() >= names.len()).then_some(1),
            "fanout" | "headers" => Some(queues),
            // Queue names with dots and wildcards in them are patterns here.
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ThroughputArgs,
    }

    fn args(line: &str) -> ThroughputArgs {
        Cli::parse_from(["perf"].into_iter().chain(line.split_whitespace())).args
    }

    #[test]
    fn who_consumes_what() {
        // Line, the queues of each consumer in turn.
        let cases = [
            ("-y 1", vec!["perf"]),
            ("-y 3", vec!["perf", "perf", "perf"]),
            ("-y 3 --queues 2", vec!["perf-1", "perf-2", "perf-1"]),
            ("-y 2 --queues 5", vec!["perf-1 perf-3 perf-5", "perf-2 perf-4"]),
            ("-y 2 --queues 2", vec!["perf-1", "perf-2"]),
        ];
        for (line, expected) in cases {
            let args = args(line);
            let found: Vec<String> =
                (0..args.consumers).map(|number| queues(&args, number).join(" ")).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn who_publishes_where() {
        // Line, the keys of each producer in turn.
        let cases = [
            ("-x 1", vec!["perf"]),
            ("-x 3 --queues 2", vec!["perf-1", "perf-2", "perf-1"]),
            ("-x 2 --queues 2 --alternate", vec!["perf-1 perf-2", "perf-1 perf-2"]),
            ("-x 2 --queues 2 -k key -e e", vec!["key", "key"]),
            ("-x 2 --queues 2 --routing-key-pattern k%d --routing-keys 3", vec!["k1 k2 k3", "k1 k2 k3"]),
        ];
        for (line, expected) in cases {
            let args = args(line);
            let keys = |number| {
                let routes = routes(&args, number);
                let keys = routes.iter().map(|route| String::from_utf8_lossy(basic::split_route(route).1));
                keys.collect::<Vec<_>>().join(" ")
            };
            assert_eq!((0..args.producers).map(keys).collect::<Vec<_>>(), expected, "{line}");
        }
    }

    #[test]
    fn what_is_bound() {
        let cases = [
            ("--queues 2", ""),
            ("--queues 2 -e e", "perf-1:perf-1 perf-2:perf-2"),
            ("--queues 2 -e e -k key", "perf-1:key perf-2:key"),
            ("--queues 2 -e e --routing-key-pattern k%d --routing-keys 3", "perf-1:k1 perf-2:k2 perf-1:k3"),
            ("--queues 3 -e e --routing-key-pattern k%d --routing-keys 2", "perf-1:k1 perf-2:k2 perf-3:k1"),
        ];
        for (line, expected) in cases {
            let found: Vec<_> =
                bindings(&args(line)).iter().map(|(queue, key)| format!("{queue}:{key}")).collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
    }

    #[test]
    fn copies_of_a_message() {
        let cases = [
            ("--queues 3", Some(1)),
            ("-k perf", Some(1)),
            ("-k other", Some(0)),
            ("--queues 3 -e e", Some(1)),
            ("--queues 3 -e e -k key", Some(3)),
            ("--queues 3 -e amq.fanout -t fanout", Some(3)),
            ("--queues 3 -e e -t topic", None),
            ("--queues 3 -p", None),
            ("--queues 3 --routing-key-pattern perf-%d --routing-keys 2", Some(1)),
            ("--queues 3 --routing-key-pattern perf-%d --routing-keys 4", None),
            ("--queues 3 -e e --routing-key-pattern k%d --routing-keys 4", Some(1)),
            ("--queues 3 -e e --routing-key-pattern k%d --routing-keys 2", None),
            ("--queues 3 -e e -t fanout --routing-key-pattern k%d --routing-keys 2", Some(3)),
        ];
        for (line, expected) in cases {
            assert_eq!(copies(&args(line)), expected, "{line}");
        }
    }
}
