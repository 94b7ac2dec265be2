//! The command line of `warrenmq perf`, with RabbitMQ PerfTest's names where PerfTest has the option.
//!
//! Invariant: what `clap` accepted and [`ThroughputArgs::check`] passed can be run; nothing is checked later.

use std::{fmt, time::Duration};

use amq_protocol::types::FieldTable;
use clap::{Args, Subcommand, ValueEnum};

use super::{
    common::{CommonArgs, TIME_DEFAULT, parse_seconds},
    message::{MessageArgs, header, short},
    pattern::Pattern,
    scenario::Operations,
};

/// Messages a second of each producer of `perf latency` when no rate is given.
pub(crate) const LATENCY_RATE: u64 = 5_000;
/// Most octets of messages that a producer prepares.
const PREPARED_MAX: u64 = 1 << 30;

/// Arguments of `warrenmq perf`.
#[derive(Debug, Args)]
pub(crate) struct PerfArgs {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Publish and consume as fast as possible, or at a rate.
    Throughput(Box<ThroughputArgs>),
    /// Publish at a steady rate, 5000 a second unless --rate is given, and measure how late messages and confirms come.
    Latency(Box<ThroughputArgs>),
    #[command(flatten)]
    Operations(Operations),
}

/// Arguments of `warrenmq perf throughput` and `warrenmq perf latency`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ThroughputArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,

    /// Producers, each with a connection and a thread of its own.
    #[arg(short = 'x', long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub(crate) producers: u16,
    /// Consumers, each with a connection and a thread of its own.
    #[arg(short = 'y', long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u16).range(..=10_000))]
    pub(crate) consumers: u16,

    /// Queue name; with several queues the stem of their names (NAME-1, NAME-2, ...).
    #[arg(short = 'u', long, default_value = "perf", value_name = "NAME", help_heading = "Topology")]
    pub(crate) queue: String,
    /// Number of queues; the same as --queue-pattern-to N with the pattern NAME-%d.
    #[arg(long, value_name = "N", help_heading = "Topology", conflicts_with_all = ["queue_pattern_to"],
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) queues: Option<u32>,
    /// Queue names with %d, or %0Nd, in place of the number.
    #[arg(long, value_name = "PATTERN", help_heading = "Topology")]
    pub(crate) queue_pattern: Option<Pattern>,
    /// Number of the first queue of the pattern.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Topology")]
    pub(crate) queue_pattern_from: u32,
    /// Number of the last queue of the pattern.
    #[arg(long, value_name = "N", help_heading = "Topology")]
    pub(crate) queue_pattern_to: Option<u32>,
    /// Exchange to publish to; the default exchange when absent, otherwise declared unless it is an amq.* one.
    #[arg(
        short = 'e',
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "NAME",
        help_heading = "Topology"
    )]
    pub(crate) exchange: String,
    /// Type of the exchange.
    #[arg(
        short = 't',
        long = "type",
        default_value = "direct",
        value_name = "TYPE",
        help_heading = "Topology"
    )]
    pub(crate) exchange_type: String,
    /// Routing key of every message and binding; otherwise each queue's name is its key.
    #[arg(short = 'k', long, value_name = "KEY", help_heading = "Topology")]
    pub(crate) routing_key: Option<String>,
    /// Every producer publishes to all queues in turn, instead of to one of them.
    #[arg(long, help_heading = "Topology", conflicts_with = "routing_key")]
    pub(crate) alternate: bool,
    /// Declare and bind nothing: exchange, queues and bindings are there.
    #[arg(short = 'p', long, help_heading = "Topology")]
    pub(crate) predeclared: bool,
    /// Whether the declared queues go away with their last consumer.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          help_heading = "Topology")]
    pub(crate) auto_delete: bool,
    /// Queue arguments as KEY=VALUE,...; a value that is a number or true/false is sent as one.
    #[arg(long, value_name = "ARGS", default_value = "", hide_default_value = true,
          value_parser = parse_queue_args, help_heading = "Topology")]
    pub(crate) queue_args: FieldTable,

    /// Octets of a message body; from 16 on there are latencies and an order check.
    #[arg(short = 's', long, default_value_t = 16, value_name = "OCTETS", help_heading = "Messages",
          value_parser = clap::value_parser!(u32).range(..=512 * 1024 * 1024))]
    pub(crate) size: u32,
    /// Message flags; persistent also makes the declared queues and exchange durable.
    #[arg(short = 'f', long, value_name = "FLAG", help_heading = "Messages")]
    pub(crate) flag: Vec<Flag>,
    /// Messages a second of each producer; throughput: as fast as possible when absent. Latencies are then counted from
    /// when a message was due, not from when it could be written.
    #[arg(short = 'r', long, value_name = "N", help_heading = "Messages",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Publisher confirms, with at most N messages of a producer unconfirmed.
    #[arg(short = 'c', long, value_name = "N", help_heading = "Messages",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) confirm: Option<u64>,
    #[command(flatten)]
    pub(crate) message: MessageArgs,

    /// Consume without acknowledgements; this is so unless --multi-ack-every or --qos is given.
    #[arg(short = 'a', long, help_heading = "Consuming", conflicts_with_all = ["multi_ack_every", "qos"])]
    pub(crate) autoack: bool,
    /// Acknowledge every N messages with one basic.ack.
    #[arg(short = 'A', long, value_name = "N", help_heading = "Consuming",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) multi_ack_every: Option<u64>,
    /// Write each basic.ack at once and on its own, as most client libraries do, instead of all those of a read together.
    #[arg(long, help_heading = "Consuming", conflicts_with = "autoack")]
    pub(crate) eager_acks: bool,
    /// Prefetch count of each consumer.
    #[arg(short = 'q', long, value_name = "N", help_heading = "Consuming",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) qos: Option<u16>,

    /// Seconds to run [default: 10, or unlimited with --pmessages or --cmessages].
    #[arg(short = 'z', long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Run")]
    pub(crate) time: Option<Duration>,
    /// Messages that each producer publishes.
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Run")]
    pub(crate) pmessages: Option<u64>,
    /// Messages that each consumer takes.
    #[arg(short = 'D', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Run")]
    pub(crate) cmessages: Option<u64>,
    /// Largest frame to ask for; the broker may lower it.
    #[arg(short = 'M', long, value_name = "OCTETS", default_value_t = 131_072, help_heading = "Run",
          value_parser = clap::value_parser!(u32).range(4096..))]
    pub(crate) framemax: u32,
}

/// A property of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flag {
    /// Delivery mode 2, durable queues.
    Persistent,
    /// The broker returns what it cannot route.
    Mandatory,
}

/// How a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    /// Not at all: `no-ack` consumers.
    Auto,
    /// One `basic.ack` for so many messages.
    Every(u64),
}

impl ThroughputArgs {
    /// Checks what `clap` cannot: relations between options.
    ///
    /// # Errors
    /// A sentence that names the options.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.producers == 0 && self.consumers == 0 {
            return Err("neither producers (-x) nor consumers (-y): nothing to do".into());
        }
        if let (Acks::Every(every), Some(qos)) = (self.acks(), self.qos)
            && every > u64::from(qos)
        {
            return Err(format!("--multi-ack-every {every} is never reached with --qos {qos}"));
        }
        if self.eager_acks && self.acks() == Acks::Auto {
            return Err("--eager-acks without acknowledgements: needs --multi-ack-every or --qos".into());
        }
        if self.queue_pattern.is_some() && self.queues.is_none() && self.queue_pattern_to.is_none() {
            return Err("--queue-pattern needs --queues or --queue-pattern-to".into());
        }
        if self.queue_pattern_to.is_some_and(|to| to < self.queue_pattern_from) {
            return Err("--queue-pattern-to is below --queue-pattern-from".into());
        }
        let names = self.queue_names();
        let keys = self.message.keys().unwrap_or_default();
        let strings = [&self.exchange, &self.exchange_type, &self.routing_key.clone().unwrap_or_default()];
        if let Some(long) = strings.into_iter().chain(&names).chain(&keys).find(|name| name.len() > 255) {
            return Err(format!("longer than 255 octets: {long}"));
        }
        let period = self.message.period(self.keys_in_turn());
        if period.saturating_mul(u64::from(self.size)) > PREPARED_MAX {
            return Err(format!("{period} different messages of {} octets are more than 1 GiB", self.size));
        }
        self.message.properties(self.persistent()).map(drop)
    }

    /// How many routing keys a producer publishes to in turn.
    pub(crate) fn keys_in_turn(&self) -> usize {
        match self.message.routing_keys {
            Some(count) => count as usize,
            None if self.alternate => self.queue_names().len(),
            None => 1,
        }
    }

    /// Names of all queues.
    pub(crate) fn queue_names(&self) -> Vec<String> {
        let from = self.queue_pattern_from;
        let to = match (self.queues, self.queue_pattern_to) {
            (Some(count), _) => from.saturating_add(count - 1),
            (None, Some(to)) => to,
            (None, None) => from,
        };
        match &self.queue_pattern {
            Some(pattern) => (from..=to).map(|number| pattern.fill(number)).collect(),
            None if from == to => vec![self.queue.clone()],
            None => (from..=to).map(|number| format!("{}-{number}", self.queue)).collect(),
        }
    }

    /// How consumers acknowledge: a prefetch without an ack batch means every message.
    pub(crate) fn acks(&self) -> Acks {
        match (self.multi_ack_every, self.qos) {
            (Some(every), _) => Acks::Every(every),
            (None, Some(_)) => Acks::Every(1),
            (None, None) => Acks::Auto,
        }
    }

    /// Whether messages are persistent and queues durable.
    pub(crate) fn persistent(&self) -> bool {
        self.flag.contains(&Flag::Persistent)
    }

    /// Whether unroutable messages come back.
    pub(crate) fn mandatory(&self) -> bool {
        self.flag.contains(&Flag::Mandatory)
    }

    /// When to stop, if not by count.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        let counted = self.pmessages.is_some() || self.cmessages.is_some();
        self.time.or(if counted { None } else { Some(TIME_DEFAULT) })
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Every(every) => write!(formatter, "every {every}"),
        }
    }
}

fn parse_queue_args(text: &str) -> Result<FieldTable, String> {
    let mut table = FieldTable::default();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
        table.insert(short(key)?, header(value));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::AMQPValue;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ThroughputArgs,
    }

    fn parse(line: &str) -> Result<ThroughputArgs, String> {
        let words = ["perf"].into_iter().chain(line.split_whitespace());
        let args = Cli::try_parse_from(words).map_err(|error| error.to_string())?.args;
        args.check()?;
        Ok(args)
    }

    #[test]
    fn accepted() {
        // Line, queue names, acks, time limit in milliseconds.
        let cases: [(&str, &[&str], Acks, Option<u128>); 13] = [
            ("", &["perf"], Acks::Auto, Some(10_000)),
            ("-a -z 2.5", &["perf"], Acks::Auto, Some(2_500)),
            ("-u q -q 100", &["q"], Acks::Every(1), Some(10_000)),
            ("-q 100 --eager-acks", &["perf"], Acks::Every(1), Some(10_000)),
            ("-u q -A 10", &["q"], Acks::Every(10), Some(10_000)),
            ("-A 100 -q 100 -C 5", &["perf"], Acks::Every(100), None),
            ("-D 5", &["perf"], Acks::Auto, None),
            ("-C 5 -z 1", &["perf"], Acks::Auto, Some(1_000)),
            ("--queues 1", &["perf"], Acks::Auto, Some(10_000)),
            ("--queues 3", &["perf-1", "perf-2", "perf-3"], Acks::Auto, Some(10_000)),
            ("--queue-pattern a%03db --queues 2", &["a001b", "a002b"], Acks::Auto, Some(10_000)),
            (
                "--queue-pattern q%d --queue-pattern-from 9 --queue-pattern-to 11",
                &["q9", "q10", "q11"],
                Acks::Auto,
                Some(10_000),
            ),
            ("-f persistent -f mandatory -x 0", &["perf"], Acks::Auto, Some(10_000)),
        ];
        for (line, names, acks, millis) in cases {
            let args = parse(line).unwrap();
            assert_eq!(args.queue_names(), names, "{line}");
            assert_eq!(args.acks(), acks, "{line}");
            assert_eq!(args.time_limit().map(|time| time.as_millis()), millis, "{line}");
        }
    }

    #[test]
    fn refused() {
        // Line, a part of the message.
        let cases = [
            ("-x 0 -y 0", "nothing to do"),
            ("-A 101 -q 100", "never reached"),
            ("-a -A 10", "cannot be used with"),
            ("-a -q 10", "cannot be used with"),
            ("-A 0", "0 is not in"),
            ("--eager-acks", "without acknowledgements"),
            ("--eager-acks -a", "cannot be used with"),
            ("-c 0", "0 is not in"),
            ("-z 0", "above zero"),
            ("-z -1", "unexpected argument"),
            ("-f durable", "possible values"),
            ("--queues 2 --queue-pattern-to 3", "cannot be used with"),
            ("--queue-pattern q%d", "needs --queues"),
            ("--queue-pattern q --queues 2", "has no %d"),
            ("--routing-key-pattern k", "has no %d"),
            ("--routing-key-pattern k%d", "--routing-keys"),
            ("--routing-keys 2", "--routing-key-pattern"),
            ("--routing-key-pattern k%d --routing-keys 2 -k key", "cannot be used with"),
            ("--routing-key-pattern k%d --routing-keys 2 --alternate", "cannot be used with"),
            ("--routing-key-pattern k%d --routing-keys 2000 -s 1000000", "more than 1 GiB"),
            ("--alternate --queues 2000 -s 1000000", "more than 1 GiB"),
            ("--message-properties priority=300", "0 to 255"),
            ("--message-headers key", "not KEY=VALUE"),
            ("--queue-pattern-from 3 --queue-pattern-to 2", "is below"),
            ("-k key --alternate", "cannot be used with"),
            ("-H amqps://localhost", "TLS is not supported"),
            ("-H http://localhost", "Invalid AMQP scheme"),
            ("--queue-args x-max-length", "not KEY=VALUE"),
            ("-M 100", "100 is not in"),
        ];
        for (line, message) in cases {
            let error = parse(line).expect_err(line);
            assert!(error.contains(message), "{line}: {error}");
        }
        let long = "q".repeat(256);
        assert!(parse(&format!("-u {long}")).is_err());
        assert!(parse(&format!("-k {long}")).is_err());
    }

    #[test]
    fn uris() {
        let uri = parse("--uri amqp://me:s%40cret@[::1]:5673/my%2Fhost").unwrap().common.uri;
        assert_eq!(uri.authority.userinfo.password, "s@cret");
        assert_eq!((uri.authority.port, uri.vhost.as_str()), (5673, "my/host"));
        assert_eq!(parse("").unwrap().common.uri.vhost, "/");
    }

    #[test]
    fn queue_arguments() {
        let table = parse("--queue-args x-queue-type=quorum,x-max-length=10,x-a=true").unwrap().queue_args;
        let expected = [
            ("x-queue-type", AMQPValue::LongString("quorum".into())),
            ("x-max-length", AMQPValue::LongLongInt(10)),
            ("x-a", AMQPValue::Boolean(true)),
        ];
        for (key, value) in expected {
            assert_eq!(table.inner().get(key), Some(&value), "{key}");
        }
    }
}
