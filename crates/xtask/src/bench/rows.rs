//! The table of workloads: what is run, on which brokers, and what it may cost. Everything else in this folder is driven by it.

use super::figure::Figure;

/// One workload.
#[derive(Debug)]
pub(crate) struct Row {
    /// For `--only` and among the results.
    pub(crate) name: &'static str,
    /// What a reader sees.
    pub(crate) title: &'static str,
    /// The section of the page.
    pub(crate) group: Group,
    pub(crate) work: Work,
    pub(crate) relay: bool,
    pub(crate) others: Others,
    pub(crate) limits: &'static [Limit],
}

/// Sections of the page, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Messages,
    Latency,
    Operations,
    Memory,
    Beside,
}

/// What is done with a broker that nobody else uses.
#[derive(Debug)]
pub(crate) enum Work {
    /// One run of `warrenmq perf` with these arguments.
    Perf(&'static str),
    /// The same, after the topology was declared.
    Declared(Topology, &'static str),
    /// The same with a configuration of WarrenMQ's own.
    Configured { toml: &'static str, args: &'static str },
    /// The same while another run floods the broker.
    Flooded { flood: &'static str, args: &'static str },
    /// The same twice: alone, and then with something beside it.
    Beside { filler: Filler, args: &'static str },
    /// Nothing: the broker was just started.
    Idle,
}

/// What `warrenmq perf` cannot declare itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Queues `topic-0` to `topic-9` on amq.topic, 10,000 bindings: words, `*` and `#`. A message with one of the
    /// keys `a.1.z` to `a.1000.z` meets three of them, all of one queue.
    Topic,
    /// Queues `headers-0` to `headers-9` on amq.headers, 100 bindings with `x-match` all and any.
    Headers,
}

/// What a broker has beside what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filler {
    /// Queues that nobody uses.
    Queues(u32),
    /// Bindings of the exchange that is published to.
    Bindings(u32),
    /// Connections with one channel each that say nothing.
    Connections(u32),
    /// Messages in the queue that is published to and consumed from.
    Backlog(u32),
    /// Messages in a queue that nobody uses.
    IdleBacklog(u32),
}

/// Whether brokers other than the relay and WarrenMQ take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// In every round.
    EachRound,
    /// In the first round only, and not in a quick run: it takes them long.
    Once,
    /// It would take them minutes, or says nothing about them.
    Never,
}

/// What WarrenMQ has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    /// The figure, or less.
    AtMost(Figure, f64),
    /// The figure, or more.
    AtLeast(Figure, f64),
    /// So many times what the relay shows in the same round, or less.
    TimesRelay(Figure, f64),
    /// So many times what RabbitMQ shows in the same round, or more.
    TimesRabbitMq(Figure, f64),
    /// CPU time for each message so many times that without what is beside it, or less.
    TimesAlone(f64),
}

/// Microseconds of CPU for each message that are the limit of a row.
const fn cpu(limit: f64) -> Limit {
    Limit::AtMost(Figure::Cpu, limit)
}

/// Most rows: everybody but the relay takes part in each round.
const fn row(
    name: &'static str,
    title: &'static str,
    group: Group,
    work: Work,
    limits: &'static [Limit],
) -> Row {
    Row { name, title, group, work, relay: false, others: Others::EachRound, limits }
}

impl Row {
    /// The relay takes part as well.
    const fn with_relay(mut self) -> Self {
        self.relay = true;
        self
    }

    const fn others(mut self, others: Others) -> Self {
        self.others = others;
        self
    }
}

/// All rows, in the order in which they run: a broker that runs through all of them is idle only in the first.
pub(crate) const ROWS: &[Row] = &[
    row("idle", "nothing: just started", Group::Memory, Work::Idle, &[Limit::AtMost(Figure::Idle, 8e6)])
        .others(Others::Once),
    row(
        "16b",
        "16 B, 1 publisher, 1 queue, 1 auto-ack consumer",
        Group::Messages,
        Work::Perf("throughput -s 16 -a"),
        &[
            cpu(0.09),
            Limit::TimesRelay(Figure::Cpu, 2.0),
            Limit::AtLeast(Figure::Rate, 8e6),
            Limit::TimesRabbitMq(Figure::Rate, 40.0),
            Limit::AtMost(Figure::Peak, 32e6),
        ],
    )
    .with_relay(),
    row(
        "1kib",
        "1 KiB, 1 publisher, 1 queue, 1 auto-ack consumer",
        Group::Messages,
        Work::Perf("throughput -s 1024 -a"),
        &[cpu(0.6), Limit::TimesRelay(Figure::Cpu, 1.5)],
    )
    .with_relay(),
    row(
        "1mb",
        "1 MB, 1 publisher, 1 queue, 1 auto-ack consumer",
        Group::Messages,
        Work::Perf("throughput -s 1000000 -a"),
        &[Limit::TimesRelay(Figure::Cpu, 0.9)],
    )
    .with_relay(),
    row(
        "confirm-ack",
        "16 B, confirm window 1000, ack every 100, prefetch 1000",
        Group::Messages,
        Work::Perf("throughput -s 16 -c 1000 -A 100 -q 1000"),
        &[cpu(0.16)],
    ),
    row(
        "ack-each",
        "16 B, ack every message, prefetch 100",
        Group::Messages,
        Work::Perf("throughput -s 16 -A 1 -q 100"),
        &[cpu(2.0)],
    ),
    row(
        "ack-each-eager",
        "16 B, ack every message, each in a write of its own, prefetch 100",
        Group::Messages,
        Work::Perf("throughput -s 16 -A 1 -q 100 --eager-acks"),
        &[cpu(2.0)],
    ),
    row(
        "persistent",
        "1 KiB persistent, confirm window 1000, ack every 100, prefetch 1000",
        Group::Messages,
        Work::Perf("throughput -s 1024 -f persistent -c 1000 -A 100 -q 1000"),
        &[cpu(1.6)],
    ),
    row(
        "persistent-os",
        "1 KiB persistent, same, WarrenMQ as RabbitMQ without a sync",
        Group::Messages,
        Work::Configured {
            toml: "durability = \"os\"\n",
            args: "throughput -s 1024 -f persistent -c 1000 -A 100 -q 1000",
        },
        &[],
    ),
    row(
        "8x8",
        "16 B, 8 publishers and 8 consumers on one queue",
        Group::Messages,
        Work::Perf("throughput -s 16 -a -x 8 -y 8"),
        &[cpu(0.11)],
    ),
    row(
        "fanout-10",
        "16 B, fanout to 10 queues with 10 consumers, per delivery",
        Group::Messages,
        Work::Perf("throughput -s 16 -a -y 10 --queues 10 -e amq.fanout -t fanout"),
        &[cpu(0.04)],
    ),
    row(
        "keys-10",
        "16 B, 10 alternating keys to 10 queues",
        Group::Messages,
        Work::Perf("throughput -s 16 -a -y 10 --queues 10 --alternate"),
        &[cpu(0.12)],
    ),
    row(
        "keys-100",
        "16 B, 100 alternating keys to 100 queues",
        Group::Messages,
        Work::Perf("throughput -s 16 -a -y 100 --queues 100 --alternate"),
        &[cpu(0.2)],
    ),
    row(
        "topic-10k",
        "16 B, topic exchange with 10,000 bindings, 1,000 keys",
        Group::Messages,
        Work::Declared(
            Topology::Topic,
            "throughput -s 16 -a -y 10 -p --queue-pattern topic-%d --queue-pattern-from 0 --queue-pattern-to 9 \
             -e amq.topic --routing-key-pattern a.%d.z --routing-keys 1000",
        ),
        &[cpu(0.3)],
    )
    .others(Others::Once),
    row(
        "headers-100",
        "16 B, headers exchange with 100 bindings",
        Group::Messages,
        Work::Declared(
            Topology::Headers,
            "throughput -s 16 -a -y 10 -p --queue-pattern headers-%d --queue-pattern-from 0 --queue-pattern-to 9 \
             -e amq.headers -k any --message-headers kind=k%d,region=eu --header-sets 100",
        ),
        &[cpu(0.8)],
    ),
    row(
        "latency-5k",
        "16 B, 5,000 messages a second",
        Group::Latency,
        Work::Perf("latency -s 16 -r 5000"),
        &[Limit::TimesRelay(Figure::P50, 1.0), Limit::TimesRelay(Figure::P99, 1.0)],
    )
    .with_relay(),
    row(
        "latency-200k",
        "16 B, 200,000 messages a second",
        Group::Latency,
        Work::Perf("latency -s 16 -r 200000"),
        &[Limit::AtMost(Figure::P99, 1000.0)],
    )
    .with_relay()
    // More than RabbitMQ can carry on the machines this was made on: it would be the latency of a growing queue.
    .others(Others::Never),
    row(
        "latency-flood",
        "16 B, 1,000 a second beside a flood of 16 B on another queue",
        Group::Latency,
        Work::Flooded { flood: "throughput -s 16 -a -u bench-flood", args: "latency -s 16 -r 1000 -u bench-quiet" },
        &[Limit::AtMost(Figure::P99, 1000.0)],
    ),
    row(
        "connections",
        "10,000 connections opened, one channel each",
        Group::Operations,
        Work::Perf("connection-count --connections 10000 --hold 1"),
        &[Limit::AtLeast(Figure::Operations, 10_000.0), Limit::AtMost(Figure::Each, 4096.0)],
    )
    .others(Others::Once),
    row(
        "bind-transient",
        "bindings of a transient queue to a direct exchange, pipelined",
        Group::Operations,
        Work::Perf("bind-churn"),
        &[Limit::AtLeast(Figure::Operations, 50_000.0)],
    ),
    row(
        "bind-topic",
        "bindings of a transient queue to a topic exchange, pipelined",
        Group::Operations,
        Work::Perf("bind-churn -t topic"),
        &[],
    ),
    row(
        "bind-durable",
        "bindings of a durable queue to a direct exchange, pipelined",
        Group::Operations,
        Work::Perf("bind-churn --durable"),
        &[Limit::AtLeast(Figure::Operations, 10_000.0)],
    ),
    row(
        "queues",
        "10,000 durable queues declared, pipelined",
        Group::Operations,
        Work::Perf("queue-count --queues 10000 --durable --hold 8"),
        &[Limit::AtMost(Figure::Each, 1500.0)],
    )
    .others(Others::Once),
    beside("beside-queues", "10,000 idle queues", Filler::Queues(10_000), "throughput -s 16 -a", &[Limit::TimesAlone(1.1)]),
    beside(
        "beside-bindings",
        "100,000 bindings of the same exchange",
        Filler::Bindings(100_000),
        "throughput -s 16 -a -e amq.direct",
        &[Limit::TimesAlone(1.1)],
    ),
    beside(
        "beside-connections",
        "5,000 idle connections",
        Filler::Connections(5_000),
        "throughput -s 16 -a",
        &[Limit::TimesAlone(1.1)],
    ),
    beside(
        "beside-backlog",
        "10,000,000 messages in the same queue",
        Filler::Backlog(10_000_000),
        "throughput -s 16 -a -u bench-backlog --auto-delete false",
        &[Limit::TimesAlone(1.2)],
    ),
    beside(
        "beside-idle-backlog",
        "10,000,000 messages in another queue",
        Filler::IdleBacklog(10_000_000),
        "throughput -s 16 -a",
        &[Limit::TimesAlone(1.2)],
    ),
];

const fn beside(
    name: &'static str,
    title: &'static str,
    filler: Filler,
    args: &'static str,
    limits: &'static [Limit],
) -> Row {
    row(name, title, Group::Beside, Work::Beside { filler, args }, limits).others(Others::Never)
}

impl Topology {
    /// What a reader is told.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Topology::Topic => {
                "10 queues bound by `a.N.z` (N to 4,000), `*.N.z` and `a.N.#` (N to 3,000); each message meets three of the \
                 bindings and one queue"
            }
            Topology::Headers => {
                "10 queues bound by 100 values of a header, half of them with `x-match` all and a second header, half with \
                 any; each message meets one of the bindings"
            }
        }
    }
}

impl Work {
    /// The arguments of what is measured.
    pub(crate) fn args(&self) -> Option<&'static str> {
        match self {
            Work::Perf(args)
            | Work::Declared(_, args)
            | Work::Configured { args, .. }
            | Work::Flooded { args, .. }
            | Work::Beside { args, .. } => Some(args),
            Work::Idle => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn a_ratio_needs_whom_it_is_to() {
        for row in ROWS {
            let needs_relay = row.limits.iter().any(|limit| matches!(limit, Limit::TimesRelay(..)));
            let needs_others = row.limits.iter().any(|limit| matches!(limit, Limit::TimesRabbitMq(..)));
            let needs_filler = row.limits.iter().any(|limit| matches!(limit, Limit::TimesAlone(..)));
            assert!(!needs_relay || row.relay, "{}", row.name);
            assert!(!needs_others || row.others == Others::EachRound, "{}", row.name);
            assert_eq!(needs_filler, matches!(row.work, Work::Beside { .. }), "{}", row.name);
        }
    }
}
